"""Samples to cohort ticks: what is dropped is counted under its reason, all ticks close, and cuts change nothing."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.policy import Metric, Ratio
from streams.aggregate import Aggregate
from streams.cells import Cells
from streams.cohorts import CohortTicks
from streams.layout import build
from streams.recording import NO_TIME
from streams.reduction import Reducer
from tests.samples import TICK_MS, Row, columns, find, gauge, in_order, policy, reduce, sample, series, stage

CPU = gauge("cpu")
METRICS = (
    CPU,
    Metric(name="errors", ratio=Ratio(bad="bad", total="all"), worse="increase", breach="revert"),
    Metric(name="rate", counter="all", worse="increase", breach="halt"),
    Metric(name="latency", histogram="seconds", quantile=0.9, worse="increase", breach="revert"),
)
STEP = 16


@pytest.fixture(autouse=True, scope="module")
def _short_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in ("streams.clock", "tests.samples"):
            patch.setattr(f"{module}.STEP_ROWS", STEP)
        yield


def steady(ticks: int, hosts: int = 4) -> list[Row]:
    return in_order(*(series("cpu", [1.0] * ticks, host=f"h{number}") for number in range(hosts)))


def at(rows: list[Row], place: int, row: Row) -> list[Row]:
    return [*rows[:place], row, *rows[place:]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (sample(2, "cpu", math.nan), "nan"),
        (sample(2, "cpu", math.inf), "infinite"),
        (sample(2, "cpu", -math.inf), "infinite"),
        (sample(2, None, 1.0), "no_metric_or_colo"),
        (sample(2, "cpu", 1.0, colo=None), "no_metric_or_colo"),
        (sample(2, None, math.nan), "no_metric_or_colo"),
        (sample(2, "fan", 1.0), "not_judged"),
        (Row(NO_TIME, {"metric": "cpu", "colo": "ams01", "host": "h1"}, 1.0), "no_time"),
        (Row(NO_TIME, {"metric": "cpu", "colo": "ams01", "host": "h1"}, math.nan), "no_time"),
    ],
    ids=str,
)
def test_sample_that_says_nothing_is_counted_under_its_reason(row: Row, reason: str) -> None:
    rows = steady(3)
    sums = reduce(at(rows, 6, row), CPU)
    assert sums.dropped == {reason: 1}
    assert sums.of() == reduce(rows, CPU).of()


def test_late_sample_is_dropped_and_counted() -> None:
    rows = steady(40)
    sums = reduce(at(rows, 120, sample(5, "cpu", 99.0)), CPU, lateness=3)
    assert sums.dropped == {"late": 1}
    assert sums.of() == reduce(rows, CPU).of()


def test_sample_within_the_lateness_is_not_late() -> None:
    rows = steady(40)
    sums = reduce(at(rows, 120, sample(28, "cpu", 99.0, early_ms=0)), CPU, lateness=3)
    assert sums.dropped == {}
    assert sums.of()[1][27] == 3.0 + 99.0


def test_sample_from_the_future_is_dropped_and_counted() -> None:
    rows = steady(40)
    sums = reduce(at(rows, 120, sample(500, "cpu", 99.0)), CPU, ahead=60)
    assert sums.dropped == {"future": 1}
    assert sums.of() == reduce(rows, CPU).of()


def test_sample_is_not_both_late_and_from_the_future() -> None:
    """The median turns back when the units that were ahead fall silent; the watermark does not."""
    ahead = in_order(*(series("cpu", [1.0] * 40, first=1_000, host=f"a{number}") for number in range(3)))
    behind = in_order(*(series("cpu", [1.0] * 100, host=f"b{number}") for number in range(2)))
    after = in_order(*(series("cpu", [1.0] * STEP, first=101, host=f"b{number}") for number in range(2)))
    rows = [*ahead, *behind, sample(700, "cpu", 1.0), *after]
    assert reduce(rows, CPU, ahead=60).dropped == {"late": len(rows) - len(ahead)}


def test_end_of_the_input_closes_all_ticks() -> None:
    sums = reduce(steady(40), CPU, lateness=3)
    assert (sums.ticks.first, sums.ticks.ticks) == (1, 40)
    assert sums.of()[0] == [4.0] * 40


def test_ticks_in_which_nothing_judged_came_close_too() -> None:
    rows = in_order(steady(10), series("fan", [1.0] * 60), series("cpu", [1.0] * 5, first=56))
    sums = reduce(rows, CPU, gap=2, steps=1)
    assert sums.of()[0] == [4.0] * 10 + [4.0, 4.0] + [0.0] * 43 + [1.0] * 5


def test_end_of_the_input_closes_ticks_in_which_all_that_is_judged_is_silent() -> None:
    rows = in_order(steady(10), series("fan", [1.0] * 60))
    for steps in (1, None):
        sums = reduce(rows, CPU, gap=2, steps=steps)
        assert sums.of()[0] == [4.0] * 12 + [0.0] * 48
        assert sums.of(1)[1] == [0.0] * 10 + [4.0] * 50


def test_sample_older_than_all_of_the_first_batch_goes_to_its_own_tick() -> None:
    rows = [*series("cpu", [2.0] * STEP, first=3, host="h2"), *series("cpu", [1.0] * STEP, first=1)]
    for steps in (1, None):
        sums = reduce(rows, CPU, gap=1, lateness=20, steps=steps)
        assert sums.ticks.first == 1
        assert sums.of()[1] == [1.0] * 2 + [3.0] * 15 + [2.0]


def test_one_clock_at_1970_does_not_open_all_ticks_since() -> None:
    rows = in_order(*(series("cpu", [1.0] * 40, first=177_331_440, host=f"h{number}") for number in range(4)))
    sums = reduce([sample(5, "cpu", 1.0), *rows], CPU)
    assert (sums.ticks.first, sums.ticks.ticks) == (177_331_440, 40)
    assert sums.dropped == {"late": 1}


def test_nothing_that_is_usable_gives_no_ticks() -> None:
    rows = [sample(1, "cpu", math.nan)]
    fleet, samples = find(rows), columns(rows)
    layout = build(fleet.catalogue, fleet.units, fleet.membership(), policy(CPU), [])
    aggregate = Aggregate(layout, fleet.units.of_series, TICK_MS, 0, 0, 5)
    assert list(aggregate.push(fleet.series, samples.time, samples.value)) == []
    assert list(aggregate.finish()) == []


NOISE = st.lists(
    st.tuples(
        st.integers(0, 30),  # tick
        st.sampled_from(["h1", "h2", "h3"]),
        st.sampled_from(["cpu", "all", "bad", "seconds/1", "seconds/2", "seconds/+Inf", "fan", ""]),
        st.sampled_from([0.0, 1.5, 7.0, 1e9, math.nan, math.inf]),
        st.sampled_from([0, 1, 4_000, -50 * TICK_MS, 20 * TICK_MS]),
        st.sampled_from(["canary", "control"]),
    ),
    max_size=150,
)
ALWAYS = [
    sample(0, "cpu", 1.0, cohort="canary"),
    sample(0, "all", 1.0, host="h2", cohort="control"),
    sample(0, "bad", 1.0, host="h3", cohort="control"),
    *(
        sample(0, "seconds", 1.0, host=host, le=le, cohort="control")
        for host in ("h1", "h2", "h3")
        for le in ("1", "+Inf")
    ),
    *(sample(0, "seconds", 1.0, host=host, le="+Inf", cohort="canary") for host in ("h1", "h2", "h3")),
]


def noisy(noise: list[tuple[Any, ...]]) -> list[Row]:
    rows = []
    for tick, host, name, value, early_ms, cohort in sorted(noise, key=lambda row: row[0]):
        metric, _, le = name.partition("/")
        labels = {"le": le} if le else {}
        rows.append(sample(tick, metric or None, value, host=host, early_ms=early_ms, cohort=cohort, **labels))
    return [*ALWAYS, *rows]


@settings(max_examples=40)
@given(NOISE)
def test_every_sample_is_in_a_tick_or_counted_as_dropped(noise: list[tuple[Any, ...]]) -> None:
    rows, placed = noisy(noise), 0

    def counting(self: Reducer, first: int, ticks: int, cells: Sequence[Cells]) -> CohortTicks:
        nonlocal placed
        placed += sum(len(part.row) for part in cells)
        assert all(((part.tick >= 0) & (part.tick < ticks)).all() for part in cells)
        return original(self, first, ticks, cells)

    original = Reducer.reduce
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reducer, "reduce", counting)
        dropped = reduce(rows, *METRICS, steps=1, ahead=10).dropped
    # Duplicates and incomplete histograms are set aside within their ticks.
    aside = dropped.pop("duplicate", 0) + dropped.pop("incomplete_histogram", 0)
    assert placed + dropped.total() == len(rows)
    assert aside <= placed


@settings(max_examples=40)
@given(NOISE, st.integers(1, 40), st.integers(1, 4))
def test_neither_size_of_blocks_nor_of_batches_changes_a_bit(
    noise: list[tuple[Any, ...]], cells: int, steps: int
) -> None:
    rows = noisy(noise)
    relabelled = [stage({"cohort": "canary"}, started=0)]
    whole = reduce(rows, *METRICS, stages=relabelled, gap=3, ahead=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.aggregate.CELLS_MAX", cells)
        cut = reduce(rows, *METRICS, stages=relabelled, gap=3, ahead=10, steps=steps)
    assert cut.ticks.values.tobytes() == whole.ticks.values.tobytes()
    assert (cut.ticks.first, cut.ticks.keys, cut.dropped) == (whole.ticks.first, whole.ticks.keys, whole.dropped)


def test_block_of_one_tick_remembers_what_a_longer_gap_needs() -> None:
    rows = in_order(series("all", [100, None, None, 190]), series("cpu", [1.0, None, None, 2.0], host="h2"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.aggregate.CELLS_MAX", 1)
        sums = reduce(rows, METRICS[2], CPU, gap=3)
    assert sums.of(0)[1] == [0, 0, 0, 3]
    assert sums.of(1)[1] == [1, 1, 1, 2]
    assert np.isfinite(sums.ticks.values).all()
