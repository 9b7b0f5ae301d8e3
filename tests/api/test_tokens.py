"""Tokens: hashes in a file, which is read again when it changes."""

import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast.api.refusals import Refused
from holdfast.api.tokens import Gate, add, digest, load, make
from holdfast.cli import main
from holdfast.errors import BadInput

AT = datetime(2026, 3, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.yaml"


def run(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["holdfast", "token", "new", *words])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    return int(str(left.value.code)), out, err


def test_a_token_is_shown_once_and_its_hash_alone_is_kept(path: Path, monkeypatch, capsys) -> None:
    status, out, err = run(monkeypatch, capsys, "ci", "--scope", "judge", "--expires", "90d", "--file", str(path))
    token = out.strip()
    assert (status, token[:3], token in err) == (0, "hf_", False)
    (kept,) = load(path)
    assert (kept.name, kept.sha256, kept.scopes, kept.expires is None) == ("ci", digest(token), ["judge"], False)
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_two_tokens_are_never_alike() -> None:
    assert len({make("a", ["judge"])[0] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ci", "--scope", "everything", "--file", "x"], "--scope: found everything; allowed: judge, verdicts:read"),
        (["ci", "--scope", "judge"], "no file of tokens is named"),
        (["ci", "--scope", "judge", "--expires", "soon", "--file", "x"], "--expires: found 'soon'"),
        (["\n", "--scope", "judge", "--file", "x"], "NAME: found"),
        (["ci", "--scope", "judge", "--file", "nowhere/x"], "cannot be written"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, monkeypatch, capsys, words: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(monkeypatch, capsys, *words)
    assert (status, out, said in err, list(tmp_path.iterdir())) == (2, "", True, [])


def test_a_name_is_given_once(path: Path) -> None:
    add(path, make("ci", ["judge"])[1])
    with pytest.raises(BadInput, match="there is a token of the name 'ci' already"):
        add(path, make("ci", ["judge"])[1])


def test_all_errors_of_a_file_come_at_once(path: Path) -> None:
    path.write_text("tokens:\n- name: a\n  sha256: X\n  scopes: []\n- name: a\n  scopes: [all]\n", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load(path)
    said = str(caught.value).replace(f"{path}:", "").splitlines()
    assert sorted(line.split()[1] for line in said) == [
        "tokens[0].scopes:", "tokens[0].sha256:", "tokens[1].name:", "tokens[1].scopes[0]:", "tokens[1].sha256:",
    ]  # fmt: skip


def test_a_file_that_changes_is_read_again_and_a_bad_one_is_not_taken(path: Path, caplog) -> None:
    token, kept = make("ci", ["judge"])
    add(path, kept)
    gate = Gate(path, lambda: AT)
    assert gate.admit(token, "judge") == "ci"
    path.write_text("tokens: [", encoding="utf-8")
    assert gate.admit(token, "judge") == "ci"
    assert "the last good tokens stay in force" in caplog.text
    path.write_text("tokens: []\n", encoding="utf-8")
    with pytest.raises(Refused):
        gate.admit(token, "judge")


def test_a_server_does_not_begin_with_a_file_that_is_missing(path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        Gate(path, lambda: AT)


@pytest.mark.parametrize("presented", [None, "", "hf_", "x" * 100_000, "é\ud800"[:1]])
def test_what_is_no_token_is_refused(path: Path, presented: str | None) -> None:
    add(path, make("ci", ["judge"])[1])
    with pytest.raises(Refused):
        Gate(path, lambda: AT).admit(presented, "judge")
