"""ClickHouse inside this process: the one place that touches chdb, and where its errors get readable."""

import importlib
import re
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa

from sinks.arrow_stream import stream
from sinks.backend import SETTINGS_ASKED, insert_settings
from sinks.errors import StoreError
from sinks.schema import Place, identifier, quoted


class _Inserter(Protocol):
    def append(self, data: bytes) -> None: ...

    def finish(self) -> object: ...

    def cancel(self) -> None: ...


class _Session(Protocol):
    """What is used of `chdb.session.Session`, which has no type annotations."""

    def query(self, sql: str, fmt: str) -> Any: ...

    def send_insert(self, query: str, fmt: str) -> _Inserter: ...

    def close(self) -> None: ...


_DEDUPLICATED: Final = "final = 1, do_not_merge_across_partitions_select_final = 1"
"""Without anyone having to think of FINAL. Rows of equal keys have equal times, and so lie in one partition."""

_READER: Final = (
    f"SET {_DEDUPLICATED}",
    # Colours would get into pipes.
    "SET output_format_pretty_color = 0",
    # 1, not 2: with 2 a query could still write through INSERT INTO FUNCTION file(), change `final`, or wait
    # minutes for a URL that does not answer. It must come last, since nothing can be set after it.
    "SET readonly = 1",
)
_SECONDS_MAX: Final = "SET max_execution_time = {seconds}, timeout_overflow_mode = 'throw'"

_PREFIX: Final = re.compile(r"(?:Streaming insert \w+ failed: )?(?:Code: \d+\. )?DB::Exception: ")
_VERSION: Final = re.compile(r" \(version [^()]*\)")
_NAME: Final = re.compile(r"(?:\.? ?\([A-Z][A-Z0-9_]+\))+$")
_EXPECTED: Final = re.compile(r" Expected one of: .*", re.DOTALL)


class Engine:
    """The embedded engine on one folder.

    chdb runs one engine per process, on one folder at a time; any number of sessions share it.

    Parameters
    ----------
    folder
        Where ClickHouse keeps its files; the caller has made sure that no other process uses it.
    """

    def __init__(self, folder: Path) -> None:
        if "?" in str(folder):
            # chdb takes what follows it for settings, and would quietly use another folder.
            message = f"a store cannot lie in {folder}: the engine takes no '?' in a path"
            raise StoreError(message)
        self.place = Place()
        self._folder = folder
        self._writer = self._session()
        asked = ", ".join(map(quoted, SETTINGS_ASKED))
        known = self.select(f"SELECT name FROM system.settings WHERE name IN ({asked})")
        self._known = {str(name) for (name,) in known}

    def run(self, statement: str) -> None:
        """See `sinks.backend.Backend`."""
        _bytes(self._writer, statement, "TabSeparated")

    def select(self, sql: str) -> list[tuple[object, ...]]:
        """See `sinks.backend.Reads`."""
        return rows_of(_bytes(self._writer, f"{sql} SETTINGS {_DEDUPLICATED}", "Arrow"))

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """See `sinks.backend.Backend`.

        Of the ways into chdb this one needs neither a path (in `file()`, characters such as `*` and `{` are
        patterns) nor a Python variable found by name (`Python()`), and is as fast as the best of them.
        """
        settings = [
            f"{name} = {quoted(value) if isinstance(value, str) else value}"
            for name, value in insert_settings(token, self._known).items()
        ]
        columns = ", ".join(map(identifier, rows.schema.names))
        query = f"INSERT INTO {self.place.table(table)} ({columns}) SETTINGS {', '.join(settings)}"
        try:
            inserter = self._writer.send_insert(query, "ArrowStream")
            try:
                inserter.append(stream(rows))
                inserter.finish()
            except BaseException:
                inserter.cancel()
                raise
        except RuntimeError as error:
            raise StoreError(readable(str(error))) from error

    def read(self, sql: str, form: str, seconds_max: int | None = None) -> bytes:
        """See `sinks.backend.Reads`.

        A session of its own (2 ms) keeps what one query sets, as with `USE`, from the next one.
        """
        session = self._session()
        try:
            limits = [] if seconds_max is None else [_SECONDS_MAX.format(seconds=seconds_max)]
            for statement in [f"USE {self.place.database}", *limits, *_READER]:
                _bytes(session, statement, "TabSeparated")
            return _bytes(session, sql, form)
        finally:
            session.close()

    def close(self) -> None:
        """Close the engine; after this another process may open the folder."""
        self._writer.close()

    def _session(self) -> _Session:
        # Imported late: it loads half a gigabyte of library, which nothing but a store needs.
        module = importlib.import_module("chdb.session")
        try:
            session: _Session = module.Session(str(self._folder))
        except RuntimeError as error:
            if "already initialized with path" in str(error):
                message = f"cannot open {self._folder}: this process has another store open; close that first"
            else:
                message = f"the engine cannot open {self._folder}: {readable(str(error))}"
            raise StoreError(message) from error
        return session


def _bytes(session: _Session, sql: str, form: str) -> bytes:
    try:
        result: bytes = session.query(sql, form).bytes()
    except RuntimeError as error:
        raise StoreError(readable(str(error))) from error
    return result


def rows_of(answer: bytes) -> list[tuple[object, ...]]:
    """Read an answer in the format Arrow as rows; an answer without rows may be empty."""
    if not answer:
        return []
    # By place: two columns of an answer may bear the same name.
    columns = pa.ipc.open_file(pa.py_buffer(answer)).read_all().columns
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def readable(text: str) -> str:
    """Keep of ClickHouse's message what helps the person who wrote the query.

    Examples
    --------
    >>> readable("Code: 60. DB::Exception: Unknown table 'nope'. (UNKNOWN_TABLE)")
    "Unknown table 'nope'"
    >>> readable("Code: 164. DB::Exception: default: Cannot execute query in readonly mode. (READONLY)")
    'only reading is allowed: Cannot execute query in readonly mode'
    """
    refused = "(READONLY)" in text
    text = _VERSION.sub("", _PREFIX.sub("", text.partition("Stack trace:")[0])).strip()
    text = _EXPECTED.sub("", _NAME.sub("", text))  # dozens of tokens, and seldom the one that was meant
    text = text.strip().removesuffix(".").removeprefix("default: ")
    return f"only reading is allowed: {text}" if refused else text
