"""The memory of label columns: equal columns are recognised, others never, and it is bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.live.remembered import Remembered, Runs
from streams.recording import LabelColumn


def labels(codes: list[int], values: list[str], **others: str) -> dict[str, LabelColumn]:
    columns = {"host": LabelColumn(np.array(codes, np.int32), values)}
    zeros = np.zeros(len(codes), np.int32)
    return columns | {name: LabelColumn(zeros, [value]) for name, value in others.items()}


def test_equal_columns_have_one_slot() -> None:
    memory = Remembered()
    slot = memory.get(labels([0, 1, 0], ["h1", "h2"], colo="ams"))
    assert memory.get(labels([0, 1, 0], ["h1", "h2"], colo="ams")) is slot


@pytest.mark.parametrize(
    "other",
    [
        labels([0, 1, 1], ["h1", "h2"], colo="ams"),
        labels([0, 1, 0], ["h1", "h3"], colo="ams"),
        labels([0, 1, 0], ["h1", "h2", "h3"], colo="ams"),
        labels([0, 1, 0], ["h1", "h2"], colo="fra"),
        labels([0, 1, 0], ["h1", "h2"], region="ams"),
        labels([0, 1, 0, 0], ["h1", "h2"], colo="ams"),
        labels([0, 1, 0], ["h1", "h2"]),
    ],
)
def test_columns_that_differ_anywhere_have_another_slot(other: dict[str, LabelColumn]) -> None:
    memory = Remembered()
    slot = memory.get(labels([0, 1, 0], ["h1", "h2"], colo="ams"))
    assert memory.get(other) is not slot


def test_columns_that_differ_where_the_key_does_not_look_have_another_slot() -> None:
    memory = Remembered()
    codes = [number % 7 for number in range(1_000)]
    slot = memory.get(labels(codes, [str(number) for number in range(7)]))
    codes[501] = (codes[501] + 1) % 7
    assert memory.get(labels(codes, [str(number) for number in range(7)])) is not slot


def test_memory_is_bounded_and_the_least_recently_used_goes_first() -> None:
    memory = Remembered(bytes_max=250)
    slots = [memory.get(labels([0], [name])) for name in ("h1", "h2")]
    assert memory.get(labels([0], ["h1"])) is slots[0]
    memory.get(labels([0], ["h3"]))
    assert memory.get(labels([0], ["h1"])) is slots[0]
    assert memory.get(labels([0], ["h2"])) is not slots[1]


def test_columns_are_remembered_as_they_were() -> None:
    memory = Remembered()
    found = labels([0, 1, 0], ["h1", "h2"])
    slot = memory.get(found)
    found["host"].codes[1] = 0
    assert memory.get(found) is not slot


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_runs_sort_rows_by_unit(units: list[int]) -> None:
    unit = np.array(units, np.int32)
    runs = Runs.of(unit)
    ordered = unit if runs.order is None else unit[runs.order]
    distinct = np.arange(runs.size, dtype=np.int32)[runs.units]
    assert ordered[runs.starts].tolist() == distinct.tolist() == sorted(set(units))
    assert ordered.tolist() == sorted(units)


def constant(values: list[str]) -> dict[str, LabelColumn]:
    codes = np.arange(len(values), dtype=np.int32)
    codes.flags.writeable = False
    return {"host": LabelColumn(codes, values)}


def test_columns_that_cannot_change_have_the_slot_of_their_equals() -> None:
    memory = Remembered()
    once = constant(["h1", "h2"])
    slot = memory.get(once)
    assert memory.get(once) is slot
    assert memory.get(labels([0, 1], ["h1", "h2"])) is slot


def test_columns_that_cannot_change_are_forgotten_too() -> None:
    memory = Remembered(bytes_max=250)
    once = constant(["h1", "h2"])
    slot = memory.get(once)
    memory.get(labels([0, 1], ["h3", "h4"]))
    assert memory.get(once) is not slot
