"""`holdfast store` and `holdfast query` on an embedded store, and on one that another process owns."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from holdfast.cli import app
from holdfast.live.store_owner import Owner
from sinks.engine import Engine
from sinks.errors import StoreError
from sinks.schema import ROWS, checksums
from sinks.store import Store
from tests.replays import contents, count, views
from tests.test_migrations import made_with_version_1
from tests.test_parquet import fill

NEWEST = max(checksums())
TRUTH = "bad: true\nexpect: [halt, revert]\nonset: 2026-03-12T11:20:00Z\nwithin: 6\ncolos: [ams01]\n"


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_CONFIG", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with rows in every table."""
    with Store(tmp_path / "store") as store:
        fill(store)
    return tmp_path / "store"


@pytest.fixture
def owned(folder: Path) -> Iterator[Path]:
    """The same, while its owner answers questions."""
    with Store(folder) as store, Owner(store, folder):
        yield folder


def store(*arguments: object, data: Path, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["store", *map(str, arguments), "--data", str(data)], input=given)


def said(*arguments: object, data: Path) -> str:
    ran = store(*arguments, data=data)
    assert ran.exit_code == 0, (ran.output, ran.exception)
    return ran.stdout


def refused(*arguments: object, data: Path) -> str:
    ran = store(*arguments, data=data)
    assert ran.exception is not None
    assert not isinstance(ran.exception, SystemExit)
    return str(ran.exception)


# ---------------------------------------------------------------- the schema


def test_a_store_is_migrated_once(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "clickhouse")
    made_with_version_1(engine)
    engine.close()
    dry = said("migrate", "--dry-run", data=tmp_path)
    assert dry.startswith("CREATE TABLE IF NOT EXISTS holdfast.rollout_events (")
    assert dry == said("migrate", "--dry-run", data=tmp_path)
    steps = ", ".join(map(str, range(2, NEWEST + 1)))
    done = said("migrate", data=tmp_path)
    assert done.endswith(f"schema version {NEWEST} ({checksums()[NEWEST]}): brought to version {steps}\n")
    assert said("migrate", data=tmp_path).endswith(": nothing to do\n")
    assert said("migrate", "--dry-run", data=tmp_path) == ""


def test_an_embedded_store_has_no_cluster(folder: Path) -> None:
    assert "--cluster: found 'prod' with the embedded store" in refused("migrate", "--cluster", "prod", data=folder)


# ---------------------------------------------------------------- what is there


def test_what_is_kept_is_told_by_whoever_has_it_open(folder: Path, owned: Path) -> None:
    told: dict[str, Any] = json.loads(said("info", "--json", data=owned))
    assert told["engine"] == "ClickHouse in the process that owns the folder"
    assert {each["table"]: each["rows"] for each in told["tables"]}["evidence"] == 28
    assert {each["source"] for each in told["sources"]} >= {"replay:a", "replay:b", "live"}


def test_what_is_kept_is_told_in_words(folder: Path) -> None:
    lines = said("info", data=folder).splitlines()
    assert lines[0].startswith("ClickHouse in this process ")
    assert f"schema version {NEWEST} (" in lines[0]
    (evidence,) = [line.split() for line in lines if line.startswith("evidence ")]
    assert evidence[1:3] == ["28", "28"]
    assert evidence[-3:] == ["2026-03-12T11:20:00Z", "to", "2026-03-12T11:23:10Z"]
    assert "  replay:b: 33 rows" in lines


def test_where_nothing_is_kept_is_a_clear_error(tmp_path: Path) -> None:
    for arguments in (["info"], ["migrate"], ["prune", "--source", "x"], ["export", "--out", "out"]):
        assert "none: no such folder: nothing is kept there yet" in refused(*arguments, data=tmp_path / "none")
    assert not (tmp_path / "none").exists()


# ---------------------------------------------------------------- out and in


def test_what_is_exported_can_be_put_into_another_store(folder: Path, tmp_path: Path) -> None:
    assert "evidence: 28 rows\n" in said("export", "--out", tmp_path / "out", data=folder)
    assert "evidence: 28 rows\n" in said("import", tmp_path / "out", data=tmp_path / "other")
    with Store(folder) as opened:
        wanted, shown = contents(opened), views(opened)
    with Store(tmp_path / "other") as opened:
        assert (contents(opened), views(opened)) == (wanted, shown)


def test_a_store_that_is_owned_can_be_exported(owned: Path, tmp_path: Path) -> None:
    said("export", "--out", tmp_path / "out", "--since", "2026-03-12T11:21:00Z", "--until", "2026-03-13", data=owned)
    assert pq.read_table(tmp_path / "out" / "evidence.parquet").num_rows == 16
    assert {path.stem for path in (tmp_path / "out").glob("*.parquet")} == set(ROWS)


