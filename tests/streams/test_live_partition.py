"""The live aggregate: the sums of a replay, whatever the polls and the restarts, and every sample counted once."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detectors.policy import Metric, Ratio
from streams.live.partition import Group, Partition
from streams.membership import Stage
from tests.samples import TICK_MS, Row, columns, find, gauge, in_order, reduce, sample, series, stage
from tests.streams.living import (
    DIGEST,
    METRICS,
    Broker,
    Fleet,
    Message,
    Told,
    cut,
    end_of,
    group,
    live,
    signatures_of,
    spelled,
    told,
)

CPU = gauge("cpu")
ERRORS = Metric(name="errors", ratio=Ratio(bad="bad", total="all"), worse="increase", breach="revert")
COHORTS = stage({"cohort": "canary"}, {"cohort": "control"})
ROLLOUTS: list[list[Stage]] = [[COHORTS, stage({"host": "h1"})], [stage({"host": "h0"})]]
OTHER = "sha256:fedcba9876543210"
SEEDS = st.integers(0, 2**32)


@pytest.fixture(autouse=True, scope="module")
def _short_rounds() -> Iterator[None]:
    """Have units fall out of the median soon, even where there are few samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.live.clock._ROUND_SAMPLES_MIN", 16)
        for module in ("streams.clock", "tests.samples"):
            patch.setattr(f"{module}.STEP_ROWS", 16)
        yield


def messages(rows: Sequence[Row], seed: int) -> list[Message]:
    """Cut rows into messages of up to 2, 8 or 40."""
    rng = np.random.default_rng([seed, 1])
    largest = int(rng.choice([2, 8, 40]))
    return cut(rows, rng.integers(1, largest + 1, len(rows)).tolist())


def drawn(seed: int, largest: int, size: int) -> list[int]:
    """Draw sizes of polls."""
    return [int(number) for number in np.random.default_rng([seed, 2]).integers(1, largest, size)]


def wild_groups(seed: int) -> list[Group]:
    rng = np.random.default_rng([seed, 3])
    gap, lateness = int(rng.integers(1, 5)), int(rng.choice([0, 1, 3]))
    one = group(*METRICS, rollouts=ROLLOUTS, gap=gap, lateness=lateness, ahead=10)
    tick_ms = int(rng.choice([TICK_MS, 2 * TICK_MS]))
    other = group(*METRICS[:4], rollouts=ROLLOUTS, gap=2, lateness=lateness, ahead=10, digest=OTHER, tick_ms=tick_ms)
    return [one, other]


def outcome(broker: Broker) -> list[Told]:
    return [told(broker.closed, digest) for digest in (DIGEST, OTHER)]


@settings(max_examples=10)
@given(SEEDS, st.integers(1, 4))
def test_live_sums_are_those_of_a_replay_bit_for_bit(seed: int, gap: int) -> None:
    rows = Fleet(seed).rows()
    log = messages(rows, seed)
    judged = group(*METRICS, rollouts=ROLLOUTS, gap=gap)
    here = told(live(log, judged, polls=drawn(seed, 6, len(log)), end_ms=end_of(rows)).closed)
    there = reduce(rows, *METRICS, rollouts=ROLLOUTS, gap=gap)
    last = there.ticks.first + there.ticks.ticks - 1
    expected = spelled(there.ticks, signatures_of(find(rows).memberships(*ROLLOUTS)))
    assert {place: sums for place, sums in here.sums.items() if place[-1] <= last} == expected
    assert here.dropped == there.dropped
    assert here.counted == len(rows)


@settings(max_examples=6)
@given(SEEDS)
def test_cutting_the_log_into_polls_changes_nothing(seed: int) -> None:
    rows = Fleet(seed, is_wild=True).rows()
    log, groups, end_ms = messages(rows, seed), wild_groups(seed), end_of(rows)
    one_by_one = outcome(live(log, *groups, end_ms=end_ms))
    assert outcome(live(log, *groups, polls=[len(log)], end_ms=end_ms)) == one_by_one
    assert outcome(live(log, *groups, polls=drawn(seed, 12, len(log)), end_ms=end_ms)) == one_by_one


