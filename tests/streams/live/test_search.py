"""Where in a log a time lies, told by what its messages say."""

from collections.abc import Sequence

import numpy as np
import pytest

from streams.live.search import Answer, Found, search
from streams.recording import NO_TIME, Samples

TICK_MS = 10_000
DISORDER_MS = 2 * TICK_MS


def message(time_ms: int | None) -> Samples | None:
    """Make a message whose samples are of one time; of -1 none has a time, and None cannot be read."""
    if time_ms is None:
        return None
    return Samples(np.full(3, NO_TIME if time_ms < 0 else time_ms), np.zeros(3), {})


def found(log: Sequence[tuple[int, int | None]], end: int, target: int | None, looked: list[int]) -> Found | None:
    """Search a log of offsets and times, of which each message that is looked at is noted."""
    looking = search(end, lambda _: target)
    probe = next(looking)
    while True:
        answer = Answer(probe, end)
        for offset, time_ms in log:
            if offset >= probe.offset:
                looked.append(offset)
                if answer.take(offset, message(time_ms)):
                    break
        try:
            probe = looking.send(answer.look)
        except StopIteration as stop:
            result: Found | None = stop.value
            return result


@pytest.mark.parametrize("seed", range(20))
def test_all_messages_from_a_time_on_are_found_in_a_log_with_holes_and_disorder(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 3_000))
    offsets = np.cumsum(rng.integers(1, 4, count)) + int(rng.integers(0, 5_000))
    pace = rng.choice([0, 100, 5_000], count)
    times = 1_000_000 + np.cumsum(pace) + rng.integers(0, DISORDER_MS, count)
    log: list[tuple[int, int | None]] = [
        (int(offset), None if rng.random() < 0.1 else int(time)) for offset, time in zip(offsets, times, strict=True)
    ]
    end = int(offsets[-1]) + 1
    target = int(rng.integers(times.min() - TICK_MS, times.max()))
    looked: list[int] = []
    at = found(log, end, target, looked)
    if at is None:
        assert all(time is None for _, time in log)
        return
    missed = [time for offset, time in log if offset < at.offset and time is not None]
    assert max(missed, default=0) < target + DISORDER_MS
    assert len(looked) < 64 + 40 * 20


def test_not_much_more_than_that_is_read():
    log: list[tuple[int, int | None]] = [(offset, 1_000 * offset) for offset in range(100_000)]
    at = found(log, 100_000, 70_000_000, [])
    assert at is not None
    assert 70_000 - 70 < at.offset <= 70_000
    assert not at.is_whole


def test_a_log_that_begins_after_that_time_is_read_whole():
    log: list[tuple[int, int | None]] = [(offset, 1_000 * offset) for offset in range(1_000)]
    assert found(log, 1_000, -5, []) == Found(0, 2_000, 997_000, is_whole=True)


def test_of_what_is_left_of_a_log_nobody_says_that_it_is_whole():
    log: list[tuple[int, int | None]] = [(offset, 1_000 * offset) for offset in range(500, 1_000)]
    at = found(log, 1_000, -5, [])
    assert at is not None
    assert (at.offset, at.is_whole) == (500, False)


@pytest.mark.parametrize("log", [[], [(7, None), (8, -1)], [(30, 1_000)]])
def test_nothing_is_found_where_nothing_can_be_read_before_the_end(log):
    assert found(log, 20, 0, []) is None


def test_nothing_is_found_if_nothing_is_wanted():
    assert found([(0, 1_000), (1, 2_000)], 2, None, []) is None


def test_a_straggler_leads_nobody_astray():
    log: list[tuple[int, int | None]] = [(offset, 1_000 * offset) for offset in range(10_000)]
    for offset in (5_000, 7_500, 8_750):
        log[offset] = (offset, 0)
    at = found(log, 10_000, 4_000_000, [])
    assert at is not None
    assert at.offset <= 4_000
