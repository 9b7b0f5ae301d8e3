"""Bad input through the real command line: one clear message, exit status 2, and nothing else anywhere."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.test_cli import POLICY, Change, Command, Ran, Small, make_command, subcommand

GOLDEN: Final = Path(__file__).parent / "golden"
FOLDER: Final = "a recording is a folder with metrics.parquet, rollout.yaml and policy.yaml"
HISTOGRAM: Final = "  - {name: slow, histogram: seconds_bucket, quantile: 0.9, worse: increase, breach: halt}\n"
LABELS: Final = "every column but `time` and `value` is a label, and labels are strings"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return make_command(capsys, monkeypatch)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Small().write(tmp_path_factory.mktemp("bad-input") / "good")


@pytest.fixture
def recording(good: Path, tmp_path: Path) -> Path:
    """A good recording, to be spoilt."""
    return shutil.copytree(good, tmp_path / "recording")


def refusal(ran: Ran, recording: Path) -> str:
    """Return the message of a command that was refused, `R` standing for the recording."""
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.endswith("\n")
    assert "Traceback" not in ran.err
    return ran.err.removesuffix("\n").replace(str(recording), "R")


def replace(name: str, column: pa.Array) -> Change:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, column)


def cast(name: str, kind: pa.DataType) -> Change:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))


def spoil(recording: Path, change: Change) -> None:
    path = recording / "metrics.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def edit(path: Path, find: str = "", instead: str = "", add: str = "") -> None:
    """Replace some words of a document, which must be there, or add some to its end."""
    text = path.read_text("utf-8")
    assert find in text
    path.write_text((text.replace(find, instead) if find else text) + add + "\n" * bool(add), encoding="utf-8")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5_000])


def scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[200:1_200] = bytes(1_000)
    path.write_bytes(content)


def test_a_good_recording_is_judged(recording: Path, command: Command) -> None:
    ran = command("replay", recording, "--json", "--no-store")
    assert (ran.status, ran.err) == (0, "")


def test_a_folder_that_does_not_exist(tmp_path: Path, command: Command) -> None:
    ran = command("replay", tmp_path / "none", "--no-store")
    assert refusal(ran, tmp_path / "none") == f"R: no such folder; {FOLDER}"


def test_a_file_in_the_place_of_a_folder(recording: Path, command: Command) -> None:
    file = recording / "metrics.parquet"
    assert refusal(command("replay", file, "--no-store"), file) == f"R: no such folder; {FOLDER}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("metrics.parquet", f"R/metrics.parquet: no such file; {FOLDER}"),
        ("rollout.yaml", "R/rollout.yaml: cannot be read: no such file or directory"),
        ("policy.yaml", "R/policy.yaml: cannot be read: no such file or directory"),
    ],
)
def test_a_folder_without_one_of_its_files(name: str, message: str, recording: Path, command: Command) -> None:
    (recording / name).unlink()
    assert refusal(command("replay", recording, "--no-store"), recording) == message


def test_both_documents_are_reported_at_once(recording: Path, command: Command) -> None:
    for name in ("rollout.yaml", "policy.yaml"):
        (recording / name).unlink()
    lines = refusal(command("replay", recording, "--no-store"), recording).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["R/rollout.yaml", "R/policy.yaml"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: path.write_bytes(b""), "not a readable Parquet file: "),
        (lambda path: path.write_bytes(b"time,metric,value\n"), "not a readable Parquet file: "),
        (cut, "not a readable Parquet file: "),
        (scramble, "cannot be read to its end: "),
    ],
    ids=["empty", "text", "truncated", "scrambled"],
)
def test_broken_parquet(break_it: Callable[[Path], None], message: str, recording: Path, command: Command) -> None:
    break_it(recording / "metrics.parquet")
    error = refusal(command("replay", recording, "--no-store"), recording)
    assert error.startswith(f"R/metrics.parquet: {message}")
    assert len(error.splitlines()) == 1


COLUMNS: Final[dict[str, tuple[Change, str]]] = {
    "no time": (
        lambda t: t.drop_columns(["time"]),
        "column `time` is missing; it must be there, of type timestamp[ms, tz=UTC]",
    ),
    "no value": (lambda t: t.drop_columns(["value"]), "column `value` is missing; it must be there, of type double"),
    "no colo": (lambda t: t.drop_columns(["colo"]), "column `colo` is missing; it must be there, of type string"),
    "no metric": (lambda t: t.drop_columns(["metric"]), "column `metric` is missing; it must be there, of type string"),
    "value is text": (cast("value", pa.string()), "column `value` is string; allowed is double (float64)"),
    "value is single": (cast("value", pa.float32()), "column `value` is float; allowed is double (float64)"),
    "time without a zone": (
        cast("time", pa.timestamp("ms")),
        "column `time` is timestamp[ms]; allowed is timestamp[ms, tz=UTC]",
    ),
    "time in microseconds": (
        cast("time", pa.timestamp("us", "UTC")),
        "column `time` is timestamp[us, tz=UTC]; allowed is timestamp[ms, tz=UTC]",
    ),
    "time is a number": (cast("time", pa.int64()), "column `time` is int64; allowed is timestamp[ms, tz=UTC]"),
    "a label is a number": (
        lambda t: t.append_column("shard", pa.array([7] * len(t))),
        f"column `shard` is int64; {LABELS}",
    ),
    "a column twice": (lambda t: t.append_column("host", t["host"]), "column `host` occurs more than once"),
    "no rows": (lambda t: t.slice(0, 0), "no samples in it"),
    "no names": (
        lambda t: replace("colo", pa.nulls(len(t), pa.string()))(t),
        "no sample in it has a time, a metric and a colo",
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_that_are_not_those_of_a_recording(name: str, recording: Path, command: Command) -> None:
    change, message = COLUMNS[name]
    spoil(recording, change)
    error = refusal(command("replay", recording, "--no-store"), recording)
    assert error == f"R/metrics.parquet: {message}"


def test_all_columns_are_reported_at_once(recording: Path, command: Command) -> None:
    spoil(recording, lambda table: cast("value", pa.float32())(table).drop_columns(["time", "colo"]))
    lines = refusal(command("replay", recording, "--no-store"), recording).splitlines()
    assert len(lines) == 3


def refusals() -> list[pytest.ParameterSet]:
    """Read the table of documents that do not fit, and spell its abbreviations out."""
    table = yaml.safe_load((GOLDEN / "refusals.yaml").read_text("utf-8"))
    words = table.pop("words")
    return [
        pytest.param(file, row, re.sub("<([a-z]+)>", lambda match: words[match[1]], row["error"]), id=row["name"])
        for file, rows in table.items()
        for row in rows
    ]


@pytest.mark.parametrize(("file", "row", "message"), refusals())
def test_documents_that_do_not_fit(
    file: str, row: dict[str, str], message: str, recording: Path, command: Command
) -> None:
    edit(recording / file, row.get("find", ""), row.get("with", ""), row.get("add", ""))
    assert refusal(command("replay", recording, "--no-store"), recording) == message


def test_another_policy_is_named_in_its_errors(recording: Path, tmp_path: Path, command: Command) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(POLICY.replace("gauge: cpu", "gauge: cpu_busy"), encoding="utf-8")
    error = refusal(command("replay", recording, "--policy", other, "--no-store"), recording)
    assert error.startswith(f"{other}: metrics[1] (cpu): the recording has no series `cpu_busy`")


@pytest.mark.parametrize("selector", ['{host: "*"}', '{colo: "*"}', "{colo: [ams01, fra02]}"])
def test_a_stage_that_leaves_nobody_to_compare_with(selector: str, recording: Path, command: Command) -> None:
    edit(recording / "rollout.yaml", "canary: {cohort: canary}, control: {cohort: control}", f"canary: {selector}")
    error = refusal(command("replay", recording, "--no-store"), recording)
    assert error.startswith("R/rollout.yaml: stages[0]: ")
    assert "control" in error


def test_a_past_as_long_as_required_is_enough(recording: Path, command: Command) -> None:
    edit(recording / "rollout.yaml", "11:20:01Z", "11:15:01Z")
    assert command("replay", recording, "--no-store").status == 0


@pytest.mark.parametrize(("started", "ticks"), [("11:10:01Z", 0), ("11:12:01Z", 12)])
def test_without_a_required_past_the_verdict_says_that_there_is_none(
    started: str, ticks: int, recording: Path, command: Command
) -> None:
    edit(recording / "rollout.yaml", "11:20:01Z", started)
    edit(recording / "policy.yaml", add="pre_period: {required: false}")
    ran = command("replay", recording, "--json", "--no-store")
    assert (ran.status, ran.err) == (0, "")
    for verdict in ran.outcomes[0]["verdicts"]:
        why = {entry["metric"]: entry["why"] for entry in verdict["data"]["abstained"]}
        assert f"judged without a past ({ticks} ticks)" in why["errors"]
        assert "no past of 30 ticks" in why["cpu"]
    assert ran.outcomes[0]["action"] != "advance"


BUCKETS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "no le": (("",), "`seconds_bucket` has a series with le=''; allowed is a number or +Inf"),
    "some without le": (("", "0.1", "+Inf"), "`seconds_bucket` has a series with le=''; allowed is a number or +Inf"),
    "le is a word": (("fast", "+Inf"), "`seconds_bucket` has a series with le='fast'; allowed is a number or +Inf"),
    "le is NaN": (("nan", "+Inf"), "`seconds_bucket` has a series with le='nan'; allowed is a number or +Inf"),
    "no +Inf": (("0.1", "1"), "`seconds_bucket` of ams01-h0 has no bucket le=+Inf, which holds all events"),
    "only +Inf": (("+Inf",), "`seconds_bucket` has no bucket"),
    "no edge above 0": (("-1", "0", "+Inf"), "`seconds_bucket` has no bucket"),
}


@pytest.mark.parametrize("name", BUCKETS)
def test_histograms_without_proper_buckets(name: str, tmp_path: Path, command: Command) -> None:
    edges, message = BUCKETS[name]
    small = Small()
    for count, edge in enumerate(edges, start=1):
        small.counter("seconds_bucket", 100.0 * count, edge)
    recording = small.write(tmp_path / "recording", POLICY + HISTOGRAM)
    error = refusal(command("replay", recording, "--no-store"), recording)
    assert error.startswith("R/metrics.parquet: ")
    assert message in error


def test_a_ratio_whose_bad_series_does_not_exist_is_zero(tmp_path: Path, command: Command) -> None:
    small = Small()
    del small.gains["http_5xx", ""]
    ran = command("replay", small.write(tmp_path / "recording"), "--json", "--no-store")
    assert (ran.status, ran.err) == (0, "")
    assert ran.outcomes[0]["action"] == "advance"


def test_rows_out_of_order_of_time(tmp_path: Path, command: Command) -> None:
    """The clock steps every 8192 rows, so that it takes some of them to be out of order."""
    recording = Small(hosts=40, pre=60).write(tmp_path / "recording")
    spoil(recording, lambda table: table.sort_by([("host", "ascending"), ("time", "ascending")]))
    error = refusal(command("replay", recording, "--no-store"), recording)
    assert error.startswith("R/metrics.parquet: ")
    words = (
        "of the samples come more than 30 s after newer ones; a recording is in order of time: sort its rows by `time`"
    )
    assert error.endswith(f"% {words}")


def test_the_order_of_few_rows_changes_nothing(recording: Path, command: Command) -> None:
    before = command("replay", recording, "--json", "--no-store")
    order = np.random.default_rng(1).permutation(pq.read_metadata(recording / "metrics.parquet").num_rows)
    spoil(recording, lambda table: table.take(pa.array(order)))
    assert command("replay", recording, "--json", "--no-store") == before


def test_a_policy_file_that_is_missing(recording: Path, tmp_path: Path, command: Command) -> None:
    other = tmp_path / "none.yaml"
    error = refusal(command("replay", recording, "--policy", other, "--no-store"), recording)
    assert error == f"{other}: cannot be read: no such file or directory"


def test_a_check_without_a_truth(recording: Path, command: Command) -> None:
    error = refusal(command("replay", recording, "--check", "--no-store"), recording)
    assert error == "R/truth.yaml: cannot be read: no such file or directory"


def test_a_truth_that_is_none(recording: Path, command: Command) -> None:
    (recording / "truth.yaml").write_text("bad: maybe\nexpect: [stop]\n", encoding="utf-8")
    assert command("replay", recording, "--no-store").status == 0
    error = refusal(command("replay", recording, "--check", "--no-store"), recording)
    assert error.splitlines() == [
        'R/truth.yaml:1: bad: found "maybe"; allowed: true or false',
        'R/truth.yaml:2: expect[0]: found "stop"; allowed: advance, halt, revert or wait',
    ]


def overlap(recording: Path) -> None:
    edit(recording / "rollout.yaml", "{cohort: control}", '{host: "*"}')


def lack(recording: Path) -> None:
    edit(recording / "policy.yaml", "gauge: cpu", "gauge: x")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda recording: (recording / "policy.yaml").unlink(),
        lambda recording: cut(recording / "metrics.parquet"),
        lambda recording: scramble(recording / "metrics.parquet"),
        lambda recording: spoil(recording, cast("value", pa.string())),
        overlap,
        lack,
    ],
    ids=["no policy", "truncated", "scrambled", "wrong type", "overlap", "metric lacks"],
)
def test_nothing_of_a_refused_recording_is_in_the_store(
    break_it: Callable[[Path], None], recording: Path, tmp_path: Path, command: Command
) -> None:
    store = tmp_path / "store"
    break_it(recording)
    refusal(command("replay", recording, "--data", store), recording)
    for table in ("cohort_ticks", "evidence", "verdicts", "rollouts"):
        ran = command("query", f"SELECT count() FROM {table}", "--format", "CSV", "--data", store)
        assert ran == Ran(0, "0\n", "")
    assert list((store / "staging").iterdir()) == []


def test_what_was_kept_before_stays_when_a_replay_is_refused(recording: Path, tmp_path: Path, command: Command) -> None:
    store, question = tmp_path / "store", "SELECT * FROM verdicts ORDER BY ALL"
    command("replay", recording, "--data", store)
    before = command("query", question, "--format", "TSV", "--data", store)
    overlap(recording)
    refusal(command("replay", recording, "--data", store), recording)
    assert command("query", question, "--format", "TSV", "--data", store) == before
    assert before.out


def test_a_recording_before_the_bad_one_is_judged_and_kept(
    recording: Path, good: Path, tmp_path: Path, command: Command
) -> None:
    cut(recording / "metrics.parquet")
    ran = command("replay", good, recording, good, "--json", "--data", tmp_path / "store")
    assert ran.status == 2
    assert [outcome["recording"] for outcome in ran.outcomes] == [str(good)]
    assert ran.err.startswith(f"{recording}/metrics.parquet: not a readable Parquet file")


@pytest.mark.parametrize("break_it", [lambda r: (r / "metrics.parquet").unlink(), lack], ids=["no metrics", "lacks"])
def test_no_traceback_reaches_the_user(break_it: Callable[[Path], None], recording: Path) -> None:
    break_it(recording)
    process = subcommand("replay", recording, "--no-store")
    assert (process.returncode, process.stdout) == (2, "")
    assert len(process.stderr.splitlines()) == 1
