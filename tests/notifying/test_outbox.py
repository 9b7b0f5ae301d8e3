"""What is still to be told, and in which message: without brokers, threads and servers."""

from datetime import timedelta

import pytest

from detectors.errors import BadInput
from holdfast.notifying import outbox as outboxes
from holdfast.notifying.journal import Delivered, Place, decode, encode, encode_key
from holdfast.notifying.outbox import Outbox, Outcome, Parcel, Told
from rollouts.incidents.history import Escalated, History, Resolved
from rollouts.incidents.response import Response
from tests.notifying.making import NOON, history, minutes, notice, response, updated

OPS = Place(recipient="ops", index=0)


def outbox(document: Response | None = None, count: int = 1) -> Outbox:
    found = document or response({"ops": ["json://localhost"]})
    return Outbox(found, {each.name: count for each in found.recipients}, timedelta(hours=1))


def sent(box: Outbox, parcel: Parcel, minutes_later: float = 0.0, reason: str | None = None) -> Told:
    told = box.done(Outcome(parcel=parcel, at=NOON + minutes(minutes_later), attempts=1, reason=reason))
    box.remember(told)
    return told


def parcel_of(box: Outbox, minutes_later: float = 0.0, place: Place = OPS) -> Parcel:
    found = box.next(place, NOON + minutes(minutes_later))
    assert found is not None
    return found


def test_one_message_at_a_time_is_on_its_way_to_an_address() -> None:
    box = outbox()
    box.take(history(1), NOON)
    box.take(history(2), NOON)
    first = parcel_of(box)
    assert box.next(OPS, NOON) is None
    sent(box, first)
    assert parcel_of(box).message.id != first.message.id


def test_what_is_taken_again_is_told_once() -> None:
    box = outbox()
    for _ in range(3):
        box.take(history(1), NOON)
    sent(box, parcel_of(box))
    box.take(history(1), NOON)
    assert box.next(OPS, NOON) is None


def test_what_is_new_in_a_history_is_told() -> None:
    box = outbox()
    box.take(history(1), NOON)
    sent(box, parcel_of(box))
    box.take(history(1, NOON, updated(NOON + minutes(1))), NOON + minutes(1))
    assert parcel_of(box, 1).covers[0].what == "updated"


def test_each_address_of_a_recipient_is_told() -> None:
    box = outbox(count=2)
    box.take(history(1), NOON)
    sent(box, parcel_of(box))
    assert box.next(OPS, NOON) is None
    assert parcel_of(box, place=Place(recipient="ops", index=1)).message.id == notice().id


def test_what_is_remembered_is_not_told() -> None:
    first, second = outbox(), outbox()
    first.take(history(1), NOON)
    told = sent(first, parcel_of(first))
    second.remember(decode(encode_key(key), encode(value)) for key, value in told)
    second.take(history(1), NOON)
    assert second.next(OPS, NOON) is None


def test_the_limit_holds_after_a_restart() -> None:
    document = response({"ops": ["json://localhost"]}, 1)
    first, second = outbox(document), outbox(document)
    first.take(history(1), NOON)
    second.remember(sent(first, parcel_of(first)))
    second.take(history(2), NOON)
    assert second.next(OPS, NOON + minutes(59)) is None
    assert parcel_of(second, 60).message.id == notice(2).id


def test_what_is_beyond_the_limit_is_summed_up_and_each_is_kept_as_told() -> None:
    box = outbox(response({"ops": ["json://localhost"]}, 2))
    for number in range(5):
        box.take(history(number), NOON)
    sent(box, parcel_of(box))
    parcel = parcel_of(box)
    assert (len(parcel.covers), parcel.is_summary) == (4, True)
    assert parcel.message.subject == "[critical] 4 more notices since 12:00 UTC (4 critical)"
    told = sent(box, parcel)
    assert {(value.state, value.message) for _, value in told} == {("summed", parcel.message.id)}
    assert box.waiting(OPS) == 0


