"""`holdfast record` on the command line, and recordings that have a source instead of samples."""

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.errors import BadInput
from holdfast.recording.document import ParquetSource, load_source
from holdfast.recording.samples import samples_of
from tests.recorded import Shell, canonical, documents, made, verdicts

COLUMNS = {"time": "ts", "metric": "name", "value": "val", "colo": "dc"}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def table(recording: Path) -> pa.Table:
    """Return the samples with columns of other names."""
    found = canonical(recording / "metrics.parquet")
    return found.rename_columns({theirs: COLUMNS.get(theirs, theirs) for theirs in found.schema.names})


@pytest.fixture
def shell(capsys, monkeypatch) -> Shell:
    return Shell(capsys, monkeypatch)


def words(recording: Path, out: Path, *more: str) -> list[str]:
    given = [f"--{name}={recording / f'{name}.yaml'}" for name in ("rollout", "policy", "truth")]
    return ["record", "--out", str(out), *given, *more]


OPTIONS = [f"--column={own}={theirs}" for own, theirs in COLUMNS.items()]


def test_the_documents_are_copied_byte_for_byte_and_the_result_is_told(
    table: pa.Table, recording: Path, tmp_path: Path, shell: Shell
) -> None:
    pq.write_table(table, tmp_path / "m.parquet")
    out = tmp_path / "out"
    more = ["--from", "parquet", "--file", str(tmp_path / "m.parquet"), *OPTIONS, "--select", "metric=http_*"]
    status, said, errors = shell(*words(recording, out, *more, "--start", "8m"))
    assert (status, errors) == (0, "")
    assert all((out / name).read_bytes() == (recording / name).read_bytes() for name in ("rollout.yaml", "truth.yaml"))
    lines = said.splitlines()
    assert " series in 3 colos, 2026-03-12T11:1" in lines[0]
    assert [line.split(":")[0] for line in lines[1:-1]] == [
        "  left out",
        "  - 18 ticks lie before the rollout, and the policy wants at least 30",
    ]
    assert lines[-1] == f"next: holdfast replay {out} --check"
    status, said, _ = shell(*words(recording, out, *more, "--replace", "--json"))
    found = msgspec.json.decode(said)
    assert (status, found["rollout"], found["lost"]) == (0, "bots", {})


def test_a_direct_recording_has_absolute_paths_and_is_replayed(
    table: pa.Table, recording: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(table, tmp_path / "m.parquet")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    more = ["--from", "parquet", "--file", "m.parquet", *OPTIONS, "--direct"]
    assert shell(*words(recording, out, *more))[0] == 0
    source = load_source(out / "source.yaml")
    assert isinstance(source, ParquetSource)
    assert source.files == [str(tmp_path / "m.parquet")]
    monkeypatch.chdir("/")
    status, said, _ = shell("replay", str(out), "--no-store", "--check")
    assert (status, said.split(": ")[1]) == (0, "bots")
    # What a replay reads twice is what was there when it was opened.
    opened = samples_of(out)
    (tmp_path / "m.parquet").unlink()
    assert opened.rows == sum(len(samples.time) for samples in opened.read())


@pytest.mark.parametrize(
    ("more", "messages"),
    [
        (["--from", "pigeon"], ["--from: found 'pigeon'; allowed: kafka, clickhouse, parquet, prometheus or csv"]),
        (
            ["--from", "csv", "--topic", "t", "--select", "x", "--column", "=a", "--end", "now", "--start", "soon"],
            [
                "--topic: found with --from csv; allowed: with --from kafka",
                "--column: found '=a'; allowed: ours=theirs, as in time=ts",
                "--select: found 'x'; allowed: label=value, as in colo=ams*",
                "--end: found 'now'; allowed: a time with its zone",
                "--start: found 'soon'; allowed: a time with its zone, as in 2026-03-12T11:20:00Z, or how long before",
                "--from csv: files: missing; allowed: a list",
            ],
        ),
        (["--from", "csv", "--file", "a", "--time-unit", "h"], ['--time-unit: time_unit: found "h"; allowed:']),
        (["--from", "clickhouse"], ["--from clickhouse: the document: found none of table, query; allowed: exactly"]),
        (
            ["--from", "csv", "--file", "a", "--label", "host", "--label", "time", "--select", "rack=1"],
            [
                '--label: labels[1]: found "time", which is taken in any case',
                '--select: select.rack: found "rack", which is not among labels; allowed: a label that is taken',
            ],
        ),
        (["--from", "csv", "--file", "a", "--announced", "x"], ["--rollout, --announced, --stored: found several;"]),
        (["--from", "csv", "--file", "a", "--stored-from", "x"], ["--stored-from: found without --stored; allowed"]),
    ],
)
def test_options_that_cannot_be_are_told_all_at_once(
    more: list[str], messages: list[str], recording: Path, tmp_path: Path, shell: Shell
) -> None:
    status, _, errors = shell(*words(recording, tmp_path / "out", *more))
    assert [line[: len(message)] for line, message in zip(errors.splitlines(), messages, strict=True)] == messages
    assert (status, list(tmp_path.iterdir())) == (2, [])


def test_documents_come_from_a_store(recording: Path, table: pa.Table, tmp_path: Path, shell: Shell) -> None:
    pq.write_table(table, tmp_path / "m.parquet")
    assert shell("replay", str(recording), "--data", str(tmp_path / "store"))[0] == 0
    more = ["--from", "parquet", "--file", str(tmp_path / "m.parquet"), *OPTIONS, "--stored", "bots"]
    out = tmp_path / "out"
    assert shell("record", "--out", str(out), "--data", str(tmp_path / "store"), *more)[::2] == (0, "")
    assert verdicts(out)
    assert documents(out).rollout == documents(recording).rollout
    assert documents(out).policy == documents(recording).policy
    assert (out / "truth.yaml").is_file()


def test_samples_and_a_source_of_them_contradict_each_other(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.parquet").write_bytes(b"")
    (tmp_path / "source.yaml").write_text("from: csv\nfiles: [a]\n")
    with pytest.raises(BadInput, match=r"source\.yaml: found beside metrics\.parquet; allowed: one of them"):
        samples_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("[1]", [":1: the document: found a list of 1 item; allowed: a mapping with the key from"]),
        ("topic: a", [":1: from: missing; allowed: kafka, clickhouse, parquet, prometheus or csv"]),
        ("from: mail", [':1: from: found "mail"; allowed: kafka, clickhouse, parquet, prometheus or csv']),
        (
            "from: kafka\ntopic: m\nslak: 1h\nstart: 2026-03-12T11:00:00Z\nend: 2026-03-12T10:00:00Z",
            [
                ":3: slak: unknown key, did you mean slack?; allowed: start,",
                ":5: end: found 2026-03-12T10:00:00Z; allo",
            ],
        ),
        (
            "from: clickhouse\ntable: a\nquery: SELECT 1\ndata: a\nsettings: b\ncolumns: {time: a, value: a}",
            [
                ":1: the document: found table and query of table, query; allowed: exactly one",
                ':4: data: found "a" beside settings; allowed: one of them',
                ':6: columns.value: found "a", which is time already',
            ],
        ),
    ],
)
def test_a_source_that_is_wrong_is_told_with_every_error(text: str, messages: list[str], tmp_path: Path) -> None:
    path = tmp_path / "source.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        samples_of(tmp_path)
    lines = [line.removeprefix(str(path)) for line in str(caught.value).splitlines()]
    assert [line[: len(message)] for line, message in zip(lines, messages, strict=True)] == messages
