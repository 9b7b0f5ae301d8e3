"""What a subscriber is told of a sequence of messages, and of their absence."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from detectors.verdict import Action, Scope, Verdict
from holdfast.live.events import Event, Fresh, Gap, Received, Stale, Untrusted
from holdfast.live.following import PLACE_BYTES_MAX, ROLLOUTS_MAX, Following, Place
from sinks.cloudevents import verdict_event
from sinks.messages import Message
from sinks.verdict_messages import heartbeat_message, verdict_message

TICK_MS = 10_000
STALE_S = 60.0
VERDICT = Verdict(
    sequence=1,
    action="wait",
    cause="baking",
    stage="canary",
    binding=True,
    scope=Scope(colos=["ams01"], metrics=["errors"]),
    reasons=[],
    abstained=[],
    policy="sha256:00",
    engine="holdfast/0.1.0",
)


def at(tick: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=tick * TICK_MS)


def verdict(sequence: int, tick: int, rollout: str = "bots", action: Action = "wait") -> Message:
    content = msgspec.structs.replace(VERDICT, sequence=sequence, action=action)
    return verdict_message(verdict_event(rollout, tick * TICK_MS, content), tick * TICK_MS + 5, None)


def beat(sequence: int, tick: int, rollout: str = "bots", *, finished: bool = False) -> Message:
    action: Action | None = "wait" if sequence else None
    return heartbeat_message(rollout, sequence, action, tick * TICK_MS, tick * TICK_MS, None, finished=finished)


class Listener:
    """Hands messages to a follower, a second apart."""

    def __init__(self) -> None:
        self.following = Following(STALE_S, None)
        self.now_s = 1_000.0
        self.offset = 0

    def hear(self, *messages: Message, partition: int = 0) -> list[Event]:
        told: list[Event] = []
        for message in messages:
            self.now_s += 1
            self.offset += 1
            told += self.following.take(message, Place("verdicts", partition, self.offset), self.now_s)
        return told

    def wait(self, seconds: float) -> list[Event]:
        self.now_s += seconds
        return self.following.silent(self.now_s)


@pytest.fixture
def listener() -> Listener:
    return Listener()


def sequences(told: list[Event]) -> list[int]:
    return [event.sequence for event in told if isinstance(event, Received)]


def test_a_verdict_is_told_with_all_that_it_says(listener: Listener) -> None:
    (found,) = listener.hear(verdict(1, 7, action="halt"))
    assert isinstance(found, Received)
    assert (found.rollout, found.time, found.sequence, found.action) == ("bots", at(7), 1, "halt")
    assert (found.cause, found.stage, found.binding) == ("baking", "canary", True)
    assert (found.scope, found.reasons, found.abstained) == (VERDICT.scope, [], [])
    assert found.decided_at == at(7) + timedelta(milliseconds=5)


def test_verdicts_are_told_in_order(listener: Listener) -> None:
    assert sequences(listener.hear(verdict(1, 1), verdict(2, 2), verdict(3, 3))) == [1, 2, 3]


def test_a_verdict_that_comes_again_is_not_told_again(listener: Listener) -> None:
    assert sequences(listener.hear(verdict(1, 1), verdict(2, 2), verdict(2, 2), verdict(1, 1))) == [1, 2]
    assert listener.following.repeated == 2


def test_another_verdict_of_the_same_number_is_not_trusted(listener: Listener) -> None:
    *_, last = listener.hear(verdict(1, 1), verdict(1, 1, action="advance"))
    reason = "sequence: found 1 again, with another verdict; allowed: each number once"
    assert last == Untrusted("bots", reason, "verdicts", 0, 2)


def test_missing_verdicts_are_told_before_the_next_one(listener: Listener) -> None:
    told = listener.hear(verdict(1, 1), verdict(4, 4))
    assert told[1] == Gap("bots", 2, 3, None)
    assert sequences(told) == [1, 4]


def test_whoever_begins_late_is_not_told_of_what_was_before(listener: Listener) -> None:
    assert [type(event) for event in listener.hear(verdict(5, 1))] == [Received]


def test_a_heartbeat_tells_of_a_verdict_that_never_came_once(listener: Listener) -> None:
    assert listener.hear(verdict(1, 1), beat(2, 2), beat(2, 3))[1:] == [Gap("bots", 2, 2, "wait")]


def test_a_verdict_that_comes_after_its_heartbeat_is_told_all_the_same(listener: Listener) -> None:
    assert sequences(listener.hear(verdict(1, 1), beat(2, 2), verdict(2, 2))) == [1, 2]


def test_a_heartbeat_is_nothing_to_tell(listener: Listener) -> None:
    assert listener.hear(beat(0, 1), beat(0, 2)) == []


def test_silence_is_told_once(listener: Listener) -> None:
    listener.hear(verdict(1, 1), beat(1, 4))
    assert listener.wait(STALE_S) == []
    assert listener.wait(1) == [Stale("bots", at(4))]
    assert listener.wait(STALE_S) == []


def test_heartbeats_that_stand_still_are_silence(listener: Listener) -> None:
    listener.hear(beat(0, 4), *[beat(0, 4)] * 100)
    assert listener.wait(0) == [Stale("bots", at(4))]


def test_a_heartbeat_that_goes_back_is_silence(listener: Listener) -> None:
    listener.hear(verdict(2, 4), *[beat(1, tick) for tick in range(5, 105)])
    assert listener.wait(0) == [Stale("bots", at(4))]


def test_a_heartbeat_ends_silence(listener: Listener) -> None:
    listener.hear(verdict(1, 4))
    listener.wait(STALE_S + 1)
    assert listener.hear(beat(1, 5), beat(1, 6)) == [Fresh("bots", "wait")]
    assert listener.wait(STALE_S + 1) == [Stale("bots", at(6))]


def test_a_verdict_ends_silence(listener: Listener) -> None:
    listener.hear(verdict(1, 4))
    listener.wait(STALE_S + 1)
    assert sequences(listener.hear(verdict(2, 5), beat(2, 6))) == [2]
    assert listener.wait(1) == []


def test_a_rollout_that_is_finished_is_not_missed(listener: Listener) -> None:
    listener.hear(verdict(1, 4), beat(1, 4, finished=True))
    assert listener.wait(STALE_S + 1) == []
    assert listener.following.is_finished("bots")


def test_a_rollout_that_was_expected_and_never_heard_is_stale(listener: Listener) -> None:
    listener.following.expect("bots", listener.now_s)
    assert listener.wait(STALE_S + 1) == [Stale("bots", None)]


def test_of_a_partition_that_is_not_read_to_its_end_nothing_is_known(listener: Listener) -> None:
    listener.hear(verdict(1, 1, "a"), partition=0)
    listener.hear(verdict(1, 1, "b"), partition=1)
    listener.now_s += STALE_S + 1
    assert listener.following.silent(listener.now_s, {1}) == [Stale("b", at(1))]


def test_a_message_that_is_no_event_is_told_as_untrusted(listener: Listener) -> None:
    (found,) = listener.hear(Message(b"bots", b"{}", []))
    reason = "header content-type: found nothing; allowed: application/cloudevents+json"
    assert found == Untrusted("bots", reason, "verdicts", 0, 1)


def with_header(message: Message, name: str, value: bytes) -> Message:
    return Message(message.key, message.value, [*(h for h in message.headers if h[0] != name), (name, value)])


@pytest.mark.parametrize("value", [b"soon", b"2026-03-12T11:20:00", b"\xff"])
def test_a_verdict_that_was_decided_at_no_time_is_untrusted(listener: Listener, value: bytes) -> None:
    (found,) = listener.hear(with_header(verdict(1, 1), "decided_at", value))
    assert isinstance(found, Untrusted)


@pytest.mark.parametrize(
    "event", [Gap("r", 1, 2, "advance"), Untrusted("r", "", "", 0, 0), Stale("r", None), Fresh("r", "advance")]
)
def test_whatever_is_no_verdict_says_wait(event: Event) -> None:
    assert event.action == "wait"


def after_a_restart(before: Listener) -> Listener:
    after = Listener()
    after.following.restore(0, before.following.remembered(0), after.now_s)
    return after


def test_what_was_told_before_a_restart_is_not_told_again(listener: Listener) -> None:
    listener.hear(verdict(1, 1), verdict(2, 2))
    assert sequences(after_a_restart(listener).hear(verdict(1, 1), verdict(2, 2), verdict(3, 3))) == [3]


def test_another_verdict_of_the_same_number_is_found_after_a_restart(listener: Listener) -> None:
    listener.hear(verdict(1, 1))
    (found,) = after_a_restart(listener).hear(verdict(1, 1, action="advance"))
    assert isinstance(found, Untrusted)


def test_what_is_missing_is_found_after_a_restart(listener: Listener) -> None:
    listener.hear(verdict(1, 1))
    assert after_a_restart(listener).hear(verdict(3, 3))[0] == Gap("bots", 2, 2, None)


def test_silence_is_found_after_a_restart(listener: Listener) -> None:
    listener.hear(verdict(1, 1))
    assert after_a_restart(listener).wait(STALE_S + 1) == [Stale("bots", None)]


def test_the_first_heartbeat_after_a_restart_says_what_is_in_force(listener: Listener) -> None:
    listener.hear(verdict(1, 1))
    assert after_a_restart(listener).hear(beat(1, 2), beat(1, 3)) == [Fresh("bots", "wait")]


def test_a_rollout_that_is_finished_is_not_remembered(listener: Listener) -> None:
    listener.hear(verdict(1, 1), beat(1, 1, finished=True))
    assert after_a_restart(listener).wait(STALE_S + 1) == []


def test_a_rollout_of_another_partition_is_not_remembered(listener: Listener) -> None:
    listener.hear(verdict(1, 1), partition=1)
    assert after_a_restart(listener).wait(STALE_S + 1) == []


def test_what_is_remembered_fits_beside_an_offset_and_is_the_newest(listener: Listener) -> None:
    listener.hear(*[verdict(1, 1, f"rollout-ü-{number:04d}") for number in range(500)])
    text = listener.following.remembered(0)
    assert PLACE_BYTES_MAX - 50 < len(text.encode()) <= PLACE_BYTES_MAX
    names = [event.rollout for event in after_a_restart(listener).wait(STALE_S + 1) if isinstance(event, Stale)]
    assert names == [f"rollout-ü-{number:04d}" for number in range(500 - len(names), 500)]


@pytest.mark.parametrize("text", ["{}", "what", '{"rollouts": {"a": 1}}'])
def test_what_stands_beside_an_offset_and_is_not_ours_is_left_alone(listener: Listener, text: str) -> None:
    listener.following.restore(0, text, listener.now_s)
    assert sequences(listener.hear(verdict(1, 1))) == [1]


def test_a_rollout_that_somebody_else_reads_is_not_missed(listener: Listener) -> None:
    listener.hear(verdict(1, 1))
    listener.following.expect("cats", listener.now_s)
    listener.following.forget({0})
    listener.following.unexpect("cats")
    assert listener.wait(STALE_S + 1) == []


@pytest.mark.parametrize(
    ("first", "gone"),
    [
        (lambda listener: listener.hear(verdict(1, 1, "a"), verdict(1, 1, "b"), verdict(2, 2, "a")), "b"),
        (lambda listener: listener.hear(verdict(1, 1, "b"), verdict(1, 1, "a"), beat(1, 1, "a", finished=True)), "a"),
    ],
    ids=["silent the longest", "finished"],
)
def test_of_too_many_rollouts_the_one_goes_that_is(
    listener: Listener, first: Callable[[Listener], list[Event]], gone: str
) -> None:
    first(listener)
    for number in range(ROLLOUTS_MAX - 2):
        listener.following.expect(f"r{number}", listener.now_s)
    listener.hear(verdict(1, 1, "one more"))
    stale = {event.rollout for event in listener.wait(STALE_S + 1)}
    assert {"a", "b"} - stale == {gone}


def test_what_is_taken_for_a_memory_is_fresh_with_the_next_sign_of_life(listener: Listener) -> None:
    listener.hear(verdict(1, 1), verdict(1, 1, "cats"), beat(0, 1, "gone", finished=True))
    assert sorted(listener.following.doubt(0)) == ["bots", "cats"]
    assert listener.hear(beat(1, 1)) == []  # its time stands still: no good sign
    assert listener.hear(beat(1, 2)) == [Fresh("bots", "wait")]
    assert listener.hear(beat(1, 3)) == []
    assert listener.hear(beat(1, 2, "cats")) == [Fresh("cats", "wait")]


def test_one_rollout_alone_may_be_taken_for_a_memory(listener: Listener) -> None:
    listener.hear(verdict(1, 1), verdict(1, 1, "cats"))
    assert listener.following.doubt(1) == []
    assert listener.following.doubt(0, "cats") == ["cats"]
    assert listener.hear(beat(1, 2)) == []
