"""The live engine on a real broker: `python -m benchmarks.pipeline`.

The broker is that of HOLDFAST_TEST_KAFKA, or one that is started for the run (Java 17 and Maven).
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from benchmarks.measure import against, machine, table
from benchmarks.pipeline import against_faust, growth, latency, recovery
from benchmarks.pipeline.reading import measured, millions
from benchmarks.pipeline.workload import Size, announcement, engine, feed_json, frames_of, send, submit
from holdfast.live.clients import producer
from holdfast.live.settings import Settings
from streams.wire.encoding import FORMS, Form
from tests.kafka.broker import Broker

FLEET: Final = Size(colos=10, hosts=500, series=20)
TICKS: Final[dict[str, int]] = {"arrow": 150, "json": 10, "json-grouped": 10, "otlp": 30, "prometheus": 10}
GOAL_RATIO: Final = 0.5
GOAL_MILLIONS: Final = 20.0
TICKS_ONE_BY_ONE: Final = 2


def throughput(bootstrap: str, quick: bool) -> None:
    """From the topic to cohort ticks, format by format, beside reading and decoding alone."""
    rows = []
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            path, settings = engine(bootstrap, Path(folder))
            _feed(settings, form, max(6, TICKS[form] // (10 if quick else 1)))
            submit(settings, announcement(FLEET))
            bare, aggregate = measured(path, "bare"), measured(path, "aggregate")
        assert bare["samples"] == aggregate["samples"], "not everything was aggregated"
        ratio = millions(aggregate) / millions(bare)
        goal = ""
        if form == "arrow":
            goal = f"{against(ratio, GOAL_RATIO, is_most=False)}; {GOAL_MILLIONS:g} M/s: "
            goal += "kept" if millions(aggregate) >= GOAL_MILLIONS else "MISSED"
        figures = [f"{millions(bare):.2f}", f"{millions(aggregate):.2f}", f"{ratio:.2f}"]
        rows.append([form, *figures, f"{aggregate['peak_mb']:.0f} MB", goal])
    print(
        f"{FLEET.samples:,} samples a tick in frames of {FLEET.samples // FLEET.colos:,}, one partition; "
        "millions of samples a second of one core"
    )
    print(table(["format", "consume and decode", "to cohort ticks", "ratio", "peak memory", ""], rows))


def one_by_one(bootstrap: str, quick: bool) -> None:
    """Measure what many would write first: a message for each sample, and a loop over them."""
    with tempfile.TemporaryDirectory() as folder:
        path, settings = engine(bootstrap, Path(folder))
        feed_json(settings, FLEET, 1 if quick else TICKS_ONE_BY_ONE, 1)
        found = measured(path, "per_sample")
    print("a message for each sample, as JSON, and a loop over them; millions of samples a second of one core")
    print(table(["to sums", "peak memory"], [[f"{millions(found):.3f}", f"{found['peak_mb']:.0f} MB"]]))


def _feed(settings: Settings, form: Form, ticks: int) -> None:
    client, topic = producer(settings), settings.metrics[0].topic
    for payload, kind in frames_of(FLEET, ticks, form):
        send(client, topic, payload, b"colo000", kind)
    assert client.flush(120) == 0


def latencies(bootstrap: str, quick: bool) -> None:
    """Measure from the close of a tick to its verdict: alone and at full load, without rows for the store and with."""
    size = Size(30, 10, 20) if quick else Size(300, 10, 134)
    for rollouts, workers, kinds in ((1, 1, (False, True)), (10, 1, (False,)), (10, 2, (False, True))):
        load = latency.Load(size, rollouts, 4, workers, 10 if quick else 12, 1.0 if quick else 10.0)
        for evidence in kinds:
            latency.run(bootstrap, load, evidence=evidence)


RUNS: Final[dict[str, Callable[[str, bool], None]]] = {
    "throughput": throughput,
    "one-by-one": one_by_one,
    "faust": against_faust.run,
    "growth": growth.run,
    "latency": latencies,
    "recovery": recovery.run,
}


def main() -> None:
    """Run all, or what is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller workloads")
    parser.add_argument("--only", choices=list(RUNS))
    arguments = parser.parse_args()
    wanted = list(RUNS) if arguments.only is None else [arguments.only]
    given = os.environ.get("HOLDFAST_TEST_KAFKA")
    print(machine("holdfast", "confluent-kafka", "faust-streaming", "numpy", "pyarrow"))
    with Broker() if given is None else nullcontext() as broker:
        bootstrap = given or (broker.bootstrap if broker is not None else "")
        for name in wanted:
            RUNS[name](bootstrap, arguments.quick)


if __name__ == "__main__":
    main()