def test_a_time_that_is_none_is_refused(folder: Path) -> None:
    for text in ("yesterday", "2026-03-12T11:20:00", "0900-01-01"):
        assert refused("export", "--out", "out", "--since", text, data=folder) == (
            f"--since: found {text!r}; allowed: a day, or a time with its zone, as in 2026-03-12T11:20:00Z"
        )


def test_what_is_no_export_makes_no_store(tmp_path: Path) -> None:
    assert "manifest.json: cannot be read" in refused("import", tmp_path, data=tmp_path / "other")
    assert not (tmp_path / "other").exists()


# ---------------------------------------------------------------- taking rows out


def test_rows_are_taken_out_when_that_is_said(folder: Path) -> None:
    told = said("prune", "--source", "replay:a", "--yes", data=folder)
    assert "evidence: 20 rows\n" in told
    assert told.splitlines()[-1].startswith("deleted ")
    with Store(folder) as opened:
        assert count(opened, "evidence") == 8
    assert said("prune", "--source", "replay:a", "--yes", data=folder) == "no such rows\n"


def test_rows_before_a_whole_minute_are_taken_out(folder: Path) -> None:
    assert "evidence: 12 rows before 2026-03-12T11:21:00Z\n" in said(
        "prune", "--before", "2026-03-12T11:21:59Z", "--yes", data=folder
    )
    assert "evidence: 16 rows before " in said("prune", "--older-than", "1m", "--yes", data=folder)


def test_nothing_is_deleted_where_nobody_can_be_asked(folder: Path) -> None:
    assert refused("prune", "--source", "replay:a", data=folder).startswith("--yes: must be said")
    with Store(folder) as opened:
        assert count(opened, "evidence") == 28


@pytest.mark.parametrize(("answer", "left", "status"), [("n\n", 28, 1), ("\n", 28, 1), ("y\n", 8, 0)])
def test_on_a_terminal_it_is_asked(
    folder: Path, answer: str, left: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.commands.store._is_terminal", lambda: True)
    ran = store("prune", "--source", "replay:a", data=folder, given=answer)
    assert (ran.exit_code, "Delete them for good? [y/N]" in ran.stdout) == (status, True)
    assert ("nothing was deleted" in ran.stdout) == (status == 1)
    with Store(folder) as opened:
        assert count(opened, "evidence") == left


def test_which_rows_are_meant_must_be_said_once(folder: Path) -> None:
    assert refused("prune", "--before", "2026-03-12", "--older-than", "3d", data=folder) == (
        "--older-than: found with --before; allowed: one of them"
    )
    assert refused("prune", data=folder).startswith("which rows are meant is not said")


# ---------------------------------------------------------------- what is true


def test_a_rollout_is_labelled_and_the_last_word_counts(folder: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.yaml"
    truth.write_text(TRUTH.replace("true", "false"))
    assert said("label", "bot-0312", "--truth", truth, data=folder) == "bot-0312: harmless; right: halt or revert\n"
    truth.write_text(TRUTH)
    assert said("label", "bot-0312", "--truth", truth, data=folder) == "bot-0312: bad; right: halt or revert\n"
    with Store(folder) as opened:
        row = opened.query("SELECT bad, expect, onset, within_ticks, colos FROM truths WHERE source = 'live'", "TSV")
    assert row == b"true\t['halt','revert']\t2026-03-12 11:20:00.000\t6\t['ams01']\n"


def test_a_rollout_that_is_not_kept_cannot_be_labelled(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "truth.yaml").write_text(TRUTH)
    assert "it's: no rollout of that name is kept" in refused(
        "label", "it's", "--truth", tmp_path / "truth.yaml", data=folder
    )


def test_who_does_not_own_a_store_does_not_write_to_it(owned: Path, tmp_path: Path) -> None:
    (tmp_path / "truth.yaml").write_text(TRUTH)
    for arguments in (
        ["migrate"],
        ["prune", "--source", "replay:a", "--yes"],
        ["label", "bot-0312", "--truth", tmp_path / "truth.yaml"],
    ):
        assert refused(*arguments, data=owned).endswith("and it alone writes there: stop it first")


# ---------------------------------------------------------------- where it is looked for


def test_settings_name_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(f"data: {folder}\n")
    asked = ["query", "SELECT count() FROM evidence", "--format", "CSV", "--config", str(tmp_path / "settings.yaml")]
    ran = CliRunner().invoke(app, asked)
    assert ran.stdout == "28\n", ran.exception


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("clickhouse: {host: 127.0.0.1, port: 1}\n")
    for command in (
        ["query", "SELECT 1"],
        ["store", "info"],
        ["store", "migrate"],
        ["store", "prune", "--source", "x"],
    ):
        ran = CliRunner().invoke(app, [*command, "--config", str(tmp_path / "settings.yaml")])
        assert isinstance(ran.exception, StoreError)
        assert "ClickHouse at 127.0.0.1:1 cannot be reached" in str(ran.exception)
