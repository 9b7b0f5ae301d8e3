"""The first reading of a recording: which series there are, since when, and whether it can be judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.errors import BadInput
from streams.catalogue import Catalogue
from streams.clock import STEP_ROWS
from streams.membership import Sightings
from streams.recording import NO_TIME, ROWS_PER_READ, LabelColumn, Samples, Source

SERIES_KEPT_MAX: Final = 1 << 25
"""Samples whose series are kept (128 MB) for the second reading; of more samples they are looked up again."""

_DISORDER_MAX: Final = 0.1
"""Share of samples that may come late before a recording is refused as being out of order."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What the first reading found.

    `first_ms` and `last_ms` bound the times of usable samples; `kept` are the series of all samples, if few enough.
    """

    catalogue: Catalogue
    seen: Sightings
    first_ms: int
    last_ms: int
    kept: NDArray[np.int32] | None


def encode(catalogue: Catalogue, samples: Samples) -> NDArray[np.int32]:
    """Return the series of each sample [row], -1 where the metric's or the colo's name is absent."""
    series = catalogue.encode(samples.labels, len(samples.time))
    for label in ("metric", "colo"):
        column = samples.labels[label]
        if "" in column.values or column.codes.min(initial=0) < 0:
            series = np.where(catalogue.codes(label)[series] == 0, np.int32(-1), series)
    return series


class Rounds:
    """Tells the series of samples that mostly come in the same order, scrape after scrape.

    Labels that are those of the round before are known by comparing them, in a fraction of the time that it takes to
    look them up.

    Parameters
    ----------
    catalogue
        Looks up all others, and learns of series that are new.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._labels: dict[str, LabelColumn] = {}  # of one round
        self._series = np.empty(0, np.int32)
        self._at = 0  # the place in the round that is due next

    def series(self, samples: Samples) -> NDArray[np.int32]:
        """Return the series of each sample [row] as `encode` does."""
        rows = len(samples.time)
        if self._goes_on(samples.labels):
            times = -(-rows // len(self._series))
            series: NDArray[np.int32] = np.tile(np.roll(self._series, -self._at), times)[:rows]
        else:
            series = encode(self._catalogue, samples)
            self._begin(samples.labels, series)
        self._at = (self._at + rows) % max(1, len(self._series))
        return series

    def _goes_on(self, labels: Mapping[str, LabelColumn]) -> bool:
        """Tell whether samples have the labels that are due, in that order."""
        size = len(self._series)
        if not size or labels.keys() != self._labels.keys():
            return False
        for name, column in labels.items():
            due, codes = self._labels[name], column.codes
            if column.values != due.values or not np.array_equal(codes[size:], codes[:-size]):
                return False
            if not np.array_equal(codes[:size], np.roll(due.codes, -self._at)[: len(codes)]):
                return False
        return True

    def _begin(self, labels: Mapping[str, LabelColumn], series: NDArray[np.int32]) -> None:
        """Take the samples up to where the first series comes again for a round; none if it does not."""
        again = np.flatnonzero(series[1:] == series[:1])
        size = int(again[0]) + 1 if len(again) else 0
        self._labels = {name: LabelColumn(column.codes[:size].copy(), column.values) for name, column in labels.items()}
        self._series, self._at = series[:size].copy(), 0


def scan(metrics: Source, lateness_ms: int) -> Scan:
    """Read a recording's labels and times once.

    Selectors hold for the past of the units that they match, also under labels that the change itself
    changed; so who is canary must be known before the first tick is summed.

    Raises
    ------
    BadInput
        If no sample is usable, or the samples are not in order of time.
    """
    catalogue = Catalogue(metrics.labels)
    first = np.empty(0, np.int64)
    last = np.empty(0, np.int64)
    newest, late, rows = NO_TIME, 0, 0
    rounds = Rounds(catalogue)
    kept: list[NDArray[np.int32]] | None = [] if metrics.rows <= SERIES_KEPT_MAX else None
    for samples in metrics.read(columns=["time", *metrics.labels]):
        series = rounds.series(samples)
        if kept is not None:
            kept.append(series)
        usable = (series >= 0) & (samples.time != NO_TIME)
        time = samples.time
        if not usable.all():
            series, time = series[usable], time[usable]
        first = _extended(first, len(catalogue), np.iinfo(np.int64).max)
        last = _extended(last, len(catalogue), np.iinfo(np.int64).min)
        if len(time) and time.min() < first.max():  # nothing is before what is known, once all series are
            np.minimum.at(first, series, time)
        np.maximum.at(last, series, time)
        if len(time):
            # The median of a step, as the clock has it: one clock that runs ahead puts nothing out of order.
            tops = np.maximum.accumulate(np.array([newest, *_medians(time)], np.int64))
            newest = int(tops[-1])
            floor = np.where(tops[:-1] == NO_TIME, NO_TIME, tops[:-1] - lateness_ms)
            late += int(np.count_nonzero(time < np.repeat(floor, STEP_ROWS)[: len(time)]))
            rows += len(time)
    if not rows:
        msg = f"{metrics.name}: no sample in it has a time, a metric and a colo"
        raise BadInput(msg)
    if late > _DISORDER_MAX * rows:
        msg = (
            f"{metrics.name}: {late / rows:.0%} of the samples come more than {lateness_ms / 1000:g} s after newer "
            "ones; a recording is in order of time: sort its rows by `time`"
        )
        raise BadInput(msg)
    seen = first <= last
    return Scan(
        catalogue,
        Sightings(first, last),
        int(first[seen].min()),
        int(last[seen].max()),
        None if kept is None else np.concatenate(kept),
    )


def _medians(time: NDArray[np.int64]) -> list[int]:
    """Return the median time of each step."""
    parts = np.split(time, np.arange(STEP_ROWS, len(time), STEP_ROWS))
    if (time[1:] < time[:-1]).any():
        return [int(np.median(part)) for part in parts]
    return [int((float(part[(len(part) - 1) // 2]) + float(part[len(part) // 2])) / 2) for part in parts]


def _extended(array: NDArray[np.int64], size: int, fill: int) -> NDArray[np.int64]:
    return np.concatenate([array, np.full(size - len(array), fill, np.int64)]) if len(array) < size else array


def in_steps(
    metrics: Source, catalogue: Catalogue, rows: int = ROWS_PER_READ, kept: NDArray[np.int32] | None = None
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]]:
    """Yield series, time and value [row] in pieces that start on multiples of `STEP_ROWS` of the whole file.

    So the clock steps at the same samples however the file is cut into row groups.
    """
    waiting: list[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]] = []
    held = 0
    at = 0
    rounds = Rounds(catalogue)
    for samples in metrics.read(rows, None if kept is None else ["time", "value"]):
        series = rounds.series(samples) if kept is None else kept[at : at + len(samples.time)]
        at += len(samples.time)
        waiting.append((series, samples.time, samples.value))
        held += len(samples.time)
        full = held - held % STEP_ROWS
        if full:
            series, time, value = (
                np.concatenate(column) if len(waiting) > 1 else column[0] for column in zip(*waiting, strict=True)
            )
            yield series[:full], time[:full], value[:full]
            waiting = [(series[full:], time[full:], value[full:])]
            held -= full
    if held:
        series, time, value = (np.concatenate(column) for column in zip(*waiting, strict=True))
        yield series, time, value
