"""Events as webhooks carry them: verdicts as the CloudEvents that they are, doubts as CloudEvents of another type."""

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from detectors.verdict import Action
from holdfast.live.events import Event, Fresh, Gap, Received, Stale, Untrusted
from sinks.cloudevents import Moment, VerdictEvent, encode, epoch_ms, rfc3339

CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"


class Doubt(Struct, frozen=True, kw_only=True):
    """What the engine's silence, or a message that is not to be trusted, comes to.

    `action` is `wait`: hold. `in_force` is the newest action, where it is known; with `fresh` go on with it, and if it
    stops the rollout, do that.
    """

    kind: Literal["stale", "gap", "untrusted", "fresh"]
    action: Literal["wait"]
    in_force: Action | None
    why: str


class DoubtEvent(Struct, frozen=True, kw_only=True):
    """A doubt about a rollout, in its CloudEvents 1.0 envelope; without `subject` it is about all of them."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    source: Annotated[str, Meta(min_length=1)]
    type: Literal["dev.holdfast.doubt.v1"]
    time: Moment
    datacontenttype: Literal["application/json"]
    data: Doubt
    subject: str | None = None


def outgoing(event: Event, now_ms: int) -> tuple[str, bytes]:
    """Return id and body of an event.

    Parameters
    ----------
    event
        What a subscriber is told.
    now_ms
        When it is told, by the clock on the wall, in epoch milliseconds.
    """
    if isinstance(event, Received):
        found = VerdictEvent(
            specversion="1.0",
            id=event.id,
            source="/holdfast/judge",
            type="dev.holdfast.verdict.v1",
            subject=event.rollout,
            time=rfc3339(epoch_ms(event.time)),
            datacontenttype="application/json",
            data=event.verdict,
        )
        return event.id, encode(found)
    data = _doubt(event)
    content = msgspec.json.encode([event.rollout, now_ms, data], order="sorted")
    name = hashlib.sha256(content).hexdigest()[:32]
    told = DoubtEvent(
        specversion="1.0",
        id=name,
        source="/holdfast/api",
        type="dev.holdfast.doubt.v1",
        subject=event.rollout,
        time=rfc3339(now_ms),
        datacontenttype="application/json",
        data=data,
    )
    return name, msgspec.json.encode(told, order="deterministic")


def _doubt(event: Gap | Untrusted | Stale | Fresh) -> Doubt:
    match event:
        case Gap():
            why = f"verdicts {event.first} to {event.last} are missing"
            return Doubt(kind="gap", action="wait", in_force=event.in_force, why=why)
        case Untrusted():
            place = f"{event.topic}[{event.partition}]@{event.offset}"
            return Doubt(kind="untrusted", action="wait", in_force=None, why=f"{place}: {event.reason}")
        case Stale():
            return Doubt(kind="stale", action="wait", in_force=None, why="the engine has said nothing new for too long")
        case Fresh():
            return Doubt(kind="fresh", action="wait", in_force=event.in_force, why="the engine speaks again")
