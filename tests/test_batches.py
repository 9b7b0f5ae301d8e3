"""Batches on their way into the store, and what becomes of rows that it refuses."""

import pyarrow as pa
import pytest

from holdfast.live.breaker import Breaker
from sinks.batches import OFFSETS, REFUSED_MAX, Batch, Batches, by_offset, put
from sinks.errors import StoreAway, StoreError, StoreRefused
from sinks.live_rows import LiveRows, Place, complete
from tests.replays import evidence

TOPIC = "holdfast.evidence"


def rows(count: int, offset: int = 0) -> LiveRows:
    return LiveRows("evidence", complete("evidence", evidence(count), f"{TOPIC}/0", offset))


def filled(offsets: range, *, start: int = 0, rows_max: int = 1_000) -> list[Batch]:
    """Cut messages of two rows into batches, beginning at one of them."""
    batches = Batches(rows_max, 1 << 30, 2.0)
    for offset in offsets[start:]:
        batches.add(Place(TOPIC, 0, offset), [rows(2, offset)], 10, 0.0)
    return batches.due(0.0, is_last=True)


def test_a_batch_lies_between_two_fixed_offsets() -> None:
    cut = filled(range(OFFSETS - 2, OFFSETS + 3))
    assert [(batch.first, batch.last) for batch in cut] == [(OFFSETS - 2, OFFSETS - 1), (OFFSETS, OFFSETS + 2)]


def test_whoever_begins_again_at_a_batch_comes_to_the_same_tokens() -> None:
    once = filled(range(0, 2 * OFFSETS, 7), rows_max=100)
    again = filled(range(0, 2 * OFFSETS, 7), start=50, rows_max=100)
    assert [batch.token for batch in once][1:] == [batch.token for batch in again]


def test_a_batch_that_is_not_full_waits_until_it_is_old() -> None:
    batches = Batches(100, 1 << 30, 2.0)
    batches.add(Place(TOPIC, 0, 5), [rows(2)], 0, 10.0)
    assert batches.due(11.9) == []
    (batch,) = batches.due(12.0)
    batches.done(batch)
    assert (batches.count, batches.size) == (0, 0)


def test_a_partition_that_somebody_else_reads_is_forgotten_alone() -> None:
    batches = Batches(100, 1 << 30, 2.0)
    for partition in (0, 1):
        batches.add(Place(TOPIC, partition, 5), [rows(2)], 0, 0.0)
    batches.forget(TOPIC, 0)
    assert [batch.partition for batch in batches.due(9.0)] == [1]
    assert batches.count == 2


class Store:
    """Keeps rows, but those of some offsets; a token that it knows changes nothing."""

    def __init__(self, refused: range) -> None:
        self.refused, self.kept = refused, list[int]()

    def insert(self, _table: str, table: pa.Table, _token: str) -> None:
        offsets = table["version"].to_pylist()
        if any(offset in self.refused for offset in offsets):
            raise StoreRefused("no")
        self.kept += offsets


def test_one_refused_row_is_found_and_all_others_go_in() -> None:
    (batch,) = filled(range(100))
    store = Store(range(37, 38))
    refused = put(batch, store.insert, 1_000)
    assert sorted(store.kept) == sorted([offset for offset in range(100) if offset != 37] * 2)
    assert by_offset(refused) == {37: "2 of its rows were refused, the others are stored: evidence: no"}


def test_when_too_many_rows_are_refused_it_is_not_the_rows() -> None:
    (batch,) = filled(range(REFUSED_MAX))
    with pytest.raises(StoreError, match="more than 100 rows of one batch are refused; the last: no") as caught:
        put(batch, Store(range(REFUSED_MAX)).insert, 1_000)
    assert not isinstance(caught.value, StoreRefused)


def test_an_insert_has_a_token_of_its_own_in_every_piece() -> None:
    (batch,) = filled(range(10))
    tokens = [token for _, _, token in batch.pieces(8)]
    assert tokens == [f"{TOPIC}/0:0-9:evidence:{start}" for start in (0, 8, 16)]


def test_a_store_that_is_away_is_away_for_the_whole_batch() -> None:
    (batch,) = filled(range(10))

    def away(*_: object) -> None:
        raise StoreAway("gone")

    with pytest.raises(StoreAway):
        put(batch, away, 8)


def test_a_breaker_leaves_alone_what_fails_ever_longer_and_then_tries_once() -> None:
    breaker = Breaker("one")
    pauses = [breaker.failed(0.0) for _ in range(12)]
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses[:7]))
    assert all(30.0 <= pause <= 60.0 for pause in pauses[7:])
    assert breaker.state(pauses[-1] - 0.001) == "open"
    assert breaker.state(pauses[-1]) == "half-open"
    breaker.succeeded()
    assert breaker.state(0.0) == "closed"


def test_workers_that_failed_together_come_back_at_different_times() -> None:
    assert Breaker("one").failed(0.0) != Breaker("two").failed(0.0)
    assert Breaker("one").failed(0.0) == Breaker("one").failed(0.0)
