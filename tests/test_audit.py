"""The chain of the audit log: what is done to it is found, and named."""

import hashlib

import msgspec
import pytest

from detectors.errors import BadInput
from rollouts.audit import BREAKS_MAX, ENTRY_BYTES_MAX, Chain, Record, beginning, decode, hash_of, verify
from tests.overrides import HERE, NOW, Log


def entries(count: int = 6) -> list[bytes]:
    log = Log()
    for number in range(count):
        log.put("test.entry", {"number": number})
    return log.raws


def found(records: list[bytes], expect_head: str | None = None) -> tuple[str, int | None] | None:
    broken = verify(records, HERE, expect_head)
    return None if broken is None else (broken.kind, broken.offset)


def test_a_log_that_nobody_touched_is_whole() -> None:
    assert found(entries()) is None
    assert found([]) is None


def test_the_hash_is_what_a_shell_would_work_out() -> None:
    raw = entries(1)[0]
    assert hash_of(raw) == hashlib.sha256(b"dev.holdfast.audit.v1\n" + raw).hexdigest()
    assert decode(raw).previous == beginning(HERE)


@pytest.mark.parametrize(
    ("name", "records", "wanted"),
    [
        ("changed", lambda e: [*e[:2], e[2].replace(b'"number":2', b'"number":9'), *e[3:]], ("changed", 3)),
        ("other writer", lambda e: [*e[:2], e[2].replace(b'"ada"', b'"bob"'), *e[3:]], ("changed", 3)),
        ("one missing", lambda e: [*e[:2], *e[3:]], ("hole", 2)),
        ("swapped", lambda e: [*e[:2], e[3], e[2], *e[4:]], ("reordered", 2)),
        ("beginning cut", lambda e: e[2:], ("beginning", 0)),
        ("doubled", lambda e: [*e[:3], e[2], *e[3:]], ("doubled", 3)),
        ("put in", lambda e: [*e[:3], e[1].replace(b'"ada"', b'"eve"'), *e[3:]], ("forked", 3)),
        ("no entry", lambda e: [*e[:3], b"{}", *e[3:]], ("unreadable", 3)),
        ("empty", lambda e: [*e[:3], b"", *e[3:]], ("unreadable", 3)),
        ("other form", lambda e: [*e[:3], e[3].replace(b'{"number"', b'{ "number"'), *e[3:]], ("unreadable", 3)),
        ("leap", lambda e: [*e[:3], e[3].replace(b'"sequence":3', b'"sequence":9000000'), *e[3:]], ("forked", 3)),
    ],
)
def test_the_first_broken_link_is_named(name: str, records, wanted: tuple[str, int]) -> None:
    assert found(records(entries())) == wanted


def test_every_byte_that_is_changed_is_found_from_the_next_entry_on() -> None:
    whole = entries(3)
    for place in range(len(whole[1])):
        changed = bytes([*whole[1][:place], whole[1][place] ^ 1, *whole[1][place + 1 :]])
        assert found([whole[0], changed, whole[2]]) is not None, place


def test_a_log_of_another_installation_is_not_this_ones() -> None:
    broken = verify(entries(), "other")
    assert broken is not None
    assert (broken.kind, broken.offset) == ("beginning", 0)
    assert "'other'" in broken.sentence


def test_a_tail_that_was_cut_off_is_found_by_a_head_that_was_noted() -> None:
    whole = entries()
    noted = hash_of(whole[-1])
    assert found(whole[:-2]) is None
    assert found(whole[:-2], noted) == ("cut", None)
    assert found(whole, noted) is None


def test_a_head_that_was_noted_before_more_was_written_still_holds() -> None:
    whole = entries()
    assert found(whole, hash_of(whole[2])) is None
    assert found(whole, beginning(HERE)) is None


def test_a_last_entry_that_was_changed_is_found_by_its_head_alone() -> None:
    whole = entries()
    changed = [*whole[:-1], whole[-1].replace(b'"ada"', b'"eve"')]
    assert found(changed) is None
    assert found(changed, hash_of(whole[-1])) == ("cut", None)


def test_what_is_too_much_counts_for_nothing_and_the_log_stays_whole() -> None:
    whole = entries()
    chain = Chain(HERE)
    for offset, raw in enumerate([*whole[:3], b"junk", whole[1], *whole[3:]]):
        chain.take(Record(raw=raw, offset=offset))
    assert (chain.is_whole, len(chain.links), chain.head) == (True, 6, hash_of(whole[-1]))
    assert [each.kind for each in chain.breaks] == ["unreadable", "doubled"]


def test_after_a_hole_what_is_there_counts_and_the_log_is_not_whole() -> None:
    whole = entries()
    chain = Chain(HERE)
    for offset, raw in enumerate([*whole[:2], *whole[4:]]):
        chain.take(Record(raw=raw, offset=offset))
    assert (chain.is_whole, [link.entry.sequence for link in chain.links]) == (False, [0, 1, 4, 5])
    entry, _ = chain.following(time=NOW, who="ada", kind="test.entry", subject="", body={})
    assert (entry.sequence, entry.previous) == (6, hash_of(whole[-1]))


def test_so_many_breaks_are_spelled_out_and_no_more() -> None:
    chain = Chain(HERE)
    for offset in range(2 * BREAKS_MAX):
        chain.take(Record(raw=b"junk", offset=offset))
    assert len(chain.breaks) == BREAKS_MAX


@pytest.mark.parametrize("time", ["1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_a_time_that_no_store_can_hold_is_no_entry(time: str) -> None:
    raw = entries(1)[0].replace(b"2026-03-12T11:20:00Z", time.encode())
    with pytest.raises(BadInput, match=r"^not an entry: time: allowed: the years 1970 to 2199"):
        decode(raw)


def test_an_entry_that_is_too_large_is_not_written() -> None:
    with pytest.raises(BadInput, match=f"allowed: at most {ENTRY_BYTES_MAX}"):
        Log().put("test.entry", {"text": "x" * ENTRY_BYTES_MAX})


def test_what_nobody_could_read_is_not_written() -> None:
    with pytest.raises(BadInput, match=r"^not an entry: "):
        Log().put("No Kind", {})


def test_a_key_that_stands_twice_is_no_entry() -> None:
    raw = entries(1)[0].replace(b'"kind":', b'"kind":"test.other","kind":')
    assert msgspec.json.decode(raw)["kind"] == "test.entry"
    assert found([raw]) == ("unreadable", 0)
