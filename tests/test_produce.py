"""Playing samples: how they are cut into frames, moved in time and paced, and what a broker's refusal comes to."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from confluent_kafka import KafkaError, Producer

from holdfast.commands.produce import announced, in_words, move, moved_by
from holdfast.documents import load_policy, load_rollout
from holdfast.errors import BadInput, Unreachable
from holdfast.live.produce import Pace, Played, Player
from holdfast.produce import Frame, first_ms, frames_of, shift_of, shifted
from streams.fleet import Fleet, write
from streams.recording import NO_TIME
from streams.wire.decoding import decode
from tests.wire_frames import rows, samples

STARTED = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
STARTED_MS = 1_773_314_400_000


def frame(time_ms: int, key: bytes = b"ams01") -> Frame:
    return Frame(key, b"x" * 10, "application/json", time_ms, time_ms, 5)


class Broker:
    """Takes frames as a producer does; time passes only while somebody waits for it."""

    def __init__(self, *, room: int = 1_000, error: KafkaError | None = None) -> None:
        self.now = 100.0
        self.sent: list[tuple[float, bytes]] = []
        self.headers: list[list[tuple[str, bytes]]] = []
        self._room, self._error = room, error
        self.waiting: list[Any] = []

    def clock(self) -> float:
        return self.now

    def produce(self, topic, value, key, headers, on_delivery) -> None:
        if len(self.waiting) >= self._room:
            raise BufferError
        self.waiting.append(on_delivery)
        self.sent.append((self.now, key))
        self.headers.append(headers)

    def poll(self, seconds: float) -> int:
        self.now += seconds
        if seconds:
            self.flush(0)
        return 0

    def flush(self, _seconds: float) -> int:
        while self.waiting:
            self.waiting.pop(0)(self._error, None)
        return 0


def player(broker: Broker, pace: Pace) -> Player:
    return Player(cast("Producer", broker), "metrics", pace, clock=broker.clock)


def played(broker: Broker, frames: list[Frame], pace: Pace) -> Played:
    return player(broker, pace).play(frames)


def test_frames_hold_the_samples_of_one_colo_and_one_scrape() -> None:
    made = samples(
        [
            (time + offset, 1.0, {"metric": "cpu", "colo": colo, "host": host})
            for time in (0, 10_000)
            for offset, colo, host in ((1, "ams01", "h1"), (2, "fra02", "h1"), (3, "ams01", "h2"))
        ]
    )
    frames = list(frames_of([made], "arrow"))
    assert [(each.key, each.first_ms, each.last_ms, each.rows) for each in frames] == [
        (b"ams01", 1, 3, 2),
        (b"fra02", 2, 2, 1),
        (b"ams01", 10_001, 10_003, 2),
        (b"fra02", 10_002, 10_002, 1),
    ]
    again = [row for each in frames for row in rows(decode(each.payload, each.content_type))]
    assert sorted(again, key=repr) == sorted(rows(made), key=repr)


def test_a_large_scrape_is_cut() -> None:
    made = samples([(5, float(number), {"metric": "cpu", "colo": "ams01"}) for number in range(25)])
    frames = list(frames_of([made], "json", rows_max=10))
    assert [each.rows for each in frames] == [10, 10, 5]
    values = [value for each in frames for _, value, _ in rows(decode(each.payload, None))]
    assert values == [float(number).hex() for number in range(25)]


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "shift"), [(0, 0, 0), (3, 10_004, 20_000), (3, 10_003, 10_000), (10_004, 3, -10_000)]
)
def test_times_are_moved_by_whole_ticks_to_a_time_or_just_after_it(from_ms: int, to_ms: int, shift: int) -> None:
    assert shift_of(from_ms, to_ms, 10_000) == shift
    assert 0 <= from_ms + shift - to_ms < 10_000


def test_a_sample_without_a_time_is_not_moved() -> None:
    (moved,) = shifted([samples([(5, 1.0, {}), (NO_TIME, 2.0, {})])], 10_000)
    assert moved.time.tolist() == [10_005, NO_TIME]


def test_the_first_time_is_that_of_the_first_batch_that_has_any() -> None:
    assert first_ms([samples([(NO_TIME, 1.0, {})]), samples([(9, 1.0, {}), (7, 1.0, {})])]) == 7
    assert first_ms([samples([(NO_TIME, 1.0, {})])]) is None


def test_a_frame_is_sent_when_its_last_sample_is_due() -> None:
    broker = Broker()
    result = played(broker, [frame(5_000), frame(15_000), frame(25_000)], Pace(speed=10.0))
    assert [round(at - 100.0, 6) for at, _ in broker.sent] == [0.0, 1.0, 2.0]
    assert (result.frames, result.samples, result.size) == (3, 15, 30)


def test_what_is_earlier_than_the_origin_is_sent_at_once() -> None:
    broker = Broker()
    played(broker, [frame(5_000), frame(15_000), frame(25_000)], Pace(speed=1.0, origin_ms=20_000))
    assert [round(at - 100.0, 6) for at, _ in broker.sent] == [0.0, 0.0, 5.0]


def test_without_a_speed_nothing_is_waited_for() -> None:
    broker = Broker()
    played(broker, [frame(5_000), frame(5_000_000)], Pace(speed=None))
    assert [at for at, _ in broker.sent] == [100.0, 100.0]


def test_a_full_queue_is_waited_for() -> None:
    broker = Broker(room=2)
    result = played(broker, [frame(number) for number in range(7)], Pace(speed=None))
    assert len(broker.sent) == result.frames == 7


def test_a_frame_says_what_format_it_has() -> None:
    broker = Broker()
    played(broker, [frame(0)], Pace(speed=None))
    assert broker.headers == [[("content-type", b"application/json")]]


def test_a_frame_that_a_broker_refuses_ends_it_with_the_reason() -> None:
    broker = Broker(error=KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    with pytest.raises(BadInput, match=r"topic metrics: a frame was not taken: .*--rows"):
        played(broker, [frame(0)], Pace(speed=None))


def test_brokers_that_do_not_answer_are_told_from_those_that_refuse() -> None:
    broker = Broker(error=KafkaError(KafkaError._MSG_TIMED_OUT))
    with pytest.raises(Unreachable, match="topic metrics: a frame was not taken: "):
        played(broker, [frame(0)], Pace(speed=None))


def test_what_was_sent_is_waited_for_also_when_somebody_has_had_enough() -> None:
    broker = Broker()

    def interrupted() -> Iterator[Frame]:
        yield frame(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        player(broker, Pace(None)).play(interrupted())
    assert broker.waiting == []


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("produce") / "bots"
    write(Fleet(seed=1, colos=1, hosts=3, canary_hosts=1, regions=1, pre_ticks=4, live_ticks=4), path)
    return path


def test_a_recording_is_played_as_it_is_unless_it_is_moved(recording: Path) -> None:
    moved = move(recording, from_now=False, starts_in=None, submit=False, now=0)
    assert (moved.by_ms, moved.origin_ms) == (0, None)


def test_a_recording_can_begin_now(recording: Path) -> None:
    now = STARTED_MS + 123_456_789
    moved = move(recording, from_now=True, starts_in=None, submit=False, now=now)
    first = first_ms(moved.samples())
    assert first is not None
    assert 0 <= first - now < 10_000
    assert moved.by_ms % 10_000 == 0
    (rollout,) = moved.rollouts
    assert (rollout.started - load_rollout(recording / "rollout.yaml").started).total_seconds() * 1_000 == moved.by_ms


def test_a_rollout_can_start_so_much_later_than_now(recording: Path) -> None:
    now = STARTED_MS + 123_456_789
    moved = move(recording, from_now=False, starts_in="5m", submit=False, now=now)
    assert 0 <= moved.rollouts[0].started.timestamp() * 1_000 - now - 300_000 < 10_000
    assert moved.origin_ms == now


def test_stages_with_a_start_of_their_own_are_moved_too(recording: Path) -> None:
    rollout = load_rollout(recording / "rollout.yaml")
    stage = type(rollout.stages[0])(name="late", canary={"cohort": "canary"}, bake="1m", started=STARTED)
    moved = moved_by(type(rollout)(rollout="r", started=STARTED, stages=[*rollout.stages, stage]), 60_000)
    assert moved.stages[0].started is None
    assert moved.stages[1].started == STARTED.replace(minute=21)


def test_both_ways_to_move_exclude_each_other(recording: Path) -> None:
    with pytest.raises(BadInput, match="--from-now and --starts-in: found both"):
        move(recording, from_now=True, starts_in="5m", submit=False, now=0)


def test_a_rollout_is_announced_once(recording: Path) -> None:
    rollout, policy = load_rollout(recording / "rollout.yaml"), load_policy(recording / "policy.yaml")
    first = announced(rollout, policy, None)
    assert announced(rollout, policy, first) is first
    with pytest.raises(BadInput, match="bots: announced already, with another plan, policy or time"):
        announced(moved_by(rollout, 10_000), policy, first)


def test_what_was_sent_is_said_in_a_line() -> None:
    assert in_words("metrics", Played(3, 1_500, 2_000_000, 2.0)) == (
        "metrics: 1,500 samples in 3 frames, 2.0 MB, in 2.0 s: 750 samples a second\n"
    )


def test_frames_are_not_made_before_they_are_due() -> None:
    made = samples([(time, 1.0, {"metric": "cpu", "colo": "ams01"}) for time in np.arange(0, 50_000, 10_000).tolist()])
    frames = frames_of(iter([made]), "arrow")
    assert next(frames).first_ms == 0
    assert next(frames).first_ms == 10_000
