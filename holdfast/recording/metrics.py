"""`metrics.parquet` out of gathered samples, and what is to be told of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from holdfast.recording.gathering import BLOCK_ROWS, Block, Gathering, Labelled, labelled

GAPS_MAX: Final = 1_000
"""Most gaps that are kept; the rest is counted."""

EVERYWHERE: Final = ""
"""The place of a gap in which no colo has a sample."""

_TIME: Final = pa.timestamp("ms", tz="UTC")
_LABEL: Final = pa.dictionary(pa.int32(), pa.string())
_LONG_AGO: Final = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of time without a sample, between two that are there, in epoch milliseconds.

    `colo` is where; empty for everywhere.
    """

    colo: str
    from_ms: int
    to_ms: int


class Gaps:
    """Finds stretches of time that are longer than they should be, over all colos and in each of them.

    Parameters
    ----------
    longest_ms
        The longest time between two samples of a place that is no gap.
    colo
        The colo of each series [series].
    """

    def __init__(self, longest_ms: int, colo: Labelled) -> None:
        self._longest_ms, self._colo = longest_ms, colo
        self._last = np.full(len(colo.values) + 1, _LONG_AGO)
        """When each colo was last seen; the last one is the whole fleet."""
        self._found: list[Gap] = []
        self.uncounted = 0
        """Gaps beyond the most that are kept."""

    def note(self, block: Block) -> None:
        """Take note of the next samples, in order of time."""
        colos = self._colo.codes[block.series]
        order = np.argsort(colos, kind="stable")
        self._seen(np.full(len(colos), len(self._last) - 1, np.int32), block.time)
        named = order[np.count_nonzero(colos < 0) :]
        self._seen(colos[named], block.time[named])

    def _seen(self, place: NDArray[np.int32], time: NDArray[np.int64]) -> None:
        """Take note of samples in order of place and time."""
        if not len(time):
            return
        begins = np.append(True, place[1:] != place[:-1])
        before = np.append(_LONG_AGO, time[:-1])
        before[begins] = self._last[place[begins]]
        wide = np.flatnonzero((before != _LONG_AGO) & (time - self._longest_ms > before))
        room = max(0, GAPS_MAX - len(self._found))
        names = [*self._colo.values, EVERYWHERE]
        self._found += [Gap(names[place[row]], int(before[row]), int(time[row])) for row in wide[:room]]
        self.uncounted += max(0, len(wide) - room)
        ends = np.append(begins[1:], True)
        self._last[place[ends]] = time[ends]

    @property
    def found(self) -> list[Gap]:
        """The gaps, in order of time; those of single colos that are no more than a gap everywhere are left out."""
        whole = [gap for gap in self._found if gap.colo == EVERYWHERE]
        slack = self._longest_ms

        def is_more(gap: Gap) -> bool:
            return not any(
                gap.from_ms >= one.from_ms - slack and gap.to_ms <= one.to_ms + slack and gap.colo for one in whole
            )

        return sorted((gap for gap in self._found if is_more(gap)), key=lambda gap: (gap.from_ms, gap.colo))


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in a file of samples.

    Attributes
    ----------
    first_ms, last_ms
        Times of the first and the last sample, in epoch milliseconds.
    labels
        Names of the labels.
    nameless
        Samples without a metric or a colo, which a replay drops.
    gaps, gaps_uncounted
        Stretches of time without samples, and how many more there are.
    size
        Of the file, in bytes.
    """

    samples: int
    series: int
    colos: int
    first_ms: int
    last_ms: int
    labels: list[str]
    nameless: int
    gaps: list[Gap]
    gaps_uncounted: int
    size: int


def write(
    gathering: Gathering,
    path: Path,
    *,
    gap_ms: int,
    compression: str = "zstd",
    show: Callable[[int, int], None] = lambda *_: None,
) -> Written | None:
    """Write what was gathered as a recording's metrics.

    Parameters
    ----------
    gathering
        The samples, all of them.
    path
        The file, which is made.
    gap_ms
        The longest time between two samples of a place that is no gap.
    compression
        Of the columns.
    show
        Is told how many samples of how many are written.

    Returns
    -------
    Written | None
        None if there is no sample with a metric and a colo; then there is no use in the file.
    """
    used = gathering.used
    if not used.any():
        return None
    first, last, rows, nameless = 0, 0, 0, 0
    labels = labelled(gathering.catalogue, used)
    gaps = Gaps(gap_ms, labels["colo"])
    named = (labels["metric"].codes >= 0) & (labels["colo"].codes >= 0)
    schema = _schema(list(labels))
    encoded: Any = [name for name in schema.names if name != "value"]  # pyarrow takes a list, though its hint says bool
    with pq.ParquetWriter(path, schema, compression=compression, use_dictionary=encoded) as writer:
        for block in gathering.blocks():
            first = int(block.time[0]) if not rows else first
            last = int(block.time[-1])
            rows += len(block.time)
            nameless += len(block.time) - int(np.count_nonzero(named[block.series]))
            gaps.note(block)
            writer.write_table(_table(block, labels, schema), row_group_size=BLOCK_ROWS)
            show(rows, gathering.rows)
    if nameless == rows:
        return None
    series, colos = int(np.count_nonzero(used)), len(labels["colo"].values)
    size = path.stat().st_size
    return Written(rows, series, colos, first, last, list(labels), nameless, gaps.found, gaps.uncounted, size)


def _schema(labels: list[str]) -> pa.Schema:
    """Put the columns in the order in which the documentation names them."""
    others = [name for name in labels if name not in ("metric", "colo")]
    return pa.schema(
        [
            ("time", _TIME),
            ("metric", _LABEL),
            ("value", pa.float64()),
            ("colo", _LABEL),
            *((name, _LABEL) for name in others),
        ]
    )


def _table(block: Block, labels: dict[str, Labelled], schema: pa.Schema) -> pa.Table:
    columns: dict[str, Any] = {"time": pa.array(block.time).cast(_TIME), "value": pa.array(block.value)}
    for name, label in labels.items():
        codes = label.codes[block.series]
        indices = pa.array(codes, mask=codes < 0)
        columns[name] = pa.DictionaryArray.from_arrays(indices, pa.array(label.values, pa.string()))
    return pa.table([columns[name] for name in schema.names], schema=schema)
