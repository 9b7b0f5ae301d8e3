"""The client on a real server: what goes in comes out, and what goes wrong is said."""

import gc
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sinks.clickhouse import Server as Client
from sinks.connection import Connection
from sinks.errors import StoreAway, StoreError, StoreRefused
from sinks.schema import ROWS
from tests.clickhouse.conftest import Address
from tests.clickhouse.old import OldClient, client, seconds
from tests.clickhouse.proxy import Proxy
from tests.kafka.broker import free_ports

TEXTS = ["", "a", "it's", 'q"uote', "back\\slash", "tab\tand\nline", "Ä–€ 🐈", "x" * 300]
FLOATS = [0.0, -0.0, 1.5, -1e300, 5e-324, float("inf"), float("-inf"), float("nan")]


def rows_of(table: str, count: int, seed: int = 5) -> pa.Table:
    """Make rows with all that is odd, each with a key of its own."""
    draw = np.random.default_rng(seed)
    columns = [pa.array(list(values_of(table, field, count, draw)), field.type) for field in ROWS[table]]
    return pa.table(columns, schema=ROWS[table])


def values_of(table: str, field: pa.Field, count: int, draw: np.random.Generator) -> Iterable[object]:
    kind = field.type
    if field.name in ("version", "number", "sequence"):
        return range(count)
    if field.name == "rollout" and table in ("rollouts", "truths"):
        return [f"rollout-{number}" for number in range(count)]
    if pa.types.is_timestamp(kind):
        return [1_770_000_000_000 + 1_000 * number for number in range(count)]
    if pa.types.is_string(kind):
        return [TEXTS[place] for place in draw.integers(len(TEXTS), size=count)]
    if pa.types.is_floating(kind):
        return [FLOATS[place] for place in draw.integers(len(FLOATS), size=count)]
    if pa.types.is_boolean(kind):
        return [bool(each) for each in draw.integers(2, size=count)]
    if pa.types.is_list(kind):
        numbers = pa.types.is_integer(kind.value_type)
        return [
            [int(place) if numbers else TEXTS[place] for place in draw.integers(len(TEXTS), size=length)]
            for length in draw.integers(4, size=count)
        ]
    return [int(each) for each in draw.integers(2**32, size=count)]


def plain(value: object) -> object:
    """Return a value as any version of the server gives it back."""
    if isinstance(value, datetime):
        return int(value.replace(tzinfo=UTC).timestamp())
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return repr(value) if isinstance(value, float) else int(value) if isinstance(value, bool) else value


def read_back(server: Client, table: str) -> list[list[object]]:
    names = ", ".join(ROWS[table].names)
    found = server.select(f"SELECT {names} FROM {server.place.table(table)} FINAL")
    return sorted([[plain(each) for each in row] for row in found], key=repr)


def wanted(rows: pa.Table) -> list[list[object]]:
    return sorted([[plain(each) for each in row.values()] for row in rows.to_pylist()], key=repr)


@pytest.mark.parametrize("table", ROWS)
def test_what_goes_in_comes_out(server: Client, table: str) -> None:
    rows = rows_of(table, 300)
    server.insert(table, rows, "token")
    assert read_back(server, table) == wanted(rows)


@pytest.mark.parametrize("is_compressed", [False, True])
def test_blocks_go_in_with_and_without_compression(server: Client, connection: Connection, is_compressed: bool) -> None:
    again = client(replace(connection, is_compressed=is_compressed))
    rows = rows_of("evidence", 50)
    again.insert("evidence", rows)
    again.close()
    assert read_back(server, "evidence") == wanted(rows)


@pytest.mark.parametrize("count", [1, 255, 256, 65_536])
def test_as_many_texts_as_rows_are_told_apart(server: Client, count: int) -> None:
    texts = [f"p{number}" for number in range(count)]
    rows = rows_of("evidence", count)
    place = rows.schema.get_field_index("place")
    server.insert("evidence", rows.set_column(place, rows.schema.field(place), pa.array(texts)))
    found = server.select(f"SELECT place, version FROM {server.place.table('evidence')} ORDER BY version")
    assert found == list(zip(texts, range(count), strict=True))


