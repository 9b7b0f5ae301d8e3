"""A table or query of ClickHouse as a source of samples, by a server's native protocol or in this process.

The labels of a series are fetched once, and its samples with a number that stands for them (a hash of 64 bits), in
stretches of time of about a million samples.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from holdfast.errors import BadInput
from holdfast.live.stores import reading, where
from holdfast.recording.columns import chosen_of
from holdfast.recording.document import ClickHouseSource
from holdfast.recording.origin import Piece, Told, stretch
from sinks.backend import Reads
from sinks.schema import quoted
from sinks.store import StoreError
from streams.recording import LabelColumn, Samples

ROWS_MAX: Final = 1 << 20
"""Most samples that are asked for at a time, unless more of them bear the same millisecond."""

SERIES_MAX: Final = 1 << 22

_PARTS: Final = 1_024
"""In how many parts a stretch of time is cut to see where its samples are."""

_NULLABLE: Final = ("Nullable(", "LowCardinality(")
_NUMBERS: Final = ("Int", "UInt", "Float", "Decimal", "Bool")
_TEXTS: Final = ("String", "FixedString", "Enum", "UUID", "IPv4", "IPv6")


def _bare(kind: str) -> str:
    """Take a type out of what says that it may be null, or is stored in another way."""
    while kind.startswith(_NULLABLE):
        kind = kind.partition("(")[2].removesuffix(")")
    return kind


@dataclass(frozen=True, slots=True)
class Statement:
    """What is asked of somebody's table.

    Attributes
    ----------
    origin
        What stands behind FROM.
    time, kind
        Column of times, and its type.
    value
        Of the values, as an expression.
    labels
        Our names, and the expression of each.
    """

    origin: str
    time: str
    kind: str
    value: str
    labels: dict[str, str]

    @property
    def milliseconds(self) -> str:
        """Times in epoch milliseconds."""
        if self.kind.startswith("DateTime64"):
            return f"toInt64(toUnixTimestamp64Milli({self.time}))"
        return f"(toInt64(toUnixTimestamp({self.time})) * 1000)"

    @property
    def number(self) -> str:
        """What stands for the labels of a series."""
        return f"cityHash64({', '.join(self.labels.values())})"

    def inside(self, first_ms: int | None, end_ms: int | None) -> str:
        """Limit times, by the column itself so that an index on it is of use."""
        limits = [f"{self.time} {sign} {self._moment(at)}" for sign, at in ((">=", first_ms), ("<", end_ms)) if at]
        return " AND ".join(limits or ["1"])

    def _moment(self, time_ms: int) -> str:
        if self.kind.startswith("DateTime64"):
            return f"fromUnixTimestamp64Milli(toInt64({time_ms}))"
        return f"toDateTime({-(-time_ms // 1_000)})"

    def series(self, inside: str) -> str:
        """Ask for the series."""
        named = ", ".join(f"{expression} AS hf_l{index}" for index, expression in enumerate(self.labels.values()))
        groups = ", ".join(f"hf_l{index}" for index in range(len(self.labels)))
        return (
            f"SELECT {named}, cityHash64({groups}) AS hf_n FROM {self.origin} WHERE {inside} "
            f"GROUP BY {groups} LIMIT {SERIES_MAX + 1}"
        )

    def bounds(self, inside: str) -> str:
        """Ask for the number of samples, and the first and last time."""
        at = self.milliseconds
        asked = f"toInt64(count()) AS hf_c, min({at}) AS hf_a, max({at}) AS hf_b"
        return f"SELECT {asked} FROM {self.origin} WHERE {inside}"

    def counts(self, first_ms: int, part_ms: int, inside: str) -> str:
        """Ask how many samples there are in each part of a stretch of time."""
        part = f"intDiv({self.milliseconds} - {first_ms}, {part_ms})"
        asked = f"{part} AS hf_p, toInt64(count()) AS hf_c"
        return f"SELECT {asked} FROM {self.origin} WHERE {inside} GROUP BY hf_p ORDER BY hf_p"

    def samples(self, inside: str) -> str:
        """Ask for samples."""
        asked = f"{self.milliseconds} AS hf_t, {self.value} AS hf_v, {self.number} AS hf_n"
        return f"SELECT {asked} FROM {self.origin} WHERE {inside}"


class Query:
    """A table or query; see `holdfast.recording.origin.Origin`. What columns it has is asked when this is made.

    Parameters
    ----------
    reads
        The ClickHouse.
    name
        What errors call it.
    source
        What is asked.
    """

    def __init__(self, reads: Reads, name: str, source: ClickHouseSource) -> None:
        self.name = f"{name}: {source.table or 'the query'}"
        self.told = Told()
        self._reads, self._source = reads, source
        self._statement = self._described()

    def _described(self) -> Statement:
        """Find out which columns there are, and which of them are wanted."""
        source = self._source
        origin = source.table or f"({(source.query or '').strip().rstrip(';')})"
        rows = self._asked(f"DESCRIBE {'TABLE ' if source.table else ''}{origin}").to_pydict()
        kinds = {_text(name): _text(kind) for name, kind in zip(rows["name"], rows["type"], strict=True)}
        chosen, problems = chosen_of(list(kinds), source)
        for own, theirs in () if problems else chosen.items():
            problem = self._problem(own, kinds[theirs])
            if problem:
                problems.append(f"column `{theirs}` is {kinds[theirs]}; {problem}")
        if problems:
            raise BadInput("\n".join(f"{self.name}: {problem}" for problem in problems))
        value = f"ifNull(toFloat64({_name(chosen['value'])}), nan)"
        labels = {
            own: f"ifNull(toString({_name(theirs)}), '')"
            for own, theirs in chosen.items()
            if own not in ("time", "value")
        }
        return Statement(origin, _name(chosen["time"]), _bare(kinds[chosen["time"]]), value, labels)

    def _problem(self, own: str, kind: str) -> str | None:
        bare = _bare(kind)
        if own == "time":
            return None if bare.startswith("DateTime") else "allowed is DateTime or DateTime64"
        if own == "value":
            return None if bare.startswith(_NUMBERS) else "allowed is a number"
        if bare.startswith(_TEXTS) or (self._source.labels is not None and bare.startswith(_NUMBERS)):
            return None
        if bare.startswith("Map("):
            return "a query makes columns of it, as in attributes['host'] AS host"
        return "labels are texts; --label NAME names the columns that are labels, numbers among them if need be"

    def read(self) -> Iterator[Piece]:
        """Yield the samples, about a million at a time."""
        first_ms, end_ms = stretch(self._source)
        asked = self._statement.inside(
            None if self._source.start is None else first_ms, None if self._source.end is None else end_ms
        )
        found = self._asked(self._statement.bounds(asked)).to_pydict()
        total = int(found["hf_c"][0])
        if not total:
            return
        numbers, labels = self._series(asked)
        done = 0
        for start, end, rows in self._stretches(int(found["hf_a"][0]), int(found["hf_b"][0]) + 1):
            # A column of whole seconds that is asked by milliseconds has to be asked for all of it.
            samples = self._samples(self._statement.inside(start, end), rows, numbers, labels)
            done += rows
            yield Piece(samples, done, max(done, total))

    def _series(self, inside: str) -> tuple[NDArray[np.uint64], dict[str, LabelColumn]]:
        """Fetch the labels of all series, in the order of the numbers that stand for them."""
        table = self._asked(self._statement.series(inside))
        if table.num_rows > SERIES_MAX:
            message = f"{self.name}: more than {SERIES_MAX:,} series; allowed: at most so many, as a query may choose"
            raise BadInput(message)
        numbers = table["hf_n"].cast(pa.uint64()).to_numpy()
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        if (numbers[1:] == numbers[:-1]).any():
            message = f"{self.name}: two series have the same hash of 64 bits; a query may choose one of them at a time"
            raise BadInput(message)
        labels = {}
        for index, name in enumerate(self._statement.labels):
            column = table[f"hf_l{index}"].combine_chunks()
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            encoded = column.cast(pa.string()).dictionary_encode()
            codes = encoded.indices.to_numpy().astype(np.int32)
            labels[name] = LabelColumn(codes[order], encoded.dictionary.to_pylist())
        return numbers, labels

    def _stretches(self, first_ms: int, end_ms: int) -> Iterator[tuple[int, int, int]]:
        """Cut a stretch of time so that none of the parts has many samples; yield begin, end and samples of each."""
        part_ms = -(-(end_ms - first_ms) // _PARTS)
        if self._statement.kind == "DateTime" or self._statement.kind.startswith("DateTime("):
            part_ms = -(-part_ms // 1_000) * 1_000  # there are no times within a second
        table = self._asked(
            self._statement.counts(first_ms, part_ms, self._statement.inside(first_ms, end_ms))
        ).to_pydict()
        begin, held = first_ms, 0
        for part, rows in zip(table["hf_p"], table["hf_c"], strict=True):
            start = first_ms + int(part) * part_ms
            if held and held + rows > ROWS_MAX:
                yield begin, start, held
                begin, held = start, 0
            if rows > ROWS_MAX and part_ms > 1 and self._is_divisible(part_ms):
                yield from self._stretches(start, min(start + part_ms, end_ms))
                begin = start + part_ms
            else:
                held += int(rows)
        if held:
            yield begin, end_ms, held

    def _is_divisible(self, part_ms: int) -> bool:
        return part_ms > (1 if self._statement.kind.startswith("DateTime64") else 1_000)

    def _samples(self, inside: str, rows: int, numbers: NDArray[np.uint64], labels: dict[str, LabelColumn]) -> Samples:
        table = self._asked(self._statement.samples(inside))
        number = table["hf_n"].cast(pa.uint64()).to_numpy()
        place = np.minimum(np.searchsorted(numbers, number), max(0, len(numbers) - 1))
        if table.num_rows != rows or not np.array_equal(numbers[place], number):
            message = (
                f"{self.name}: changed while it was read: {table.num_rows:,} samples where {rows:,} were counted; "
                "try again with an --end that no more samples come before"
            )
            raise BadInput(message)
        columns = {name: LabelColumn(column.codes[place], column.values) for name, column in labels.items()}
        return Samples(table["hf_t"].to_numpy().astype(np.int64), table["hf_v"].to_numpy().astype(np.float64), columns)

    def _asked(self, sql: str) -> pa.Table:
        try:
            answer = self._reads.read(sql, "Arrow")
        except StoreError as error:
            message = f"{self.name}: {error}"
            raise StoreError(message) from error
        return pa.ipc.open_file(pa.py_buffer(answer)).read_all() if answer else _NOTHING


_NAMES: Final = ("name", "type", "hf_n", "hf_t", "hf_v", "hf_p", "hf_c")
_NOTHING: Final = pa.table({name: pa.array([], pa.int64()) for name in _NAMES})


@contextmanager
def clickhouse(source: ClickHouseSource) -> Generator[Query]:
    """Open a table or query; see `holdfast.recording.opening.opened`."""
    data = None if source.data is None else Path(source.data)
    with reading(where(data, None if source.settings is None else Path(source.settings))) as found:
        yield Query(found.reads, found.name, source)


def _name(text: str) -> str:
    """Write the name of a column as ClickHouse reads it."""
    return f"`{quoted(text)[1:-1].replace('`', chr(92) + '`')}`"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
