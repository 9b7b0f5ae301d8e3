"""`holdfast record`: files of any columns become a recording, whole or not at all, and say what is wrong with them."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from holdfast.errors import BadInput
from holdfast.recording.aside import filled
from holdfast.recording.document import CsvSource, ParquetSource, load_source
from holdfast.recording.gathering import Gathering
from holdfast.recording.metrics import Gap, write
from holdfast.replaying import samples_of
from tests.recorded import Shell, canonical, directly, documents, made, recorded, verdicts
from tests.samples import Row, columns, in_order, sample, series

COLUMNS = {"time": "ts", "metric": "name", "value": "val", "colo": "dc"}
ALWAYS = (-(1 << 62), 1 << 62)


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


def shuffled(table: pa.Table, seed: int = 1) -> pa.Table:
    return table.take(np.random.default_rng(seed).permutation(table.num_rows))


# ---------------------------------------------------------------- Parquet and CSV


def test_parquet_in_any_order_and_any_number_of_files_is_one_recording(
    table: pa.Table, recording: Path, tmp_path: Path
) -> None:
    mixed, folder = shuffled(table), tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(mixed), 5_000)):
        pq.write_table(mixed.slice(start, 5_000), folder / f"{number}.parquet", row_group_size=700)
    recorded(tmp_path / "a", ParquetSource(files=[str(tmp_path / "in")], columns=COLUMNS), recording)
    pattern = str(tmp_path / "in" / "**" / "*.parquet")
    recorded(tmp_path / "b", ParquetSource(files=[pattern], columns=COLUMNS), recording)
    assert canonical(tmp_path / "a" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))
    assert (tmp_path / "a" / "metrics.parquet").read_bytes() == (tmp_path / "b" / "metrics.parquet").read_bytes()


def test_csv_is_recorded_as_parquet_is(table: pa.Table, recording: Path, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "m.parquet")
    texts = table.set_column(0, "ts", pc.strftime(table["ts"], "%Y-%m-%dT%H:%M:%SZ"))
    csv.write_csv(texts, tmp_path / "m.csv")
    recorded(tmp_path / "a", CsvSource(files=[str(tmp_path / "m.csv")], columns=COLUMNS), recording)
    recorded(tmp_path / "b", ParquetSource(files=[str(tmp_path / "m.parquet")], columns=COLUMNS), recording)
    assert (tmp_path / "a" / "metrics.parquet").read_bytes() == (tmp_path / "b" / "metrics.parquet").read_bytes()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_direct_replay_gives_the_verdicts_of_the_recording(
    kind: str, table: pa.Table, recording: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"m.{kind}"
    mixed = shuffled(table)
    if kind == "parquet":
        pq.write_table(mixed, path)
        source: ParquetSource | CsvSource = ParquetSource(files=[str(path)], columns=COLUMNS)
    else:
        csv.write_csv(mixed, path)
        source = CsvSource(files=[str(path)], columns=COLUMNS)
    recorded(tmp_path / "out", source, recording)
    assert directly(tmp_path, source, recording) == verdicts(tmp_path / "out") == verdicts(recording)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-3), ("ms", 1), ("us", 1_000), ("ns", 1_000_000)])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_times_may_be_numbers(kind, unit, factor, table: pa.Table, recording: Path, tmp_path: Path) -> None:
    ms = table["ts"].cast(pa.int64()).to_numpy()
    numbers = pa.array(ms * factor) if unit == "s" else pa.array(ms * factor, pa.int64())
    changed = table.set_column(0, "ts", numbers)
    path = tmp_path / f"m.{kind}"
    options = {"files": [str(path)], "columns": COLUMNS, "time_unit": unit}
    if kind == "parquet":
        pq.write_table(changed, path)
        recorded(tmp_path / "out", ParquetSource(**options), recording)
    else:
        csv.write_csv(changed, path)
        recorded(tmp_path / "out", CsvSource(**options), recording)
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))


def test_row_groups_of_another_time_are_not_read(table: pa.Table, recording: Path, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=500)
    start = documents(recording).rollout.started
    source = ParquetSource(files=[str(tmp_path / "m.parquet")], columns=COLUMNS, start=start)
    found = recorded(tmp_path / "out", source, recording)
    expected = canonical(recording / "metrics.parquet")
    expected = expected.filter(pc.greater_equal(expected["time"], pa.scalar(start, expected["time"].type)))
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(expected)
    assert found.left_out["outside"] < 500


def changed(**new) -> Callable[[pa.Table], pa.Table]:
    """Put other columns in the place of some."""

    def change(table: pa.Table) -> pa.Table:
        for name, make in new.items():
            place = table.schema.get_field_index(name)
            table = table.append_column(name, make(table)) if place < 0 else table.set_column(place, name, make(table))
        return table

    return change


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            lambda table: table.drop_columns(["name", "dc"]),
            [
                "column `name` is missing, which is to be `metric`; --column metric=NAME says what it is called there",
                "column `dc` is missing, which is to be `colo`; --column colo=NAME says what it is called there",
                "there are the columns `ts`, `val`, `cohort`, `host`, `le`, `region`; needed are time, metric,",
            ],
        ),
        (
            changed(ts=lambda table: table["ts"].cast(pa.timestamp("ms"))),
            ["column `ts` is timestamp[ms]; its times say nothing of their zone; --timezone UTC says"],
        ),
        (
            changed(
                ts=lambda table: table["ts"].cast(pa.int64()),
                val=lambda table: table["host"],
                port=lambda table: pa.array([1] * table.num_rows),
            ),
            [
                "column `ts` is int64; --time-unit s, ms, us or ns says what it counts since 1970",
                "column `val` is string; allowed is a number",
                "column `port` is int64; labels are texts; --label NAME names the columns that are labels",
            ],
        ),
        (changed(colo=lambda table: table["host"]), ["column `colo` would be a second `colo`, beside `dc`; --column"]),
    ],
)
def test_columns_that_do_not_fit_are_told_all_at_once(
    change, messages: list[str], table: pa.Table, recording: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(change(table), path)
    with pytest.raises(BadInput) as caught:
        recorded(tmp_path / "out", ParquetSource(files=[str(path)], columns=COLUMNS), recording)
    lines = str(caught.value).splitlines()
    assert [line[: len(str(path)) + 2 + len(text)] for line, text in zip(lines, messages, strict=True)] == [
        f"{path}: {text}" for text in messages
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.parquet"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,metric,value,colo\n2026-03-12T11:20:00Z,m,many,a\n", "cannot be read to its end: .*many"),
        ("time,metric,value,colo\n2026-03-12 11:20:00,m,1,a\n", "allowed: times with their zone"),
        ("time,metric,value,colo\n2026-03-12T11:20:00Z,m,1\n", "Row #2: Expected 4 columns, got 3"),
        ("", "not a readable CSV file"),
    ],
)
def test_csv_that_cannot_be_read_is_told(text: str, message: str, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(BadInput, match=f"m.csv: .*{message}"):
        recorded(tmp_path / "out", CsvSource(files=[str(tmp_path / "m.csv")]), recording)
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_cut_off_is_told_and_leaves_nothing(table: pa.Table, recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(table, path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(BadInput, match=r"m\.parquet: not a readable Parquet file"):
        recorded(tmp_path / "out", ParquetSource(files=[str(path)], columns=COLUMNS), recording)
    assert [each.name for each in tmp_path.iterdir()] == ["m.parquet"]


def test_files_that_are_not_there_are_told_all_at_once(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        recorded(tmp_path / "out", ParquetSource(files=["nope", str(tmp_path / "*.parquet")]), recording)
    assert [line.partition(": no such file; ")[0] for line in str(caught.value).splitlines()] == [
        "nope",
        str(tmp_path / "*.parquet"),
    ]


def test_nothing_in_the_stretch_of_time_is_told(table: pa.Table, recording: Path, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "m.parquet")
    source = ParquetSource(files=[str(tmp_path / "m.parquet")], columns=COLUMNS, select={"colo": "nowhere"})
    with pytest.raises(
        BadInput, match=r"no sample of what is selected, the beginning to the end; there are 12,736 not"
    ):
        recorded(tmp_path / "out", source, recording)


# ---------------------------------------------------------------- gathering


def written(folder: Path, gathering: Gathering, gap_ms: int = 50_000):
    found = write(gathering, folder / "metrics.parquet", gap_ms=gap_ms)
    assert found is not None
    return found, pq.read_table(folder / "metrics.parquet")


def rows() -> list[Row]:
    hosts = [series("m", [float(tick) for tick in range(40)], host=f"h{number}", rack="r") for number in range(5)]
    return in_order(*hosts, series("m", [1.0, 1.0], host="h1"))


@pytest.mark.parametrize(("run_rows", "block_rows"), [(10_000, 10_000), (7, 3), (50, 1), (1, 64)])
def test_the_same_samples_are_the_same_file_however_they_come_and_however_little_memory_there_is(
    run_rows: int, block_rows: int, tmp_path: Path
) -> None:
    given = rows()
    order = np.random.default_rng(run_rows).permutation(len(given))
    gathering = Gathering(tmp_path, ALWAYS, {}, run_rows=run_rows, block_rows=block_rows)
    for part in np.array_split(order, 9):
        gathering.take(columns([given[index] for index in part]))
    one = Gathering(tmp_path, ALWAYS, {})
    one.take(columns(given))
    found = written(tmp_path, gathering)[1]
    assert found.num_rows == len(given)
    assert found.equals(written(tmp_path, one)[1])


def test_labels_that_no_sample_has_are_left_out_and_new_ones_are_added(tmp_path: Path) -> None:
    gathering = Gathering(tmp_path, ALWAYS, {"colo": "ams*"})
    gathering.take(columns([sample(1, "m", 1.0), sample(1, "m", 1.0, colo="fra02", only="there")]))
    gathering.take(columns([sample(2, "m", 2.0, zone="z")]))
    found, table = written(tmp_path, gathering)
    assert (table.schema.names, found.series) == (["time", "metric", "value", "colo", "host", "zone"], 2)
    assert gathering.left_out["not_selected"] == 1


def test_samples_without_a_colo_are_kept_and_told(tmp_path: Path) -> None:
    gathering = Gathering(tmp_path, ALWAYS, {})
    gathering.take(columns([sample(1, "m", 1.0), sample(1, "m", 1.0, colo=None)]))
    found, table = written(tmp_path, gathering)
    assert (found.nameless, table.num_rows) == (1, 2)


def test_gaps_are_found_everywhere_and_in_single_colos(tmp_path: Path) -> None:
    holes = [1.0] * 10 + [None] * 10 + [1.0] * 20
    later = [1.0] * 30 + [None] * 6 + [1.0] * 4
    gathering = Gathering(tmp_path, ALWAYS, {}, run_rows=16, block_rows=4)
    gathering.take(columns(in_order(series("m", holes), series("m", [*holes[:30], *later[30:]], colo="fra02"))))
    found, table = written(tmp_path, gathering)
    assert found.gaps == [Gap("", 97_000, 207_000), Gap("fra02", 297_000, 367_000)]
    assert table.num_rows == 54


# ---------------------------------------------------------------- whole or not at all


def test_a_recording_that_is_there_is_replaced_only_if_that_is_said(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with filled(out, replaces=False) as (made_here, _):
        (made_here / "rollout.yaml").write_text("a")
    with (
        pytest.raises(BadInput, match=r"out: there already; allowed: another folder, or --replace"),
        filled(out, replaces=False),
    ):
        pass
    with filled(out, replaces=True) as (made_here, _):
        (made_here / "rollout.yaml").write_text("b")
    assert (out / "rollout.yaml").read_text() == "b"
    (out / "photos").mkdir()
    with pytest.raises(BadInput, match="no recording; allowed: another folder"), filled(out, replaces=True):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from holdfast.recording.aside import filled
with filled(Path(sys.argv[1]), replaces=True) as (made, around):
    (made / "metrics.parquet").write_bytes(b"half")
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    signal.pause()
"""


