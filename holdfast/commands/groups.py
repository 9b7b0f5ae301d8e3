"""How a command that consists of commands tells what they do: in whole sentences, many of them in sections."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from typer.core import TyperGroup

_LENGTH_MAX: Final = 400
"""Of what a command does, in characters; longer than any of them, so that nothing is cut off."""


class Group(TyperGroup):
    """A command that consists of commands."""

    sections: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Headings, and the commands below each in their order; empty where one heading does."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """See click: all commands that are not hidden, wrapped instead of cut off."""
        commands = {name: command for name, command in self.commands.items() if not command.hidden}
        for heading, names in (self.sections or {"Commands": tuple(commands)}).items():
            with formatter.section(heading):
                formatter.write_dl([(name, commands[name].get_short_help_str(_LENGTH_MAX)) for name in names])


class Whole(Group):
    """The command `holdfast` itself."""

    sections: ClassVar = {
        "Try it": ("demo", "incidents"),
        "Judge what is recorded": ("record", "replay", "check", "report"),
        "Tune a policy": ("calibrate", "tune", "compare", "gate"),
        "Judge what happens now": ("topics", "run", "aggregate", "judge", "sink", "rekey", "produce", "deadletters"),
        "Roll out": ("rollout", "verdict", "plan", "control", "agent", "reach", "breakglass", "audit"),
        "Respond": ("respond", "incident", "notify", "status", "drill"),
        "Look into what is kept": ("query", "store"),
        "Set up": ("config", "schema", "serve", "token"),
    }
