"""What the embedded engine and a server have in common: all that holdfast needs of a ClickHouse."""

from collections.abc import Collection
from typing import Final, Protocol

import pyarrow as pa

from sinks.schema import Place


class Reads(Protocol):
    """A ClickHouse that is asked, and not written to."""

    @property
    def place(self) -> Place:
        """Database and cluster of the tables."""
        ...

    def select(self, sql: str) -> list[tuple[object, ...]]:
        """Answer a small question of holdfast itself, which names its database; rows come deduplicated.

        `StoreError` if that cannot be.
        """
        ...

    def read(self, sql: str, form: str, seconds_max: int | None = None) -> bytes:
        """Answer somebody's query in a format of ClickHouse, within a time if one is set.

        It is read-only, has holdfast's database as its own, and sees rows deduplicated, whatever it says. `StoreError`
        with the useful part of ClickHouse's message if it cannot be answered.
        """
        ...


class Backend(Reads, Protocol):
    """A ClickHouse that holds tables of holdfast, as `sinks.schema` describes them."""

    def run(self, statement: str) -> None:
        """Run a statement of holdfast itself, which names its database. `StoreError` if that cannot be."""
        ...

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Put rows into a table; on return they are durable, and after an error some of them may be there.

        An insert with a token that the table remembers changes nothing there, but is shown to materialised views again,
        since the one before may have ended between the table and them. One without a token is always put in, also if
        the very same rows were once there and deleted since. `insert_settings` says so to ClickHouse.

        Raises
        ------
        StoreRefused
            If the rows are to blame.
        StoreAway
            If the same may work later.
        """
        ...


SETTINGS_ASKED: Final = ("deduplicate_insert", "deduplicate_blocks_in_dependent_materialized_views")
"""Settings that not every version of ClickHouse has; `system.settings` tells."""


def insert_settings(token: str, known: Collection[str]) -> dict[str, str | int]:
    """Return the settings of an insert, see `Backend.insert`.

    Parameters
    ----------
    token
        Names the insert; empty for none.
    known
        Those of `SETTINGS_ASKED` that this ClickHouse has.
    """
    if not token:
        return {"deduplicate_insert": "disable"} if "deduplicate_insert" in known else {"insert_deduplicate": 0}
    settings: dict[str, str | int] = {"insert_deduplicate": 1, "insert_deduplication_token": token}
    if "deduplicate_insert" in known:
        settings["deduplicate_insert"] = "enable"
    if "deduplicate_blocks_in_dependent_materialized_views" in known:
        settings["deduplicate_blocks_in_dependent_materialized_views"] = 1
    return settings