@pytest.mark.parametrize(("number", "left"), [("SIGINT", 0), ("SIGTERM", 1), ("SIGKILL", 1)])
def test_who_is_killed_leaves_at_most_a_hidden_folder_which_the_next_one_removes(
    number: str, left: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, out, number], check=False, capture_output=True, timeout=60)
    assert done.returncode != 0
    names = [each.name for each in tmp_path.iterdir()]
    assert (len(names), all(name.startswith(".out.recording-") for name in names)) == (left, True)
    with filled(out, replaces=False) as (made_here, _):
        (made_here / "rollout.yaml").write_text("a")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_recording_whose_replacement_was_killed_at_the_worst_moment_comes_back(tmp_path: Path) -> None:
    aside = tmp_path / ".out.recording-x"
    (aside / "replaced").mkdir(parents=True)
    (aside / "replaced" / "rollout.yaml").write_text("old")
    with pytest.raises(BadInput, match="there already"), filled(tmp_path / "out", replaces=False):
        pass
    assert (tmp_path / "out" / "rollout.yaml").read_text() == "old"


def test_two_who_record_to_one_place_do_not_meet(tmp_path: Path) -> None:
    aside = tmp_path / ".out.recording-x"
    aside.mkdir()
    with (aside / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        with (
            pytest.raises(BadInput, match=rf"another holdfast \(process {os.getpid()}\)"),
            filled(tmp_path / "out", replaces=False),
        ):
            pass


def test_a_command_that_is_interrupted_leaves_nothing(recording: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # who connects is never answered
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        words = ["record", "--from", "prometheus", "--url", url, "--out", str(tmp_path / "out")]
        words += ["--rollout", str(recording / "rollout.yaml"), "--policy", str(recording / "policy.yaml")]
        process = subprocess.Popen([Path(sys.executable).parent / "holdfast", *words], stderr=subprocess.PIPE)
        silent.settimeout(60)
        client, _ = silent.accept()
        with client:
            client.recv(1)
            assert len(list(tmp_path.glob(".out.recording-*"))) == 1
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert (process.returncode != 0, b"Traceback" in errors, list(tmp_path.iterdir())) == (True, False, [])


# ---------------------------------------------------------------- the command line


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


# ---------------------------------------------------------------- source.yaml


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
