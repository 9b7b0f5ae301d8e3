"""Reading a recording's metrics: Parquet, in bounded memory, as numpy columns."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from detectors.errors import BadInput

ROWS_PER_READ: Final = 1 << 19
"""Rows decoded at a time: large enough for numpy, small enough (about 20 MB) however large the file."""

_UTC: Final = {"UTC", "Etc/UTC", "Z", "+00:00", "GMT"}


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """One label of a batch, dictionary-encoded: `codes` [row] index `values`; -1 is an absent label."""

    codes: NDArray[np.int32]
    values: list[str]


@dataclass(frozen=True, slots=True)
class Samples:
    """A batch of samples as columns. `time` [row] is in epoch milliseconds, `value` [row] as scraped."""

    time: NDArray[np.int64]
    value: NDArray[np.float64]
    labels: dict[str, LabelColumn]


class Source(Protocol):
    """Samples of a stretch of time that can be read more than once, in the same order each time.

    Attributes
    ----------
    name
        Stands for it in error messages.
    labels
        Names of the labels, sorted; `metric` and `colo` are among them.
    rows
        How many samples there are.
    """

    name: str
    labels: list[str]
    rows: int

    def read(self, rows: int = ..., columns: Sequence[str] | None = None) -> Iterator[Samples]:
        """Yield the samples, at most `rows` at a time; of `columns` alone, if given."""
        ...


@runtime_checkable
class Identified(Protocol):
    """A `Source` whose content can be told from any other, so that what it adds up to may be kept."""

    def identity(self) -> bytes | None:
        """Return what stands for the names and values of all samples, in their order; None if nothing can now."""
        ...


class MetricsFile:
    """A recording's `metrics.parquet`, checked on opening.

    Parameters
    ----------
    path
        The Parquet file. Columns: `time` (timestamp, s or ms, UTC), `metric` and `colo` (strings), `value`
        (float64); every further column is a string and a label.

    Raises
    ------
    BadInput
        If the file is missing, is no Parquet, or has a column missing or of a wrong type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        if not path.is_file():
            msg = f"{path}: no such file; a recording is a folder with metrics.parquet, rollout.yaml and policy.yaml"
            raise BadInput(msg)
        try:
            self._opened = _version(path.stat())
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            msg = f"{path}: not a readable Parquet file: {_first_line(error)}"
            raise BadInput(msg) from error
        _check_schema(path, schema)
        self.labels = sorted(name for name in schema.names if name not in ("time", "value"))
        self._file = pq.ParquetFile(path, read_dictionary=self.labels)
        self.rows: int = self._file.metadata.num_rows
        if self.rows == 0:
            msg = f"{path}: no samples in it"
            raise BadInput(msg)

    def identity(self) -> bytes | None:
        """Return a digest of the whole file; None if it is not the file any more that was opened."""
        try:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
                is_same = _version(os.fstat(file.fileno())) == self._opened
        except OSError as error:
            msg = f"{self.path}: cannot be read to its end: {_first_line(error)}"
            raise BadInput(msg) from error
        return digest if is_same else None

    def read(self, rows: int = ROWS_PER_READ, columns: Sequence[str] | None = None) -> Iterator[Samples]:
        """Yield the samples in file order, at most `rows` at a time; of `columns` alone, if given."""
        try:
            for batch in self._file.iter_batches(batch_size=rows, columns=columns, use_threads=True):
                yield samples_of(batch, self.labels)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            msg = f"{self.path}: cannot be read to its end: {_first_line(error)}"
            raise BadInput(msg) from error


def samples_of(batch: pa.RecordBatch, label_names: Sequence[str]) -> Samples:
    """Take the columns of a batch as they are: labels are dictionary-encoded in it, and some columns may be missing."""
    there = set(batch.schema.names)
    time = batch.column("time")
    missing = time.null_count > 0
    if time.type.unit != "ms":
        time = time.cast(pa.timestamp("ms", tz="UTC"))
    milliseconds = time.view(pa.int64())
    if missing:
        milliseconds = milliseconds.fill_null(NO_TIME)
    value = batch.column("value").to_numpy(zero_copy_only=False) if "value" in there else np.empty(0)
    labels = {name: _label_column(batch.column(name)) for name in label_names if name in there}
    return Samples(milliseconds.to_numpy(zero_copy_only=False), value, labels)


NO_TIME: Final = np.iinfo(np.int64).min
"""Stands for a null in `time`."""


def _label_column(column: pa.Array) -> LabelColumn:
    indices = column.indices
    if indices.null_count:
        indices = indices.fill_null(-1)
    return LabelColumn(indices.to_numpy(zero_copy_only=False), column.dictionary.to_pylist())


def _check_schema(path: Path, schema: pa.Schema) -> None:
    problems = [f"{path}: {problem}" for problem in schema_problems(schema)]
    if problems:
        raise BadInput("\n".join(problems))


def schema_problems(schema: pa.Schema) -> list[str]:
    """Say what of a schema is not as the columns of samples have to be."""
    wanted = {"time": "timestamp[ms, tz=UTC]", "metric": "string", "colo": "string", "value": "double"}
    problems = [
        f"column `{name}` is missing; it must be there, of type {kind}"
        for name, kind in wanted.items()
        if name not in schema.names
    ]
    for field in schema:
        found = _type_problem(field)
        if found:
            problems.append(f"column `{field.name}` is {field.type}; {found}")
        if schema.names.count(field.name) > 1:
            problems.append(f"column `{field.name}` occurs more than once")
    return list(dict.fromkeys(problems))


def _type_problem(field: pa.Field) -> str | None:
    """Say what is allowed for a column, if it is not that."""
    kind = field.type
    if field.name == "time":
        fits = pa.types.is_timestamp(kind) and kind.unit in ("s", "ms") and kind.tz in _UTC
        return None if fits else "allowed is timestamp[ms, tz=UTC]"
    if field.name == "value":
        return None if pa.types.is_float64(kind) else "allowed is double (float64)"
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return None if is_text else "every column but `time` and `value` is a label, and labels are strings"


def _version(stat: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
