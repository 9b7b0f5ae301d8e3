"""What `--help` says of all commands."""

import typer
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.commands.groups import Whole


def told(*arguments: str) -> str:
    return " ".join(CliRunner().invoke(app, [*arguments, "--help"], prog_name="holdfast").output.split())


def test_every_command_stands_in_one_section() -> None:
    named = [name for names in Whole.sections.values() for name in names]
    assert sorted(named) == sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_what_a_command_does_is_said_to_its_end() -> None:
    assert "several of it stand by for each other. agent Give this host" in told()
    assert "so that the gate holds it from now on." in told("incident")
    assert "..." not in told().replace("[ARGS]...", "")
