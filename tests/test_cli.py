"""The command line as people and scripts meet it, and the small recordings that it is tried on."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from holdfast import __version__, cli

START_MS: Final = 1_773_314_400_000  # 2026-03-12T11:20:00Z

ROLLOUT: Final = """\
rollout: bot-0312
started: 2026-03-12T11:20:01Z
stages:
  - {name: canary, canary: {cohort: canary}, control: {cohort: control}, bake: 5m, deadline: 8m}
"""

POLICY: Final = """\
policy: edge
metrics:
  - {name: errors, ratio: {bad: http_5xx, total: http_requests}, worse: increase,
     tolerate: {relative: 0.5, absolute: 0.0001}, breach: revert}
  - {name: cpu, gauge: cpu, worse: increase, tolerate: {relative: 0.2}, breach: halt}
"""

HARMLESS: Final = "bad: false\nexpect: [advance, wait]\n"
KEYS: Final = (
    *("recording", "rollout", "action", "time", "final_action"),
    *("ticks", "samples", "dropped", "reasons", "verdicts"),
)
DOCUMENTS: Final = ("policy", "rollout", "verdict", "truth", "certificate")

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Change = Callable[[pa.Table], pa.Table]


class Small:
    """A recording of a few hosts; until it is written its series are arrays [tick, host], NaN where there is none.

    `gains` are what counters grow by in a tick, `absent` takes single series away, `missing` whole scrapes.
    """

    def __init__(
        self,
        colos: tuple[str, ...] = ("ams01", "fra02"),
        hosts: int = 4,
        pre: int = 60,
        live: int = 60,
        tick_s: int = 10,
        seed: int = 1,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.pre, self.tick_ms = pre, tick_s * 1_000
        self.size = (pre + live, len(colos) * hosts)
        self.labels = {
            "colo": [colo for colo in colos for _ in range(hosts)],
            "host": [f"{colo}-h{host}" for colo in colos for host in range(hosts)],
            "cohort": ["control" if host else "canary" for _ in colos for host in range(hosts)],
        }
        self.gauges: dict[str, Array] = {"cpu": self.rng.normal(0.5, 0.02, self.size)}
        self.gains: dict[tuple[str, str], Array] = {}
        self.counter("http_requests", 3_000.0)
        self.counter("http_5xx", 6.0)
        self.absent: dict[str, Mask] = {}
        self.missing = np.zeros(self.size, np.bool_)

    def counter(self, name: str, per_tick: float, le: str = "") -> None:
        self.gains[name, le] = self.rng.poisson(per_tick, self.size).astype(np.float64)

    def since(self, tick: int, **labels: str) -> Mask:
        """Mark all ticks from `tick` after the start on, on the hosts that bear the labels [tick, host]."""
        fits = [all(self.labels[name][host] == value for name, value in labels.items()) for host in range(self.size[1])]
        mask: Mask = (np.arange(self.size[0])[:, None] >= self.pre + tick) & np.array(fits)
        return mask

    def table(self) -> pa.Table:
        """Return the samples in order of time."""
        series = {(name, ""): values for name, values in self.gauges.items()}
        series |= {key: np.cumsum(gains, axis=0) for key, gains in self.gains.items()}
        ticks, hosts = np.indices(self.size).reshape(2, -1)
        times = START_MS + (ticks - self.pre + 1) * self.tick_ms - self.tick_ms // 10
        parts = []
        for (name, le), values in series.items():
            gone = np.isnan(values) | self.missing | self.absent.get(name, np.zeros(self.size, np.bool_))
            there = np.flatnonzero(~gone.reshape(-1))
            columns = {label: pa.array(of).take(pa.array(hosts[there])) for label, of in self.labels.items()}
            columns |= {"metric": pa.repeat(name, len(there)), "le": pa.repeat(le, len(there))}
            columns |= {"value": pa.array(values.reshape(-1)[there])}
            parts.append(pa.table({"time": milliseconds(times[there]), **columns}))
        return pa.concat_tables(parts).sort_by("time")

    def write(
        self,
        folder: Path,
        policy: str = POLICY,
        rollout: str = ROLLOUT,
        truth: str | None = None,
        change: Change | None = None,
    ) -> Path:
        """Write the recording; `change` may spoil its table."""
        folder.mkdir(parents=True)
        pq.write_table((change or (lambda table: table))(self.table()), folder / "metrics.parquet")
        texts = {"policy.yaml": policy, "rollout.yaml": rollout, "truth.yaml": truth}
        for name, text in texts.items():
            if text is not None:
                (folder / name).write_text(text, encoding="utf-8")
        return folder


def milliseconds(times: NDArray[np.int64]) -> pa.Array:
    return pa.array(times).cast(pa.timestamp("ms", tz="UTC"))


class Ran(NamedTuple):
    """What a command came to."""

    status: int | str | None
    out: str
    err: str

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """What `replay --json` printed."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Ran]


