"""Version 18.16 of ClickHouse: what of the schema it can be given, and how."""

import re

import pyarrow as pa

from sinks.clickhouse import Server as Client
from sinks.connection import Connection

_LEFT_OUT = re.compile(r" CODEC\((?:[^()]|\([^()]*\))*\)| COMMENT '[^']*'")
_LOW = re.compile(r"Array\(LowCardinality\((\w+)\)\)")
_NO_PARENTHESES = re.compile(r"ENGINE = (\w+MergeTree)(?!\()")
_MADE_READY = ("VIEW", "AggregateFunction", "_minutes", "current_verdicts", "MODIFY", " ALIAS ", "State(")


class OldClient(Client):
    """The client as it is, for a server that knows neither codecs nor TTLs, DateTime64, Bool or views of states."""

    def run(self, statement: str) -> None:
        """Run what can be run of a statement."""
        if not any(word in statement for word in _MADE_READY):
            super().run(downgraded(statement))

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Put rows in, with times in seconds."""
        super().insert(table, rows.cast(seconds(rows.schema), safe=False), token)


def downgraded(statement: str) -> str:
    """Say a statement in the words of 18.16."""
    text = _LOW.sub(r"Array(\1)", _LEFT_OUT.sub("", statement))
    text = text.replace("DateTime64(3, 'UTC')", "DateTime").replace(" Bool", " UInt8")
    return _NO_PARENTHESES.sub(r"ENGINE = \1()", text)


def seconds(schema: pa.Schema) -> pa.Schema:
    """Return a schema with times in seconds."""
    return pa.schema(
        [
            each.with_type(pa.timestamp("s", each.type.tz)) if pa.types.is_timestamp(each.type) else each
            for each in schema
        ]
    )


def client(connection: Connection) -> Client:
    """Return the client that a server needs."""
    return (OldClient if is_old(connection) else Client)(connection)


def is_old(connection: Connection) -> bool:
    """Ask a server whether it is of before 2019."""
    asked = Client(connection)
    try:
        return int(str(asked.select("SELECT version()")[0][0]).partition(".")[0]) < 19
    finally:
        asked.close()
