"""How many messages an hour: alone at first, summed up beyond that, none forgotten."""

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rollouts.incidents.history import History, Impact, Opened, Severity
from rollouts.incidents.notices import Notice, notices
from rollouts.incidents.pacing import HOUR, Sent, next_message, shares
from rollouts.incidents.response import Recipient, Response, Rule
from tests.rollouts.incidents.making import NOON, at

RESPONSE = Response(response="r", recipients=[Recipient(name="a", urls=["json://localhost"])], rules=[Rule(tell=["a"])])


def notice(number: int, seconds: float = 0.0, severity: Severity = "major") -> Notice:
    """Give the notice of an incident's opening."""
    event = Opened(at=at(seconds / 60), by="holdfast", title="errors", severity=severity, impact=Impact())
    return notices(History(incident=f"inc-20260312-{number:08x}", events=[event]), RESPONSE)[0]


def simulated(arrivals: list[float], per_hour: int, hours: float = 3.0) -> list[tuple[datetime, int]]:
    """Send what arrives as fast as it may be; return when each message went and how much it covered."""
    coming = sorted((notice(number, seconds) for number, seconds in enumerate(arrivals)), key=lambda each: each.at)
    waiting: list[Notice] = []
    sent: list[Sent] = []
    messages: list[tuple[datetime, int]] = []
    now = NOON
    while now < NOON + timedelta(hours=hours):
        while coming and coming[0].at <= now:
            waiting.append(coming.pop(0))
        found = next_message(waiting, sent, per_hour, now)
        if found.covers:
            waiting = [each for each in waiting if each not in found.covers]
            sent.append(Sent(at=now, is_summary=found.is_summary))
            messages.append((now, len(found.covers)))
        elif found.again is not None and found.again <= now:
            raise AssertionError("it is to be asked again at once, and so for ever")
        else:
            times = [each for each in (found.again, coming[0].at if coming else None) if each is not None]
            now = min(times, default=NOON + timedelta(hours=hours))
    return messages


def test_nothing_waits_and_nothing_is_sent() -> None:
    assert next_message([], [], 1, NOON).covers == []


def test_a_notice_goes_alone_and_at_once() -> None:
    found = next_message([notice(1)], [], 60, NOON)
    assert ([each.id for each in found.covers], found.is_summary) == (["inc-20260312-00000001-0000-opened"], False)


def test_the_worst_and_then_the_oldest_goes_first() -> None:
    waiting = [notice(1, 0, "minor"), notice(2, 20, "critical"), notice(3, 10, "critical"), notice(4, 0, "major")]
    assert next_message(waiting, [], 60, NOON).covers == [waiting[2]]


def test_a_flood_of_a_thousand_comes_to_few_messages_within_an_hour() -> None:
    messages = simulated([0.05 * number for number in range(1_000)], 60, hours=1.0)
    assert len(messages) <= 60
    assert sum(count for _, count in messages) == 1_000
    assert [count for _, count in messages[:45]] == [1] * 45


def test_after_a_flood_the_next_word_comes_within_minutes() -> None:
    arrivals = [0.0] * 200 + [60.0 * minute for minute in range(1, 30)]
    times = [when for when, _ in simulated(arrivals, 60, hours=1.0)]
    assert max(later - earlier for earlier, later in pairwise(times)) <= HOUR / 15


def test_one_message_an_hour_sums_up_all_that_waits() -> None:
    assert [count for _, count in simulated([0.0, 1.0, 2.0, 3.0], 1)] == [1, 3]


def test_one_that_waits_alone_is_no_sum() -> None:
    messages = simulated([0.0, 0.0, 0.0], 2)
    assert [count for _, count in messages] == [1, 2]


@given(st.integers(1, 3_600))
def test_something_goes_alone_and_something_is_kept(per_hour: int) -> None:
    alone, kept = shares(per_hour)
    assert alone >= 1
    assert alone + kept == per_hour
    assert kept >= 1 or per_hour == 1


@given(st.lists(st.floats(0, 7_200), max_size=80), st.integers(1, 12))
def test_in_no_hour_there_are_too_many_and_nothing_is_forgotten(arrivals: list[float], per_hour: int) -> None:
    messages = simulated(arrivals, per_hour, hours=5.0)
    times = [when for when, _ in messages]
    for first in times:
        assert sum(first <= each < first + HOUR for each in times) <= per_hour
    assert sum(count for _, count in messages) == len(arrivals)
