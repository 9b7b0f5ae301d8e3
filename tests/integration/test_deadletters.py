"""Dead letters on a real broker: kept as they came, listed, and sent again once."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from confluent_kafka import KafkaException, Message

from holdfast.cli import main
from holdfast.live.clients import MESSAGE_BYTES_MAX, consumer, producer
from holdfast.live.dead_letters import Chosen, dead_letter
from holdfast.live.reading import read_to_end
from holdfast.live.records import Record
from holdfast.live.redriving import DeadLetters, _sent
from streams.wire.decoding import decode
from streams.wire.frame import BadFrame
from tests.integration.conftest import Kafka
from tests.integration.test_sink import Engine
from tests.waiting import WAIT_S

POISON = b"\x00\x01 neither \xff this nor that"


def header(message: Message, name: str) -> bytes:
    found = dict(message.headers() or []).get(name) or b""
    assert isinstance(found, bytes)
    return found


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


class Letters(Engine):
    """A metrics topic with poison on it, and a worker that puts it aside."""

    @property
    def metrics(self) -> str:
        return self.settings.metrics[0].topic

    def read_all(self, topic: str) -> list[Message]:
        reader = consumer(self.settings, f"{self.settings.prefix}-test")
        found = [
            message
            for number in range(self.count(topic))
            for message in read_to_end(self._admin, reader, topic, number)
        ]
        reader.close()
        return found

    def put_aside(self, topic: str | None = None) -> None:
        """Do with the messages of a topic what a worker does with those that it cannot read."""
        sender = producer(self.settings)
        for message in self.read_all(topic or self.metrics):
            try:
                decode(message.value() or b"", header(message, "content-type").decode() or None)
            except BadFrame as error:
                record = dead_letter(self.settings, message, str(error))
                sender.produce(record.topic, record.value, record.key, headers=list(record.headers))
        assert sender.flush(WAIT_S) == 0

    def run(self, *arguments: str) -> Done:
        """Run a command in this process: a new one takes a second to start."""
        out, err = io.StringIO(), io.StringIO()
        given = ["holdfast", "deadletters", *arguments, "--config", str(self.path)]
        with (
            mock.patch("sys.argv", given),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        return Done(int(str(ended.value.code or 0)), out.getvalue(), err.getvalue())

    def listed(self) -> list[dict[str, object]]:
        done = self.run("list", "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def letters(kafka: Kafka, tmp_path: Path) -> Iterator[Letters]:
    opened = Letters(kafka, tmp_path)
    yield opened
    opened.close()


def poison(letters: Letters, count: int = 1) -> None:
    for number in range(count):
        headers = [("content-type", b"application/json"), ("trace", bytes([number])), ("trace", b"\xfe")]
        letters.send(letters.metrics, POISON, f"colo-{number}".encode(), headers)
    letters.flush()
    letters.put_aside()


def test_a_letter_is_the_message_and_where_it_came_from_and_why(letters: Letters) -> None:
    poison(letters)
    (original,) = letters.read_all(letters.metrics)
    (listed,) = letters.listed()
    assert (listed["topic"], listed["partition"], listed["offset"]) == (
        letters.metrics,
        original.partition(),
        original.offset(),
    )
    assert (listed["worker"], listed["bytes"], listed["redriven"]) == ("one", len(POISON), 0)
    (letter,) = DeadLetters(letters.settings).listed(Chosen(), 10, is_whole=True)
    assert (letter.letter.value, letter.letter.key) == (POISON, b"colo-0")
    assert letter.letter.headers == (("content-type", b"application/json"), ("trace", b"\0"), ("trace", b"\xfe"))
    assert letter.letter.from_timestamp_ms == original.timestamp()[1]


def test_what_is_sent_again_is_what_came_in_the_same_partition(letters: Letters) -> None:
    poison(letters, 3)
    before = {message.key(): message for message in letters.read_all(letters.metrics)}
    done = letters.run("redrive", "--all")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("3 sent, 0 sent before, 0 not to be sent\n")
    again = [
        message
        for message in letters.read_all(letters.metrics)
        if dict(message.headers() or []).get("holdfast-redriven")
    ]
    assert len(again) == 3
    for message in again:
        original = before[message.key()]
        assert (message.value(), message.partition()) == (original.value(), original.partition())
        assert message.headers() == [*(original.headers() or []), ("holdfast-redriven", b"1")]
    assert [letter["redriven"] for letter in letters.listed()] == [1, 1, 1]


def test_a_second_redrive_sends_nothing_unless_told_to(letters: Letters) -> None:
    poison(letters, 2)
    assert letters.run("redrive", "--all").stdout.endswith("2 sent, 0 sent before, 0 not to be sent\n")
    assert letters.run("redrive", "--all").stdout.endswith("0 sent, 2 sent before, 0 not to be sent\n")
    assert len(letters.read_all(letters.metrics)) == 4
    assert letters.run("redrive", "--all", "--again").stdout.endswith("2 sent, 0 sent before, 0 not to be sent\n")
    assert [letter["redriven"] for letter in letters.listed()] == [2, 2]
    counts = [header(message, "holdfast-redriven") for message in letters.read_all(letters.metrics)]
    assert sorted(counts) == [b"", b"", b"1", b"1", b"2", b"2"]


def test_a_dry_run_sends_nothing(letters: Letters) -> None:
    poison(letters, 2)
    done = letters.run("redrive", "--all", "--dry-run")
    assert done.stdout.endswith("2 would be sent, 0 sent before, 0 not to be sent\n")
    assert len(letters.read_all(letters.metrics)) == 2
    assert [letter["redriven"] for letter in letters.listed()] == [0, 0]


def test_only_those_that_are_named_are_sent(letters: Letters) -> None:
    poison(letters, 3)
    place = str(letters.listed()[1]["place"])
    assert letters.run("redrive", place).stdout == f"{place}: sent\n1 sent, 0 sent before, 0 not to be sent\n"
    assert [letter["redriven"] for letter in letters.listed()].count(1) == 1
    assert letters.run("redrive", "--topic", "another").stdout.startswith("0 sent, 0")
    assert letters.run("redrive", "--reason", "not in it").stdout.startswith("0 sent, 0")


def test_of_two_who_redrive_at_a_time_one_is_fenced_off_and_nothing_is_sent_twice(letters: Letters) -> None:
    poison(letters, 2)
    slow = DeadLetters(letters.settings)
    first = slow._producer()
    assert letters.run("redrive", "--all").stdout.endswith("2 sent, 0 sent before, 0 not to be sent\n")
    with pytest.raises(KafkaException, match="_FENCED"):
        _sent(first, [Record(letters.metrics, None, b"twice")], ["0:0"])
    assert len(letters.read_all(letters.metrics)) == 4


def test_only_metrics_are_sent_again(letters: Letters) -> None:
    letters.send(letters.settings.topics.verdicts, POISON)
    letters.flush()
    letters.put_aside(letters.settings.topics.verdicts)
    done = letters.run("redrive", "--all")
    assert done.stdout == "0 sent, 0 sent before, 1 not to be sent\n"
    assert "allowed: metrics topics" in done.stderr


def test_what_is_too_large_is_cut_and_says_so_and_is_not_sent_again(letters: Letters) -> None:
    large = producer(letters.settings)
    value = POISON + b"x" * (MESSAGE_BYTES_MAX - 1_000)
    large.produce(letters.metrics, value, b"colo", headers=[("content-type", b"nonsense")])
    assert large.flush(WAIT_S) == 0
    letters.put_aside()
    (listed,) = letters.listed()
    assert (listed["whole"], int(str(listed["bytes"])) < len(value)) == (False, True)
    done = letters.run("redrive", "--all")
    assert done.stdout == "0 sent, 0 sent before, 1 not to be sent\n"
    assert f"the whole of it stands in {letters.metrics}/" in done.stderr


def test_one_is_shown_with_its_beginning_and_what_is_said_of_it_today(letters: Letters) -> None:
    poison(letters)
    done = letters.run("show", str(letters.listed()[0]["place"]))
    assert done.returncode == 0, done.stderr
    assert "header content-type: application/json" in done.stdout
    assert "reason now: " in done.stdout
    assert "0000  00 01 20 6e" in done.stdout
    assert ".. neither . thi" in done.stdout


def test_those_are_listed_that_are_asked_for(letters: Letters) -> None:
    poison(letters, 3)
    line = letters.run("list", "--topic", letters.metrics, "--limit", "5").stdout.splitlines()
    assert len(line) == 3
    assert f"{letters.metrics}/" in line[0]
    assert letters.run("list", "--topic", "another").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["redrive"], "which ones? Allowed: PARTITION:OFFSET"),
        (["redrive", "x"], "'x' is no place of a dead letter; allowed: PARTITION:OFFSET"),
        (["show", "0:99"], "0:99: no dead letter there"),
    ],
)
def test_bad_input_is_a_clear_error(letters: Letters, arguments: list[str], said: str) -> None:
    done = letters.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
