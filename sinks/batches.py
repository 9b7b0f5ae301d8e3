"""Rows on their way into the store, cut into batches that are the same however often they are cut. Pure.

A batch holds messages of one partition, in order. It ends before an offset that is a multiple of `OFFSETS`, or when it
holds enough; only one that has become too old ends where it happens to. So whoever reads a partition again from a
batch's beginning mostly comes to the same batch, and its token tells the store that it was there before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from sinks.errors import StoreError, StoreRefused
from sinks.live_rows import LiveRows, Place, by_table

OFFSETS: Final = 1_000
"""A batch lies between two multiples of this."""

REFUSED_MAX: Final = 100
"""Rows of one batch that may be refused; if there are more, it is not the rows that are wrong."""

Insert = Callable[[str, pa.Table, str], None]
"""Puts rows into a table, under a token; see `sinks.backend.Backend.insert`."""


@dataclass(slots=True)
class Batch:
    """Messages of one partition, and their rows.

    Attributes
    ----------
    topic, partition, first, last
        The messages: offsets of the first and of the last.
    begun
        When the first came, in seconds of whatever clock the caller reads.
    rows
        What goes into the tables.
    count, size
        Rows, and bytes in memory.
    """

    topic: str
    partition: int
    first: int
    begun: float
    last: int = -1
    rows: list[LiveRows] = field(default_factory=list[LiveRows])
    count: int = 0
    size: int = 0

    @property
    def token(self) -> str:
        """What the batch is called."""
        return f"{self.topic}/{self.partition}:{self.first}-{self.last}"

    def pieces(self, rows_max: int) -> Iterator[tuple[str, pa.Table, str]]:
        """Yield table, rows and token of each insert."""
        for table, rows in by_table(self.rows).items():
            for start in range(0, rows.num_rows, rows_max):
                yield table, rows.slice(start, rows_max), f"{self.token}:{table}:{start}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the store does not take: the offset of its message, and why."""

    table: str
    offset: int
    reason: str


class Batches:
    """What was read and is not in the store yet.

    Parameters
    ----------
    rows_max, bytes_max
        When a batch is full.
    seconds_max
        How old a batch may become.
    """

    def __init__(self, rows_max: int, bytes_max: int, seconds_max: float) -> None:
        self._rows_max, self._bytes_max, self._seconds_max = rows_max, bytes_max, seconds_max
        self._sealed: list[Batch] = []
        self._open: dict[tuple[str, int], Batch] = {}

    @property
    def count(self) -> int:
        """Rows that are held."""
        return sum(batch.count for batch in self._every())

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(batch.size for batch in self._every())

    def _every(self) -> list[Batch]:
        return [*self._sealed, *self._open.values()]

    def add(self, place: Place, rows: Sequence[LiveRows], size: int, now: float) -> None:
        """Take a message.

        Parameters
        ----------
        place
            Where it stands; offsets of a partition grow.
        rows
            What it comes to; nothing for one that is only passed over.
        size
            Bytes that holding it takes, beside its rows.
        now
            The time.
        """
        key = (place.topic, place.partition)
        batch = self._open.get(key)
        if batch is not None and batch.first // OFFSETS != place.offset // OFFSETS:
            self._seal(key)
            batch = None
        if batch is None:
            batch = self._open[key] = Batch(place.topic, place.partition, place.offset, now)
        batch.last = place.offset
        batch.rows += rows
        batch.count += sum(each.rows.num_rows for each in rows)
        batch.size += size + sum(each.rows.nbytes for each in rows)
        if batch.count >= self._rows_max or batch.size >= self._bytes_max:
            self._seal(key)

    def _seal(self, key: tuple[str, int]) -> None:
        self._sealed.append(self._open.pop(key))

    def due(self, now: float, *, is_last: bool = False) -> list[Batch]:
        """List the batches that are to be put in, those of a partition in order; all of them if these are the last."""
        for key in [key for key, batch in self._open.items() if is_last or now - batch.begun >= self._seconds_max]:
            self._seal(key)
        return list(self._sealed)

    def done(self, batch: Batch) -> None:
        """Let go of a batch that is in the store."""
        self._sealed.remove(batch)

    def forget(self, topic: str, partition: int) -> None:
        """Let go of a partition that somebody else reads."""
        self._open.pop((topic, partition), None)
        self._sealed = [each for each in self._sealed if (each.topic, each.partition) != (topic, partition)]


def put(batch: Batch, insert: Insert, rows_max: int) -> list[Refused]:
    """Put a batch in, apart from the rows that the store refuses.

    Raises
    ------
    StoreError
        If the store cannot take it now, or refuses more than `REFUSED_MAX` of its rows: they are not to blame then.
    """
    refused: list[Refused] = []
    for table, rows, token in batch.pieces(rows_max):
        _put(table, rows, token, insert, refused)
    return refused


def _put(table: str, rows: pa.Table, token: str, insert: Insert, refused: list[Refused]) -> None:
    """Put rows in; if they are refused, one half after the other, down to the row that is to blame."""
    try:
        insert(table, rows, token)
    except StoreRefused as error:
        if rows.num_rows > 1:
            half = rows.num_rows // 2
            _put(table, rows.slice(0, half), f"{token}.0", insert, refused)
            _put(table, rows.slice(half), f"{token}.1", insert, refused)
            return
        if len(refused) >= REFUSED_MAX:
            message = f"more than {REFUSED_MAX} rows of one batch are refused; the last: {error}"
            raise StoreError(message) from error
        refused.append(Refused(table, int(rows["version"][0].as_py()), str(error)))


def by_offset(refused: Sequence[Refused]) -> Mapping[int, str]:
    """Say of each message why rows of it were refused."""
    reasons: dict[int, list[Refused]] = {}
    for each in refused:
        reasons.setdefault(each.offset, []).append(each)
    return {
        offset: f"{len(found)} of its rows were refused, the others are stored: {found[0].table}: {found[0].reason}"
        for offset, found in reasons.items()
    }
