"""Kills a Faust worker again and again, and counts what was lost, done twice, or done and not known.

`python -m benchmarks.faust_control [--guarantee at_least_once|exactly_once] [--kills 50] [--seconds 900]`, with
the group `bench` installed. It starts a broker of its own. What became of it is in docs/decisions/0017.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.faust_control.rollouts_of import DECODER, PARTITIONS, STAGES, Kept, hosts_of, reports
from holdfast.wall import now
from rollouts.controlled import StageBegun
from rollouts.folding import fold
from tests.kafka.broker import ROOT, Broker

ROLLOUTS: Final = 8
LAG_MAX: Final = 50
TICK_S: Final = 1.0


class Trial:
    """A Faust worker, what it is told, and what it says."""

    def __init__(self, bootstrap: str, folder: Path, guarantee: str) -> None:
        self.bootstrap, self._folder, self._guarantee = bootstrap, folder, guarantee
        self.app = f"trial-{guarantee.replace('_', '-')}"
        self._client: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._admin = AdminClient(self._client)
        compact = {"cleanup.policy": "compact"}
        made = [
            NewTopic(f"{self.app}.in", PARTITIONS, 1),
            NewTopic(f"{self.app}-h-changelog", PARTITIONS, 1, config=compact),
            NewTopic(f"{self.app}-__assignor-__leader", 1, 1),
        ]
        for future in self._admin.create_topics(made).values():
            future.result()
        self._producer = Producer({**self._client, "linger.ms": 0, "partitioner": "murmur2_random"})
        self.names = [f"r{number}" for number in range(ROLLOUTS)]
        self._out, self._read = folder / "out", 0
        self._out.touch()
        self.lines: list[dict[str, Any]] = []
        self._answered: set[tuple[str, str]] = set()
        self.sent = 0

    def send(self, name: str, **message: object) -> None:
        """Tell the worker something about a rollout."""
        self._producer.produce(f"{self.app}.in", msgspec.json.encode(message), name.encode())
        self._producer.flush(10)
        self.sent += 1

    def start(self) -> subprocess.Popen[bytes]:
        """Start the worker."""
        given = {"WORKER": "a", "OUT": str(self._out), "APP": self.app, "BROKER": self.bootstrap}
        given |= {"GUARANTEE": self._guarantee, "DATADIR": str(self._folder / "data")}
        command = [sys.executable, "-m", "benchmarks.faust_control.app", "worker", "-l", "info", "--without-web"]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **given}, stdout=log, stderr=log)

    def hear(self) -> None:
        """Read what the worker says, and answer each new stage as hosts and a judge do."""
        data = self._out.read_bytes()[self._read :]
        whole = data.rfind(b"\n") + 1
        self._read += whole
        for line in data[:whole].splitlines():
            said = json.loads(line)
            self.lines.append(said)
            if "effect" in said and (said["rollout"], said["stage"]) not in self._answered:
                self._answered.add((said["rollout"], said["stage"]))
                found = reports(said["rollout"], hosts_of(said["stage"]), said["number"], now())
                self.send(said["rollout"], reports=msgspec.to_builtins(found))
                verdict = {"sequence": said["number"], "action": "advance", "stage": said["stage"]}
                self.send(said["rollout"], verdict=verdict)

    def look(self) -> None:
        """Have the worker look at the time, if it keeps up."""
        if self.sent - sum("acked" in said for said in self.lines) < LAG_MAX:
            for name in self.names:
                self.send(name, tick=1)

    def histories(self) -> dict[str, Kept]:
        """Read what is committed of the changelog."""
        ours = {"group.id": "trial", "isolation.level": "read_committed", "enable.partition.eof": True}
        consumer = Consumer({**self._client, "enable.auto.commit": False, **ours})
        consumer.assign([TopicPartition(f"{self.app}-h-changelog", number, 0) for number in range(PARTITIONS)])
        left, found = PARTITIONS, dict[str, Kept]()
        while left and (record := consumer.poll(10)) is not None:
            if record.error() is not None:
                left -= 1
            else:
                found[json.loads(record.key() or b"")] = DECODER.decode(json.loads(record.value() or b""))
        consumer.close()
        return found

    def lost(self) -> int:
        """Count messages that are behind what is committed, and that no agent has ever had."""
        got = {tuple(said["got"]) for said in self.lines if "got" in said}
        asked = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self.app)])
        (future,) = asked.values()
        committed = [each for each in future.result().topic_partitions if each.topic == f"{self.app}.in"]
        return sum((each.partition, offset) not in got for each in committed for offset in range(each.offset))

    def figures(self) -> dict[str, object]:
        """Count."""
        histories = self.histories()
        known = {
            (name, event.number)
            for name, kept in histories.items()
            for event in kept.events
            if isinstance(event, StageBegun)
        }
        done = Counter((said["rollout"], said["number"], said["stage"]) for said in self.lines if "effect" in said)
        stages = Counter((rollout, stage) for rollout, _, stage in done)
        return {
            "actions": f"{len(stages)} of {ROLLOUTS * STAGES}",
            "messages_lost": self.lost(),
            "stages_under_two_numbers": sum(count > 1 for count in stages.values()),
            "actions_told_again": sum(done.values()) - len(done),
            "actions_not_in_a_committed_history": sum((rollout, number) not in known for rollout, number, _ in done),
        }

    @property
    def is_over(self) -> bool:
        """Whether all rollouts are completed."""
        states = [fold(kept.events) for kept in self.histories().values()]
        return len(states) == ROLLOUTS and all(state is not None and state.phase == "completed" for state in states)


def run(trial: Trial, kills: int, seconds: float) -> dict[str, object]:
    """Kill the worker at random times, until it has done everything or the time is over."""
    rng, begun, killed = np.random.default_rng(1), time.monotonic(), 0
    recoveries: list[float] = []
    for name in trial.names:
        trial.send(name, submit=1)
    process, since, heard, due, looked = trial.start(), time.monotonic(), 0, 0.0, 0.0
    try:
        while time.monotonic() - begun < seconds and not (killed >= kills and trial.is_over):
            trial.hear()
            if not due and any("got" in said for said in trial.lines[heard:]):
                recoveries.append(time.monotonic() - since)
                due = time.monotonic() + float(rng.uniform(0.2, 3.0))
            if process.poll() is not None or (due and killed < kills and time.monotonic() > due):
                process.kill()
                process.wait()
                trial.hear()
                killed, heard, due, since = killed + 1, len(trial.lines), 0.0, time.monotonic()
                process = trial.start()
            if time.monotonic() - looked > TICK_S:
                trial.look()
                looked = time.monotonic()
            time.sleep(0.05)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    trial.hear()
    quantiles = np.quantile(recoveries or [0.0], [0.0, 0.5, 1.0]).round(1).tolist()
    return {"kills": killed, **trial.figures(), "recovery_seconds_min_median_max": quantiles}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guarantee", choices=["at_least_once", "exactly_once"], default="at_least_once")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=900.0)
    given = parser.parse_args()
    broker = Broker()
    broker.start()
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-trial-") as folder:
            trial = Trial(broker.bootstrap, Path(folder), given.guarantee)
            found = {"guarantee": given.guarantee, **run(trial, given.kills, given.seconds)}
            print(msgspec.json.format(msgspec.json.encode(found)).decode())
    finally:
        broker.remove()


if __name__ == "__main__":
    main()
