"""How fast frames become columns, beside walking over protobuf objects: `python -m benchmarks.wire`.

A fleet's hosts are written into frames of about ten thousand samples, with other values in every frame. Alike hosts
send the same metrics of the same paths, so that their scopes are of a few layouts; unlike hosts each have paths of
their own, and no layout serves twice.
"""

import argparse
import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import cramjam
import numpy as np
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from benchmarks.measure import against, best_seconds, machine, table, traced_peak_mb
from streams.recording import Samples
from streams.wire import otlp, remote_write
from tests.streams.remote_write_schema import SCHEMA

SEED: Final = 44
STARTED_NS: Final = 1_773_314_400_000_000_000
TICK_NS: Final = 10_000_000_000
FRAMES: Final = 4
REPEATS: Final = 7
GOAL_PER_SECOND: Final = 3.0  # millions of samples of alike hosts, as OTLP
OTHER_FORMS: Final = ("arrow", "json_rows")
BOUNDS: Final = tuple(0.005 * 2**power for power in range(11))

Row = tuple[int, float, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a frame holds: hosts, metrics of numbers and their points in each, and histograms."""

    name: str
    hosts: int
    metrics: int
    points: int
    histograms: int = 0
    alike: bool = True


FLEETS: Final = (
    Fleet("alike, 12 metrics of 3 paths, a histogram", 200, 12, 3, 1),
    Fleet("alike, 16 metrics of 1 path", 600, 16, 1),
    Fleet("alike, 500 metrics of 1 path", 20, 500, 1),
    Fleet("alike, 7 histograms", 100, 0, 0, 7),
    Fleet("unlike, 12 metrics of 3 paths, a histogram", 200, 12, 3, 1, alike=False),
)


def attributes(**labels: str) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in labels.items()]


def frame(fleet: Fleet, tick: int) -> bytes:
    """Return what a collector sends of a fleet at a tick."""
    rng = np.random.default_rng([SEED, tick])
    now = STARTED_NS + tick * TICK_NS
    data = MetricsData()
    for host in rng.permutation(fleet.hosts).tolist():
        of_resource = data.resource_metrics.add()
        of_resource.resource.attributes.extend(
            attributes(
                host=f"edge-{host:04d}", colo=f"c{host % 20:02d}", cohort="canary" if host % 5 == 0 else "control"
            )
        )
        scope = of_resource.scope_metrics.add()
        scope.scope.name = "edge"
        own = "" if fleet.alike else "/" + "x" * (host % 50) + str(host)
        for index in range(fleet.metrics):
            metric = scope.metrics.add(name=f"edge.requests.{index:03d}", unit="1", description="what was asked for")
            points = metric.gauge.data_points if index % 2 else metric.sum.data_points
            for path in range(fleet.points):
                point = points.add(start_time_unix_nano=STARTED_NS, time_unix_nano=now)
                point.attributes.extend(attributes(path=f"{own}/{path}", method="GET"))
                if index % 3:
                    point.as_double = rng.normal()
                else:
                    point.as_int = int(rng.integers(1 << 40))
        for index in range(fleet.histograms):
            counts = rng.integers(0, 1000, len(BOUNDS) + 1).tolist()
            scope.metrics.add(name=f"edge.seconds.{index}", unit="s").histogram.data_points.add(
                start_time_unix_nano=STARTED_NS, time_unix_nano=now, count=sum(counts), sum=rng.random(),
                bucket_counts=counts, explicit_bounds=BOUNDS, attributes=attributes(path=f"{own}/{index}"),
            )  # fmt: skip
    return bytes(data.SerializeToString())


def walked(payload: bytes) -> list[Row]:
    """Read OTLP object by object, with the reference library."""
    rows: list[Row] = []
    for of_resource in MetricsData.FromString(payload).resource_metrics:
        outer = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
        for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
            for point in [*metric.gauge.data_points, *metric.sum.data_points]:
                labels = outer | {pair.key: pair.value.string_value for pair in point.attributes}
                value = point.as_double if point.HasField("as_double") else float(point.as_int)
                rows.append((point.time_unix_nano // 1_000_000, value, labels | {"metric": metric.name}))
            for point in metric.histogram.data_points:
                labels = outer | {pair.key: pair.value.string_value for pair in point.attributes}
                time, running = point.time_unix_nano // 1_000_000, 0
                for bound, count in zip([*point.explicit_bounds, math.inf], point.bucket_counts, strict=True):
                    running += count
                    rows.append((time, float(running), labels | {"metric": f"{metric.name}_bucket", "le": str(bound)}))
                rows.append((time, float(point.count), labels | {"metric": f"{metric.name}_count"}))
                rows.append((time, point.sum, labels | {"metric": f"{metric.name}_sum"}))
    return rows


def walked_remote_write(payload: bytes) -> list[Row]:
    """Read remote write object by object, with google.protobuf."""
    rows: list[Row] = []
    request = SCHEMA["WriteRequest"].FromString(bytes(cramjam.snappy.decompress_raw(payload)))
    for series in request.timeseries:
        labels = {label.name: label.value for label in series.labels}
        rows.extend((sample.timestamp, sample.value, labels) for sample in series.samples)
    return rows


def measured(
    form: str,
    name: str,
    frames: Sequence[bytes],
    decode: Callable[[bytes], Samples],
    walk: Callable[[bytes], list[Row]] | None,
) -> tuple[list[str], float]:
    """Measure a form; return its row of the table, and millions of samples a second."""
    samples = sum(len(decode(payload).time) for payload in frames)
    seconds = best_seconds(lambda: [decode(payload) for payload in frames], REPEATS)
    beside = "-"
    if walk is not None:
        if sum(len(walk(payload)) for payload in frames) != samples:
            msg = f"{form}, {name}: walking finds another number of samples"
            raise AssertionError(msg)
        beside = f"{best_seconds(lambda: [walk(payload) for payload in frames], 2) / seconds:.0f}x"
    rate = samples / seconds / 1e6
    size = sum(len(payload) for payload in frames)
    peak = traced_peak_mb(lambda: decode(frames[0]))
    figures = [f"{samples // len(frames):,}", f"{size / samples:.0f}", f"{seconds / len(frames) * 1e3:.1f}"]
    return [f"{form}: {name}", *figures, f"{rate:.2f}", f"{peak:.1f}", beside], rate


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    rows: list[list[str]] = []
    least = math.inf
    for fleet in FLEETS:
        frames = [frame(fleet, tick) for tick in range(FRAMES)]
        row, rate = measured("OTLP", fleet.name, frames, otlp.decode, walked)
        rows.append(row)
        least = min(least, rate) if fleet.alike else least
    of_samples = [otlp.decode(frame(FLEETS[0], tick)) for tick in range(FRAMES)]
    frames = [remote_write.encode(samples) for samples in of_samples]
    rows.append(measured("remote write", FLEETS[0].name, frames, remote_write.decode, walked_remote_write)[0])
    for form in OTHER_FORMS:
        if importlib.util.find_spec(f"streams.wire.{form}") is not None:
            module = importlib.import_module(f"streams.wire.{form}")
            frames = [module.encode(samples) for samples in of_samples]
            rows.append(measured(form, FLEETS[0].name, frames, module.decode, None)[0])
    print(machine("numpy", "pyarrow", "protobuf"))
    print(table(("a frame", "samples", "bytes each", "ms", "million/s", "peak MB", "beside walking"), rows))
    print(
        f"OTLP of alike hosts: {least:.2f} million samples/s at least; {against(least, GOAL_PER_SECOND, is_most=False)}"
    )


if __name__ == "__main__":
    main()
