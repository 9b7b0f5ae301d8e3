"""Dead letters: what is put aside, and read again."""

from typing import Any

import pytest

from holdfast.live.clients import MESSAGE_BYTES_MAX
from holdfast.live.dead_letters import (
    REASON_LENGTH_MAX,
    Letter,
    Mark,
    again,
    dead_letter,
    mark,
    objection,
    read_letter,
)
from holdfast.live.records import Record
from holdfast.live.redriving import reason_now
from holdfast.live.settings import load_settings
from tests.live.simulated import SimMessage

SETTINGS = load_settings(None, {"HOLDFAST_WORKER": "one"})


def message(topic: str, partition: int, offset: int, record: Record) -> Any:
    """Make a message as confluent_kafka gives it."""
    return SimMessage(topic, partition, offset, record)


def aside(value: bytes | None, key: bytes | None = b"ams01", headers=(), reason: str = "no good", topic="metrics"):
    """Put a message aside, and read the letter."""
    record = dead_letter(SETTINGS, message(topic, 3, 17, Record(topic, key, value, list(headers))), reason)
    found = read_letter(message(SETTINGS.topics.dead_letters, 1, 4, record))
    assert isinstance(found, Letter)
    return record, found


@pytest.mark.parametrize("value", [None, b"", b"\x00\xff"])
@pytest.mark.parametrize("key", [None, b"", b"\xfe"])
def test_value_and_key_come_back_as_they_were(value: bytes | None, key: bytes | None) -> None:
    _, letter = aside(value, key)
    resent = again(letter, 1)
    assert (resent.value, resent.key, resent.topic, resent.partition) == (value, key, "metrics", 3)


def test_a_header_of_ours_that_came_with_the_message_is_not_mistaken_for_one_of_the_letter() -> None:
    given = [("holdfast-topic", b"elsewhere"), ("a", b"1"), ("a", b"2")]
    _, letter = aside(b"x", headers=given)
    assert letter.from_topic == "metrics"
    assert again(letter, 1).headers[:-1] == given


def test_a_message_that_fails_again_is_told_how_often_it_was_sent() -> None:
    _, first = aside(b"x")
    resent = again(first, 1)
    _, second = aside(resent.value, resent.key, resent.headers)
    assert again(second, 2).headers == [("holdfast-redriven", b"2")]


def test_letters_of_a_source_partition_have_one_key() -> None:
    record, _ = aside(b"x")
    assert record.key == b"metrics/3"


def test_a_long_reason_is_cut() -> None:
    _, letter = aside(b"x", reason="é" * 5_000)
    assert letter.reason == "é" * REASON_LENGTH_MAX


def test_what_is_larger_than_a_message_may_be_is_cut_and_says_so() -> None:
    record, letter = aside(b"x" * (MESSAGE_BYTES_MAX + 10))
    size = len(record.value or b"") + sum(len(name) + len(text) for name, text in record.headers)
    assert size < MESSAGE_BYTES_MAX
    assert dict(record.headers)["holdfast-cut-from"] == str(MESSAGE_BYTES_MAX + 10).encode()
    assert not letter.is_whole


def test_headers_that_are_too_large_are_left_out_and_that_is_said() -> None:
    record, letter = aside(b"x", headers=[("big", b"x" * 100_000)])
    assert dict(record.headers)["holdfast-headers-left-out"] == b"1"
    assert (letter.headers, letter.is_whole) == ((), False)
    _, letter = aside(b"x", key=b"k" * 100_000)
    assert (letter.key, letter.is_whole) == (None, False)


def test_a_mark_names_the_letter_and_for_which_time() -> None:
    _, letter = aside(b"x")
    record = mark(SETTINGS, letter, 2)
    assert (record.partition, record.key) == (1, b"metrics/3")
    assert read_letter(message(SETTINGS.topics.dead_letters, 1, 9, record)) == Mark(4, 2)


@pytest.mark.parametrize(
    "headers",
    [[], [("holdfast-topic", b"m")], [("holdfast-redriven", b"x")], [("holdfast-redriven", b"1:y")]],
)
def test_what_is_neither_letter_nor_mark_is_none(headers: list[tuple[str, bytes]]) -> None:
    record = Record("d", b"k", None, headers)
    assert read_letter(message("d", 0, 0, record)) is None


def test_a_partition_that_is_gone_is_an_objection() -> None:
    _, letter = aside(b"x")
    assert objection(SETTINGS, letter, {"metrics": 4}) is None
    assert objection(SETTINGS, letter, {"metrics": 3}) == "metrics has no partition 3 any more"


def test_the_journal_is_not_sent_again() -> None:
    _, letter = aside(b"x", topic=SETTINGS.topics.cohort_ticks)
    assert "allowed: metrics topics" in str(objection(SETTINGS, letter, {}))


def test_what_is_said_today_depends_on_where_a_letter_comes_from() -> None:
    good = b'{"metric": "cpu", "colo": "ams01", "time": 1773314400000, "value": 1.0}'
    assert reason_now(SETTINGS, aside(good)[1]) == "readable now: 1 samples"
    assert "known format" in reason_now(SETTINGS, aside(b"\x00\x01\x02\x03")[1])
    assert reason_now(SETTINGS, aside(b"x", topic=SETTINGS.topics.cohort_ticks)[1])
    assert reason_now(SETTINGS, aside(b"x", topic="holdfast.verdicts")[1]) == "holdfast.verdicts holds no metrics"
