"""Samples written as OTLP, for tests and to make load."""

from itertools import groupby
from typing import Final

import numpy as np

from streams.recording import NO_TIME, LabelColumn, Samples
from streams.wire.protobuf import FIXED64, field, varint

_OF_RESOURCE: Final = ("colo", "host")
"""The labels that become attributes of a resource; the others become attributes of points."""

_MILLISECONDS_MAX: Final = (1 << 64) // 1_000_000 - 1  # in nanoseconds, these are the latest that the format can hold
_HEAD: Final = np.dtype([("time_tag", "u1"), ("time", "<u8"), ("value_tag", "u1"), ("value", "<f8")])


def encode(samples: Samples) -> bytes:
    """Write samples as a `MetricsData` of gauges, a resource for each host and a metric for each name.

    What `decode` makes of a histogram is written as the gauges that its rows are, which decode to the same samples.

    Raises
    ------
    ValueError
        If a sample has no metric, or a time that unsigned nanoseconds cannot hold.
    """
    metric = samples.labels["metric"]
    if metric.codes.min(initial=0) < 0:
        msg = "a sample has no metric; every sample must have one to be written"
        raise ValueError(msg)
    heads = _heads(samples).tobytes()
    size = _HEAD.itemsize
    names = [name for name in sorted(samples.labels) if name not in ("metric", *_OF_RESOURCE)]
    attributes = [_attributes(name, samples.labels[name], 7) for name in names]
    resources = [name for name in _OF_RESOURCE if name in samples.labels]
    of_resource = [_attributes(name, samples.labels[name], 1) for name in resources]
    order = np.lexsort([metric.codes, *(samples.labels[name].codes for name in resources)])
    keys = np.stack([samples.labels[name].codes for name in resources] or [np.zeros(len(order), np.int32)])
    rows = zip(
        order.tolist(),
        map(tuple, keys.T[order].tolist()),
        metric.codes[order].tolist(),
        zip(*(samples.labels[name].codes[order].tolist() for name in names), strict=True)
        if names
        else [()] * len(order),
        strict=True,
    )
    frame: list[bytes] = []
    for key, of_host in groupby(rows, lambda row: row[1]):
        metrics: list[bytes] = []
        for code, of_metric in groupby(of_host, lambda row: row[2]):
            points: list[bytes] = []
            for row, _, _, codes in of_metric:
                point = heads[row * size : row * size + size]
                point += b"".join([texts[index] for texts, index in zip(attributes, codes, strict=True)])
                points.append(b"\x0a" + varint(len(point)) + point)
            metrics.append(field(2, field(1, metric.values[code].encode()) + field(5, b"".join(points))))
        resource = b"".join([texts[index] for texts, index in zip(of_resource, key, strict=False)])
        frame.append(field(1, field(1, resource) + field(2, b"".join(metrics))))
    return b"".join(frame)


def _heads(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Return the bytes [sample] of time and value, which all points have at their beginning."""
    timed = samples.time != NO_TIME
    wrong = timed & ((samples.time < 0) | (samples.time > _MILLISECONDS_MAX))
    if wrong.any():
        msg = f"a sample has the time {samples.time[wrong][0]} ms; allowed are 0 to {_MILLISECONDS_MAX}"
        raise ValueError(msg)
    heads = np.empty(len(samples.time), _HEAD)
    heads["time_tag"] = 3 << 3 | FIXED64
    heads["time"] = np.where(timed, samples.time, 0).astype(np.uint64) * np.uint64(1_000_000)
    heads["value_tag"] = 4 << 3 | FIXED64
    heads["value"] = samples.value
    return heads


def _attributes(name: str, column: LabelColumn, number: int) -> list[bytes]:
    """Return the bytes of an attribute for each value [code], and none for the last, which is code -1."""
    key = field(1, name.encode())
    return [*(field(number, key + field(2, field(1, value.encode()))) for value in column.values), b""]
