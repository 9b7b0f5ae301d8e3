"""Event time: whom the watermark follows, whom it does not, and that it never turns back."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.clock import NEVER, Clock

STEP = 8
HOUR_MS = 3_600_000
LATENESS_MS, AHEAD_MS, BEHIND_MS = 30_000, 600_000, 50 * HOUR_MS
START_MS = 1_773_314_400_000


class Arrivals(NamedTuple):
    """Samples in order of arrival."""

    time: NDArray[np.int64]
    unit: NDArray[np.int32]


@pytest.fixture(autouse=True, scope="module")
def _short_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.clock.STEP_ROWS", STEP)
        yield


def rounds(units: list[int], count: int, first: int = 0) -> Arrivals:
    """Let each unit send once a round, ten seconds apart."""
    time = START_MS + 10_000 * (first + np.repeat(np.arange(count), len(units)))
    return Arrivals(time, np.tile(np.array(units, np.int32), count))


def joined(*parts: Arrivals) -> Arrivals:
    return Arrivals(np.concatenate([p.time for p in parts]), np.concatenate([p.unit for p in parts]))


def run(clock: Clock, arrivals: Arrivals, units: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    return clock.step(arrivals.time, arrivals.unit, units, series=units)


def new_clock() -> Clock:
    return Clock(LATENESS_MS, AHEAD_MS, BEHIND_MS)


ARRIVALS = st.lists(
    st.tuples(
        st.integers(-20, 20).map(lambda minute: START_MS + 60_000 * minute)
        | st.sampled_from([START_MS + HOUR_MS, START_MS - 2 * BEHIND_MS, NEVER]),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=12 * STEP,
).map(lambda rows: Arrivals(np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.int32)))


def test_before_there_is_a_watermark_only_what_is_far_behind_is_late() -> None:
    watermark, _ = run(new_clock(), rounds([0, 1], 2), units=2)
    assert watermark.tolist() == [START_MS + 10_000 - BEHIND_MS] * 4


def test_before_the_first_sample_with_a_time_nothing_is_late() -> None:
    nothing = Arrivals(np.full(2 * STEP, NEVER), np.zeros(2 * STEP, np.int32))
    watermark, _ = run(new_clock(), nothing, units=2)
    assert watermark.tolist() == [NEVER] * 2 * STEP


def test_watermark_is_the_median_less_the_lateness() -> None:
    clock = new_clock()
    offsets = np.array([0, 5_000, 90_000], np.int64)
    run(clock, Arrivals(START_MS + offsets, np.arange(3, dtype=np.int32)), units=3)
    assert clock.watermark_ms == START_MS + 5_000 - LATENESS_MS


def test_of_an_even_number_of_units_the_earlier_half_decides() -> None:
    clock = new_clock()
    run(clock, Arrivals(START_MS + np.array([0, 90_000]), np.arange(2, dtype=np.int32)), units=2)
    assert clock.watermark_ms == START_MS - LATENESS_MS


def test_one_clock_that_runs_an_hour_ahead_closes_nothing_for_the_others() -> None:
    arrivals = rounds([0, 1, 2, 3, 4], 40)
    arrivals.time[arrivals.unit == 3] += HOUR_MS
    clock, sound = new_clock(), new_clock()
    watermark, _ = run(clock, arrivals, units=5)
    run(sound, rounds([0, 1, 2, 4], 40), units=5)
    assert clock.watermark_ms == sound.watermark_ms
    assert (watermark[arrivals.unit != 3] < arrivals.time[arrivals.unit != 3]).all()


def test_samples_of_a_clock_that_runs_an_hour_ahead_are_from_the_future() -> None:
    arrivals = rounds([0, 1, 2, 3, 4], 40)
    arrivals.time[arrivals.unit == 3] += HOUR_MS
    _, future = run(new_clock(), arrivals, units=5)
    assert (future == (arrivals.unit == 3)).all()


def test_sample_exactly_as_far_ahead_as_allowed_is_not_from_the_future() -> None:
    times = START_MS + np.array([0, 0, AHEAD_MS, AHEAD_MS + 1])
    _, future = run(new_clock(), Arrivals(times, np.array([0, 1, 2, 2], np.int32)), units=3)
    assert future.tolist() == [False, False, False, True]


def test_one_clock_that_runs_an_hour_behind_holds_nothing_back() -> None:
    arrivals = rounds([0, 1, 2, 3, 4], 40)
    arrivals.time[arrivals.unit == 3] -= HOUR_MS
    clock = new_clock()
    watermark, _ = run(clock, arrivals, units=5)
    assert clock.watermark_ms == START_MS + 39 * 10_000 - LATENESS_MS
    assert (watermark > arrivals.time)[arrivals.unit == 3][2:].all()


def test_half_a_fleet_that_falls_silent_does_not_hold_the_others_back() -> None:
    clock = new_clock()
    run(clock, joined(rounds([*range(10)], 8), rounds([*range(5)], 192, first=8)), units=10)
    assert clock.watermark_ms == START_MS + 199 * 10_000 - LATENESS_MS


def test_most_of_a_fleet_that_falls_silent_does_not_hold_the_last_one_back() -> None:
    clock = new_clock()
    run(clock, joined(rounds([*range(8)], 8), rounds([6], 400, first=8)), units=8)
    assert clock.watermark_ms == START_MS + 407 * 10_000 - LATENESS_MS


def test_units_that_were_never_heard_of_count_for_nothing() -> None:
    clock = new_clock()
    run(clock, rounds([2], 8), units=1_000)
    assert clock.watermark_ms == START_MS + 70_000 - LATENESS_MS


def test_row_meets_the_watermark_of_the_steps_before_its_own() -> None:
    watermark, _ = run(new_clock(), rounds([0, 1], 8), units=2)
    assert watermark.tolist() == [START_MS + 30_000 - BEHIND_MS] * STEP + [START_MS + 30_000 - LATENESS_MS] * STEP


@given(ARRIVALS)
def test_watermark_never_retreats(arrivals: Arrivals) -> None:
    clock = new_clock()
    watermark, _ = run(clock, arrivals, units=5)
    assert (np.diff([*watermark, clock.watermark_ms]) >= 0).all()


@given(ARRIVALS, st.lists(st.integers(1, 4), min_size=1))
def test_cutting_on_steps_changes_nothing(arrivals: Arrivals, pieces: list[int]) -> None:
    whole, cut = new_clock(), new_clock()
    expected = run(whole, arrivals, units=5)
    found: list[tuple[NDArray[np.int64], NDArray[np.bool_]]] = []
    start = 0
    while start < len(arrivals.time):
        stop = start + STEP * pieces[len(found) % len(pieces)]
        found.append(run(cut, Arrivals(arrivals.time[start:stop], arrivals.unit[start:stop]), units=5))
        start = stop
    for index in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[index] for part in found]), expected[index])
    assert cut.watermark_ms == whole.watermark_ms


@given(ARRIVALS)
def test_room_for_units_to_come_changes_nothing(arrivals: Arrivals) -> None:
    few, many = new_clock(), new_clock()
    for expected, found in zip(
        few.step(arrivals.time, arrivals.unit, 5, 5), many.step(arrivals.time, arrivals.unit, 50, 5), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
