"""A ClickHouse server, over the native protocol: columns go in as arrays, and answers come back as columns.

Written for today's server. What an older one lacks is asked for once a connection (`system.settings`), and left out.
"""

import importlib
import logging
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
from clickhouse_driver import Client
from clickhouse_driver.errors import Error, ErrorCodes, ServerException, TypeMismatchError

from sinks.backend import SETTINGS_ASKED, insert_settings
from sinks.columns import as_arrays, as_lists
from sinks.connection import Connection
from sinks.engine import readable
from sinks.errors import StoreAway, StoreError, StoreRefused
from sinks.schema import Place

# What the driver warns of, with whole tracebacks, it raises as well, and then it is said once and in our words.
logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)

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
        ErrorCodes.ILLEGAL_DIVISION,
        ErrorCodes.FUNCTION_THROW_IF_VALUE_IS_NON_ZERO,
        469,  # VIOLATED_CONSTRAINT, which the driver has no name for
    }
)
"""Errors that rows may be to blame for, those of constraints and columns that somebody added too. Whoever bisects finds
out which; all others may pass by themselves, or once somebody has seen to the server."""

_DEDUPLICATED: Final = {"final": 1, "do_not_merge_across_partitions_select_final": 1}
_READER: Final = {"readonly": 2, **_DEDUPLICATED}  # not 1, with which the driver's own settings would be refused
_LIMITED: Final = ("max_execution_time", "timeout_overflow_mode")
_PUT_IN: Final = {
    "async_insert": 0,  # else the server would answer before the rows are in the table
    "insert_null_as_default": 0,
    "max_partitions_per_insert_block": 0,  # an import may hold years
}
_QUORUM: Final = {"insert_quorum": "auto"}
"""On a cluster rows are there once most replicas have them, so that they outlive the loss of any one."""

_ASKED: Final = frozenset(
    (*SETTINGS_ASKED, *_READER, *_LIMITED, *_PUT_IN, *_QUORUM, "insert_deduplication_token", "insert_deduplicate")
)
"""Settings that are sent to servers that know them."""


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
        settings = self._only_known(_DEDUPLICATED)
        client = self._client("rows")
        return list(self._asked(lambda: client.execute(_placed(sql, params or {}), settings=settings)))

    def read(self, sql: str, form: str, seconds_max: int | None = None) -> bytes:
        """Answer somebody's query; see `sinks.backend.Reads.read`.

        The protocol brings columns. The embedded engine writes them down, so that the formats are the same in both.
        """
        settings = self._only_known(_READER)
        if seconds_max is not None:
            settings |= self._only_known(dict(zip(_LIMITED, (seconds_max, "throw"), strict=True)))
        client = self._client("arrow", database=self.place.database)
        table = self._asked(lambda: client.query_arrow(sql, settings=settings))
        if form == "Arrow":  # what they are already
            sink = pa.BufferOutputStream()
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            return bytes(sink.getvalue().to_pybytes())
        written: bytes = importlib.import_module("sinks.formatting").written(table, form)
        return written

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Put rows in, in one block; see `sinks.backend.Backend.insert`.

        On return the server has written them: they outlive its being killed, and on a cluster the loss of a replica.
        A single machine that loses its power may lose the last seconds, unless the tables' `fsync_after_insert` is set.
        """
        if rows.num_rows == 0:
            return
        is_nested = any(pa.types.is_list(each.type) for each in rows.schema)  # arrays of numpy cannot be nested
        client = self._client("columns" if is_nested else "arrays")
        quorum = _QUORUM if self.place.cluster is not None else {}
        settings = self._only_known({**_PUT_IN, **quorum, **insert_settings(token, self._settings())})
        names = ", ".join(f"`{name}`" for name in rows.column_names)
        query = f"INSERT INTO `{self.place.database}`.`{table}` ({names}) VALUES"

        columns = as_lists(rows) if is_nested else as_arrays(rows)
        self._asked(lambda: client.execute(query, columns, columnar=True, settings=settings), is_insert=True)

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
        """Names of the settings that this server knows, of those in `_ASKED`."""
        if self._known is None:
            listed = ", ".join(f"'{name}'" for name in sorted(_ASKED))
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
        except (TypeMismatchError, UnicodeError) as error:
            # The driver could not write the columns down; what it had written of them is on the connection.
            self._after(error)
            text = f"{self._connection.name}: rows that cannot be written down: {_first_line(error)}"
            raise (StoreRefused if is_insert else StoreError)(text) from error
        except (Error, OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, struct.error) as error:
            # Whatever the driver stumbles over when a connection ends in the middle: rows are not to blame for it.
            self._after(error)
            text = f"{self._connection.name} cannot be reached: {_first_line(error)}"
            raise StoreAway(text) from error

    def _after(self, error: Exception) -> None:
        if not isinstance(error, ServerException):
            self._known = None  # another server may answer next time, of another version
        self.close()


def _first_line(error: BaseException) -> str:
    text = error.message if isinstance(error, Error) else str(error)
    lines = str(text or "").strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _placed(sql: str, params: Mapping[str, str]) -> str:
    """Put values into a statement: the driver's own way of doing so quotes them for this protocol."""
    for name, value in params.items():
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        sql = sql.replace(f"{{{name}:Identifier}}", f"`{value}`").replace(f"{{{name}:String}}", f"'{quoted}'")
    return sql
