"""Frames out of samples: cut by colo and scrape, as collectors send them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.recording import NO_TIME, LabelColumn, Samples
from streams.wire.encoding import Form, encode


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of metrics.

    Attributes
    ----------
    key
        The colo, in UTF-8.
    first_ms, last_ms
        Times of its first and its last sample.
    rows
        How many samples are in it.
    """

    key: bytes
    payload: bytes
    content_type: str
    first_ms: int
    last_ms: int
    rows: int


def by_colo(samples: Samples) -> Iterator[tuple[str, Samples]]:
    """Split samples by colo, each part in the order in which they came; those without a colo are one part too."""
    colo = samples.labels["colo"]
    order = np.argsort(colo.codes, kind="stable")
    codes = colo.codes[order]
    starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1])) if len(codes) else np.empty(0, np.intp)
    for start, stop in zip(starts, [*starts[1:], len(codes)], strict=True):
        code = int(codes[start])
        yield colo.values[code] if code >= 0 else "", taken(samples, order[start:stop])


def taken(samples: Samples, rows: NDArray[np.intp]) -> Samples:
    """Return some rows of samples; labels keep only the values that are in them."""
    labels = {}
    for name, column in samples.labels.items():
        codes = column.codes[rows]
        used, inverse = np.unique(codes, return_inverse=True)
        values = [column.values[code] for code in used if code >= 0]
        labels[name] = LabelColumn((inverse - np.count_nonzero(used < 0)).astype(np.int32), values)
    return Samples(samples.time[rows], samples.value[rows], labels)


def frames_of(
    batches: Iterable[Samples], form: Form, *, rows_max: int = 10_000, spread_ms: int = 10_000
) -> Iterator[Frame]:
    """Cut samples into frames, in the order in which they come.

    A frame holds samples of one colo, at most `rows_max` of them, from at most `spread_ms` of event time: about one
    scrape of the colo's hosts.
    """
    for batch in batches:
        window = batch.time // spread_ms
        edges = np.flatnonzero(window[1:] != window[:-1]) + 1
        for start, stop in zip([0, *edges], [*edges, len(window)], strict=True):
            for colo, part in by_colo(taken(batch, np.arange(start, stop))):
                for first in range(0, len(part.time), rows_max):
                    piece = taken(part, np.arange(first, min(first + rows_max, len(part.time))))
                    payload, kind = encode(piece, form)
                    low, high = int(piece.time.min()), int(piece.time.max())
                    yield Frame(colo.encode(), payload, kind, low, high, len(piece.time))


def shift_of(from_ms: int, to_ms: int, tick_ms: int) -> int:
    """Return by how many milliseconds to move what is at one time so that it is at another or just after it.

    Whole ticks: so a sample keeps its place within its tick, and the verdicts are the same.
    """
    return -((from_ms - to_ms) // tick_ms) * tick_ms


def shifted(batches: Iterable[Samples], by_ms: int) -> Iterator[Samples]:
    """Move samples in time; those without a time stay without."""
    for batch in batches:
        yield Samples(np.where(batch.time == NO_TIME, NO_TIME, batch.time + by_ms), batch.value, batch.labels)


def first_ms(batches: Iterable[Samples]) -> int | None:
    """Return the earliest time of the first batch that has any, in epoch milliseconds."""
    for batch in batches:
        times = batch.time[batch.time != NO_TIME]
        if len(times):
            return int(times.min())
    return None
