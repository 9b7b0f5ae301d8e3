"""Version 18.16 of ClickHouse: what of the schema it can be given."""

import re

import pyarrow as pa

from sinks.clickhouse import Server as Client

_LEFT_OUT = re.compile(r" CODEC\((?:[^()]|\([^()]*\))*\)| COMMENT '[^']*'")
_LOW = re.compile(r"Array\(LowCardinality\((\w+)\)\)")
_NO_PARENTHESES = re.compile(r"ENGINE = (\w+MergeTree)(?!\()")


class OldClient(Client):
    """The client as it is, for a server that knows neither codecs nor TTLs, DateTime64, Bool or views of states."""

    def run(self, statement: str) -> None:
        if "VIEW" in statement or "AggregateFunction" in statement or "_minutes" in statement:
            return
        if "current_verdicts" in statement or "MODIFY" in statement:
            return
        super().run(downgraded(statement))

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Put rows in, with times in seconds."""
        kinds = [
            pa.field(f.name, pa.timestamp("s", f.type.tz) if pa.types.is_timestamp(f.type) else f.type)
            for f in rows.schema
        ]
        super().insert(table, rows.cast(pa.schema(kinds), safe=False), token)


def downgraded(statement: str) -> str:
    """Say a statement in the words of 18.16."""
    text = _LOW.sub(r"Array(\1)", _LEFT_OUT.sub("", statement))
    text = text.replace("DateTime64(3, 'UTC')", "DateTime").replace(" Bool", " UInt8")
    return _NO_PARENTHESES.sub(r"ENGINE = \1()", text)