def test_rows_in_many_pieces_are_one_insert(server: Client) -> None:
    pieces = [rows_of("cohort_ticks", 10, seed) for seed in range(20)]
    named = [
        piece.set_column(0, piece.schema.field(0), pa.array([f"r{number}"] * 10)) for number, piece in enumerate(pieces)
    ]
    server.insert("cohort_ticks", pa.concat_tables(named))
    parts = server.select(
        f"SELECT count() FROM system.parts WHERE active AND database = '{server.place.database}' "
        "AND table = 'cohort_ticks'"
    )
    assert parts == [(1,)]
    assert read_back(server, "cohort_ticks") == wanted(pa.concat_tables(named))


def test_no_rows_are_no_insert(server: Client) -> None:
    server.insert("evidence", ROWS["evidence"].empty_table())
    assert read_back(server, "evidence") == []


def test_rows_that_come_twice_are_read_once(server: Client) -> None:
    rows = rows_of("evidence", 200)
    server.insert("evidence", rows, "first")
    server.insert("evidence", rows.slice(100), "cut elsewhere")
    server.insert("evidence", rows, "first")
    assert read_back(server, "evidence") == wanted(rows)


def test_rows_that_a_check_of_the_table_refuses_are_refused(server: Client) -> None:
    table = server.place.table("evidence")
    server.run(f"ALTER TABLE {table} ADD COLUMN checked UInt8 MATERIALIZED throwIf(version = 7)")
    with pytest.raises(StoreRefused, match=r"ClickHouse at .* says: Value passed to 'throwIf' function is non"):
        server.insert("evidence", rows_of("evidence", 10))
    server.insert("evidence", rows_of("evidence", 7))
    assert len(read_back(server, "evidence")) == 7


def test_rows_that_cannot_be_written_down_are_refused_and_the_next_ones_go_in(server: Client) -> None:
    rows = rows_of("ticks", 3)
    place = rows.schema.get_field_index("dropped")
    negative = pa.array([[-1], [1], [2]], pa.list_(pa.int64()))
    with pytest.raises(StoreRefused, match="rows that cannot be written down"):
        server.insert("ticks", rows.set_column(place, "dropped", negative))
    server.insert("ticks", rows)
    assert read_back(server, "ticks") == wanted(rows)


def test_a_table_that_is_not_there_may_be_there_later(server: Client) -> None:
    server.run(f"DROP TABLE {server.place.table('evidence')}")
    with pytest.raises(StoreAway, match=r"says: Table \S+evidence (doesn't|does not) exist"):
        server.insert("evidence", rows_of("evidence", 1))


def test_an_error_says_what_helps(server: Client) -> None:
    with pytest.raises(StoreError, match=r"^ClickHouse at \S+ says: .*nope") as caught:
        server.select("SELECT nope")
    assert "Stack trace" not in str(caught.value)
    assert "DB::" not in str(caught.value)


def test_a_server_that_is_not_there_is_away(connection: Connection) -> None:
    nobody = Client(replace(connection, port=free_ports(1)[0]))
    with pytest.raises(StoreAway, match=r"^ClickHouse at 127\.0\.0\.1:\d+ cannot be reached: "):
        nobody.insert("evidence", rows_of("evidence", 1))


def test_a_server_that_says_nothing_is_away(connection: Connection) -> None:
    slow = Client(connection, send_seconds=0.2)
    with pytest.raises(StoreAway, match=r"cannot be reached: .*timed out"):
        slow.select("SELECT sleep(1)")
    slow.close()


def test_a_wrong_password_is_said(connection: Connection) -> None:
    stranger = Client(replace(connection, password="wrong"))
    with pytest.raises(StoreError, match=r"says: .*[Pp]assword"):
        stranger.select("SELECT 1")


