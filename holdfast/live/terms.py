"""What announcements come to: terms for the judge, and groups of rollouts for the aggregate."""

from collections.abc import Iterable

from detectors.policy import Policy, duration_ms
from holdfast.documents import digest
from holdfast.setting import stages_in_ticks, tick_of
from rollouts.announced import Announcement, decode, finished_at, start_of
from streams.live.judging import Terms
from streams.live.partition import Group
from streams.membership import Announced, Stage


def terms_of(raw: bytes) -> Terms:
    """Read an announcement for the judge.

    Raises
    ------
    BadInput
        If it is none.
    """
    announcement = decode(raw)
    policy = announcement.policy
    tick_ms = duration_ms(policy.tick)
    finished = finished_at(announcement)
    return Terms(
        announcement.rollout.rollout,
        announcement.version,
        policy,
        digest(policy),
        stages_of(announcement, tick_ms),
        announcement.rollout.mode == "enforce",
        tick_ms,
        None if finished is None else tick_of(finished, tick_ms),
    )


def stages_of(announcement: Announcement, tick_ms: int) -> tuple[Stage, ...]:
    """Return a rollout's stages in ticks, with the starts that are known."""
    rollout = announcement.rollout
    return stages_in_ticks(rollout, [start_of(announcement, index) for index in range(len(rollout.stages))], tick_ms)


def groups_of(announcements: Iterable[Announcement], beside: Iterable[Announcement] = ()) -> list[Group]:
    """Group the rollouts that are under way by the policies that judge them.

    Each group knows all of them, and those `beside` them, which are over and judged by none.
    """
    under_way = list(announcements)
    known = sorted([*under_way, *beside], key=lambda each: each.rollout.rollout)
    policies: dict[str, Policy] = {digest(each.policy): each.policy for each in under_way}
    groups = []
    for name, policy in sorted(policies.items()):
        tick_ms = duration_ms(policy.tick)
        rollouts = tuple(
            Announced(each.rollout.rollout, stages_of(each, tick_ms), each.rollout.rollout) for each in known
        )
        groups.append(Group(name, policy, tick_ms, rollouts))
    return groups
