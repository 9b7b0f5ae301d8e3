"""Which ClickHouse holds what was seen and decided: the embedded store in a folder, or a server."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.errors import BadInput
from holdfast.live.clickhouse_settings import ClickHouse
from holdfast.live.settings import load_settings
from holdfast.live.store_owner import Asked, is_answered
from sinks.backend import Backend, Reads
from sinks.migrations import require_current
from sinks.schema import Place
from sinks.store import Store, StoreBusy, StoreError

EMBEDDED = "ClickHouse in this process"
OWNED = "ClickHouse in the process that owns the folder"
SERVER = "ClickHouse server"

Where = Path | ClickHouse
"""Folder of an embedded store, or the settings of a server."""


@dataclass(frozen=True, slots=True)
class Found:
    """A ClickHouse that may be asked: what it is, and how errors call it."""

    reads: Reads
    engine: str
    name: str


def where(data: Path | None, config: Path | None) -> Where:
    """Tell where rows are kept: in a folder that is named, else where the settings say."""
    if data is not None:
        return data
    settings = load_settings(config)
    return settings.clickhouse or settings.data


@contextmanager
def reading(place: Where) -> Generator[Found]:
    """Open what is asked: a folder of which another process is the owner is asked there.

    Raises
    ------
    StoreError
        If that cannot be.
    BadInput
        If there is no such folder.
    """
    if isinstance(place, ClickHouse):
        with writing(place, migrates=False) as server:
            yield Found(server, SERVER, name_of(place))
        return
    _require(place)
    try:
        store = Store(place)
    except StoreBusy:
        if not is_answered(place):
            raise
        yield Found(Asked(place), OWNED, name_of(place))
        return
    with store:
        yield Found(store.backend, EMBEDDED, name_of(place))


@contextmanager
def writing(place: Where, *, cluster: str | None = None, migrates: bool = True) -> Generator[Backend]:
    """Open what is written to; nobody else may have an embedded store open meanwhile.

    Parameters
    ----------
    place
        Where.
    cluster
        A cluster that is not named in the settings.
    migrates
        Whether the schema must be this holdfast's: an embedded store is brought to it, a server is refused.

    Raises
    ------
    StoreError
        If that cannot be.
    BadInput
        If there is no such folder, or a cluster is named with one.
    """
    if isinstance(place, ClickHouse):
        from sinks.clickhouse import Server

        connection = place.connection
        if cluster is not None:
            connection = replace(connection, place=Place(place.database, cluster))
        server = Server(connection)
        try:
            if migrates:
                require_current(server, name_of(place))
            yield server
        finally:
            server.close()
        return
    if cluster is not None:
        message = (
            f"--cluster: found {cluster!r} with the embedded store {place}; allowed: with a server of the settings"
        )
        raise BadInput(message)
    _require(place)
    try:
        store = Store(place, migrates=migrates)
    except StoreBusy as error:
        message = f"{error}, and it alone writes there: stop it first"
        raise StoreError(message) from error
    with store:
        yield store.backend


def name_of(place: Where) -> str:
    """Return what errors call it."""
    return place.connection.name if isinstance(place, ClickHouse) else f"the store {place}"


def _require(folder: Path) -> None:
    if not folder.is_dir():
        message = (
            f"{folder}: no such folder: nothing is kept there yet; `holdfast replay RECORDING` keeps what it judges"
        )
        raise BadInput(message)