def make_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return what runs the command line in this process, where every warning is an error."""

    def command(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["holdfast", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ran(ended.value.code, *capsys.readouterr())

    return command


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return make_command(capsys, monkeypatch)


def subcommand(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own, whose warnings are errors too."""
    run = "from holdfast.cli import main; main()"
    line = [sys.executable, "-W", "error", "-c", run, *map(str, arguments)]
    root = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ | {"PYTHONPATH": root} | environment
    return subprocess.run(line, capture_output=True, text=True, timeout=300, env=inherited, check=False)


@pytest.fixture(scope="session")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Small().write(tmp_path_factory.mktemp("small") / "harmless", truth=HARMLESS)


@pytest.fixture(scope="session")
def erring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = Small()
    small.gains["http_5xx", ""][small.since(5, cohort="canary")] *= 12
    truth = "bad: true\nexpect: [revert]\nonset: 2026-03-12T11:20:51Z\ncolos: [ams01]\nmetrics: [errors]\nwithin: 12\n"
    return small.write(tmp_path_factory.mktemp("small") / "erring", truth=truth)


def test_the_version_is_that_of_the_package(command: Command) -> None:
    assert command("--version") == Ran(0, f"holdfast {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["jugde"], ["replay", "--polcy", "x"], ["replay"], ["schema"], ["query"]])
def test_what_the_command_line_does_not_know_is_bad_input(arguments: list[str], command: Command) -> None:
    ran = command(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("Usage: holdfast")


def test_without_a_command_there_is_help() -> None:
    process = subcommand()
    text = process.stdout + process.stderr
    assert all(name in text for name in ("replay", "demo", "query", "schema"))
    assert "Traceback" not in text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_schemas_are_printed(name: str, command: Command) -> None:
    ran = command("schema", name)
    assert (ran.status, ran.err) == (0, "")
    jsonschema.Draft202012Validator.check_schema(json.loads(ran.out))


def test_a_schema_that_does_not_exist_is_refused_with_those_that_do(command: Command) -> None:
    ran = command("schema", "verdicts")
    assert ran == Ran(
        2,
        "",
        "schema 'verdicts': there is none of that name; there are: "
        "policy, rollout, verdict, heartbeat, truth, certificate, source, people, plan, package, inventory, limits, "
        "response, status\n",
    )


def test_one_line_of_json_for_each_recording_with_the_keys_of_the_contract(
    harmless: Path, erring: Path, command: Command
) -> None:
    ran = command("replay", harmless, erring, harmless, "--json", "--no-store")
    assert (ran.status, ran.err) == (0, "")
    assert [tuple(outcome) for outcome in ran.outcomes] == [KEYS] * 3
    assert [outcome["recording"] for outcome in ran.outcomes] == [str(harmless), str(erring), str(harmless)]
    assert [outcome["action"] for outcome in ran.outcomes] == ["advance", "revert", "advance"]
    assert ran.outcomes[0] == ran.outcomes[2]


def test_verdicts_of_a_replay_are_valid_by_the_published_schema(harmless: Path, erring: Path, command: Command) -> None:
    schema = json.loads(command("schema", "verdict").out)
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    verdicts = [
        v
        for outcome in command("replay", harmless, erring, "--json", "--no-store").outcomes
        for v in outcome["verdicts"]
    ]
    assert len(verdicts) >= 4
    for verdict in verdicts:
        validator.validate(verdict)


def test_without_json_a_person_can_read_it(erring: Path, command: Command) -> None:
    ran = command("replay", erring, "--no-store")
    first, *rest = ran.out.splitlines()
    assert first.startswith(f"{erring}: bot-0312: revert at 2026-03-12T11:21:")
    assert rest[0] == "  60 ticks judged on 2,880 samples"
    assert rest[1].startswith("  - errors over all colos: ")


def test_the_same_outcome_with_and_without_a_store(erring: Path, command: Command, tmp_path: Path) -> None:
    kept = command("replay", erring, "--json", "--data", tmp_path / "store")
    assert kept == command("replay", erring, "--json", "--no-store")


def test_replaying_twice_leaves_the_same_rows(erring: Path, command: Command, tmp_path: Path) -> None:
    def rows() -> list[str]:
        tables = ("cohort_ticks", "evidence", "verdicts", "rollouts")
        return [
            command("query", f"SELECT * FROM {name} ORDER BY ALL", "--format", "TSV", "--data", tmp_path).out
            for name in tables
        ]

    command("replay", erring, "--data", tmp_path)
    once = rows()
    assert all(once)
    command("replay", erring, "--data", tmp_path)
    assert rows() == once


def test_a_replay_keeps_its_ticks_and_its_truth(erring: Path, command: Command, tmp_path: Path) -> None:
    (outcome,) = command("replay", erring, "--json", "--data", tmp_path).outcomes

    def asked(sql: str) -> str:
        return command("query", sql, "--format", "TSV", "--data", tmp_path).out

    ticks = "SELECT count(), sum(samples) <= {}, max(decided) = 0 FROM ticks WHERE source = 'replay:erring'"
    assert asked(ticks.format(outcome["samples"])) == f"{outcome['ticks']}\t1\t1\n"
    truth = "bot-0312\treplay:erring\ttrue\t['revert']\t2026-03-12 11:20:51.000\t12\t['ams01']\t['errors']\t0\n"
    assert asked("SELECT * FROM truths") == truth


def test_a_replay_whose_truth_cannot_be_read_is_refused(harmless: Path, command: Command, tmp_path: Path) -> None:
    recording = tmp_path / "copy"
    shutil.copytree(harmless, recording)
    (recording / "truth.yaml").write_text("bad: perhaps\n")
    assert command("replay", recording, "--no-store").status == 0
    ran = command("replay", recording, "--data", tmp_path / "store")
    assert (ran.status, "truth.yaml" in ran.err) == (2, True)


def test_no_store_writes_nothing(
    harmless: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("replay", harmless, "--no-store").status == 0
    assert list(tmp_path.iterdir()) == []
    assert command("replay", harmless).status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["holdfast-data"]


def test_a_query_where_nothing_is_kept_says_how_to_keep_something(tmp_path: Path, command: Command) -> None:
    ran = command("query", "SELECT 1", "--data", tmp_path / "none")
    assert (ran.status, ran.out) == (2, "")
    assert "no such folder: nothing is kept there yet; `holdfast replay RECORDING` keeps what it judges" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_query_that_clickhouse_refuses_is_bad_input(harmless: Path, tmp_path: Path, command: Command) -> None:
    command("replay", harmless, "--data", tmp_path)
    ran = command("query", "SELECT colour FROM verdicts", "--data", tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert "colour" in ran.err
    assert "Traceback" not in ran.err


def test_check_says_nothing_where_the_verdict_is_right(harmless: Path, erring: Path, command: Command) -> None:
    ran = command("replay", harmless, erring, "--check", "--json", "--no-store")
    assert (ran.status, ran.err, len(ran.outcomes)) == (0, "", 2)


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (HARMLESS, "ended in revert; right would be advance or wait"),
        ("bad: true\nexpect: [revert]\nonset: 2026-03-12T11:25:00Z\n", "before the onset at 2026-03-12T11:25:00Z"),
        (
            "bad: true\nexpect: [revert]\nonset: 2026-03-12T11:20:51Z\nwithin: 1\n",
            "ticks after the onset; due within 1",
        ),
        ("bad: true\nexpect: [revert]\ncolos: [lhr03]\n", "none of which is hurt (lhr03)"),
    ],
)
def test_check_names_what_contradicts_the_truth(
    truth: str, words: str, harmless: Path, erring: Path, tmp_path: Path, command: Command
) -> None:
    recording = tmp_path / "erring"
    recording.mkdir()
    for name in ("metrics.parquet", "rollout.yaml", "policy.yaml"):
        (recording / name).symlink_to(erring / name)
    (recording / "truth.yaml").write_text(truth, encoding="utf-8")
    ran = command("replay", harmless, recording, harmless, "--check", "--json", "--no-store")
    assert ran.status == 3
    assert [tuple(outcome) for outcome in ran.outcomes] == [KEYS] * 3
    (line,) = ran.err.splitlines()
    assert line.startswith(f"{recording}: contradicts truth.yaml: ")
    assert words in line


def test_another_policy_judges_otherwise(erring: Path, tmp_path: Path, command: Command) -> None:
    tolerant = tmp_path / "tolerant.yaml"
    tolerant.write_text(POLICY.replace("relative: 0.5", "relative: 30"), encoding="utf-8")
    own, other = (
        command("replay", erring, "--json", "--no-store", *more).outcomes[0] for more in ([], ["--policy", tolerant])
    )
    assert (own["action"], other["action"]) == ("revert", "advance")
    digests = {outcome["verdicts"][0]["data"]["policy"] for outcome in (own, other)}
    assert len(digests) == 2


def test_nothing_of_a_progress_bar_is_in_a_pipe(harmless: Path, erring: Path) -> None:
    process = subcommand("replay", harmless, erring, "--json", "--no-store", COLUMNS="80", TERM="xterm-256color")
    assert (process.returncode, process.stderr) == (0, "")
    assert len(process.stdout.splitlines()) == 2
    assert not set(process.stdout) & {"\x1b", "\r", "\b"}


def test_the_same_bytes_whatever_the_process(erring: Path) -> None:
    runs = [subcommand("replay", erring, "--json", "--no-store", PYTHONHASHSEED=seed) for seed in ("1", "2")]
    assert runs[0].stdout == runs[1].stdout != ""
