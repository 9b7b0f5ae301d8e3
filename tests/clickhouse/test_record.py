"""Recording somebody's own metrics from ClickHouse: a real server, and the embedded store."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.errors import BadInput
from holdfast.recording.document import ClickHouseSource
from holdfast.recording.record import record
from sinks.clickhouse import Server
from sinks.connection import Connection
from sinks.errors import StoreError
from sinks.store import Store
from tests.clickhouse.old import is_old
from tests.recorded import canonical, directly, documents, made, recorded, verdicts

TABLE = """
    CREATE TABLE {place}.mine (ts {time}, name String, val Float64, dc LowCardinality(String), host String,
    region Nullable(String), cohort String, le String) ENGINE = MergeTree {keys}
"""
COLUMNS = {"time": "ts", "metric": "name", "value": "val", "colo": "dc"}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("fleet"))


def rows_of(recording: Path, *, in_seconds: bool) -> pa.Table:
    """Return the samples under other names, and not in order."""
    table = canonical(recording / "metrics.parquet").sort_by([("host", "ascending"), ("time", "descending")])
    time = table["time"].cast(pa.timestamp("s", "UTC"), safe=False) if in_seconds else table["time"]
    names = {"ts": time, "name": table["metric"], "val": table["value"], "dc": table["colo"]}
    labels = {name: table[name].fill_null("") for name in ("host", "region", "cohort", "le")}
    return pa.table({**names, **labels})


@pytest.fixture
def on_server(connection: Connection, server: Server, recording: Path, tmp_path: Path) -> ClickHouseSource:
    """Put the samples on a server; one of before 2019 has no times finer than a second."""
    place, old = connection.place.database, is_old(connection)
    keys = "PARTITION BY toYYYYMM(ts) ORDER BY (name, ts)"
    plain = Server(connection)
    plain.run(TABLE.format(place=place, time="DateTime" if old else "DateTime64(3, 'UTC')", keys=keys))
    plain.insert("mine", rows_of(recording, in_seconds=old))
    plain.close()
    settings = tmp_path / "holdfast.yaml"
    named = {"host": connection.host, "port": connection.port, "database": place}
    settings.write_bytes(msgspec.yaml.encode({"clickhouse": named}))
    return ClickHouseSource(table=f"{place}.mine", columns=COLUMNS, settings=str(settings))


@pytest.fixture(scope="module")
def embedded(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> ClickHouseSource:
    """Put the samples into a store in a folder."""
    folder = tmp_path_factory.mktemp("store") / "data"
    with Store(folder) as store:
        store.backend.run(TABLE.format(place="holdfast", time="DateTime64(3, 'UTC')", keys="ORDER BY (name, ts)"))
        store.backend.insert("mine", rows_of(recording, in_seconds=False))
    return ClickHouseSource(table="mine", columns=COLUMNS, data=str(folder))


def test_every_sample_of_a_table_on_a_server_is_recorded(
    on_server: ClickHouseSource, recording: Path, tmp_path: Path, connection: Connection
) -> None:
    recorded(tmp_path / "out", on_server, recording)
    expected = canonical(recording / "metrics.parquet")
    found = canonical(tmp_path / "out" / "metrics.parquet")
    if is_old(connection):
        seconds = expected["time"].cast(pa.timestamp("s", "UTC"), safe=False).cast(pa.timestamp("ms", "UTC"))
        expected = expected.set_column(0, "time", seconds)
        order = [("time", "ascending"), *((name, "ascending") for name in expected.schema.names[2:])]
        expected = expected.sort_by([*order, ("value", "ascending")])
    assert found.equals(expected)


def test_a_direct_replay_from_a_server_gives_the_verdicts_of_the_recording(
    on_server: ClickHouseSource, recording: Path, tmp_path: Path
) -> None:
    recorded(tmp_path / "out", on_server, recording)
    assert directly(tmp_path, on_server, recording) == verdicts(tmp_path / "out")


def test_a_server_that_is_away_is_told(recording: Path, tmp_path: Path) -> None:
    settings = tmp_path / "holdfast.yaml"
    settings.write_text("clickhouse: {host: 127.0.0.1, port: 9}\n")
    with pytest.raises(StoreError, match=r"ClickHouse at 127\.0\.0\.1:9: mine: .* cannot be reached"):
        recorded(tmp_path / "out", ClickHouseSource(table="mine", settings=str(settings)), recording)
    assert not (tmp_path / "out").exists()


def test_every_sample_of_a_table_in_this_process_is_recorded(
    embedded: ClickHouseSource, recording: Path, tmp_path: Path
) -> None:
    recorded(tmp_path / "out", embedded, recording)
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))


def test_a_direct_replay_in_this_process_gives_the_verdicts_of_the_recording(
    embedded: ClickHouseSource, recording: Path, tmp_path: Path
) -> None:
    recorded(tmp_path / "out", embedded, recording)
    assert directly(tmp_path, embedded, recording) == verdicts(tmp_path / "out") == verdicts(recording)


def test_samples_come_in_stretches_that_have_few_of_them(
    embedded: ClickHouseSource, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.recording.query.ROWS_MAX", 50)
    monkeypatch.setattr("holdfast.recording.query._PARTS", 4)
    steps: list[int] = []
    record(tmp_path / "out", embedded, documents(recording), show=lambda _, done, __: steps.append(done))
    assert max(after - before for before, after in zip([0, *steps], steps, strict=False)) <= 50
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))


def test_a_query_may_make_the_columns_and_a_stretch_of_time_is_taken(
    embedded: ClickHouseSource, recording: Path, tmp_path: Path
) -> None:
    query = "SELECT ts AS time, name AS metric, toDecimal64(val, 3) AS value, dc AS colo, host FROM mine WHERE le = '';"
    start, end = documents(recording).span()
    asked = msgspec.structs.replace(embedded, table=None, query=query, columns={}, start=start, end=end)
    recorded(tmp_path / "out", asked, recording)
    table = pq.read_table(tmp_path / "out" / "metrics.parquet")
    assert table.schema.names == ["time", "metric", "value", "colo", "host"]
    assert table["time"].to_pylist()[-1] < end


Change = Callable[[ClickHouseSource], ClickHouseSource]


def with_query(query: str, **changes) -> Change:
    return lambda source: msgspec.structs.replace(source, table=None, query=query, **({"columns": {}} | changes))


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            lambda source: msgspec.structs.replace(source, columns={"time": "ts"}),
            [
                "mine: column `metric` is missing; --column metric=NAME says what it is called there",
                "mine: column `value` is missing",
                "mine: column `colo` is missing",
                "mine: there are the columns `ts`, `name`, `val`, `dc`, `host`",
            ],
        ),
        (
            with_query("SELECT 'x' AS time, 'm' AS metric, 'v' AS value, map('a', 'b') AS colo, 1 AS port"),
            [
                "the query: column `time` is String; allowed is DateTime or DateTime64",
                "the query: column `value` is String; allowed is a number",
                "the query: column `colo` is Map(String, String); a query makes columns of it, as in",
                "the query: column `port` is UInt8; labels are texts; --label NAME names",
            ],
        ),
    ],
)
def test_columns_that_do_not_fit_are_told_all_at_once(
    change: Change, messages: list[str], embedded: ClickHouseSource, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as caught:
        recorded(tmp_path / "out", change(embedded), recording)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(messages)
    assert all(message in line for message, line in zip(messages, lines, strict=True))
    assert not (tmp_path / "out").exists()


def test_a_query_that_clickhouse_refuses_is_told_in_its_words(
    embedded: ClickHouseSource, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=r"the query: .*nowhere"):
        recorded(tmp_path / "out", with_query("SELECT * FROM nowhere")(embedded), recording)


def test_a_number_is_a_label_if_it_is_named(embedded: ClickHouseSource, recording: Path, tmp_path: Path) -> None:
    query = "SELECT ts AS time, name AS metric, val AS value, dc AS colo, cityHash64(host) % 3 AS rack FROM mine"
    recorded(tmp_path / "out", with_query(query, labels=["rack"])(embedded), recording)
    assert set(pq.read_table(tmp_path / "out" / "metrics.parquet")["rack"].to_pylist()) == {"0", "1", "2"}
