"""What the page keeps, and how often somebody may ask for something."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import BadInput
from holdfast.status.kept import Kept, Listened, Subscriber, Told, listened, merged
from holdfast.status.limits import NAMES_MAX, Limit
from tests.status.samples import MINUTE, NOW


def test_a_limit_forgets_whoever_asked_longest_ago() -> None:
    limit = Limit(1, 60.0)
    for number in range(NAMES_MAX + 1):
        assert limit.passes(str(number), 0.0)
    assert limit.passes("0", 1.0)
    assert not limit.passes(str(NAMES_MAX), 1.0)


def test_what_is_kept_is_read_again() -> None:
    kept = Kept()
    kept.take(b"subscriber/ab", msgspec.json.encode(Subscriber(address="x", since=NOW)))
    kept.take(b"told/inc-1", msgspec.json.encode(Told(count=3)))
    kept.take(b"day/2026-03-11", msgspec.json.encode(Listened(spans=[(0, 60), (3_600, 86_400)])))
    assert (list(kept.subscribers), kept.told) == (["ab"], {"inc-1": 3})
    assert [(end - begin).total_seconds() for begin, end in kept.watched(NOW)] == [60, 82_800]
    kept.take(b"subscriber/ab", None)
    assert kept.subscribers == {}


@pytest.mark.parametrize("record", [(b"x/y", b"{}"), (b"day/2026-13-01", b"{}"), (b"\xff", b""), (b"told/x", b"{")])
def test_what_is_no_record_changes_nothing(record: tuple[bytes, bytes]) -> None:
    kept = Kept()
    with pytest.raises(BadInput, match="not a record"):
        kept.take(*record)
    assert (kept.subscribers, kept.told, kept.days) == ({}, {}, {})


@given(st.lists(st.tuples(st.integers(0, 86_400), st.integers(0, 86_400)), max_size=8))
def test_times_of_listening_are_put_together_in_order(spans: list[tuple[int, int]]) -> None:
    found = merged([(min(span), max(span)) for span in spans])
    assert all(one[1] < other[0] for one, other in pairwise(found))
    assert merged(found) == found


def test_a_time_of_listening_within_a_day_is_one() -> None:
    assert listened(NOW - MINUTE, NOW) == {"2026-03-12": (50_490, 50_550)}