@settings(max_examples=12)
@example(seed=175112, crashes=[1.0], announced=None)  # what is late for one timing had come for the other
@given(SEEDS, st.lists(st.floats(0, 1), min_size=1, max_size=5), st.none() | st.floats(0, 1))
def test_interrupted_partition_goes_on_bit_for_bit(seed: int, crashes: list[float], announced: float | None) -> None:
    rows = Fleet(seed, is_wild=True).rows()
    log, (one, other), end_ms = messages(rows, seed), wild_groups(seed), end_of(rows)
    groups = [one, other] if announced is None else [one]
    later = [] if announced is None else [(int(announced * len(log)), other)]
    whole = outcome(live(log, *groups, later=later, end_ms=end_ms))
    places = sorted(int(place * len(log)) for place in crashes)
    polls = drawn(seed, 6, 10 * len(log) + 100)
    assert outcome(live(log, *groups, later=later, polls=polls, crashes=places, end_ms=end_ms)) == whole
    for each in whole:
        assert each.ticks == sorted(set(each.ticks))
        assert each.ticks == list(range(each.ticks[0], each.ticks[0] + len(each.ticks))) if each.ticks else True


@settings(max_examples=6)
@given(SEEDS)
def test_every_sample_is_in_a_tick_or_counted_under_one_reason(seed: int) -> None:
    rows = Fleet(seed, is_wild=True).rows()
    log = messages(rows, seed)
    # Ticks that hold what a fast clock has sent are closed, too, in the end.
    for each in outcome(live(log, *wild_groups(seed), end_ms=max(row.time for row in rows) + 10 * TICK_MS)):
        assert each.counted == len(rows)


def steady(ticks: int, hosts: int = 4, first: int = 1) -> list[Row]:
    return in_order(
        *(
            series("cpu", [1.0] * ticks, first=first, host=f"h{number}", cohort="control" if number else "canary")
            for number in range(hosts)
        )
    )


def by_host(rows: Sequence[Row]) -> list[Message]:
    return [[row] for row in rows]


def test_tick_closes_when_half_of_the_hosts_have_passed_it_by_the_lateness() -> None:
    rows = steady(9)
    log = by_host(rows)
    broker = Broker(log, [(0, group(CPU, lateness=3))])
    partition = broker.opened()
    closed = []
    for offset, message in enumerate(log):
        partition.push(columns(message), offset)
        closed.append(sum(block.ticks.ticks for block in partition.close()))
    # The third of four hosts moves the median; at 7 s into tick 5 it has passed tick 1 by three whole ticks.
    assert [offset for offset, count in enumerate(closed) if count] == [4 * tick + 2 for tick in range(4, 9)]


def test_clock_an_hour_ahead_closes_nothing_and_its_samples_are_future() -> None:
    fast = series("cpu", [1.0] * 20, first=361, host="fast", cohort="control")
    log = [message for pair in zip(cut(steady(20), [4] * 20), by_host(fast), strict=True) for message in pair]
    first, *_ = live(log, group(CPU), end_ms=20 * TICK_MS).closed
    found = told(live(log, group(CPU), end_ms=20 * TICK_MS).closed)
    assert first.ticks.first == 1
    assert found.ticks == list(range(1, 21))
    assert found.dropped == {"future": 20}
    assert found.samples == dict.fromkeys(range(1, 21), 4)
    assert found.disputed == []


def test_clocks_of_half_of_the_hosts_an_hour_ahead_are_disputed() -> None:
    right = steady(20, hosts=2)
    fast = [Row(row.time + 360 * TICK_MS, {**row.labels, "host": f"fast{row.labels['host']}"}, 1.0) for row in right]
    log = [message for pair in zip(cut(right, [2] * 20), cut(fast, [2] * 20), strict=True) for message in pair]
    found = told(live(log, group(CPU)).closed)
    assert found.disputed == found.ticks
    assert len(found.ticks) > 10


def test_partition_that_falls_silent_is_closed_by_patience() -> None:
    log = by_host(steady(9))
    waiting, patient = (told(live(log, group(CPU), end_ms=end).closed) for end in (None, 12 * TICK_MS))
    assert waiting.ticks == [1, 2, 3, 4, 5]
    assert patient.ticks == list(range(1, 13))
    assert patient.counted == len(log)


def test_sample_that_comes_after_patience_has_run_out_is_late() -> None:
    log = by_host([*steady(9), sample(12, "cpu", 1.0, host="h1", cohort="control")])
    broker = Broker(log, [(0, group(CPU))])
    partition = broker.opened()
    broker.read(partition, 0, len(log) - 1)
    partition.advance(12 * TICK_MS)
    broker.commit(partition, len(log) - 1)
    broker.read(partition, len(log) - 1, len(log))
    partition.advance(13 * TICK_MS)
    broker.commit(partition, len(log))
    assert told(broker.closed).dropped == {"late": 1}


def test_partition_that_never_had_data_closes_nothing() -> None:
    partition = Partition()
    partition.announce([group(CPU)])
    partition.advance(9 * TICK_MS)
    assert (partition.close(), partition.newest_ms, partition.offset(), partition.new_series()) == (
        [],
        None,
        None,
        None,
    )


