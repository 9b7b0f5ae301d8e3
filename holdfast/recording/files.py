"""Parquet and CSV files as a source of samples, whatever their columns are called."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from holdfast.errors import BadInput
from holdfast.recording.columns import Wanted, samples_of, wanted_of
from holdfast.recording.document import CsvSource, ParquetSource
from holdfast.recording.origin import Piece, Told, stretch

FILES_MAX: Final = 100_000

_ROWS: Final = 1 << 18
_BLOCK_BYTES: Final = 16 << 20
_GLOB: Final = "*?["


class ParquetFiles:
    """Parquet files; see `holdfast.recording.origin.Origin`. All of them are looked at when this is made."""

    def __init__(self, source: ParquetSource) -> None:
        self.told = Told()
        self._source = source
        self._paths = found(source.files, "parquet")
        self.name = _named(self._paths)
        problems: list[str] = []
        self._wanted = [self._looked_at(path, problems) for path in self._paths]
        _refuse(problems)

    def _looked_at(self, path: Path, problems: list[str]) -> Wanted:
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            problems.append(f"{path}: not a readable Parquet file: {_first_line(error)}")
            return Wanted({})
        wanted, found_wrong = wanted_of(schema, self._source)
        problems += [f"{path}: {problem}" for problem in found_wrong]
        return wanted

    def read(self) -> Iterator[Piece]:
        """Yield the samples, some hundred thousand at a time; row groups outside of the stretch of time are skipped."""
        total = sum(path.stat().st_size for path in self._paths)
        before = 0
        for path, wanted in zip(self._paths, self._wanted, strict=True):
            size, done = path.stat().st_size, 0
            try:
                with pq.ParquetFile(path, read_dictionary=[wanted.columns[name] for name in wanted.labels]) as file:
                    groups = self._groups(file, wanted.columns["time"])
                    rows = max(1, file.metadata.num_rows)
                    for batch in file.iter_batches(_ROWS, row_groups=groups, columns=wanted.theirs):
                        done += batch.num_rows
                        yield Piece(samples_of(batch, wanted, self._source), before + size * done // rows, total)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                message = f"{path}: cannot be read to its end: {_first_line(error)}"
                raise BadInput(message) from error
            before += size

    def _groups(self, file: pq.ParquetFile, time: str) -> list[int]:
        """Return the row groups that may hold samples of the stretch of time."""
        first_ms, end_ms = stretch(self._source)
        kind = file.schema_arrow.field(time).type
        column = file.schema_arrow.names.index(time)
        known = pa.types.is_timestamp(kind) and file.metadata.num_columns == len(file.schema_arrow.names)
        groups = []
        for group in range(file.metadata.num_row_groups):
            statistics: Any = file.metadata.row_group(group).column(column).statistics if known else None
            if statistics is not None and statistics.has_min_max and not statistics.null_count:
                low, high = (
                    pa.scalar(bound, kind).cast(pa.timestamp("ms", kind.tz), safe=False).value
                    for bound in (statistics.min, statistics.max)
                )
                if high < first_ms or low >= end_ms:
                    continue
            groups.append(group)
        return groups


class CsvFiles:
    """CSV files; see `holdfast.recording.origin.Origin`. All headers are looked at when this is made."""

    def __init__(self, source: CsvSource) -> None:
        self.told = Told()
        self._source = source
        self._paths = found(source.files, "csv")
        self.name = _named(self._paths)
        problems: list[str] = []
        self._wanted = [self._looked_at(path, problems) for path in self._paths]
        _refuse(problems)

    def _looked_at(self, path: Path, problems: list[str]) -> Wanted:
        try:
            with csv.open_csv(path, read_options=_options()) as reader:
                names = reader.schema.names
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: not a readable CSV file: {_first_line(error)}")
            return Wanted({})
        source = self._source
        kinds = {source.theirs("time"): self._time(), source.theirs("value"): pa.float64()}
        schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
        wanted, found_wrong = wanted_of(schema, source)
        problems += [f"{path}: {problem}" for problem in found_wrong]
        return wanted

    def _time(self) -> pa.DataType:
        """Return what times are read as: numbers if they count something, else ISO 8601."""
        if self._source.time_unit in ("us", "ns"):
            return pa.int64()  # a float has not so many digits
        if self._source.time_unit:
            return pa.float64()
        return pa.timestamp("ns", None if self._source.timezone else "UTC")

    def read(self) -> Iterator[Piece]:
        """Yield the samples, some megabytes of text at a time."""
        total = sum(path.stat().st_size for path in self._paths)
        before = 0
        for path, wanted in zip(self._paths, self._wanted, strict=True):
            kinds = dict.fromkeys(wanted.theirs, pa.string())
            kinds |= {wanted.columns["time"]: self._time(), wanted.columns["value"]: pa.float64()}
            converting = csv.ConvertOptions(
                column_types=kinds, include_columns=wanted.theirs, strings_can_be_null=False, null_values=["", "null"]
            )
            size, done = path.stat().st_size, 0
            try:
                with csv.open_csv(path, read_options=_options(), convert_options=converting) as reader:
                    for batch in reader:
                        done = min(size, done + _BLOCK_BYTES)
                        yield Piece(samples_of(batch, wanted, self._source), before + done, total)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                message = f"{path}: cannot be read to its end: {self._explained(_first_line(error))}"
                raise BadInput(message) from error
            before += size

    def _explained(self, text: str) -> str:
        """Add to what is wrong with a time how to say what times are."""
        if "timestamp" not in text:
            return text
        return (
            f"{text}; allowed: times with their zone, as in 2026-03-12T11:20:00Z; --timezone UTC takes those without "
            "one, --time-unit s, ms, us or ns takes numbers"
        )


@contextmanager
def files(source: ParquetSource | CsvSource) -> Generator[ParquetFiles | CsvFiles]:
    """Open files; see `holdfast.recording.opening.opened`."""
    yield ParquetFiles(source) if isinstance(source, ParquetSource) else CsvFiles(source)


def found(patterns: Sequence[str], ending: str) -> list[Path]:
    """List the files that paths, globs and folders name, each once; those of one pattern are sorted.

    Raises
    ------
    BadInput
        With every pattern that names none.
    """
    problems: list[str] = []
    listed: dict[Path, None] = {}
    for text in patterns:
        path = Path(text)
        if path.is_file():
            here = [path]
        elif path.is_dir():
            here = sorted(path.rglob(f"*.{ending}"))
        elif any(sign in text for sign in _GLOB):
            base = Path(path.anchor) if path.is_absolute() else Path()
            here = sorted(each for each in base.glob(str(path.relative_to(base))) if each.is_file())
        else:
            here = []
        if not here:
            problems.append(f"{text}: no such file; allowed: a file, a folder with files *.{ending}, or a glob")
        listed |= dict.fromkeys(here)
    if len(listed) > FILES_MAX:
        problems.append(f"{patterns[0]}: {len(listed)} files; allowed: at most {FILES_MAX}")
    _refuse(problems)
    return list(listed)


def _named(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _options() -> csv.ReadOptions:
    # One thread: only so errors tell the row.
    return csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise BadInput("\n".join(problems))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
