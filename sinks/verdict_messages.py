"""Verdicts and heartbeats as messages on the verdict topic: CloudEvents in the structured mode of the Kafka binding.

The value is the whole event in JSON, which is what counts. The attributes also stand in headers `ce_…`, so that tools
can filter without parsing. When it was decided by the wall clock, and the signature, stand in headers alone: the value
of a verdict is the same bytes whoever judges it again.

Sources: the Kafka protocol binding of CloudEvents 1.0.2, sections 3.3 (structured mode) and 3.2.3 (names of headers).
"""

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from detectors.errors import BadInput
from detectors.verdict import Action
from sinks.cloudevents import Moment, VerdictEvent, encode, rfc3339
from sinks.messages import Message
from sinks.signatures import DECIDED_AT, Signer

CONTENT_TYPE: Final = b"application/cloudevents+json; charset=UTF-8"
_ATTRIBUTES: Final = ("specversion", "id", "source", "type", "subject", "time")


class Beat(Struct, frozen=True, kw_only=True):
    """What stands as the rollout is judged: number and action of its newest verdict.

    Before the first verdict `sequence` is 0 and `action` is null. `finished` is true in the last heartbeat.
    """

    sequence: Annotated[int, Meta(ge=0)]
    action: Action | None
    finished: bool = False


class Heartbeat(Struct, frozen=True, kw_only=True):
    """A sign of life of the judge of a rollout, in its CloudEvents 1.0 envelope.

    `subject` is the rollout, and the Kafka key; `time` is the end of the last tick that was judged. Silence, or a
    `time` that stands still, means that nobody watches the rollout: it holds.
    """

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    source: Annotated[str, Meta(min_length=1, extra_json_schema={"format": "uri-reference"})]
    type: Literal["dev.holdfast.heartbeat.v1"]
    subject: Annotated[str, Meta(min_length=1)]
    time: Moment
    datacontenttype: Literal["application/json"]
    data: Beat


class _Kind(Struct):
    """Enough of an event to tell which one it is."""

    type: str


_KIND: Final = msgspec.json.Decoder(_Kind)
_DECODERS: Final[dict[str, msgspec.json.Decoder[VerdictEvent] | msgspec.json.Decoder[Heartbeat]]] = {
    "dev.holdfast.verdict.v1": msgspec.json.Decoder(VerdictEvent),
    "dev.holdfast.heartbeat.v1": msgspec.json.Decoder(Heartbeat),
}


def verdict_message(event: VerdictEvent, decided_at_ms: int, signer: Signer | None) -> Message:
    """Put a verdict into a message.

    Parameters
    ----------
    event
        The verdict in its envelope.
    decided_at_ms
        When it was decided by the caller's clock, in epoch milliseconds.
    signer
        Signs it, if given.
    """
    return _message(event, encode(event), decided_at_ms, signer)


def heartbeat_message(
    rollout: str,
    sequence: int,
    action: Action | None,
    time_ms: int,
    decided_at_ms: int,
    signer: Signer | None,
    *,
    finished: bool = False,
) -> Message:
    """Put a sign of life into a message.

    Parameters
    ----------
    rollout
        Who is being judged.
    sequence, action
        Of its newest verdict; 0 and None before the first.
    time_ms
        End of the last tick that was judged, in epoch milliseconds.
    decided_at_ms
        When this is said by the caller's clock, in epoch milliseconds.
    signer
        Signs it, if given.
    finished
        Whether this is the last word on the rollout.
    """
    data = Beat(sequence=sequence, action=action, finished=finished)
    content = msgspec.json.encode([rollout, time_ms, decided_at_ms, data], order="sorted")
    event = Heartbeat(
        specversion="1.0",
        id=hashlib.sha256(content).hexdigest()[:32],
        source="/holdfast/judge",
        type="dev.holdfast.heartbeat.v1",
        subject=rollout,
        time=rfc3339(time_ms),
        datacontenttype="application/json",
        data=data,
    )
    return _message(event, msgspec.json.encode(event, order="deterministic"), decided_at_ms, signer)


def read(message: Message) -> VerdictEvent | Heartbeat:
    """Read what stands in a message. Attributes beyond those known are let pass, as CloudEvents allows extensions.

    Raises
    ------
    BadInput
        If it is no CloudEvent in structured mode, is neither a verdict nor a heartbeat, or its key is not the rollout
        that it is about.
    """
    content_type = message.header("content-type")
    if content_type is None or content_type.partition(b";")[0].strip().lower() != b"application/cloudevents+json":
        found = "nothing" if content_type is None else repr(content_type.decode(errors="replace")[:200])
        text = f"header content-type: found {found}; allowed: application/cloudevents+json"
        raise BadInput(text)
    try:
        kind = _KIND.decode(message.value).type
        decoder = _DECODERS.get(kind)
        if decoder is None:
            text = f"type: found {kind[:200]!r}; allowed: {' or '.join(_DECODERS)}"
            raise BadInput(text)
        event = decoder.decode(message.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = f"not an event: {error}"
        raise BadInput(text) from error
    if event.subject.encode() != message.key:
        text = f"subject: found {event.subject[:200]!r} under the key {message.key[:200]!r}; allowed: the same"
        raise BadInput(text)
    return event


def _message(event: VerdictEvent | Heartbeat, value: bytes, decided_at_ms: int, signer: Signer | None) -> Message:
    key, decided_at = event.subject.encode(), rfc3339(decided_at_ms).encode()
    headers = [("content-type", CONTENT_TYPE), *((f"ce_{name}", getattr(event, name).encode()) for name in _ATTRIBUTES)]
    headers.append((DECIDED_AT, decided_at))
    if signer is not None:
        headers.extend(signer.headers(key, decided_at, value))
    return Message(key, value, headers)
