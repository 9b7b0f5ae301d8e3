"""What a second reading of a source partition is begun with."""

import pyarrow as pa

from streams.live.earlier import first_wanted, known_before, needed_from_ms
from streams.membership import Stage
from tests.samples import gauge
from tests.streams.living import group


def test_it_knows_the_series_that_had_come_before_it_and_no_others():
    table = pa.table(
        [["a", "b", "c"], pa.array([1, 2, None], pa.int64()), pa.array([5, None, None], pa.int64())],
        names=["metric", "came_ms", "counted_ms"],
    )
    assert [part.column(0).to_pylist() for part in known_before([table], 2)] == [["a"]]


def test_a_pre_period_and_a_gap_before_the_first_stage_are_wanted():
    stage = Stage("canary", {}, None, 5_000, 1, None, 0)
    known = group(gauge("cpu"), stages=[stage], gap=4)
    past = known.policy.pre_period.ticks_max
    assert first_wanted(known, known.rollouts[0], 5_000) == 5_000 - past - 4
    assert first_wanted(known, known.rollouts[0], 5_000 - past - 5) is None


def test_where_no_start_is_known_it_might_be_now():
    stage = Stage("canary", {}, None, None, 1, None, 0)
    known = group(gauge("cpu"), stages=[stage], gap=4)
    assert first_wanted(known, known.rollouts[0], 6_000) == 6_000 - known.policy.pre_period.ticks_max - 4


def test_samples_are_needed_from_two_gaps_and_the_lateness_before_the_first_tick():
    known = group(gauge("cpu"), gap=4, lateness=3)
    assert needed_from_ms(100, known.policy, 10) == (100 - 8 - 3 - 4) * 10
