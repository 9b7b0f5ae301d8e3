"""ClickHouse inside this process: the one place that touches chdb, and where its errors get readable."""

import importlib
import re
from pathlib import Path
from typing import Any, Final, Protocol

from sinks.errors import StoreError
from sinks.schema import DATABASE


class _Inserter(Protocol):
    def append(self, data: bytes) -> None: ...

    def finish(self) -> object: ...

    def cancel(self) -> None: ...


class _Session(Protocol):
    """What is used of `chdb.session.Session`, which has no type annotations."""

    def query(self, sql: str, fmt: str, *, params: dict[str, str] | None = None) -> Any: ...

    def send_insert(self, query: str, fmt: str) -> _Inserter: ...

    def close(self) -> None: ...


_READER: Final = (
    f"USE {DATABASE}",
    # Deduplicated without anyone having to think of FINAL. Colours would get into pipes.
    "SET final = 1, output_format_pretty_color = 0",
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
        self._folder = folder
        self._writer = self._session()

    def run(self, sql: str, params: dict[str, str] | None = None) -> bytes:
        """Run a statement of holdfast itself.

        `params` are for placeholders such as `{table:Identifier}`. ClickHouse reads their values as escaped
        text, so one that may hold a backslash or a tab is best passed as hexadecimal digits, to `unhex`.
        """
        return _bytes(self._writer, sql, "TabSeparated", params)

    def insert(self, table: str, columns: list[str], stream: bytes) -> None:
        """Put an Arrow IPC stream into a table, in one insert.

        Of the ways into chdb this one needs neither a path (in `file()`, characters such as `*` and `{` are
        patterns) nor a Python variable found by name (`Python()`), and is as fast as the best of them.
        """
        query = f"INSERT INTO {DATABASE}.{table} ({', '.join(columns)})"
        try:
            inserter = self._writer.send_insert(query, "ArrowStream")
            try:
                inserter.append(stream)
                inserter.finish()
            except BaseException:
                inserter.cancel()
                raise
        except RuntimeError as error:
            raise StoreError(readable(str(error))) from error

    def read(self, sql: str, form: str, seconds_max: int | None = None) -> bytes:
        """Run somebody's query, read-only, with `holdfast` as its database, deduplicated, within a time if one is set.

        A session of its own (2 ms) keeps what one query sets, as with `USE`, from the next one.
        """
        session = self._session()
        try:
            limits = [] if seconds_max is None else [_SECONDS_MAX.format(seconds=seconds_max)]
            for statement in [*limits, *_READER]:
                _bytes(session, statement, "TabSeparated", None)
            return _bytes(session, sql, form, None)
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


def _bytes(session: _Session, sql: str, form: str, params: dict[str, str] | None) -> bytes:
    try:
        result: bytes = session.query(sql, form, params=params).bytes()
    except RuntimeError as error:
        raise StoreError(readable(str(error))) from error
    return result


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