def test_newest_time_is_the_median_of_the_hosts() -> None:
    partition = Partition()
    partition.announce([group(CPU)])
    partition.push(columns([*steady(1), sample(400, "cpu", 1.0, host="fast", cohort="control")]), 0)
    assert partition.newest_ms == TICK_MS - 3_000


def test_metric_without_series_has_no_rows() -> None:
    found = told(live(by_host(steady(9)), group(CPU, ERRORS, stages=[COHORTS]), end_ms=9 * TICK_MS).closed)
    assert {place[0] for place in found.sums} == {0, 2}


def test_partition_without_any_judged_series_closes_its_ticks() -> None:
    found = told(live(by_host(steady(9)), group(ERRORS), end_ms=9 * TICK_MS).closed)
    assert (found.ticks, found.sums, found.dropped) == (list(range(1, 10)), {}, {"not_judged": 36})


def test_metric_that_comes_up_later_has_rows_from_then_on() -> None:
    rows = in_order(steady(20), series("all", [10.0, 30.0, 60.0], first=12, cohort="canary", host="h0"))
    found = told(live(by_host(rows), group(CPU, ERRORS, stages=[COHORTS]), end_ms=20 * TICK_MS).closed)
    grown = {place[-1]: np.frombuffer(sums)[2] for place, sums in found.sums.items() if place[0] == 1}
    assert grown == {13: 20.0, 14: 30.0}


def test_bucket_that_is_no_number_is_counted_and_left_out() -> None:
    latency = METRICS[6]
    whole = [series("seconds", [float(tick) for tick in range(9)], le=le) for le in ("1", "+Inf")]
    broken = series("seconds", [1.0] * 9, le="fast")
    here = told(live(by_host(in_order(*whole, broken)), group(latency), end_ms=9 * TICK_MS).closed)
    there = told(live(by_host(in_order(*whole)), group(latency), end_ms=9 * TICK_MS).closed)
    assert (here.sums, here.dropped) == (there.sums, {"incomplete_histogram": 9})


def test_histogram_without_the_bucket_of_all_events_is_counted_and_left_out() -> None:
    latency = METRICS[6]
    rows = in_order(series("seconds", [1.0] * 9, le="1"), series("seconds", [1.0] * 9, le="2"))
    found = told(live(by_host(rows), group(latency), end_ms=9 * TICK_MS).closed)
    assert (found.sums, found.dropped) == ({}, {"incomplete_histogram": 18})


def test_metric_that_is_read_in_two_ways_is_counted_and_left_out() -> None:
    twice = Metric(name="twice", counter="cpu", worse="increase", breach="halt")
    found = told(live(by_host(steady(9)), group(CPU, twice), end_ms=9 * TICK_MS).closed)
    assert (found.sums, found.dropped) == ({}, {"not_judged": 36})


def relabelled(ticks: str) -> list[Row]:
    """Send a gauge whose host is canary (c), control (o) or silent (.) in each tick, beside a control."""
    rows = [
        sample(tick, "cpu", 1.0, host="h1", cohort="canary" if label == "c" else "control")
        for tick, label in enumerate(ticks, start=1)
        if label != "."
    ]
    return in_order(rows, series("cpu", [1.0] * len(ticks), host="h2", cohort="control"))


def places(ticks: str, gap: int = 2, others: Sequence[Row] = (), crashes: Sequence[float] = ()) -> str:
    """Tell where the host of `relabelled` belongs, tick by tick, by who is expected to report."""
    log = by_host(in_order(relabelled(ticks), list(others)))
    judged = group(CPU, stages=[COHORTS], gap=gap)
    places = [int(place * len(log)) for place in crashes]
    found = told(live(log, judged, crashes=places, end_ms=len(ticks) * TICK_MS).closed)
    canaries = {place[-1] for place in found.sums if place[0] == 1 and place[4][0] == 0}
    return "".join("c" if tick in canaries else "o" for tick in range(1, len(ticks) + 1))


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ("ooooocccccc", "ooooocccccc"),  # from the tick on in which the new label is seen
        ("ccccooooooo", "ccccccooooo"),  # as long as both are current it is canary
        ("ooooocc.....", "oooooccccccc"),  # who falls silent keeps the place
        ("oooo....cccc", "oooooooocccc"),
        ("cccc......oooo", "ccccccccccoooo"),
    ],
)
def test_unit_belongs_where_its_current_labels_put_it(ticks: str, expected: str) -> None:
    assert places(ticks) == expected


