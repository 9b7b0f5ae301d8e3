from itertools import permutations

import numpy as np
import pytest

from streams.cohorts import RowKey
from streams.live.assembly import Assembly
from streams.live.frames import Keys, Planned, PlannedStage, body_of, frame_of
from streams.live.signatures import Signatures
from streams.live.turnstile import Part, Turnstile
from tests.streams.test_live_frames import header

EMPTY = body_of(Keys.of(()), np.zeros((3, 0)))


def part(tick: int, partition: int, offset: int = 0, **changed) -> Part:
    head = header(tick=tick, partition=partition, sources={"metrics": 2}, **changed)
    return Part(head, frame_of(head, EMPTY), offset)


def idle(partition: int) -> Part:
    return part(0, partition, kind="idle")


def released(gate: Turnstile, parts: list[Part]) -> list[tuple[int, list[int]]]:
    return [
        (release.tick, [each.header.partition for each in release.parts])
        for given in parts
        for release in gate.push(given)
    ]


def test_a_tick_is_released_once_every_partition_has_closed_it():
    gate = Turnstile()
    assert released(gate, [part(5, 0), part(6, 0)]) == []
    assert released(gate, [part(5, 1)]) == [(5, [0, 1])]


def test_the_order_of_partitions_changes_nothing_of_what_is_released():
    frames = [part(5, 0), part(6, 0), part(5, 1), part(6, 1)]
    orders = [order for order in permutations(frames) if order.index(frames[0]) < order.index(frames[1])]
    orders = [order for order in orders if order.index(frames[2]) < order.index(frames[3])]
    found = {tuple(map(str, released(Turnstile(), list(order)))) for order in orders}
    assert len(found) == 1


def test_a_partition_that_begins_later_has_nothing_to_say_about_the_ticks_before():
    assert released(Turnstile(), [part(5, 0), part(6, 0), part(7, 0), part(7, 1)]) == [(5, [0]), (6, [0]), (7, [0, 1])]


def test_a_partition_that_never_had_data_holds_nobody_up():
    gate = Turnstile()
    assert released(gate, [part(5, 0)]) == []
    assert released(gate, [idle(1)]) == [(5, [0])]
    assert released(gate, [part(6, 0)]) == [(6, [0])]


def test_partitions_that_all_are_idle_close_nothing():
    assert released(Turnstile(), [idle(0), idle(1)]) == []


def test_what_an_idle_partition_sends_too_late_is_counted_and_left_out():
    gate = Turnstile()
    released(gate, [part(5, 0), idle(1), part(6, 0)])
    assert released(gate, [part(6, 1, samples=9, dropped={"nan": 1})]) == []
    assert gate.dropped == {"late_partition": 9, "nan": 1}
    assert released(gate, [part(7, 1), part(7, 0)]) == [(7, [0, 1])]


def test_a_tick_that_comes_twice_counts_once():
    gate = Turnstile()
    assert released(gate, [part(5, 0), part(5, 0, samples=4), part(5, 1)]) == [(5, [0, 1])]
    assert gate.dropped == {"repeated_tick": 4}


PLANNED = (Planned("features-1", (PlannedStage("canary", None),)),)
BOTH = (Planned("features-0", (PlannedStage("all", None),)), *PLANNED)


def test_signatures_are_numbered_in_sorted_order_with_the_own_rollout_first():
    known = Signatures("features-1")
    known.add(BOTH, [(0, 1, -1, 1), (-1, 1, 0, 1), (-1, 1, -1, 1)])
    member = known.membership()
    assert member.signatures == ((-1, (True,)), (-1, (True,)), (0, (True,)))
    assert member.others.tolist() == [[-1], [0], [-1]]
    assert known.others == ["features-0"]


def test_signatures_that_come_later_move_the_others_and_keep_their_order():
    known = Signatures("features-1")
    assert known.add(PLANNED, [(0, 1), (-1, 1)]) == {}
    assert known.add(PLANNED, [(-1, 0)]) == {0: 1, 1: 2}
    assert known.ids(PLANNED, [(0, 1), (-1, 0), (-1, 1)]) == [2, 0, 1]


def test_a_rollout_that_is_announced_later_has_not_reached_the_units_of_before():
    known = Signatures("features-1")
    known.add(PLANNED, [(0, 1), (-1, 1)])
    assert known.add(BOTH, [(0, 1, 0, 1)]) == {0: 0, 1: 1}
    assert known.membership().others.tolist() == [[-1], [-1], [0]]


def test_a_rollout_that_is_announced_no_longer_is_still_known():
    known = Signatures("features-1")
    known.add(BOTH, [(0, 1, 0, 1)])
    assert known.add(PLANNED, [(0, 1)]) == {0: 1}
    assert known.membership().others.tolist() == [[-1], [0]]


def parted(partition: int, keys: list[RowKey], numbers: list[float], **changed) -> Part:
    rows = Keys.of(keys)
    head = header(
        partition=partition, planned=PLANNED, signatures=((-1, 1), (0, 1)), keys=rows.digest, samples=1, **changed
    )
    return Part(head, frame_of(head, body_of(rows, np.array([numbers] * 3))), 0)


def test_parts_add_up_to_rows_in_sorted_order():
    whole = Assembly("features-1")
    one = parted(0, [RowKey(0, 0.0, "gru01", "", 0), RowKey(1, 0.0, "gru01", "", 0)], [1.0, 2.0])
    other = parted(1, [RowKey(0, 0.0, "ams01", "", 1)], [4.0])
    whole.learn([one, other])
    ticks = whole.assemble(7, [one, other])
    assert [key.colo for key in ticks.keys] == ["ams01", "gru01", "gru01"]
    assert ticks.values[0, :, 0].tolist() == [4.0, 1.0, 2.0]


def test_rows_are_only_ever_added_and_a_part_that_lacks_some_leaves_them_empty():
    whole = Assembly("features-1")
    one = parted(0, [RowKey(0, 0.0, "gru01", "", 0)], [1.0])
    whole.learn([one])
    more = parted(0, [RowKey(0, 0.0, "ams01", "", 0)], [5.0])
    assert whole.learn([more]) is not None
    assert whole.learn([more]) is None
    assert whole.assemble(8, [more]).values[0, :, 0].tolist() == [5.0, 0.0]


@pytest.mark.parametrize(
    ("ticks", "found"),
    [
        ([(3.0, 3.0)], ["gru01"]),  # both at once
        ([(3.0, 0.0), (0.0, 3.0)], ["gru01"]),  # now here, now there
        ([(3.0, 0.0)] * 2, []),
        ([(3.0, 0.0), *[(0.0, 3.0)] * 5], []),  # it has moved
    ],
)
def test_a_colo_that_reports_in_two_partitions_is_named(ticks, found):
    whole = Assembly("features-1")
    named: list[str] = []
    for tick, units in enumerate(ticks):
        parts = [parted(number, [RowKey(1, 0.0, "gru01", "", 0)], [units[number]]) for number in (0, 1)]
        whole.learn(parts)
        named = whole.in_two(tick, parts, reporting=1, window=5)
    assert named == found
