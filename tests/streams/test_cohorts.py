"""Merging cohort ticks: parts of a fleet add up to the whole, in whatever order they come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cohorts import CohortTicks, RowKey, merge
from tests.samples import gauge, in_order, reduce, series


def key(metric: int, colo: str) -> RowKey:
    return RowKey(metric, 0.0, colo, "", 0)


COLOS = ["ams01", "fra02", "lhr03"]
VALUES = st.sampled_from([0.1, 0.7, 3.0, 1e-9, 1e16])


@st.composite
def parts(draw: st.DrawFn) -> CohortTicks:
    keys = tuple(key(metric, colo) for metric in range(2) for colo in draw(st.sets(st.sampled_from(COLOS), min_size=1)))
    ticks = draw(st.integers(1, 3))
    size = 3 * len(keys) * ticks
    values = np.array(draw(st.lists(VALUES, min_size=size, max_size=size)))
    return CohortTicks(draw(st.integers(5, 8)), tuple(sorted(keys)), values.reshape(3, len(keys), ticks))


@given(st.lists(parts(), min_size=1, max_size=5).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_order_of_the_parts_changes_no_bit(orders: tuple[list[CohortTicks], list[CohortTicks]]) -> None:
    one, other = map(merge, orders)
    assert (one.first, one.keys) == (other.first, other.keys)
    assert one.values.tobytes() == other.values.tobytes()


def test_parts_of_the_same_rows_and_ticks_add_up_in_an_order_of_their_own() -> None:
    some = [CohortTicks(1, (key(0, "ams01"),), np.full((3, 1, 1), value)) for value in (1e16, 1.0, 1.0)]
    assert merge(some).values.tobytes() == merge(some[::-1]).values.tobytes()


def test_merged_rows_stand_in_sorted_order() -> None:
    later, earlier = (CohortTicks(1, (key(0, colo),), np.ones((3, 1, 1))) for colo in ("fra02", "ams01"))
    assert merge([later, earlier]).keys == (key(0, "ams01"), key(0, "fra02"))


def test_ticks_that_a_part_lacks_count_as_empty() -> None:
    one = CohortTicks(1, (key(0, "ams01"),), np.full((3, 1, 2), 1.0))
    two = CohortTicks(2, (key(0, "ams01"),), np.full((3, 1, 3), 2.0))
    merged = merge([two, one])
    assert (merged.first, merged.ticks) == (1, 4)
    assert merged.values[:, 0].tolist() == [[1.0, 3.0, 2.0, 2.0]] * 3


def test_one_part_is_itself() -> None:
    part = CohortTicks(4, (key(0, "ams01"),), np.arange(6.0).reshape(3, 1, 2))
    merged = merge([part])
    assert (merged.first, merged.keys, merged.values.tolist()) == (4, part.keys, part.values.tolist())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sums_of_single_colos_merge_to_those_of_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    by_colo = [
        in_order(
            *(
                series("cpu", rng.lognormal(0, 9, 20).tolist(), host=f"h{host}", colo=colo, first=1 + host)
                for host in range(7)
            )
        )
        for colo in COLOS
    ]
    whole = reduce(in_order(*by_colo), gauge("cpu")).ticks
    merged = merge([reduce(by_colo[place], gauge("cpu")).ticks for place in rng.permutation(3)])
    assert (merged.first, merged.keys) == (whole.first, whole.keys)
    assert merged.values.tobytes() == whole.values.tobytes()
