"""What a rollout under control has reached, and what it could reach next, as the topics say."""

from pathlib import Path

from holdfast.control.glass import overrides_of
from holdfast.control.overriding import known
from holdfast.control.people_file import load_roster
from holdfast.control.view import look
from holdfast.errors import BadInput
from holdfast.live.settings import Settings
from holdfast.wall import now
from rollouts.blast import Blast, blast
from rollouts.context import Context


class NotUnderControl(BadInput):
    """A rollout that control knows nothing of."""


def reach_of(settings: Settings, rollout: str, inventory: Path | None = None) -> Blast:
    """Read the topics of control, and say what a rollout has reached.

    Parameters
    ----------
    settings
        Of the engine.
    rollout
        Its name.
    inventory
        File of the hosts; None for those that report.

    Raises
    ------
    NotUnderControl
        If there is no such rollout.
    BadInput
        If no host reports and no inventory is named, or a topic is missing.
    Unreachable
        If the topics are not read to their end in time.
    """
    at = now()
    seen = look(settings, inventory)
    if rollout not in seen.states:
        message = f"{rollout}: not under control; there are: {', '.join(sorted(seen.states)) or 'none'}"
        raise NotUnderControl(message)
    overrides = [] if settings.people is None else overrides_of(known(settings, load_roster(settings)), at)
    context = Context(
        now=at,
        reports=seen.reports,
        fleet=seen.fleet,
        others=seen.others,
        overrides=overrides,
        is_audited=True,
        is_watched=True,
    )
    return blast(seen.states[rollout], context)
