"""`holdfast incident` on a real broker, as people use it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli import app
from holdfast.errors import BadInput
from holdfast.live.settings import Settings
from holdfast.response.record import append
from holdfast.wall import now
from rollouts.incidents.history import Reviewed
from tests.integration.test_incident_record import settings

__all__ = ["settings"]


class Desk:
    """Runs commands as somebody."""

    def __init__(self, settings: Settings) -> None:
        self.environ = {
            "HOLDFAST_KAFKA__BOOTSTRAP_SERVERS": settings.kafka["bootstrap.servers"],
            "HOLDFAST_PREFIX": settings.prefix,
            "USER": "ada",
        }

    def run(self, *arguments: str, text: str | None = None) -> Result:
        """Run a command, and return what came of it."""
        return CliRunner().invoke(app, ["incident", *arguments], env=self.environ, input=text)

    def read(self, *arguments: str, text: str | None = None) -> Any:
        """Run a command that must succeed, and return its JSON."""
        done = self.run(*arguments, "--json", text=text)
        assert done.exit_code == 0, done.exception
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> str:
        """Run a command that must be refused, and return why."""
        done = self.run(*arguments)
        assert isinstance(done.exception, BadInput), done.output
        return str(done.exception)


@pytest.fixture
def desk(settings: Settings) -> Desk:
    return Desk(settings)


def test_an_incident_from_its_beginning_to_its_end(desk: Desk, settings: Settings) -> None:
    name = desk.read("open", "errors at the edge", "--severity", "minor", "--colo", "ams01")["id"]
    assert desk.read("take", name, "lead")["roles"] == {"lead": "ada"}
    assert "ada has it" in desk.refused("take", name, "lead", "--by", "bob")
    assert desk.read("hand-over", name, "lead", "bob")["roles"] == {"lead": "bob"}
    assert desk.read("assess", name, "--severity", "major", "--why", "more colos")["severity"] == "major"
    said = desk.read("update", name, "-", "--next", "20m", text="first\nsecond\n")
    assert said["updates"][0]["text"] == "first\nsecond"
    assert desk.read("mitigate", name, "--how", "moved away")["phase"] == "mitigated"
    assert desk.read("action", "add", name, "check sizes", "--owner", "bob", "--due", "14d")["actions"][0]["id"] == "a1"
    assert desk.read("resolve", name, "--how", "over")["phase"] == "resolved"
    assert "it was not reviewed" in desk.refused("close", name)
    append(settings, name, [Reviewed(at=now(), by="ada", digest="0" * 64)])
    assert desk.read("close", name)["phase"] == "closed"
    assert desk.read("action", "done", name, "a1")["actions"][0]["done"] is not None
    assert (desk.read("list"), len(desk.read("list", "--all"))) == ([], 1)
    assert "moved away" in desk.run("show", name).stdout


def test_when_the_next_word_is_promised_is_told_where_the_settings_say_how_often(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "response.yaml").write_text("{response: edge, promises: {critical: 30m}}", encoding="utf-8")
    name = desk.read("open", "errors", "--severity", "critical")["id"]
    assert "next update" not in desk.run("show", name).stdout
    desk.environ["HOLDFAST_RESPONSE__DOCUMENT"] = str(tmp_path / "response.yaml")
    assert "next update" in desk.run("show", name).stdout


def test_two_become_one(desk: Desk) -> None:
    one, other = (desk.read("open", title, "--colo", title)["id"] for title in ("first", "second"))
    assert desk.read("merge", one, other)["impact"]["colos"] == ["first", "second"]
    assert f"went on as {other}" in desk.refused("ack", one)
    assert [each["id"] for each in desk.read("list")] == [other]


def test_what_is_wrong_is_said_in_a_line(desk: Desk) -> None:
    assert "there is none" in desk.refused("ack", "inc-20260312-0a1b2c3d")
    assert "allowed: an id" in desk.refused("show", "../x")
    assert "found the character U+001B" in desk.refused("open", "a\x1b[2Jb")
    name = desk.read("open", "x", "--severity", "minor")["id"]
    assert "nothing that is seen otherwise" in desk.refused("assess", name, "--why", "x")
    assert "found no action item a7; there are: none" in desk.refused("action", "done", name, "a7")
