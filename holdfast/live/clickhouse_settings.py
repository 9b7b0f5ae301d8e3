"""Settings of a ClickHouse server: where it is, and how rows get there."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from detectors.policy import Name
from holdfast.live.durations import between
from sinks.connection import Connection
from sinks.schema import DATABASE, Place

Identifier = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        max_length=64,
        extra={"allowed": "letters, digits and underscores, a digit not first"},
    ),
]
Days = Annotated[int, Meta(ge=1, le=36_500)]


class Keep(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many days rows are kept, by table; without a word, for ever."""

    cohort_ticks: Days | None = None
    evidence: Days | None = None
    verdicts: Days | None = None
    ticks: Days | None = None
    dead_letters: Days | None = None
    audit: Days | None = None
    health_minutes: Days | None = None
    colo_minutes: Days | None = None

    @property
    def by_table(self) -> dict[str, int]:
        """Days by table; tables that are kept for ever are left out."""
        written = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: days for name, days in written.items() if days is not None}


class Batch(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When rows are put in: so many of them, or after so long."""

    rows: Annotated[int, Meta(ge=1_000, le=1_000_000)] = 100_000
    seconds: Annotated[str, between("100ms", "1m")] = "2s"


class ClickHouse(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server, asked over the native protocol.

    Without a port it is 9000, and 9440 with `secure`. `verify` says whether its certificate must be good, by those of
    `ca_file` or of the system. With a `cluster` the tables are made on all of its replicas.
    """

    host: Name
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    user: Name = "default"
    password: str = ""
    database: Identifier = DATABASE
    cluster: Identifier | None = None
    secure: bool = False
    verify: bool = True
    ca_file: str | None = None
    compression: Literal["lz4", "none"] = "lz4"
    batch: Batch = Batch()
    keep_days: Keep = Keep()

    @property
    def connection(self) -> Connection:
        """What a client needs to know."""
        return Connection(
            host=self.host,
            port=self.port or (9440 if self.secure else 9000),
            user=self.user,
            password=self.password,
            place=Place(self.database, self.cluster),
            is_secure=self.secure,
            is_verified=self.verify,
            ca_file=self.ca_file,
            is_compressed=self.compression == "lz4",
        )
