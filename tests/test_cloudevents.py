"""Verdict events: the same verdict is the same bytes and the same id."""

import msgspec
import pytest

from detectors.errors import BadInput
from detectors.verdict import Scope, Verdict
from sinks.cloudevents import VerdictEvent, decode, encode, rfc3339, verdict_event

TIME_MS = 1_773_314_410_000
VERDICT = Verdict(
    sequence=1,
    action="wait",
    cause="baking",
    stage="first",
    binding=False,
    scope=Scope(colos=[], metrics=[]),
    reasons=[],
    abstained=[],
    policy="sha256:00",
    engine="0.1.0",
)


def test_envelope_names_the_rollout_and_the_tick() -> None:
    event = verdict_event("resolver-0402", TIME_MS, VERDICT)
    envelope = msgspec.to_builtins(event)
    del envelope["id"], envelope["data"]
    assert envelope == {
        "specversion": "1.0",
        "source": "/holdfast/judge",
        "type": "dev.holdfast.verdict.v1",
        "subject": "resolver-0402",
        "time": "2026-03-12T11:20:10Z",
        "datacontenttype": "application/json",
    }


def test_decoding_undoes_encoding() -> None:
    event = verdict_event("r", TIME_MS, VERDICT)
    assert decode(encode(event)) == event


def test_same_verdict_has_the_same_bytes() -> None:
    again = msgspec.json.decode(msgspec.json.encode(VERDICT), type=Verdict)
    assert encode(verdict_event("r", TIME_MS, VERDICT)) == encode(verdict_event("r", TIME_MS, again))


def test_attributes_stand_in_the_order_of_the_envelope() -> None:
    raw = encode(verdict_event("r", TIME_MS, VERDICT))
    assert tuple(msgspec.json.decode(raw)) == VerdictEvent.__struct_fields__


def test_id_stays_what_it_was() -> None:
    assert verdict_event("r", TIME_MS, VERDICT).id == "144a82d7c551b180f5cdea3236f80501"


@pytest.mark.parametrize(
    "other",
    [
        verdict_event("other", TIME_MS, VERDICT),
        verdict_event("r", TIME_MS + 10_000, VERDICT),
        verdict_event("r", TIME_MS, msgspec.structs.replace(VERDICT, stage="second")),
        verdict_event("r", TIME_MS, msgspec.structs.replace(VERDICT, action="halt")),
    ],
    ids=["rollout", "tick", "stage", "content"],
)
def test_id_differs_with_the(other: VerdictEvent) -> None:
    assert other.id != verdict_event("r", TIME_MS, VERDICT).id


def test_milliseconds_stand_in_a_time_that_has_some() -> None:
    assert rfc3339(1_773_314_400_050) == "2026-03-12T11:20:00.050Z"


def test_extension_attributes_are_let_pass() -> None:
    event = verdict_event("r", TIME_MS, VERDICT)
    extended = {**msgspec.to_builtins(event), "traceparent": "00-0-0-00"}
    assert decode(msgspec.json.encode(extended)) == event


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"specversion": "0.3"}', b"\xff"])
def test_what_is_no_event_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput, match=r"^not a verdict event: "):
        decode(raw)
