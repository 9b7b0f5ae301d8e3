"""What several commands are told in the same way."""

import getpass
import os
from datetime import UTC, datetime
from typing import NoReturn

import pytest

from holdfast.commands.options import moment, user
from holdfast.errors import BadInput


def test_who_says_so_is_the_user_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")
    assert user() == "ada"


def test_a_user_without_a_name_is_called_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> NoReturn:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setattr(getpass, "getuser", nobody)
    assert user() == f"user {os.getuid()}"


def test_a_time_is_read_with_its_zone() -> None:
    assert moment("--at", "2026-03-12T12:20+01:00") == datetime(2026, 3, 12, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize("text", ["noon", "2026-03-12T11:20:00", "2026-03-12", ""])
def test_a_time_without_its_zone_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=f"^--at: found '{text}'; allowed: a time with its zone"):
        moment("--at", text)
