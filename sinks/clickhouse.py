"""A ClickHouse server, over the native protocol: columns go in as arrays, and answers come back as columns.

Written for today's server. What an older one lacks is asked for once a connection (`system.settings`), and left out.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from clickhouse_driver import Client
from clickhouse_driver.errors import Error, ErrorCodes, ServerException

from sinks.backend import SETTINGS_ASKED, insert_settings
from sinks.engine import readable
from sinks.errors import StoreAway, StoreError, StoreRefused
from sinks.schema import Place

CONNECT_SECONDS: Final = 5.0
SEND_SECONDS: Final = 30.0
"""How long to wait for a server that is there and says nothing."""

_BLOCK_ROWS: Final = 1 << 20
"""Rows of a block: an insert is one block, so that one token names it whole."""

_REFUSED: Final = frozenset(
    {
        ErrorCodes.CANNOT_PARSE_TEXT,
        ErrorCodes.CANNOT_PARSE_DATE,
        ErrorCodes.CANNOT_PARSE_DATETIME,
        ErrorCodes.ILLEGAL_TYPE_OF_ARGUMENT,
        ErrorCodes.TYPE_MISMATCH,
        ErrorCodes.CANNOT_CONVERT_TYPE,
        ErrorCodes.INCORRECT_DATA,
        ErrorCodes.ARGUMENT_OUT_OF_BOUND,
        ErrorCodes.CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN,
        ErrorCodes.VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE,
        ErrorCodes.TOO_MANY_PARTS,  # of one insert; if there are too many already, no part of it fares better
        469,  # VIOLATED_CONSTRAINT
    }
)
"""Errors that rows may be to blame for. Whoever bisects finds out."""

_READER: Final = {
    "readonly": 2,  # not 1, with which the driver's own settings would be refused
    "final": 1,
    "do_not_merge_across_partitions_select_final": 1,
}


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a server is, and who we are there."""

    host: str
    port: int = 9000
    user: str = "default"
    password: str = field(default="", repr=False)
    place: Place = field(default_factory=Place)
    is_secure: bool = False
    is_verified: bool = True
    ca_file: str | None = None
    is_compressed: bool = True

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"ClickHouse at {self.host}:{self.port}"


