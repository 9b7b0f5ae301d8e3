"""A real ClickHouse server for the tests in this folder: one for all of them, however many processes run them."""

import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sinks.clickhouse import Server as Client
from sinks.connection import Connection
from sinks.migrations import migrate
from sinks.schema import Place
from tests.clickhouse.old import client
from tests.clickhouse.server import NoServer, Server, none_to_be_had
from tests.integration.conftest import locked

MINE: list[Server] = []
"""What this process has started."""


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Address]:
    """Give a server: that of HOLDFAST_TEST_CLICKHOUSE, or one on the PATH, or Debian's. In CI it must be there."""
    if given := os.environ.get("HOLDFAST_TEST_CLICKHOUSE"):
        host, _, port = given.partition(":")
        yield Address(host, int(port or 9000))
        return
    base = tmp_path_factory.getbasetemp()
    path = (base if worker_id == "master" else base.parent) / "clickhouse.json"
    with locked(path) as state:
        if not state.get("users") and "missing" not in state:
            state.update(_started())
        state["users"] = int(str(state.get("users", 0))) + 1
        known = dict(state)
    if "missing" in known:
        none_to_be_had(str(known["missing"]))
    yield Address("127.0.0.1", int(str(known["port"])))
    with locked(path) as state:
        state["users"] = left = int(str(state["users"])) - 1
    # Whoever started the server stops it, once nobody uses it any more.
    while MINE and left:
        time.sleep(0.2)
        with locked(path) as state:
            left = int(str(state["users"]))
    for server in MINE:
        server.remove()
    MINE.clear()


def _started() -> dict[str, object]:
    try:
        server = Server()
        server.start()
    except NoServer as error:
        return {"missing": str(error)}
    MINE.append(server)
    return {"port": server.port}


@pytest.fixture
def connection(clickhouse: Address) -> Connection:
    """Name a database of the test's own."""
    return Connection(clickhouse.host, clickhouse.port, place=Place(f"t{uuid.uuid4().hex[:10]}"))


@pytest.fixture
def server(connection: Connection) -> Iterator[Client]:
    """Give a client, and the tables."""
    made = client(connection)
    migrate(made)
    yield made
    made.run(f"DROP DATABASE {connection.place.database}")
    made.close()
