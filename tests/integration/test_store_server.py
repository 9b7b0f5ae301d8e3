"""A store on a real ClickHouse server: brought to its schema, filled by replays, and asked.

The server of the tests is version 18.16, for which `tests.clickhouse.old` says statements in its own words. It has no
way to delete rows, nor the functions that `info` and `export` ask with; those are shown on the embedded engine.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.live import stores
from holdfast.live.clickhouse_settings import ClickHouse
from sinks.clickhouse import Server as Client
from sinks.connection import Connection
from sinks.errors import StoreError
from sinks.migrations import migrate, pending, require_current, versions
from sinks.remote import RemoteStore
from sinks.schema import DERIVED, Place, checksums
from tests.clickhouse.old import OldClient
from tests.clickhouse.server import NoServer, Server, none_to_be_had
from tests.replays import replay


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    try:
        server = Server()
    except NoServer as reason:
        none_to_be_had(str(reason))
    with server:
        yield server.port


@pytest.fixture
def client(port: int, request: pytest.FixtureRequest) -> Iterator[OldClient]:
    """A client with a database of its own."""
    name = f"t{abs(hash(request.node.name)) % 10**9}"
    opened = OldClient(Connection("127.0.0.1", port, place=Place(name)))
    yield opened
    opened.run(f"DROP DATABASE IF EXISTS {name}")
    opened.close()


def test_a_server_is_brought_to_the_newest_version_once(client: OldClient) -> None:
    with pytest.raises(StoreError, match=r"the server has schema none; `holdfast store migrate` brings it to version"):
        require_current(client, "the server")
    assert migrate(client) == list(checksums())
    assert (versions(client), pending(client), migrate(client)) == (checksums(), [], [])
    require_current(client, "the server")


def test_two_workers_at_a_time_come_to_the_same_end(client: OldClient, port: int) -> None:
    other = OldClient(Connection("127.0.0.1", port, place=client.place))
    steps = [pending(client), pending(other)]
    assert steps[0] == steps[1]
    for first, second in zip(*steps, strict=True):
        client.run(first)
        other.run(second)
    assert (migrate(client), migrate(other)) == (list(checksums()), [])
    other.close()


def test_replays_are_kept_there_and_asked_for_in_any_format(client: OldClient) -> None:
    migrate(client)
    for name in DERIVED:  # it knows no states, so nothing fills these
        made = f"CREATE TABLE {client.place.table(name)} (rollout String, source String) ENGINE = Log"
        Client.run(client, made)
    with RemoteStore(client) as store:
        replay(store, count=4)
        replay(store, count=2, source="replay:b")
    asked = "SELECT source, count() AS n, sum(sequence) AS s FROM verdicts GROUP BY source ORDER BY source"
    assert client.read(asked, "CSVWithNames") == b'"source","n","s"\n"replay:a",4,10\n"replay:b",2,3\n'
    assert client.read("SELECT count() FROM ticks", "JSONCompactColumns").split() == [b"[", b"[6]", b"]"]
    with pytest.raises(StoreError, match="nope"):
        client.read("SELECT nope FROM verdicts", "CSV")
    with pytest.raises(StoreError, match=r"(?i)readonly"):
        client.read("DROP TABLE verdicts", "CSV")


def test_a_server_of_the_settings_that_lacks_the_schema_is_not_written_to(port: int, tmp_path: Path) -> None:
    with (
        pytest.raises(
            StoreError, match=rf"ClickHouse at 127\.0\.0\.1:{port} has schema none; `holdfast store migrate`"
        ),
        stores.writing(ClickHouse(host="127.0.0.1", port=port, database="none")),
    ):
        pass
