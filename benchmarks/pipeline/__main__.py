"""The live engine on a real broker: `python -m benchmarks.pipeline`.

The broker is that of HOLDFAST_TEST_KAFKA, or one that is started for the run (Java 17 and Maven).
"""

import argparse
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.measure import against, in_own_process, machine, table
from benchmarks.pipeline import latency
from benchmarks.pipeline.workload import Frames, Size, announcement, engine, frames_of, send, submit
from holdfast.live.clients import producer
from holdfast.live.settings import Settings
from streams.wire.encoding import FORMS, Form
from tests.kafka.broker import Broker

FLEET: Final = Size(colos=10, hosts=500, series=20)
TICKS: Final[dict[str, int]] = {"arrow": 400, "json": 10, "json-grouped": 10, "otlp": 30, "prometheus": 10}
GOAL_RATIO: Final = 0.5
GOAL_MILLIONS: Final = 20.0
SAMPLES_ONE_BY_ONE: Final = 200_000


def _measured(path: Path, way: str, samples: int) -> dict[str, Any]:
    return in_own_process("benchmarks.pipeline.reading", way, str(path), str(samples))


def _millions(found: dict[str, Any]) -> float:
    """Return millions of samples a second of processor time, that is of one core, in the steady state."""
    return 1e3 / float(found["steady_ns"])


def throughput(bootstrap: str, quick: bool) -> None:
    """From the topic to cohort ticks, format by format, beside reading and decoding alone."""
    rows = []
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            path, settings = engine(bootstrap, Path(folder))
            ticks = max(10, TICKS[form] // (5 if quick else 1))
            _feed(settings, form, ticks)
            submit(settings, announcement(FLEET))
            bare, aggregate = (_measured(path, way, ticks * FLEET.samples) for way in ("bare", "aggregate"))
        assert bare["samples"] == aggregate["samples"], "not everything was aggregated"
        ratio = _millions(aggregate) / _millions(bare)
        goal = ""
        if form == "arrow":
            goal = f"{against(ratio, GOAL_RATIO, is_most=False)}; {GOAL_MILLIONS:g} M/s: "
            goal += "kept" if _millions(aggregate) >= GOAL_MILLIONS else "MISSED"
        figures = [f"{_millions(bare):.2f}", f"{_millions(aggregate):.2f}", f"{ratio:.2f}"]
        rows.append([form, *figures, f"{aggregate['start_s']:.1f} s", f"{aggregate['peak_mb']:.0f} MB", goal])
    print(
        f"{FLEET.samples:,} samples a tick in frames of {FLEET.samples // FLEET.colos:,}, one partition; "
        "millions of samples a second of one core"
    )
    print(table(["format", "consume and decode", "to cohort ticks", "ratio", "and once", "peak memory", ""], rows))


def one_by_one(bootstrap: str, quick: bool) -> None:
    """Measure what many would write first: a message for each sample, and a loop over them."""
    with tempfile.TemporaryDirectory() as folder:
        path, settings = engine(bootstrap, Path(folder))
        client, topic = producer(settings), settings.metrics[0].topic
        count = SAMPLES_ONE_BY_ONE // (10 if quick else 1)
        frames, sent, tick = Frames(FLEET, range(FLEET.colos)), 0, 177_331_320
        while sent < count:
            samples = frames.at(tick)
            labels = {name: [column.values[code] for code in column.codes] for name, column in samples.labels.items()}
            for row, (time, value) in enumerate(zip(samples.time.tolist(), samples.value.tolist(), strict=True)):
                sample = {"time": time, "value": value} | {name: values[row] for name, values in labels.items()}
                send(client, topic, msgspec.json.encode(sample), b"", "application/json")
            sent, tick = sent + len(samples.time), tick + 1
        assert client.flush(120) == 0
        found = _measured(path, "per_sample", sent)
    print("a message for each sample, as JSON, and a loop over them; millions of samples a second of one core")
    print(table(["to sums", "peak memory"], [[f"{_millions(found):.3f}", f"{found['peak_mb']:.0f} MB"]]))


def _feed(settings: Settings, form: Form, ticks: int) -> None:
    client, topic = producer(settings), settings.metrics[0].topic
    for payload, kind in frames_of(FLEET, ticks, form):
        send(client, topic, payload, b"colo000", kind)
    assert client.flush(120) == 0


def main() -> None:
    """Run all, or what is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller workloads")
    parser.add_argument("--only", choices=["throughput", "one-by-one", "latency"])
    arguments = parser.parse_args()
    given = os.environ.get("HOLDFAST_TEST_KAFKA")
    print(machine("holdfast", "confluent-kafka", "numpy", "pyarrow"))
    with Broker() if given is None else nullcontext() as broker:
        bootstrap = given or (broker.bootstrap if broker is not None else "")
        if arguments.only in (None, "throughput"):
            throughput(bootstrap, arguments.quick)
        if arguments.only in (None, "one-by-one"):
            one_by_one(bootstrap, arguments.quick)
        if arguments.only in (None, "latency"):
            size = Size(30, 10, 20) if arguments.quick else Size(300, 10, 134)
            pace = 1.0 if arguments.quick else 10.0
            for rollouts, workers, evidence in ((1, 1, True), (10, 1, False), (10, 2, False), (10, 2, True)):
                load = latency.Load(size, rollouts, 4, workers, 10 if arguments.quick else 12, pace)
                latency.run(bootstrap, load, evidence=evidence)


if __name__ == "__main__":
    main()