def test_the_same_sum_has_the_same_id() -> None:
    ids = set()
    for _ in range(2):
        box = outbox(response({"ops": ["json://localhost"]}, 1))
        box.take(history(1), NOON)
        box.take(history(2), NOON)
        ids.add(parcel_of(box).message.id)
    assert len(ids) == 1


def test_what_could_not_be_sent_is_kept_with_its_reason_and_is_not_tried_for_ever() -> None:
    box = outbox()
    box.take(history(1), NOON)
    ((_, value),) = sent(box, parcel_of(box), reason="no\r\nanswer " + "x" * 1_000)
    assert value.state == "undelivered"
    assert value.reason is not None
    assert value.reason.startswith("no answer")
    assert len(value.reason) <= 300
    assert box.next(OPS, NOON + minutes(30)) is None


def test_what_has_waited_for_too_long_is_given_up() -> None:
    box = outbox(response({"ops": ["json://localhost"]}, 1))
    box.take(history(1), NOON)
    sent(box, parcel_of(box))
    box.take(history(2), NOON)
    assert box.late(NOON + minutes(59)) == []
    given_up = box.late(NOON + minutes(61))
    assert [(value.state, value.reason) for _, value in given_up] == [("undelivered", "it waited for too long")]
    box.remember(given_up)
    assert box.waiting(OPS) == 0


def test_what_is_on_its_way_is_not_given_up_beside_it() -> None:
    box = outbox()
    box.take(history(1), NOON)
    parcel = parcel_of(box)
    assert parcel.until == NOON + minutes(60)
    assert box.late(NOON + minutes(90)) == []


def test_what_is_long_over_nobody_hears_of_and_what_is_still_open_is_not_passed_over() -> None:
    box = outbox()
    over = history(1, NOON, Resolved(at=NOON + minutes(1), by="ada", how="x"))
    assert box.take(over, NOON + minutes(600)) == []
    ((key, value),) = box.take(history(2), NOON + minutes(600))
    assert (key, value.reason) == ((notice(2).id, OPS), "it was too old when it was first seen")
    box.remember([(key, value)])
    assert box.take(history(2), NOON + minutes(601)) == []
    assert box.next(OPS, NOON + minutes(601)) is None


def test_it_does_not_remember_for_ever() -> None:
    box = outbox()
    box.take(history(1), NOON)
    sent(box, parcel_of(box))
    box.late(NOON + minutes(119))
    assert box._known
    box.late(NOON + minutes(121))
    assert not box._known
    assert box.take(history(1, NOON, Resolved(at=NOON + minutes(1), by="ada", how="x")), NOON + minutes(121)) == []


def test_somebody_whom_the_document_does_not_know_is_told_of_as_undelivered() -> None:
    box = outbox()
    step = Escalated(at=NOON + minutes(5), by="holdfast", step=0, tell=["gone"])
    ((key, value),) = box.take(history(1, NOON, step), NOON + minutes(5))
    assert key[1] == Place(recipient="gone", index=0)
    assert value.reason == "the document has no recipient of that name"


def test_what_waits_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "WAITING_MAX", 3)
    box = outbox()
    given_up = [each for number in range(5) for each in box.take(history(number), NOON)]
    assert box.waiting(OPS) == 3
    assert [value.reason for _, value in given_up] == ["3 others waited"] * 2


def test_a_history_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput):
        outbox().take(History(incident="inc-20260312-00000001", events=[]), NOON)


def test_what_became_of_a_notice_comes_back_as_it_was_written() -> None:
    key = (notice().id, Place(recipient="a/b ünï", index=3))
    value = Delivered(
        state="undelivered", at=NOON, told=NOON, message="m", subject="s", attempts=3, is_summary=True, reason="x"
    )
    assert decode(encode_key(key), encode(value)) == (key, value)


@pytest.mark.parametrize(
    ("key", "value"), [(b"x", b"{}"), (b"\xff/a/1", b"{}"), (b"a/b/c", b"{}"), (b"a/b/1", b"{}"), (b"a/b/1", b"\xff")]
)
def test_what_is_no_such_message_is_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(BadInput, match="not what became of a notice"):
        decode(key, value)
