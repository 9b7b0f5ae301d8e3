"""Messages of the engine's topics as rows, on the way to the store."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from detectors.errors import BadInput
from holdfast.live.dead_letters import Letter, dead_letter, mark, read_letter
from holdfast.live.records import Record
from holdfast.live.settings import load_settings
from holdfast.live.sink import Reader
from rollouts.announced import encode, with_event
from rollouts.audit import beginning
from sinks.live_rows import LiveRows
from sinks.store import Store
from streams.journal import Ticked, tick_rows
from tests.live.engine import announced, make_recording
from tests.live.simulated import SimMessage
from tests.overrides import HERE, NOW, Log
from tests.replays import START_MS
from tests.test_live_rows import stream

SETTINGS = load_settings(None, {"HOLDFAST_WORKER": "one"})
TOPICS = SETTINGS.topics
WRITTEN_MS = START_MS + 7


class Message(SimMessage):
    """A message that was written at a time."""

    written_ms = WRITTEN_MS

    def timestamp(self) -> tuple[int, int]:
        return 1, self.written_ms


def message(topic: str, offset: int, value: bytes | None, headers: Any = (), written_ms: int = WRITTEN_MS) -> Any:
    made = Message(topic, 1, offset, Record(topic, b"bot-0312", value, list(headers)))
    made.written_ms = written_ms
    return made


def read(given: Any) -> list[LiveRows]:
    return Reader(SETTINGS).read(given)


def row(found: LiveRows) -> dict[str, Any]:
    (only,) = found.rows.to_pylist()
    return dict(only)


TICKED = [Ticked(START_MS, True, 40, {"late": 2, "future": 0, "duplicate": 1}), Ticked(START_MS + 10_000, False, 0, {})]


def ticked(rows: pa.Table, written_ms: int = WRITTEN_MS) -> list[LiveRows]:
    return read(message(TOPICS.evidence, 5, stream(rows), [("table", b"ticks")], written_ms))


# ---------------------------------------------------------------- the audit log


def test_an_entry_of_the_audit_log_is_a_row() -> None:
    log = Log()
    first = log.put("test.first", {"b": 1, "a": "é"}, "bo")
    second = log.put("test.second", {})
    found = [row(each) for offset, raw in enumerate(log.raws) for each in read(message(TOPICS.audit, offset, raw))]
    assert found[0] == {
        "source": f"{TOPICS.audit}/1",
        "time": NOW,
        "written": datetime.fromtimestamp(WRITTEN_MS / 1_000, UTC),
        "sequence": 0,
        "hash": first,
        "previous": beginning(HERE),
        "who": "bo",
        "kind": "test.first",
        "subject": "",
        "body": '{"a":"é","b":1}',
        "version": 0,
    }
    assert (found[1]["previous"], found[1]["hash"]) == (first, second)


@pytest.mark.parametrize("value", [None, b"", b"junk"])
def test_what_is_no_entry_is_put_aside(value: bytes | None) -> None:
    with pytest.raises(BadInput, match=r"^not an entry: "):
        read(message(TOPICS.audit, 4, value))


def test_an_entry_is_kept_once_however_often_it_is_read(tmp_path: Path) -> None:
    log = Log()
    log.put("test.entry", {})
    with Store(tmp_path) as store:
        for _ in range(2):
            store.append(read(message(TOPICS.audit, 0, log.raws[0])))
        assert store.query("SELECT count(), any(kind) FROM audit", "CSV") == b'1,"test.entry"\n'


# ---------------------------------------------------------------- ticks


def test_ticks_were_decided_when_their_message_was_written() -> None:
    (found,) = ticked(tick_rows("bot-0312", TICKED))
    first, second = found.rows.to_pylist()
    assert first == {
        "rollout": "bot-0312",
        "source": f"{TOPICS.evidence}/1",
        "time": datetime.fromtimestamp(START_MS / 1_000, UTC),
        "decided": datetime.fromtimestamp(WRITTEN_MS / 1_000, UTC),
        "is_live": True,
        "samples": 40,
        "reasons": ["duplicate", "late"],
        "dropped": [1, 2],
        "version": 5,
    }
    assert (second["is_live"], second["reasons"]) == (False, [])


@pytest.mark.parametrize("written_ms", [-1, 9_000_000_000_000_000])
def test_a_message_without_a_time_leaves_it_open_when_they_were_decided(written_ms: int) -> None:
    (found,) = ticked(tick_rows("bot-0312", TICKED), written_ms)
    assert set(found.rows["decided"].to_pylist()) == {datetime(1970, 1, 1, tzinfo=UTC)}


def test_ticks_that_say_only_half_are_refused() -> None:
    rows = tick_rows("bot-0312", TICKED)
    with pytest.raises(BadInput, match="ticks: nothing in samples"):
        ticked(rows.set_column(3, rows.schema.field("samples"), pa.array([None, 1], pa.uint64())))
    with pytest.raises(BadInput, match="ticks: not as many reasons as numbers"):
        ticked(rows.set_column(4, rows.schema.field("reasons"), pa.array([["late"], []], pa.list_(pa.string()))))
    with pytest.raises(BadInput, match="other columns than those of this holdfast: decided"):
        ticked(rows.append_column("decided", rows["time"]))


# ---------------------------------------------------------------- what happened to rollouts


def test_an_announcement_is_a_rollout_and_its_events(tmp_path: Path) -> None:
    told = announced(make_recording(tmp_path / "recording", pre_ticks=3, live_ticks=3))
    (alone,) = read(message(TOPICS.rollouts, 0, encode(told)))
    assert alone.table == "rollouts"
    end = datetime(2031, 1, 1, tzinfo=UTC)
    told = with_event(told, "started", told.rollout.stages[0].name, told.rollout.started)
    rollout, events = read(message(TOPICS.rollouts, 1, encode(with_event(told, "finished", None, end))))
    assert row(rollout)["recorded"] == end
    assert [(each["number"], each["event"], each["stage"]) for each in events.rows.to_pylist()] == [
        (0, "started", told.rollout.stages[0].name),
        (1, "finished", ""),
    ]
    assert events.rows["effective_at"].to_pylist() == [told.rollout.started, end]


# ---------------------------------------------------------------- dead letters


def put_aside(reason: str = "no JSON", value: bytes | None = b"{") -> Record:
    return dead_letter(SETTINGS, message("metrics", 17, value), reason)


def test_a_dead_letter_says_where_it_comes_from_and_why() -> None:
    record = put_aside()
    (found,) = read(message(TOPICS.dead_letters, 4, record.value, record.headers))
    assert found.table == "dead_letters"
    assert row(found) == {
        "source": f"{TOPICS.dead_letters}/1",
        "time": datetime.fromtimestamp(WRITTEN_MS / 1_000, UTC),
        "from_topic": "metrics",
        "from_partition": 1,
        "from_offset": 17,
        "worker": "one",
        "reason": "no JSON",
        "bytes": 1,
        "is_redriven": False,
        "version": 4,
    }


def test_the_mark_that_it_was_sent_again_names_the_letter() -> None:
    record = put_aside()
    letter = read_letter(message(TOPICS.dead_letters, 4, record.value, record.headers))
    assert isinstance(letter, Letter)
    sent = mark(SETTINGS, letter, 2)
    (found,) = read(message(TOPICS.dead_letters, 9, sent.value, sent.headers))
    told = row(found)
    assert (told["is_redriven"], told["reason"]) == (True, "sent again, for the 2. time")
    assert (f"{told['from_topic']}/{told['from_partition']}", told["from_offset"]) == (f"{TOPICS.dead_letters}/1", 4)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("holdfast-redriven", b"x")],
        [("holdfast-redriven", b"-4:1")],
        [(name, text if name != "holdfast-offset" else b"-7") for name, text in put_aside().headers],
        [(name, text if name != "holdfast-partition" else b"9" * 30) for name, text in put_aside().headers],
    ],
)
@pytest.mark.parametrize("value", [None, b"anything"])
def test_what_is_no_dead_letter_is_told_of_and_not_put_aside_again(headers: Any, value: bytes | None) -> None:
    (found,) = read(message(TOPICS.dead_letters, 4, value, headers))
    told = row(found)
    assert (told["from_topic"], told["reason"]) == ("", "neither a dead letter nor the mark of one")
    assert told["bytes"] == len(value or b"")


def test_all_of_it_gets_into_the_store(tmp_path: Path) -> None:
    told = announced(make_recording(tmp_path / "recording", pre_ticks=3, live_ticks=3))
    told = with_event(told, "started", told.rollout.stages[0].name, told.rollout.started)
    record = put_aside()
    taken = [
        *ticked(tick_rows("bot-0312", TICKED)),
        *read(message(TOPICS.rollouts, 1, encode(told))),
        *read(message(TOPICS.dead_letters, 4, record.value, record.headers)),
    ]
    with Store(tmp_path / "store") as store:
        for _ in range(2):
            store.append(taken)
        counts = {
            name: int(store.query(f"SELECT count() FROM {name}", "TSV"))
            for name in ("ticks", "rollouts", "rollout_events", "dead_letters")
        }
        assert counts == {"ticks": 2, "rollouts": 1, "rollout_events": 1, "dead_letters": 1}
        assert store.query("SELECT sum(arraySum(dropped)) FROM ticks", "TSV") == b"3\n"
