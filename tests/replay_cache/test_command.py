"""The cache of `holdfast replay`."""

import sys
from pathlib import Path

import pytest

from holdfast import cli


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["holdfast", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(str(left.value.code)), capsys.readouterr().err


def test_the_command_keeps_sums_beside_the_store(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, "replay", recording, "--data", tmp_path / "data")[0] == 0
    assert len(list((tmp_path / "data" / "cache").glob("*.arrow"))) == 1


@pytest.mark.parametrize("option", ["--no-store", "--no-cache"])
def test_the_command_keeps_no_sums_where_it_is_to_keep_nothing(
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
) -> None:
    assert run(capsys, monkeypatch, "replay", recording, "--data", tmp_path / "data", option)[0] == 0
    assert not (tmp_path / "data" / "cache").exists()


def test_the_command_keeps_sums_where_it_is_told(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "replay", recording, "--no-store", "--cache", tmp_path / "sums"
    assert run(capsys, monkeypatch, *given)[0] == 0
    assert len(list((tmp_path / "sums").glob("*.arrow"))) == 1


def test_the_command_refuses_a_cache_that_is_not_to_be_used(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "replay", recording, "--no-cache", "--cache", tmp_path / "sums"
    assert run(capsys, monkeypatch, *given) == (
        2,
        f"--cache {tmp_path / 'sums'}: there is --no-cache too; allowed is one of them\n",
    )
