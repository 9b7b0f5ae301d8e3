"""Verdicts and heartbeats as messages: the value is the event, the headers say what else there is to know."""

import re

import msgspec
import pytest

from detectors.errors import BadInput
from detectors.verdict import Scope, Verdict
from sinks.cloudevents import encode, verdict_event
from sinks.messages import Message
from sinks.verdict_messages import Beat, Heartbeat, heartbeat_message, read, verdict_message

TIME_MS = 1_773_314_410_000
DECIDED_MS = 1_773_314_412_345
VERDICT = Verdict(
    sequence=2,
    action="halt",
    cause="evidence",
    stage="canary",
    binding=True,
    scope=Scope(colos=["ams01"], metrics=["errors"]),
    reasons=[],
    abstained=[],
    policy="sha256:00",
    engine="holdfast/0.1.0",
)
EVENT = verdict_event("bots", TIME_MS, VERDICT)
MESSAGE = verdict_message(EVENT, DECIDED_MS, None)
BEAT = heartbeat_message("bots", 2, "halt", TIME_MS, DECIDED_MS, None)


def with_headers(message: Message, *headers: tuple[str, bytes]) -> Message:
    names = {name for name, _ in headers}
    kept = [header for header in message.headers if header[0] not in names]
    return Message(message.key, message.value, [*kept, *headers])


def test_the_key_is_the_rollout_and_the_value_the_event() -> None:
    assert (MESSAGE.key, MESSAGE.value) == (b"bots", encode(EVENT))


def test_the_attributes_stand_in_headers_too() -> None:
    assert MESSAGE.headers == [
        ("content-type", b"application/cloudevents+json; charset=UTF-8"),
        ("ce_specversion", b"1.0"),
        ("ce_id", EVENT.id.encode()),
        ("ce_source", b"/holdfast/judge"),
        ("ce_type", b"dev.holdfast.verdict.v1"),
        ("ce_subject", b"bots"),
        ("ce_time", b"2026-03-12T11:20:10Z"),
        ("decided_at", b"2026-03-12T11:20:12.345Z"),
    ]


def test_when_it_was_decided_does_not_change_the_value() -> None:
    assert verdict_message(EVENT, DECIDED_MS + 1, None).value == MESSAGE.value


def test_reading_a_verdict_undoes_writing_it() -> None:
    assert read(MESSAGE) == EVENT


def test_a_heartbeat_says_what_stands_and_through_when() -> None:
    beat = read(BEAT)
    assert isinstance(beat, Heartbeat)
    assert (beat.subject, beat.time, beat.data) == ("bots", "2026-03-12T11:20:10Z", Beat(sequence=2, action="halt"))


def test_a_heartbeat_says_that_it_is_the_last() -> None:
    beat = read(heartbeat_message("bots", 2, "halt", TIME_MS, DECIDED_MS, None, finished=True))
    assert isinstance(beat, Heartbeat)
    assert beat.data.finished


def test_two_heartbeats_have_two_ids() -> None:
    assert BEAT.header("ce_id") != heartbeat_message("bots", 2, "halt", TIME_MS, DECIDED_MS + 1, None).header("ce_id")


def test_attributes_that_are_not_known_are_let_pass() -> None:
    extended = msgspec.json.encode({**msgspec.json.decode(MESSAGE.value), "traceparent": "00-0-0-00"})
    assert read(Message(MESSAGE.key, extended, MESSAGE.headers)) == EVENT


def test_the_content_type_is_read_whatever_its_parameters() -> None:
    assert read(with_headers(MESSAGE, ("content-type", b"Application/CloudEvents+JSON"))) == EVENT


NO_TYPE = [header for header in MESSAGE.headers if header[0] != "content-type"]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message(b"bots", MESSAGE.value, NO_TYPE), "header content-type: found nothing; allowed: application/cloud"),
        (with_headers(MESSAGE, ("content-type", b"text/plain")), "header content-type: found 'text/plain'; allowed: "),
        (with_headers(MESSAGE, *[("content-type", b"a")] * 2), "header content-type: found 2 times; allowed: once"),
        (Message(b"bots", b"{", MESSAGE.headers), "not an event: "),
        (Message(b"bots", b"\xff", MESSAGE.headers), "not an event: "),
        (Message(b"bots", b"{}", MESSAGE.headers), "not an event: Object missing required field `type`"),
        (Message(b"bots", b'{"type": "x"}', MESSAGE.headers), "type: found 'x'; allowed: dev.holdfast.verdict.v1 or "),
        (Message(b"bots", b'{"type": "dev.holdfast.verdict.v1"}', MESSAGE.headers), "not an event: Object missing"),
        (Message(b"cats", MESSAGE.value, MESSAGE.headers), "subject: found 'bots' under the key b'cats'; allowed: the"),
    ],
)
def test_what_is_no_event_is_refused(message: Message, text: str) -> None:
    with pytest.raises(BadInput, match=f"^{re.escape(text)}"):
        read(message)
