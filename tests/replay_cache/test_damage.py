"""Entries that are not what was written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from streams.cache import Cache
from streams.cache_entry import Damaged, Entry
from tests.replay_cache.cases import entries, spoil, whole


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(lambda size: size // 4, id="a quarter"),
        pytest.param(lambda size: size // 2, id="middle"),
        pytest.param(lambda size: 9 * size // 10, id="nearly at the end"),
    ],
)
def test_a_damaged_entry_is_told_and_made_anew(
    recording: Path, cache: Cache, caplog: pytest.LogCaptureFixture, at: Callable[[int], int]
) -> None:
    without = whole(recording, cache)
    (entry,) = entries(cache)
    sound = entry.read_bytes()
    spoil(entry, at)
    assert whole(recording, cache) == without
    assert f"{entry}: damaged: " in caplog.text
    assert entry.read_bytes() == sound


@pytest.mark.parametrize("share", [0, 1, 50, 99])
def test_a_truncated_entry_is_told_and_made_anew(
    recording: Path, cache: Cache, caplog: pytest.LogCaptureFixture, share: int
) -> None:
    without = whole(recording, cache)
    (entry,) = entries(cache)
    sound = entry.read_bytes()
    entry.write_bytes(sound[: len(sound) * share // 100])
    assert whole(recording, cache) == without
    assert f"{entry}: damaged: " in caplog.text
    assert entry.read_bytes() == sound


def content(path: Path) -> list[object]:
    """Everything in an entry."""
    entry = Entry(path)
    who = entry.head.membership
    head = entry.head.first_ms, entry.head.last_ms, who.signature.tolist(), who.signatures, who.others.tolist()
    blocks = [
        (block.samples, block.dropped, block.taken, block.ticks and (block.ticks.first, block.ticks.keys))
        for block in entry.blocks()
    ]
    return [head, blocks, [block.ticks.values.tobytes() for block in entry.blocks() if block.ticks]]


def test_no_bit_changes_unnoticed(recording: Path, cache: Cache) -> None:
    whole(recording, cache)
    (entry,) = entries(cache)
    sound, kept, unnoticed = entry.read_bytes(), content(entry), 0
    places = [
        *range(0, 6_000, 61),
        *range(6_000, len(sound), len(sound) // 20),
        *range(len(sound) - 3_000, len(sound), 29),
    ]
    for place in places:
        spoil(entry, lambda _, place=place: place)  # type: ignore[misc]
        try:
            found = content(entry)
        except Damaged:
            pass
        else:
            unnoticed += 1  # it is a bit that says nothing, as in the gaps between columns
            assert found == kept
        entry.write_bytes(sound)
    assert unnoticed < len(places) / 2
