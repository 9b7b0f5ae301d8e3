"""The watermark of a live partition: a function of the log, robust against single clocks, and restartable."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.live.clock import Heard, Timing, Watermark

TICK_MS = 10_000
TIMING = Timing("host", TICK_MS, lateness=2, ahead=10)
ROUND = 12


@pytest.fixture(autouse=True, scope="module")
def _short_rounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.live.clock._ROUND_SAMPLES_MIN", ROUND)
        yield


Messages = Sequence[tuple[list[int], float]]
"""Units and the tick in which each message was sent."""


def take(watermark: Watermark, messages: Messages, first: int = 0) -> list[int | None]:
    """Send messages, one sample a unit; return where the watermark stands after each."""
    ticks = []
    for offset, (units, tick) in enumerate(messages, start=first):
        time = np.full(len(units), int(tick * TICK_MS))
        watermark.take(Heard(np.array(units, np.int32), max(units) + 1, time, time), len(units), offset, 4)
        ticks.append(watermark.tick)
    return ticks


def test_it_does_not_stand_before_a_unit_has_sent_twice() -> None:
    assert take(Watermark(TIMING), [([0], 5.5), ([1], 5.5), ([2], 5.6), ([0], 6.5)]) == [None, None, None, 3]


def test_first_clock_an_hour_ahead_does_not_set_it() -> None:
    messages = [([0], 365.0), ([1], 5.5), ([2], 5.5), ([0], 366.0)]
    assert take(Watermark(TIMING), messages)[-1] == 3


def test_it_moves_when_more_than_half_of_the_units_have_passed() -> None:
    watermark = Watermark(TIMING)
    take(watermark, [([0, 1, 2, 3], tick) for tick in (5.5, 6.5)])
    assert take(watermark, [([0], 7.5), ([1], 7.5), ([2], 7.5), ([3], 7.5)]) == [4, 4, 5, 5]


def test_it_never_turns_back() -> None:
    watermark = Watermark(TIMING)
    take(watermark, [([0, 1, 2], tick) for tick in (5.5, 6.5, 9.5)])
    assert take(watermark, [([0, 1, 2], 3.5)]) == [7]


def test_units_that_fell_silent_hold_nothing_back() -> None:
    watermark = Watermark(TIMING)
    take(watermark, [(list(range(4)), tick) for tick in (5.5, 6.5)])
    alone = take(watermark, [([0], 7.5 + step) for step in range(60)])
    assert alone[0] == 4
    assert alone[-1] == 64


def test_patience_moves_it_and_later_messages_too() -> None:
    watermark = Watermark(TIMING)
    take(watermark, [([0, 1], tick) for tick in (5.5, 6.5)])
    assert watermark.advance(9 * TICK_MS, 2)
    assert not watermark.advance(9 * TICK_MS, 2)
    assert take(watermark, [([0, 1], 8.5), ([0, 1], 12.5)], first=2) == [9, 10]
    assert watermark.bounds(1) == (4 - 1, 4 + 2 + 10 + 1)
    assert watermark.bounds(2) == (9, 9 + 2 + 10 + 1)


def test_patience_without_any_data_moves_nothing() -> None:
    assert not Watermark(TIMING).advance(9 * TICK_MS, 0)


def test_clocks_of_half_of_the_units_are_disputed() -> None:
    watermark = Watermark(TIMING)
    take(watermark, [message for tick in (5.5, 6.5, 7.5) for message in (([0, 1], tick), ([2, 3], tick + 300))])
    assert watermark.is_disputed(5)


def test_one_clock_of_three_is_not_disputed() -> None:
    watermark = Watermark(TIMING)
    take(watermark, [message for tick in (5.5, 6.5, 7.5) for message in (([0, 1], tick), ([2], tick + 300))])
    assert not watermark.is_disputed(5)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True).map(sorted), st.floats(-3, 3)),
        min_size=8,
        max_size=60,
    ),
    st.data(),
)
def test_resumed_it_stands_where_it_would(drawn: list[tuple[list[int], float]], data: st.DataObject) -> None:
    messages = [(units, 10 + number / 3 + shift) for number, (units, shift) in enumerate(drawn)]
    position = data.draw(st.integers(1, len(messages)))
    whole = Watermark(TIMING)
    take(whole, messages[:position])
    passed, since, is_origin = whole.resume()
    start = whole.oldest_offset()
    expected = [whole.tick, *take(whole, messages[position:], first=position)]
    if not passed:
        return
    assert start is not None
    resumed = Watermark(TIMING, passed, position, since, is_origin=is_origin)
    take(resumed, messages[start:position], first=start)
    assert [resumed.tick, *take(resumed, messages[position:], first=position)] == expected
    assert resumed.newest_ms() == whole.newest_ms()
