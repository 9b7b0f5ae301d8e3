"""The whole live engine over a simulated broker: what a recording comes to when it is judged live."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from detectors.policy import Policy
from detectors.verdict import Verdict
from holdfast.documents import load_policy, load_rollout
from holdfast.live.aggregating import AggregateStep
from holdfast.live.catalogue import catalogue_partition
from holdfast.live.certified import reader
from holdfast.live.judging import JudgeStep
from holdfast.live.records import Record
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from holdfast.live.terms import terms_of
from holdfast.live.workers import catalogued, checkpoints_of
from holdfast.produce import Frame, frames_of
from holdfast.recording.folder import load_setting
from holdfast.recording.samples import samples_of
from holdfast.setting import ENGINE
from rollouts.announced import Announcement, announce
from sinks.cloudevents import VerdictEvent, decode, verdict_event
from streams.fleet import Fleet, write
from streams.live.frames import Header, header_of
from streams.live.judging import judge_again
from streams.live.turnstile import Part
from streams.recording import MetricsFile
from streams.replay import replay
from tests.live.simulated import SimBroker, SimPast, SimWorker

PARTITIONS = 3
JOURNAL_PARTITIONS = 2


class Told:
    """The rollouts topic, as a worker knows it: any announcements, which a test may change."""

    def __init__(self, announcements: Sequence[Announcement]) -> None:
        self._current = {each.rollout.rollout: each for each in announcements}
        self.changed: set[str] = set()

    @property
    def current(self) -> dict[str, Announcement]:
        return self._current

    def announce(self, announcement: Announcement) -> None:
        self._current[announcement.rollout.rollout] = announcement
        self.changed.add(announcement.rollout.rollout)

    def withdraw(self, rollout: str) -> None:
        del self._current[rollout]
        self.changed.add(rollout)

    def poll(self) -> set[str]:
        changed, self.changed = self.changed, set()
        return changed


@dataclass
class Engine:
    """Aggregate and judge over one broker."""

    broker: SimBroker
    settings: Settings
    told: Told
    aggregate: SimWorker
    judge: SimWorker
    now: float = 0.0

    def run(self, rng: np.random.Generator, kills: int = 0, rounds: int = 10_000) -> None:
        """Work until nothing moves any more; so many times a worker dies after a poll."""
        quiet = 0
        for _ in range(rounds):
            self.now += 0.1
            taken, written = 0, self.broker.records
            for worker in (self.aggregate, self.judge):
                taken += worker.poll(rng, self.now)
                if kills and rng.random() < 0.2:
                    worker.kill()
                    kills -= 1
            quiet = 0 if taken or self.broker.records > written else quiet + 1
            if quiet == 20:
                break
        else:
            raise AssertionError("the engine does not come to rest")
        self.now += self.settings.patience_seconds + 1.0  # what is still open closes
        for _ in range(20):
            self.aggregate.poll(rng, self.now)
            self.judge.poll(rng, self.now)

    def headers(self) -> list[tuple[Header, bytes, int, int]]:
        """Return all frames of the journal, with their place."""
        topic = self.settings.topics.cohort_ticks
        return [
            (header_of(record.value or b""), record.value or b"", number, offset)
            for number in range(JOURNAL_PARTITIONS)
            for offset, record in enumerate(self.broker.logs[topic, number])
        ]

    def verdicts(self, rollout: str) -> list[VerdictEvent]:
        """Return what stands on the verdict topic about a rollout."""
        topic = self.settings.topics.verdicts
        records = [record for number in range(JOURNAL_PARTITIONS) for record in self.broker.logs[topic, number]]
        return [
            decode(record.value or b"")
            for record in records
            if record.key == rollout.encode() and dict(record.headers)["ce_type"] == b"dev.holdfast.verdict.v1"
        ]

    def judged_again(self, rollout: str) -> list[VerdictEvent]:
        """Judge the journal once more."""
        parts = [
            Part(header, frame, offset) for header, frame, _, offset in self.headers() if header.rollout == rollout
        ]
        found: list[tuple[int, Verdict]] = judge_again(parts, terms_of, ENGINE)
        return [verdict_event(rollout, time_ms, verdict) for time_ms, verdict in found]

    def accounted(self, rollout: str) -> tuple[int, Counter[str]]:
        """Add up what the journal says became of the samples: those in ticks, and those dropped by reason."""
        dropped: Counter[str] = Counter()
        samples = 0
        for header, *_ in self.headers():
            if header.rollout == rollout:
                samples += header.samples
                dropped.update(header.dropped)
        return samples, dropped


def make_recording(folder: Path, seed: int = 1, **fleet) -> Path:
    """Simulate a small fleet."""
    given = {"colos": 5, "hosts": 6, "regions": 2, "pre_ticks": 60, "live_ticks": 60, "hurt": 2} | fleet
    write(Fleet(**given, seed=seed), folder)
    return folder


def make_engine(settings: Settings, announcements: Sequence[Announcement]) -> Engine:
    """Start an engine on an empty broker."""
    topics = settings.topics
    broker = SimBroker(
        {
            **{each.topic: PARTITIONS for each in settings.metrics},
            topics.catalogue: settings.partitions,
            topics.cohort_ticks: JOURNAL_PARTITIONS,
            topics.checkpoints: JOURNAL_PARTITIONS,
            topics.verdicts: JOURNAL_PARTITIONS,
            topics.evidence: JOURNAL_PARTITIONS,
            topics.dead_letters: 1,
        }
    )
    told = Told(announcements)
    counts = {each.topic: PARTITIONS for each in settings.metrics}

    def catalogue(source):
        place = catalogue_partition(source, settings.partitions)
        return catalogued(
            source, [(record.key or b"", record.value) for record in broker.logs[topics.catalogue, place]]
        )

    def checkpoints(number):
        return checkpoints_of([(record.key or b"", record.value) for record in broker.logs[topics.checkpoints, number]])

    return Engine(
        broker,
        settings,
        told,
        SimWorker(
            broker,
            "aggregate",
            list(counts),
            lambda: AggregateStep(
                settings, told, catalogue, lambda: counts, SimPast(broker), Telemetry("aggregate", "test")
            ),
        ),
        SimWorker(
            broker,
            "judge",
            [topics.cohort_ticks],
            lambda: JudgeStep(settings, checkpoints, None, Telemetry("judge", "test"), reader(settings)),
        ),
    )


@cache
def _frames(recording: Path) -> list[Frame]:
    return list(frames_of(MetricsFile(recording / "metrics.parquet").read(), "arrow"))


def feed(engine: Engine, recording: Path, which: slice = slice(None)) -> int:
    """Put a recording's samples, or some of its frames, on the metrics topic, keyed by colo; return how many."""
    count = 0
    topic = engine.settings.metrics[0].topic
    for frame in _frames(recording)[which]:
        partition = int(hashlib.sha256(frame.key).hexdigest(), 16) % PARTITIONS
        headers = [("content-type", frame.content_type.encode())]
        engine.broker.produce(Record(topic, frame.key, frame.payload, headers, partition))
        count += frame.rows
    return count


def announced(recording: Path) -> Announcement:
    """Announce a recording's rollout, judged by its policy."""
    return announce(load_rollout(recording / "rollout.yaml"), load_policy(recording / "policy.yaml"))


def with_policy(announcement: Announcement, policy: Policy) -> Announcement:
    """Have a rollout be judged by another policy."""
    return msgspec.structs.replace(announcement, policy=policy)


@cache
def replayed(recording: Path) -> list[VerdictEvent]:
    """Replay a recording, once for all tests of a process: nobody changes the file or the list."""
    setting = load_setting(recording)
    result = replay(samples_of(recording), setting)
    return [verdict_event(setting.rollout, time_ms, verdict) for time_ms, verdict in result.verdicts]


def later(moment: str, seconds: float) -> datetime:
    """Return a time after another one."""
    return datetime.fromisoformat(moment).astimezone(UTC) + timedelta(seconds=seconds)


def end_of(recording: Path) -> datetime:
    """Return the end of a recording's last tick."""
    last = max(int(samples.time.max()) for samples in MetricsFile(recording / "metrics.parquet").read())
    return datetime.fromtimestamp(-(-last // 10_000) * 10, UTC)