def test_values_of_a_question_are_values(server: Client) -> None:
    for text in TEXTS:
        assert server.select("SELECT {text:String}", {"text": text}) == [(text,)]


def test_an_answer_comes_in_any_format(server: Client) -> None:
    server.insert("evidence", rows_of("evidence", 3))
    sql = "SELECT toUInt32(count()) AS rows, 'it''s' AS text FROM evidence"
    assert server.read(sql, "JSONEachRow") == b'{"rows":3,"text":"it\'s"}\n'


def test_whoever_asks_cannot_write(server: Client) -> None:
    with pytest.raises(StoreError, match=r"(?i)read"):
        server.read("DROP TABLE evidence", "CSV")
    assert read_back(server, "evidence") == []


def test_a_connection_that_is_cut_in_the_middle_of_a_block_is_made_anew(server: Client, connection: Connection) -> None:
    rows = rows_of("evidence", 4_000)
    with Proxy(connection.port) as proxy:
        through = client(replace(connection, port=proxy.port))
        through.insert("evidence", rows.slice(0, 1))
        for cut in (1, 300, 5_000, 20_000):
            proxy.left = cut
            with pytest.raises(StoreAway, match="cannot be reached"):
                through.insert("evidence", rows, "token")
        assert proxy.cuts == 4
        assert len(read_back(server, "evidence")) == 1  # no half of a block went in
        through.insert("evidence", rows, "token")
        through.close()
    assert read_back(server, "evidence") == wanted(rows)


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 20, 60])
def test_a_server_that_ends_in_the_middle_of_what_it_says_is_away(connection: Connection, cut: int) -> None:
    with Proxy(connection.port) as proxy:
        proxy.said = cut
        through = Client(replace(connection, port=proxy.port))
        with pytest.raises(StoreAway, match="cannot be reached"):
            through.insert("evidence", rows_of("evidence", 1))
        through.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b"\x00" * 200, b"\x01" * 200, b"\x02" * 200])
def test_a_server_that_talks_nonsense_is_away(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1_000)
                client.sendall(answer)

        thread = threading.Thread(target=talk)
        thread.start()
        strange = Client(Connection("127.0.0.1", listener.getsockname()[1]), send_seconds=1.0)
        with pytest.raises(StoreAway, match="cannot be reached"):
            strange.insert("evidence", rows_of("evidence", 1))
        strange.close()
        thread.join()


class Authority:
    """Says of a server that it is 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        (folder / "key.pem").write_bytes(secret)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.file, folder / "key.pem")


@pytest.fixture
def secured(clickhouse: Address, tmp_path: Path) -> Iterator[tuple[Connection, Path]]:
    """Give a way to the server that speaks TLS, and the file that vouches for it."""
    authority = Authority(tmp_path)
    with Proxy(clickhouse.port, authority.context) as proxy:
        yield Connection("localhost", proxy.port, is_secure=True), authority.file


def answer(connection: Connection) -> object:
    asked = Client(connection)
    try:
        return asked.select("SELECT 1")
    finally:
        asked.close()


def test_tls_is_spoken_and_the_certificate_looked_at(secured: tuple[Connection, Path]) -> None:
    connection, file = secured
    assert answer(replace(connection, ca_file=str(file))) == [(1,)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the driver forgets a socket then
def test_a_certificate_that_nobody_vouches_for_is_refused(secured: tuple[Connection, Path]) -> None:
    connection, _ = secured
    with pytest.raises(StoreAway, match="certificate"):
        answer(connection)
    gc.collect()


def test_a_certificate_is_not_looked_at_if_that_is_said(secured: tuple[Connection, Path]) -> None:
    connection, _ = secured
    assert answer(replace(connection, is_verified=False)) == [(1,)]


def test_times_of_an_old_server_are_seconds() -> None:
    assert issubclass(OldClient, Client)
    assert {str(each.type) for each in seconds(ROWS["ticks"]) if pa.types.is_timestamp(each.type)} == {
        "timestamp[s, tz=UTC]"
    }
