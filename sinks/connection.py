"""Where a ClickHouse server is, and who we are there."""

from dataclasses import dataclass, field

from sinks.schema import Place


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a server is, and who we are there.

    Attributes
    ----------
    host, port
        Of the native protocol.
    user, password
        Who we are.
    place
        Database and cluster of the tables.
    is_secure, is_verified, ca_file
        Whether TLS is spoken, whether the certificate must be good, and by which file (PEM); None for the system's.
    is_compressed
        Whether blocks are compressed on the wire.
    """

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
