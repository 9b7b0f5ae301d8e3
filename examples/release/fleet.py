"""A fleet to release packages to: agents of 50 colos, and traffic whose errors depend on what each host has applied.

`python examples/release/fleet.py --config examples/release/holdfast.yaml`. Ctrl-C ends it. Hosts answer 1 % of their
requests with an error; those that have a unit with the word `broken` in it, 5 %.
"""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from holdfast.control.agents import Agents, Place
from holdfast.live.clients import producer
from holdfast.live.logs import configure
from holdfast.live.settings import load_settings

REQUESTS, HEALTHY, BROKEN = 300.0, 0.01, 0.05


def places_of(root: Path, colos: int, hosts: int) -> list[Place]:
    """Name the hosts of a fleet with five regions."""
    return [
        Place(name, f"colo{colo:02d}", f"region{colo % 5}", root / name, {})
        for colo in range(colos)
        for name in (f"colo{colo:02d}-web{host}" for host in range(hosts))
    ]


def is_broken(place: Place) -> bool:
    """Look into what a host has applied."""
    units = place.root / "current" / "units"
    return any(b"broken" in path.read_bytes() for path in units.rglob("*") if path.is_file())


class Traffic:
    """Requests and errors of each host, as counters that only grow, sent once a second by colo."""

    def __init__(self, writer: Producer, topic: str, places: Sequence[Place], seed: int) -> None:
        self._writer, self._topic, self._places = writer, topic, places
        self._rng = np.random.default_rng(seed)
        self._requests = np.zeros(len(places), np.int64)
        self._errors = np.zeros(len(places), np.int64)

    def second(self, time_ms: int) -> None:
        """Let a second pass, which ends at `time_ms`."""
        rates = [BROKEN if is_broken(place) else HEALTHY for place in self._places]
        requests = self._rng.poisson(REQUESTS, len(rates))
        self._requests += requests
        self._errors += self._rng.binomial(requests, rates)
        frames: dict[str, list[dict[str, object]]] = {}
        for place, count, bad in zip(self._places, self._requests.tolist(), self._errors.tolist(), strict=True):
            labels = {"colo": place.colo, "region": place.region, "host": place.host}
            metrics = {"http_requests": count, "http_5xx": bad}
            frames.setdefault(place.colo, []).append({"time": time_ms, "labels": labels, "metrics": metrics})
        for colo, groups in frames.items():
            self._writer.produce(
                self._topic, json.dumps(groups).encode(), colo, headers=[("content-type", b"application/json")]
            )
        self._writer.poll(0)


def main() -> None:
    """Run until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, help="the settings; else HOLDFAST_CONFIG, else defaults")
    parser.add_argument("--root", type=Path, default=Path("fleet"), help="a folder for what the hosts have")
    parser.add_argument("--colos", type=int, default=50)
    parser.add_argument("--hosts", type=int, default=4, help="in each colo")
    parser.add_argument("--past", type=int, default=120, help="seconds of traffic that are sent at once, at the start")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    settings = load_settings(given.config)
    configure("warning", settings.log.form)
    places = places_of(given.root, given.colos, given.hosts)
    agents, stopping = Agents(settings, places), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    worker = threading.Thread(target=agents.run, name="agents")
    worker.start()
    writer = producer(settings)
    traffic = Traffic(writer, settings.metrics[0].topic, places, given.seed)
    second = int(time.time()) - given.past
    sys.stdout.write(f"{len(places)} hosts in {given.colos} colos\n")
    sys.stdout.flush()
    while not stopping.is_set() and worker.is_alive():
        if second > time.time():
            stopping.wait(0.05)
            continue
        traffic.second(1_000 * second)
        second += 1
    agents.stop()
    worker.join()
    writer.flush(30)


if __name__ == "__main__":
    main()
