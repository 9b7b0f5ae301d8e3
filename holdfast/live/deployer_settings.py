"""Settings of what brings units to hosts: agents that read a topic, unless a webhook or a command is named."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from detectors.policy import duration_ms
from holdfast.api.settings import PathText, target
from holdfast.live.durations import between
from holdfast.located import Place, Problems

ARGUMENTS_MAX: Final = 100


class Trying(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long an action is tried for, and again.

    After `attempts` the action is given up for `again_after`, and tried as often again, for as long as control asks for
    it. The pauses between attempts double from `backoff` to `backoff_max`.
    """

    attempts: Annotated[int, Meta(ge=1, le=20)] = 6
    backoff: Annotated[str, between("10ms", "1m")] = "1s"
    backoff_max: Annotated[str, between("10ms", "2m")] = "30s"
    again_after: Annotated[str, between("10ms", "1h")] = "1m"


class WebhookDeployer(Trying, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Posts actions to an address, signed; `secret` is a file with one secret, or two while they are changed."""

    url: Annotated[
        str,
        Meta(
            max_length=2_000, pattern=r"^[!-~]+$", extra={"allowed": "an address in printable ASCII", "parse": target}
        ),
    ]
    secret: PathText
    timeout: Annotated[str, between("100ms", "5m")] = "10s"


class CommandDeployer(Trying, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Runs a program with an action on its standard input; `run` is the program and its arguments."""

    run: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=ARGUMENTS_MAX)]
    timeout: Annotated[str, between("100ms", "1h")] = "2m"


class Deploying(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of both, or neither: then agents read the topic `desired`."""

    webhook: WebhookDeployer | None = None
    command: CommandDeployer | None = None


def pauses_ms(trying: Trying) -> list[int]:
    """List the longest pauses after each attempt but the last.

    Examples
    --------
    >>> pauses_ms(Trying(attempts=4, backoff="1s", backoff_max="3s"))
    [1000, 2000, 3000]
    """
    first, longest = duration_ms(trying.backoff), duration_ms(trying.backoff_max)
    return [min(longest, first << number) for number in range(trying.attempts - 1)]


def deployer_rule(document: Place, problems: Problems) -> None:
    """Note that both a webhook and a command are named."""
    deployer = document.child("deployer")
    webhook, command = (deployer.child(key) if deployer else None for key in ("webhook", "command"))
    if webhook and command and webhook.value is not None and command.value is not None:
        problems.add(command, "deployer.command", "found beside deployer.webhook; allowed: one of both, or neither")