class Server:
    """A ClickHouse server; see `sinks.backend.Backend`. It connects when it is first asked, and again after an error.

    For one thread at a time.

    Parameters
    ----------
    connection
        Where it is.
    send_seconds
        How long it may say nothing.
    """

    def __init__(self, connection: Connection, *, send_seconds: float = SEND_SECONDS) -> None:
        self._connection = connection
        self._seconds = send_seconds
        self._clients: dict[str, Client] = {}
        self._known: frozenset[str] | None = None

    @property
    def place(self) -> Place:
        """Database and cluster of the tables."""
        return self._connection.place

    @property
    def name(self) -> str:
        """What errors call it."""
        return self._connection.name

    def run(self, statement: str) -> None:
        """Run a statement of holdfast itself, which names its database.

        Raises
        ------
        StoreError
            If that cannot be.
        """
        self._asked(lambda: self._client("rows").execute(statement))

    def select(self, sql: str, params: Mapping[str, str] | None = None) -> list[tuple[object, ...]]:
        """Answer a small question; see `sinks.backend.Reads.select`."""
        settings = self._only_known({"final": 1, "do_not_merge_across_partitions_select_final": 1})
        client = self._client("rows")
        return list(self._asked(lambda: client.execute(_placed(sql, params or {}), settings=settings)))

    def read(self, sql: str, form: str, seconds_max: int | None = None) -> bytes:
        """Answer somebody's query; see `sinks.backend.Reads.read`.

        The protocol brings columns. The embedded engine writes them down, so that the formats are the same in both.
        """
        settings = self._only_known(_READER)
        if seconds_max is not None:
            settings |= self._only_known({"max_execution_time": seconds_max, "timeout_overflow_mode": "throw"})
        client = self._client("arrow", database=self.place.database)
        table = self._asked(lambda: client.query_arrow(sql, settings=settings))
        written: bytes = importlib.import_module("sinks.formatting").written(table, form)
        return written

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Put rows in, in one block; see `sinks.backend.Backend.insert`. They are durable once the server says so."""
        if rows.num_rows == 0:
            return
        is_nested = any(pa.types.is_list(each.type) for each in rows.schema)  # arrays of numpy cannot be nested
        client = self._client("columns" if is_nested else "arrays")
        settings = self._only_known(
            {"async_insert": 0, "insert_null_as_default": 0} | insert_settings(token, self._settings())
        )
        names = ", ".join(f"`{name}`" for name in rows.column_names)
        query = f"INSERT INTO `{self.place.database}`.`{table}` ({names}) VALUES"

        def put() -> object:
            columns = [_list(each) if is_nested else _array(each) for each in rows.columns]
            return client.execute(query, columns, columnar=True, settings=settings)

        self._asked(put, is_insert=True)

    def close(self) -> None:
        """Let go of the connections."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.disconnect()

    def _client(self, kind: str, database: str = "") -> Client:
        """Return the client of a kind: the driver decides once a client how columns look."""
        if kind not in self._clients:
            known = self._connection
            self._clients[kind] = Client(
                known.host,
                port=known.port,
                user=known.user,
                password=known.password,
                database=database,
                secure=known.is_secure,
                verify=known.is_verified,
                **({"ca_certs": known.ca_file} if known.ca_file else {}),
                compression="lz4" if known.is_compressed else False,
                connect_timeout=CONNECT_SECONDS,
                send_receive_timeout=self._seconds,
                client_name="holdfast",
                settings={"use_numpy": kind == "arrays", "insert_block_size": _BLOCK_ROWS},
            )
        return self._clients[kind]

    def _settings(self) -> frozenset[str]:
        """Names of the settings that this server knows, of those that are asked for."""
        if self._known is None:
            names = {*SETTINGS_ASKED, *_READER, "async_insert", "insert_null_as_default", "insert_deduplication_token"}
            names |= {"insert_deduplicate", "max_execution_time", "timeout_overflow_mode"}
            listed = ", ".join(f"'{name}'" for name in sorted(names))
            sql = f"SELECT name FROM system.settings WHERE name IN ({listed})"
            client = self._client("rows")
            self._known = frozenset(str(name) for (name,) in self._asked(lambda: client.execute(sql)))
        return self._known

    def _only_known(self, settings: Mapping[str, str | int]) -> dict[str, str | int]:
        known = self._settings()
        return {name: value for name, value in settings.items() if name in known}

    def _asked(self, ask: Callable[[], Any], *, is_insert: bool = False) -> Any:
        """Ask, and say in our words what went wrong."""
        try:
            return ask()
        except ServerException as error:
            self._after(error)
            text = f"{self._connection.name} says: {readable(str(error.message))}"
            if not is_insert:
                raise StoreError(text) from error
            raise (StoreRefused if error.code in _REFUSED else StoreAway)(text) from error
        except (Error, OSError, EOFError) as error:
            self._after(error)
            text = f"{self._connection.name} cannot be reached: {_first_line(error)}"
            raise StoreAway(text) from error
        except (OverflowError, UnicodeError, ValueError, TypeError, AttributeError) as error:
            # The driver could not write the columns down; what it had written of them is on the connection.
            self._after(error)
            text = f"{self._connection.name}: rows that cannot be written down: {_first_line(error)}"
            raise (StoreRefused if is_insert else StoreError)(text) from error

    def _after(self, error: Exception) -> None:
        if not isinstance(error, ServerException):
            self._known = None  # another server may answer next time, of another version
        self.close()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _placed(sql: str, params: Mapping[str, str]) -> str:
    """Put values into a statement: the driver's own way of doing so quotes them for this protocol."""
    for name, value in params.items():
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        sql = sql.replace(f"{{{name}:Identifier}}", f"`{value}`").replace(f"{{{name}:String}}", f"'{quoted}'")
    return sql


def _array(column: pa.ChunkedArray) -> Any:
    """Return a column as the driver takes it quickest: numbers and times as arrays, of strings each text once."""
    kind = column.type
    if pa.types.is_string(kind):
        coded = column.combine_chunks().dictionary_encode()
        # Few texts, each an object once: the driver tells them apart by their hashes, which they remember.
        return np.array(coded.dictionary.to_pylist(), dtype=object)[coded.indices.to_numpy()]
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).to_numpy().view("datetime64[ms]")
    return column.to_numpy()


def _list(column: pa.ChunkedArray) -> list[object]:
    """Return a column as Python objects: for tables with few rows and arrays in them."""
    return list(column.to_pylist())
