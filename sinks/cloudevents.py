"""The verdict as rollout systems receive it: a CloudEvent, in the same bytes whoever encodes it."""

import hashlib
import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from detectors.errors import BadInput
from detectors.verdict import Verdict

Moment = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z$",
        description="A point in time as RFC 3339 has it, in UTC.",
        extra_json_schema={"format": "date-time"},
    ),
]


class VerdictEvent(Struct, frozen=True, kw_only=True):
    """A verdict in its CloudEvents 1.0 envelope.

    `subject` is the rollout, and the Kafka key; `time` is the end of the last tick that was used. `id` is a
    function of rollout, stage, tick and content, so a verdict that is sent again is recognised by it.
    """

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    source: Annotated[str, Meta(min_length=1, extra_json_schema={"format": "uri-reference"})]
    type: Literal["dev.holdfast.verdict.v1"]
    subject: Annotated[str, Meta(min_length=1)]
    time: Moment
    datacontenttype: Literal["application/json"]
    data: Verdict


_DECODER = msgspec.json.Decoder(VerdictEvent)


def verdict_event(rollout: str, time_ms: int, verdict: Verdict) -> VerdictEvent:
    """Put a verdict into its envelope.

    Parameters
    ----------
    rollout
        Whom the verdict is about.
    time_ms
        End of the last tick that was used, in epoch milliseconds.
    verdict
        What was decided.
    """
    assert all(math.isfinite(reason.e_value) for reason in verdict.reasons), "JSON has no infinite e-value"
    content = msgspec.json.encode([rollout, verdict.stage, time_ms, verdict], order="sorted")
    return VerdictEvent(
        specversion="1.0",
        id=hashlib.sha256(content).hexdigest()[:32],
        source="/holdfast/judge",
        type="dev.holdfast.verdict.v1",
        subject=rollout,
        time=rfc3339(time_ms),
        datacontenttype="application/json",
        data=verdict,
    )


def encode(event: VerdictEvent) -> bytes:
    """Write an event as JSON; equal events give equal bytes."""
    return msgspec.json.encode(event, order="deterministic")


def decode(raw: bytes) -> VerdictEvent:
    """Read an event. Attributes beyond those known are let pass, as CloudEvents allows extensions.

    Raises
    ------
    BadInput
        If the bytes are no verdict event; the text says where.
    """
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not a verdict event: {error}"
        raise BadInput(message) from error


def rfc3339(time_ms: int) -> str:
    """Write epoch milliseconds as RFC 3339 in UTC; milliseconds stand there only if there are some.

    Examples
    --------
    >>> rfc3339(1_773_314_400_000)
    '2026-03-12T11:20:00Z'
    """
    second, rest = divmod(time_ms, 1_000)
    text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"


def epoch_ms(time: datetime) -> int:
    """Return the epoch milliseconds of a time with a zone, exactly.

    Examples
    --------
    >>> epoch_ms(datetime.fromisoformat("2026-03-12T11:20:00Z"))
    1773314400000
    """
    return (time - datetime.fromtimestamp(0, tz=UTC)) // timedelta(milliseconds=1)