@pytest.mark.parametrize("ticks", ["ccccooooocccc", "oooocccccoooo", "cccoccoccocc", "ocococococo", "ccccooooo"])
def test_unit_that_fell_silent_long_before_a_restart_is_where_it_was_last(ticks: str) -> None:
    silent = ticks + 30 * "."
    beside = [series("cpu", [1.0] * len(silent), host=f"beside{number}", cohort="control") for number in range(4)]
    others = in_order(*beside)  # so that ticks close
    assert places(silent, others=others, crashes=[0.9]) == places(silent, others=others)


def test_announcement_takes_effect_at_the_first_open_tick() -> None:
    log = by_host(steady(20))
    before, after = group(CPU, stages=[COHORTS]), group(CPU, stages=[stage({"host": "h[01]"}, {"host": "h[23]"})])
    broker = Broker(log, [(0, before)])
    partition = broker.opened()
    broker.read(partition, 0, 40)
    broker.commit(partition, 40)
    closed = partition.closed()[DIGEST]
    partition.announce([after])
    broker.read(partition, 40, len(log))
    broker.commit(partition, len(log))
    found = told(broker.closed)
    canaries = {
        place[-1]: np.frombuffer(sums)[0] for place, sums in found.sums.items() if place[0] == 0 and place[4][0] == 0
    }
    assert canaries == {tick: 1.0 if tick <= closed else 2.0 for tick in found.ticks}


def test_group_that_comes_up_under_a_known_timing_begins_with_the_first_open_tick() -> None:
    log = by_host(steady(20))
    other = group(CPU, digest=OTHER)
    broker = live(log, group(CPU), later=[(42, other)], end_ms=20 * TICK_MS)
    one, two = outcome(broker)
    assert two.ticks == list(range(two.ticks[0], 21))
    assert two.ticks[0] == 7
    assert {place: sums for place, sums in one.sums.items() if place[-1] >= two.ticks[0]} == two.sums


def test_group_with_a_timing_of_its_own_begins_with_the_first_whole_tick() -> None:
    log = by_host(steady(20))
    broker = live(log, group(CPU), later=[(42, group(CPU, lateness=2, digest=OTHER))], end_ms=20 * TICK_MS)
    one, two = outcome(broker)
    assert two.ticks == list(range(13, 21))
    assert {place: sums for place, sums in one.sums.items() if place[-1] >= 13} == two.sums
    assert two.dropped == {"before_start": 12 * 4 - 42}
    assert two.counted == len(log) - 42


def test_partition_that_nothing_was_announced_for_begins_with_the_first_whole_tick() -> None:
    log = by_host(steady(20))
    found = told(live(log, later=[(42, group(CPU))], end_ms=20 * TICK_MS).closed)
    assert found.ticks == list(range(13, 21))
    assert found.counted == len(log) - 42


def test_group_that_sees_nothing_any_more_closes_empty_ticks() -> None:
    log = by_host(steady(20))
    broker = Broker(log, [(0, group(CPU))])
    partition = broker.opened()
    broker.read(partition, 0, len(log))
    partition.announce([group(CPU), group(CPU, stages=[COHORTS], digest=OTHER)])
    partition.advance(30 * TICK_MS)
    broker.commit(partition, len(log))
    found = told(broker.closed, OTHER)
    assert found.ticks == list(range(17, 31))
    silent = [np.frombuffer(sums)[1] for place, sums in found.sums.items() if place[0] == 1 and place[-1] == 30]
    assert sum(silent) == 4.0


def test_series_are_given_out_once() -> None:
    broker = live(by_host(steady(20)), group(CPU), end_ms=20 * TICK_MS)
    hosts = [host for table in broker.series for host in table.column("host").to_pylist()]
    # A series comes up, and then counts; both are told, and here at once.
    assert sorted(hosts) == ["h0", "h1", "h2", "h3"]


def test_unit_that_fell_silent_long_before_a_restart_is_still_expected() -> None:
    rows = in_order(steady(40), series("cpu", [1.0] * 3, host="gone", cohort="control"))
    log = by_host(rows)
    broker = live(log, group(CPU), crashes=[120], end_ms=40 * TICK_MS)
    assert broker.offset > 60
    reporting = {place[-1]: np.frombuffer(sums) for place, sums in told(broker.closed).sums.items() if place[0] == 1}
    assert reporting[40].tolist() == [4.0, 1.0, 5.0]


def test_marks_stay_small() -> None:
    broker = live(by_host(steady(200)), group(CPU, gap=5), group(CPU, ERRORS, digest=OTHER))
    assert broker.metadata is not None
    assert len(broker.metadata) < 600


def test_log_is_read_again_from_no_further_back_than_the_gaps_need() -> None:
    log = by_host(steady(200))
    broker = live(log, group(CPU, gap=2, lateness=1))
    assert len(log) - broker.offset <= 4 * (1 + 1 + 2 * 2 + 1)
