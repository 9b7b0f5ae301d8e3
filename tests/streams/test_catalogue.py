"""The catalogue: one id per label set, however it comes, and codes that canonical order does not hang on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.catalogue import Catalogue
from streams.recording import LabelColumn
from tests.samples import Row, columns

LabelSet = dict[str, str | None]

SETS: list[LabelSet] = [
    {"metric": "cpu", "colo": "fra02", "host": "h2"},
    {"metric": "cpu", "colo": "ams01", "host": "h1"},
    {"metric": "mem", "colo": "ams01", "host": "h1"},
    {"metric": "cpu", "colo": "ams02", "host": None},
]
LABEL_SETS = st.lists(
    st.fixed_dictionaries(
        {
            "metric": st.sampled_from(["a", "b", "c"]),
            "colo": st.sampled_from(["x", "y", "z"]),
            "host": st.none() | st.sampled_from([f"h{i}" for i in range(12)]),
            "le": st.none() | st.sampled_from(["1", "+Inf"]),
        }
    ),
    min_size=1,
    max_size=60,
)


def encoded(catalogue: Catalogue, sets: list[LabelSet]) -> list[int]:
    absent: LabelSet = dict.fromkeys(catalogue.labels)
    rows = [Row(0, absent | labels, 0.0) for labels in sets]
    ids: list[int] = catalogue.encode(columns(rows).labels, len(rows)).tolist()
    return ids


def catalogue_of(sets: list[LabelSet]) -> Catalogue:
    catalogue = Catalogue(sorted({name for labels in sets for name in labels}))
    encoded(catalogue, sets)
    return catalogue


def spelled(catalogue: Catalogue) -> list[LabelSet]:
    """Return the label set of each series, out of codes and values."""
    return [
        {name: catalogue.values(name)[catalogue.codes(name)[i]] or None for name in catalogue.labels}
        for i in range(len(catalogue))
    ]


def test_same_labels_are_the_same_series() -> None:
    catalogue = Catalogue(["metric", "colo", "host"])
    assert encoded(catalogue, [SETS[0], SETS[1], SETS[0]]) == [0, 1, 0]


def test_series_keep_their_ids_in_later_batches() -> None:
    catalogue = Catalogue(["metric", "colo", "host"])
    first = encoded(catalogue, SETS[:2])
    assert encoded(catalogue, [*reversed(SETS)])[:1:-1] == first


def test_any_other_label_is_another_series() -> None:
    assert len(catalogue_of(SETS)) == 4


def test_null_and_empty_label_are_the_same_absence() -> None:
    catalogue = Catalogue(["metric", "colo", "host"])
    null, empty = ({"metric": "cpu", "colo": "ams01", "host": host} for host in (None, ""))
    assert encoded(catalogue, [null, empty]) == [0, 0]
    assert catalogue.codes("host").tolist() == [0]


def test_label_that_nothing_has_is_absent() -> None:
    catalogue = catalogue_of(SETS)
    assert catalogue.codes("le").tolist() == [0] * 4
    assert catalogue.values("le") == [""]


@given(LABEL_SETS)
def test_each_series_has_its_own_labels(sets: list[LabelSet]) -> None:
    catalogue = Catalogue(["metric", "colo", "host", "le"])
    ids = encoded(catalogue, sets)
    assert [spelled(catalogue)[i] for i in ids] == sets


@given(LABEL_SETS, st.permutations(["metric", "colo", "host", "le"]))
def test_order_of_label_columns_is_irrelevant(sets: list[LabelSet], order: list[str]) -> None:
    rows = [Row(0, labels, 0.0) for labels in sets]
    found = columns(rows).labels
    here, there = Catalogue(["metric", "colo", "host", "le"]), Catalogue(order)
    ids = here.encode({name: found[name] for name in sorted(found)}, len(rows))
    assert ids.tolist() == there.encode({name: found[name] for name in order if name in found}, len(rows)).tolist()


@given(LABEL_SETS, st.integers(1, 7))
def test_cutting_into_batches_changes_no_id(sets: list[LabelSet], size: int) -> None:
    whole, cut = (Catalogue(["metric", "colo", "host", "le"]) for _ in range(2))
    pieces = [encoded(cut, sets[start : start + size]) for start in range(0, len(sets), size)]
    assert [i for piece in pieces for i in piece] == encoded(whole, sets)


@given(LABEL_SETS, st.integers(1, 20))
def test_searching_finds_what_the_table_finds(sets: list[LabelSet], cells: int) -> None:
    by_table, by_search = (Catalogue(["metric", "colo", "host", "le"]) for _ in range(2))
    expected = [encoded(by_table, part) for part in (sets, sets[::-1])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.catalogue._TABLE_CELLS_MAX", cells)
        assert [encoded(by_search, part) for part in (sets, sets[::-1])] == expected
    assert spelled(by_search) == spelled(by_table)


def test_table_grows_beyond_its_first_capacity() -> None:
    sets: list[LabelSet] = [{"metric": f"m{i % 70}", "colo": "x", "host": f"h{i // 70}"} for i in range(70 * 70)]
    catalogue = Catalogue(["metric", "colo", "host"])
    for start in range(0, len(sets), 700):
        assert encoded(catalogue, sets[start : start + 700]) == list(range(start, start + 700))
    assert encoded(catalogue, sets) == list(range(len(sets)))


def test_values_that_a_batch_names_but_does_not_use_make_no_series() -> None:
    catalogue = Catalogue(["metric", "colo"])
    column = {
        "metric": LabelColumn(np.array([1], np.int32), ["a", "b"]),
        "colo": LabelColumn(np.array([0], np.int32), ["x"]),
    }
    catalogue.encode(column, 1)
    assert spelled(catalogue) == [{"colo": "x", "metric": "b"}]


@given(LABEL_SETS.flatmap(lambda sets: st.tuples(st.just(sets), st.permutations(sets))))
def test_ranks_do_not_depend_on_what_came_first(orders: tuple[list[LabelSet], list[LabelSet]]) -> None:
    ranked = []
    for order in orders:
        catalogue = catalogue_of(order)
        ranks = np.stack([catalogue.ranks(name) for name in catalogue.labels]).T.tolist()
        names = [tuple(labels.items()) for labels in spelled(catalogue)]
        ranked.append(dict(zip(names, map(tuple, ranks), strict=True)))
    assert ranked[0] == ranked[1]


def test_ranks_follow_the_sorted_names() -> None:
    assert catalogue_of(SETS).ranks("colo").tolist() == [3, 1, 1, 2]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"colo": "ams01"}, [1, 2]),
        ({"colo": "ams0*"}, [1, 2, 3]),
        ({"colo": "ams0[2-9]"}, [3]),
        ({"colo": ["fra02", "ams02"]}, [0, 3]),
        ({"colo": ["fra*", "ams?2"]}, [0, 3]),
        ({"colo": "ams01", "metric": "mem"}, [2]),
        ({"colo": "AMS01"}, []),
        ({"host": "*"}, [0, 1, 2]),
        ({"host": ""}, [3]),
        ({"host": ["", "h2"]}, [0, 3]),
        ({"le": "*"}, []),
        ({"le": ""}, [0, 1, 2, 3]),
    ],
    ids=str,
)
def test_selector_matches(selector: dict[str, str | list[str]], expected: list[int]) -> None:
    assert np.flatnonzero(catalogue_of(SETS).matches(selector)).tolist() == expected


@given(LABEL_SETS, st.integers(0, 60))
def test_label_that_comes_up_later_changes_no_id(sets: list[LabelSet], place: int) -> None:
    bare: list[LabelSet] = [{"metric": labels["metric"], "colo": labels["colo"]} for labels in sets[:place]]
    whole, grown = Catalogue(["metric", "colo", "host", "le"]), Catalogue(["metric", "colo"])
    expected = [*encoded(whole, bare), *encoded(whole, sets)]
    first = encoded(grown, bare)
    grown.grow(["le", "host", "colo"])
    assert [*first, *encoded(grown, sets)] == expected
    assert spelled(grown) == spelled(whole)
    assert grown.labels == whole.labels


def test_label_that_a_frame_lacks_is_absent_from_its_series() -> None:
    catalogue = catalogue_of(SETS)
    found = columns([Row(0, {"metric": "cpu", "colo": "ams02"}, 0.0)]).labels
    assert catalogue.encode(found, 1).tolist() == [3]


@given(LABEL_SETS, st.integers(0, 60))
def test_what_matches_of_the_newer_series_is_what_matches_of_all(sets: list[LabelSet], start: int) -> None:
    catalogue = catalogue_of(sets)
    selector: dict[str, str | list[str]] = {"host": ["h1*", ""], "metric": "[ab]"}
    start = min(start, len(catalogue))
    assert catalogue.matches(selector, start).tolist() == catalogue.matches(selector)[start:].tolist()
    assert catalogue.codes("host", start).tolist() == catalogue.codes("host")[start:].tolist()
