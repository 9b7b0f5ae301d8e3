"""The document on the rollouts topic: a plan, the policy that judges it, and what has happened to it so far.

The whole of it is one message under the rollout's name, so that compaction loses nothing. Plan and policy stay what
they were once submitted; events are only ever added. Pure: the caller says what the time is.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from detectors.errors import BadInput
from detectors.policy import Name, Policy
from rollouts.certificate import SignedCertificate
from rollouts.document import NOT_YET, Rollout, Timestamp

EventName = Literal["started", "finished"]
Version = Annotated[int, Meta(ge=1)]

EVENTS_MAX: Final = 101
"""Most events of a rollout: a start of each of its 100 stages, and its end."""


class StageEvent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What happened to a rollout, and since when.

    `version` is that of the announcement that brought the event. `stage` is there with `started` alone.
    """

    version: Version
    event: EventName
    effective_at: Timestamp
    stage: Name | None = None


class Announcement(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rollout as it stands: its plan, its policy and its events, in the order in which they were told.

    `version` is 1 when it is submitted, and grows by one with each change. `certificate` shows that the policy passed
    its gate; what has none is written without the key, so that it reads as it always did.
    """

    version: Version
    rollout: Rollout
    policy: Policy
    events: Annotated[list[StageEvent], Meta(max_length=EVENTS_MAX)] = []
    certificate: SignedCertificate | UnsetType = UNSET


_DECODER: Final = msgspec.json.Decoder(Announcement)


def announce(rollout: Rollout, policy: Policy, certificate: SignedCertificate | None = None) -> Announcement:
    """Make the first announcement of a rollout, perhaps with the certificate of its policy."""
    return Announcement(version=1, rollout=rollout, policy=policy, certificate=certificate or UNSET)


def replaced(
    announcement: Announcement,
    rollout: Rollout,
    policy: Policy,
    now: datetime,
    certificate: SignedCertificate | None = None,
) -> Announcement:
    """Put another plan or policy in the place of one that has not started, or add a certificate to any.

    Parameters
    ----------
    announcement
        What stands on the topic.
    rollout, policy
        What is to stand there; if it is the same, the announcement comes back as it is.
    now
        The time at which this is asked for.
    certificate
        That of the policy. Without one the same plan and policy keep theirs; another policy has none.

    Raises
    ------
    BadInput
        If an event was told already, or the first stage has started: what is judged may not change under the judge.
    """
    if same(announcement, rollout, policy):
        if certificate is None or certificate == announcement.certificate:
            return announcement
        return msgspec.structs.replace(announcement, version=announcement.version + 1, certificate=certificate)
    name = announcement.rollout.rollout
    if announcement.events:
        told = announcement.events[-1]
        message = f"{name}: the event {told.event!r} was told already; allowed: to replace what has no events"
        raise BadInput(message)
    if announcement.policy.tick != policy.tick:
        message = f"{name}: announced with a tick of {announcement.policy.tick}; allowed: a policy with the same tick"
        raise BadInput(message)
    start = start_of(announcement, 0)
    if start is not None and start <= now:
        message = f"{name}: started at {_written(start)}; allowed: to replace what has not started"
        raise BadInput(message)
    version = announcement.version + 1
    return Announcement(version=version, rollout=rollout, policy=policy, certificate=certificate or UNSET)


def same(announcement: Announcement, rollout: Rollout, policy: Policy) -> bool:
    """Tell whether a plan and a policy are those that were announced; comments and the order of keys do not matter."""
    return announcement.rollout == rollout and announcement.policy == policy


def with_event(announcement: Announcement, event: EventName, stage: str | None, at: datetime) -> Announcement:
    """Add an event.

    Parameters
    ----------
    announcement
        What stands on the topic.
    event
        `started` or `finished`.
    stage
        Name of the stage that started; None with `finished`, which is the end of the rollout as a whole.
    at
        Since when, with its zone.

    Returns
    -------
    Announcement
        With one event and one version more; the very same if that event stands there already, so that a writer who
        does not know whether it got through may try again.

    Raises
    ------
    BadInput
        If the stage is unknown or has started, a stage before it has not, the order of times is wrong, or the
        rollout is finished.
    """
    at = at.astimezone(UTC)
    if any((told.event, told.stage, told.effective_at) == (event, stage, at) for told in announcement.events):
        return announcement
    problem = _objection(announcement, event, stage, at)
    if problem:
        message = f"{announcement.rollout.rollout}: {problem}"
        raise BadInput(message)
    version = announcement.version + 1
    added = StageEvent(version=version, event=event, stage=stage, effective_at=at)
    return msgspec.structs.replace(announcement, version=version, events=[*announcement.events, added])


def start_of(announcement: Announcement, index: int) -> datetime | None:
    """Tell when a stage starts.

    A `started` event wins; without one it is the stage's own `started`, and for the first stage else the rollout's,
    if that is not `NOT_YET`: what may start any moment has a past that ends now, and not in the year 2200.

    Parameters
    ----------
    announcement
        The rollout.
    index
        Which stage, counted from 0.

    Returns
    -------
    datetime | None
        None if nothing says when, or if the rollout is finished by then.
    """
    stage = announcement.rollout.stages[index]
    told = _told(announcement.events, stage.name)
    planned = stage.started or (announcement.rollout.started if index == 0 else None)
    start = told or (None if planned == NOT_YET else planned)
    end = finished_at(announcement)
    return None if start is None or (end is not None and start >= end) else start


def finished_at(announcement: Announcement) -> datetime | None:
    """Tell when a rollout was finished, or None while it is under way."""
    return next((told.effective_at for told in announcement.events if told.event == "finished"), None)


def follows(announcement: Announcement, before: Announcement) -> str | None:
    """Say what forbids one announcement to take the place of another, or None if nothing does.

    Events may only be added, and once there are any, plan and policy stay. Versions in between may be missing:
    compaction removes them.
    """
    if announcement.version <= before.version:
        return f"version: found {announcement.version} after {before.version}; allowed: a higher one"
    if announcement.events[: len(before.events)] != before.events:
        return f"events: found other events than the {len(before.events)} of version {before.version}"
    if before.events and not same(announcement, before.rollout, before.policy):
        return f"found another plan or policy than in version {before.version}, which has events already"
    return None


def encode(announcement: Announcement) -> bytes:
    """Write an announcement as JSON; equal announcements give equal bytes."""
    return msgspec.json.encode(announcement, order="deterministic")


def decode(raw: bytes) -> Announcement:
    """Read an announcement, and check that its events could have happened one after the other.

    Raises
    ------
    BadInput
        If the bytes are no announcement; the text says where. What ties one key of a plan or a policy to another is
        checked by whoever reads documents, not here.
    """
    try:
        announcement = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not an announcement: {error}"
        raise BadInput(message) from error
    first = announcement.version - len(announcement.events)
    grown = msgspec.structs.replace(announcement, version=first, events=[])
    for index, told in enumerate(announcement.events):
        problem = _objection(grown, told.event, told.stage, told.effective_at)
        if told.version != grown.version + 1 or first < 1:
            problem = f"version: found {told.version}; allowed: one more with each event, up to {announcement.version}"
        if problem:
            message = f"not an announcement: events[{index}]: {problem}"
            raise BadInput(message)
        grown = msgspec.structs.replace(grown, version=told.version, events=[*grown.events, told])
    return announcement


def _objection(announcement: Announcement, event: EventName, stage: str | None, at: datetime) -> str | None:
    """Say why an event cannot be added, or None if it can."""
    end = finished_at(announcement)
    if end is not None:
        return f"found {event!r} after the rollout finished at {_written(end)}; allowed: nothing more"
    if event == "finished":
        return _objection_to_finish(announcement, stage, at)
    names = [one.name for one in announcement.rollout.stages]
    if stage not in names:
        return f"stage: found {'nothing' if stage is None else repr(stage)}; allowed: {', '.join(names)}"
    told = _told(announcement.events, stage)
    if told is not None:
        return f"stage: {stage!r} has started already, at {_written(told)}"
    return _objection_to_start(announcement, names, names.index(stage), at)


def _objection_to_start(announcement: Announcement, names: list[str], index: int, at: datetime) -> str | None:
    starts = [start_of(announcement, other) for other in range(len(names))]
    for other, start in enumerate(starts[:index]):
        if start is None:
            return f"stage: {names[index]!r} cannot start before {names[other]!r} has; tell the start of that one first"
        if at < start:
            return f"effective_at: found {_written(at)}, before {names[other]!r} started at {_written(start)}"
    for other, start in enumerate(starts[index + 1 :], start=index + 1):
        if start is not None and at > start:
            return f"effective_at: found {_written(at)}, after {names[other]!r} starts at {_written(start)}"
    return None


def _objection_to_finish(announcement: Announcement, stage: str | None, at: datetime) -> str | None:
    if stage is not None:
        return f"stage: found {stage!r} with 'finished'; allowed: nothing, a rollout finishes as a whole"
    late = [told for told in announcement.events if told.effective_at >= at]
    if late:
        start = _written(late[-1].effective_at)
        return f"effective_at: found {_written(at)}; allowed: later than {start}, when {late[-1].stage!r} started"
    return None


def _told(events: list[StageEvent], stage: str) -> datetime | None:
    """Return when an event says that a stage started."""
    return next((told.effective_at for told in events if told.event == "started" and told.stage == stage), None)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
