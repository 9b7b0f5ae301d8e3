"""Columns of somebody's table become the columns of samples: which of them, under which names, of which types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from holdfast.recording.document import CsvSource, Named, ParquetSource
from streams.recording import NO_TIME, LabelColumn, Samples

FIXED: Final = ("time", "metric", "value", "colo")
"""Columns that must be there."""

_SHOWN_MAX: Final = 30

_PER_MS: Final = {"s": 0.001, "ms": 1.0, "us": 1_000.0, "ns": 1_000_000.0}
"""How many of a unit a millisecond has."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which columns of a table are taken: ours to theirs."""

    columns: dict[str, str]

    @property
    def labels(self) -> list[str]:
        """Names of the labels."""
        return [name for name in self.columns if name not in ("time", "value")]

    @property
    def theirs(self) -> list[str]:
        """Names of the columns of the table."""
        return list(self.columns.values())


def wanted_of(schema: pa.Schema, source: ParquetSource | CsvSource) -> tuple[Wanted, list[str]]:
    """Choose the columns of a table, and say what is wrong with them.

    Returns
    -------
    tuple
        What is wanted, and the problems, each a clause that says what was found and what is allowed.
    """
    chosen, problems = chosen_of(schema.names, source)
    problems += [
        f"column `{name}` occurs more than once" for name in dict.fromkeys(schema.names) if schema.names.count(name) > 1
    ]
    if problems:
        return Wanted(chosen), problems
    for own, theirs in chosen.items():
        kind = schema.field(theirs).type
        problem = _time_problem(kind, source) if own == "time" else _type_problem(own, kind, source)
        if problem:
            problems.append(f"column `{theirs}` is {kind}; {problem}")
    return Wanted(chosen), problems


def chosen_of(names: Sequence[str], source: Named) -> tuple[dict[str, str], list[str]]:
    """Choose columns by their names.

    Parameters
    ----------
    names
        Of the columns that there are.
    source
        Which are wanted.

    Returns
    -------
    tuple
        Ours to theirs, and what is wrong.
    """
    problems: list[str] = []
    chosen: dict[str, str] = {}
    wanted: list[str] = [*FIXED, *source.columns, *(source.labels or [])]
    for own in dict.fromkeys(wanted):
        theirs = source.theirs(own)
        if theirs in names:
            chosen[own] = theirs
        else:
            what = f"column `{theirs}` is missing" + ("" if own == theirs else f", which is to be `{own}`")
            problems.append(f"{what}; --column {own}=NAME says what it is called there")
    if problems:
        listed = ", ".join(f"`{name}`" for name in names[:_SHOWN_MAX])
        more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
        problems.append(f"there are the columns {listed or 'none'}{more}; needed are {', '.join(FIXED)}")
    for name in names if source.labels is None else ():
        if name not in chosen.values():
            if name in chosen:
                problems.append(
                    f"column `{name}` would be a second `{name}`, beside `{chosen[name]}`; --column other={name} gives "
                    "it another name, --label NAME names those that are wanted"
                )
            chosen.setdefault(name, name)
    return chosen, problems


def _time_problem(kind: pa.DataType, source: ParquetSource | CsvSource) -> str | None:
    if pa.types.is_timestamp(kind):
        if kind.tz is None and source.timezone is None:
            return "its times say nothing of their zone; --timezone UTC says that they are in UTC"
        return None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return None if source.time_unit else "--time-unit s, ms, us or ns says what it counts since 1970"
    return "allowed is a timestamp, or a number with --time-unit"


def _type_problem(own: str, kind: pa.DataType, source: ParquetSource | CsvSource) -> str | None:
    if own == "value":
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        return None if is_number else "allowed is a number"
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return None
    if source.labels is not None and own in source.labels and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return None
    return "labels are texts; --label NAME names the columns that are labels, whole numbers among them if need be"


def samples_of(batch: pa.RecordBatch, wanted: Wanted, source: ParquetSource | CsvSource) -> Samples:
    """Take the samples out of rows of a table."""
    time = _milliseconds(batch.column(wanted.columns["time"]), source.time_unit)
    value = batch.column(wanted.columns["value"]).cast(pa.float64(), safe=False)
    numbers: NDArray[np.float64] = value.fill_null(np.nan).to_numpy(zero_copy_only=False)
    labels = {name: _label(batch.column(wanted.columns[name])) for name in wanted.labels}
    return Samples(time, numbers, labels)


def _milliseconds(column: pa.Array, unit: str | None) -> NDArray[np.int64]:
    """Return times in epoch milliseconds; what is finer is cut off."""
    if pa.types.is_timestamp(column.type):
        unit, column = column.type.unit, column.view(pa.int64())
    per_ms = _PER_MS[unit or "ms"]
    absent = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        # A tenth of a second is no binary fraction: what is meant is the nearest millisecond.
        numbers = column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False) / per_ms
        absent = absent | ~(np.abs(numbers) < 2.0**62)
        return np.where(absent, NO_TIME, np.rint(np.where(absent, 0.0, numbers)).astype(np.int64))
    whole = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    whole = whole // int(per_ms) if per_ms >= 1 else whole * round(1 / per_ms)
    return np.where(absent, NO_TIME, whole)


def _label(column: pa.Array) -> LabelColumn:
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    codes = column.indices.cast(pa.int32()).fill_null(-1).to_numpy(zero_copy_only=False)
    values = pc.fill_null(column.dictionary.cast(pa.string()), "").to_pylist()
    return LabelColumn(codes, values)
