"""Rows that a person takes out of a store, on the real engine; and rows that come twice."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from sinks.errors import StoreError
from sinks.live_rows import complete
from sinks.retention import Chosen, chosen_rows, prune
from sinks.schema import DERIVED, ROWS
from sinks.store import Store
from tests.replays import START_MS, contents, count, evidence, replay, views
from tests.test_parquet import fill

MINUTE = START_MS + 60_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def test_a_source_is_taken_out_everywhere(store: Store, tmp_path: Path) -> None:
    replay(store)
    before, shown = contents(store), views(store)
    replay(store, source="replay:b", count=9)
    found = chosen_rows(store.backend, Chosen(source="replay:b"))
    assert found.keys() >= {"cohort_ticks", "evidence", "verdicts", "rollouts", "ticks", "current_verdicts"}
    prune(store.backend, Chosen(source="replay:b"))
    assert (contents(store), views(store)) == (before, shown)
    assert chosen_rows(store.backend, Chosen(source="replay:b")) == {}


def test_what_was_taken_out_can_come_again(store: Store) -> None:
    replay(store)
    before, shown = contents(store), views(store)
    prune(store.backend, Chosen(source="replay:a"))
    replay(store)
    assert (contents(store), views(store)) == (before, shown)


def test_rows_before_a_time_are_taken_out_and_documents_stay(store: Store) -> None:
    fill(store)
    prune(store.backend, Chosen(before_ms=MINUTE))
    for name in ("cohort_ticks", "evidence", "verdicts", "ticks", "dead_letters"):
        assert store.query(f"SELECT countIf(time < toDateTime64({MINUTE // 1_000}, 3)) FROM {name}", "TSV") == b"0\n"
    assert count(store, "evidence") == 16
    assert count(store, "rollouts") == 2
    assert store.query("SELECT min(minute) >= toDateTime('2026-03-12 11:21:00', 'UTC') FROM health", "TSV") == b"1\n"


def test_the_verdict_in_force_goes_with_its_row(store: Store) -> None:
    replay(store, count=3)
    replay(store, count=20, source="replay:b")
    prune(store.backend, Chosen(before_ms=MINUTE))
    assert store.query("SELECT source FROM current", "CSV") == b'"replay:b"\n'


def test_one_table_and_what_is_derived_from_it_can_be_chosen(store: Store) -> None:
    replay(store)
    found = chosen_rows(store.backend, Chosen(source="replay:a", table="evidence"))
    assert set(found) == {"evidence", "health_minutes"}
    prune(store.backend, Chosen(source="replay:a", table="evidence"))
    assert {name: count(store, name) for name in ("evidence", "health_minutes", "verdicts")} == {
        "evidence": 0,
        "health_minutes": 0,
        "verdicts": 3,
    }


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        (Chosen(), "which rows are meant is not said"),
        (Chosen(source="x", table="scores"), "table: found 'scores'; allowed: cohort_ticks, evidence"),
    ],
)
def test_what_is_not_meant_is_refused(store: Store, chosen: Chosen, text: str) -> None:
    with pytest.raises(StoreError, match=text):
        prune(store.backend, chosen)


# ---------------------------------------------------------------- rows that come twice


def sums(store: Store) -> dict[str, bytes]:
    """Count and sum up every table and view, deduplicated."""
    shown = {"health": " EXCEPT last", "heat": " EXCEPT most", "current": " EXCEPT last", "timeline": ""}
    names = {**dict.fromkeys(ROWS, ""), **shown}
    return {
        name: store.query(f"SELECT count(), sum(cityHash64(*{left_out})) FROM {name}", "TSV")
        for name, left_out in names.items()
    }


def test_a_batch_with_the_same_token_changes_nothing(store: Store) -> None:
    rows = complete("evidence", evidence(40), "e/0", 5)
    store.backend.insert("evidence", rows, "evidence e/0 0-10")
    before, parts = sums(store), stored(store)
    store.backend.insert("evidence", rows, "evidence e/0 0-10")
    assert (sums(store), stored(store)) == (before, parts)


def test_a_batch_that_comes_after_the_token_was_forgotten_changes_nothing(store: Store) -> None:
    rows = complete("evidence", evidence(40), "e/0", 5)
    store.backend.insert("evidence", rows)
    before = sums(store)
    store.backend.insert("evidence", rows)
    assert stored(store) == 80
    assert sums(store) == before


def test_batches_that_are_cut_otherwise_change_nothing(store: Store) -> None:
    rows = complete("evidence", evidence(40), "e/0", 5)
    store.backend.insert("evidence", rows, "evidence e/0 0-10")
    before = sums(store)
    for start, length in ((0, 13), (7, 20), (26, 14)):
        store.backend.insert("evidence", rows.slice(start, length), f"evidence e/0 {start}-{length}")
    assert sums(store) == before
    assert stored(store) == 87


def test_a_batch_that_ended_between_a_table_and_its_views_is_shown_to_them_again(store: Store) -> None:
    rows = complete("evidence", evidence(40), "e/0", 5)
    store.backend.insert("evidence", rows, "evidence e/0 0-10")
    before = sums(store)
    for name in DERIVED:
        store.backend.run(f"TRUNCATE TABLE holdfast.{name}")  # as if the process had been killed there
    store.backend.insert("evidence", rows, "evidence e/0 0-10")
    assert sums(store) == before
    assert stored(store) == 40


def stored(store: Store) -> int:
    """Count the rows of evidence as they lie on disk."""
    (found,) = store.backend.select("SELECT sum(rows) FROM system.parts WHERE active AND table = 'evidence'")
    return int(str(found[0]))


def test_no_table_remembers_a_row_that_has_another_key(store: Store) -> None:
    rows = complete("evidence", evidence(2), "e/0", 5)
    store.backend.insert("evidence", rows, "a")
    store.backend.insert("evidence", rows.set_column(1, ROWS["evidence"].field("source"), pa.array(["e/1"] * 2)), "b")
    assert count(store, "evidence") == 4
