"""Rows for the store, on their way from judged ticks to messages: in pieces, so that no tick waits long for them."""

from collections import deque
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from detectors.verdict import Verdict
from sinks.arrow_stream import stream

_ROWS_MAX: Final = 20_000
"""Rows in a message: at most some 4 MB, however little they compress."""

_SMALL_BYTES: Final = 4_096
"""Rows of less are written as they are."""


class Rows:
    """Gathers the rows that judged ticks leave behind, until they are sent."""

    def __init__(self) -> None:
        self._tables: dict[str, deque[pa.Table]] = {"cohort_ticks": deque(), "evidence": deque()}
        self.count = 0

    def cohort_ticks(self, table: pa.Table) -> None:
        """See `streams.records.Sink`."""
        self._add("cohort_ticks", table)

    def evidence(self, table: pa.Table) -> None:
        """See `streams.records.Sink`."""
        self._add("evidence", table)

    def ticks(self, table: pa.Table) -> None:
        """See `streams.records.Sink`; a live judge sends them as it decides, see `JudgeStep.outputs`."""

    def verdict(self, rollout: str, time_ms: int, verdict: Verdict) -> None:
        """See `streams.records.Sink`; verdicts have a topic of their own."""

    def _add(self, kind: str, table: pa.Table) -> None:
        self._tables[kind].append(table)
        self.count += table.num_rows

    def taken(self) -> Iterator[tuple[str, bytes]]:
        """Yield the tables as Arrow streams, each small enough for a message, and forget what was yielded."""
        for kind, tables in self._tables.items():
            while tables:
                yield kind, self._next(tables)

    def _next(self, tables: deque[pa.Table]) -> bytes:
        """Take as many rows as a message may have."""
        gathered: list[pa.Table] = []
        room = _ROWS_MAX
        while tables and room:
            table = tables.popleft()
            if table.num_rows > room:
                tables.appendleft(table.slice(room))
                table = table.slice(0, room)
            gathered.append(table)
            room -= table.num_rows
        self.count -= _ROWS_MAX - room
        return as_stream(pa.concat_tables(gathered).combine_chunks())


def as_stream(table: pa.Table) -> bytes:
    """Write rows as an Arrow stream, compressed where that is worth it."""
    # To begin to compress takes 0.3 ms, much longer than to write a few rows down.
    return stream(table, "lz4" if table.nbytes > _SMALL_BYTES else None)
