"""What control says to the judge: that a rollout is announced, that a stage starts, that it is finished."""

from detectors.errors import BadInput
from rollouts.announced import Announcement, announce, same, with_event
from rollouts.controlled import Announce, Tell


def announced(before: Announcement | None, effect: Announce) -> Announcement:
    """Return what is announced once an effect is done; `BadInput` if somebody else has announced another one."""
    if before is None:
        return announce(effect.rollout, effect.policy)
    if not same(before, effect.rollout, effect.policy):
        message = f"{effect.rollout.rollout}: somebody else has announced another rollout of that name"
        raise BadInput(message)
    return before


def told(before: Announcement | None, effect: Tell) -> Announcement:
    """Return what is announced once an effect is done; `BadInput` if that cannot follow."""
    if before is None:
        message = f"stage {effect.stage}: the rollout is no longer announced"
        raise BadInput(message)
    return with_event(before, effect.event, effect.stage, effect.at)
