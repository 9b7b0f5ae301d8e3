"""What a recording's samples hold, as far as its truth can be held against it: times, colos, metrics, holes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.errors import BadInput
from streams.recording import NO_TIME, LabelColumn, Source


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in the samples of a recording.

    Attributes
    ----------
    first_ms, last_ms
        Bounds of the times, in epoch milliseconds.
    colos, metrics
        Names that occur.
    ticks
        [tick] Ticks in which there is any sample, ascending.
    """

    first_ms: int
    last_ms: int
    colos: frozenset[str]
    metrics: frozenset[str]
    ticks: NDArray[np.int64]

    def holes(self, since: int, longest: int) -> list[tuple[int, int]]:
        """Find the stretches without a single sample from a tick on.

        Parameters
        ----------
        since
            The first tick that matters.
        longest
            How many empty ticks are no hole yet.

        Returns
        -------
        list[tuple[int, int]]
            First and last empty tick of each.

        Examples
        --------
        >>> import numpy as np
        >>> ticks = np.array([1, 2, 3, 7, 8, 20])
        >>> Contents(0, 0, frozenset(), frozenset(), ticks).holes(2, 3)
        [(9, 19)]
        """
        there = self.ticks[np.searchsorted(self.ticks, since, "right") - 1 :] if len(self.ticks) else self.ticks
        wide = np.flatnonzero(np.diff(there) - 1 > longest)
        return [(int(there[at]) + 1, int(there[at + 1]) - 1) for at in wide]


def look(samples: Source, tick_ms: int) -> Contents:
    """Read the times, colos and metrics of all samples; values are left to whoever judges them.

    Raises
    ------
    BadInput
        If the samples cannot be read to their end, or none has a time.
    """
    names: dict[str, set[str]] = {"metric": set(), "colo": set()}
    ticks: list[NDArray[np.int64]] = []
    first, last = np.iinfo(np.int64).max, NO_TIME
    for batch in samples.read(columns=["time", *names]):
        time = batch.time[batch.time != NO_TIME]
        for name, known in names.items():
            known.update(_occurring(batch.labels[name]))
        if len(time):
            first, last = min(first, int(time.min())), max(last, int(time.max()))
            ticks.append(np.unique(-(-time // tick_ms)))
    if not ticks:
        msg = f"{samples.name}: no sample in it has a time"
        raise BadInput(msg)
    return Contents(first, last, frozenset(names["colo"]), frozenset(names["metric"]), np.unique(np.concatenate(ticks)))


def _occurring(column: LabelColumn) -> set[str]:
    """Return the values of a label that some row has: a dictionary may hold others too."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values))
    return {column.values[code] for code in np.flatnonzero(counts)} - {""}
