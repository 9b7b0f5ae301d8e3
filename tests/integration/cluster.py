"""The live engine on a real broker: topics of its own, workers as processes, and what came of it."""

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, ConsumerGroupState, Producer

from detectors.verdict import Verdict
from holdfast.live.clients import admin, consumer, producer
from holdfast.live.reading import read_to_end
from holdfast.live.records import headers_of
from holdfast.live.settings import Settings, load_settings
from holdfast.live.terms import terms_of
from holdfast.live.topics import create
from holdfast.produce import Frame, frames_of
from holdfast.setting import ENGINE
from rollouts.announced import Announcement, encode, with_event
from sinks.cloudevents import VerdictEvent, decode, verdict_event
from streams.live.frames import Header, header_of
from streams.live.judging import judge_again
from streams.live.turnstile import Part
from streams.recording import MetricsFile
from streams.wire.encoding import Form
from tests.integration.crashing import work
from tests.integration.forking import Forked
from tests.waiting import WAIT_S, until


@dataclass(frozen=True)
class Entry:
    """A record as it was read."""

    key: bytes
    value: bytes
    headers: dict[str, bytes]
    partition: int
    offset: int


PATIENT: Final = {"patience": "1h"}
"""For tests that feed a worker which runs: if a pause of theirs were taken for silence, the verdicts would show it."""


@dataclass(frozen=True)
class Started:
    """A worker that was started; `is_kept` if it is started again whenever it ends."""

    process: Forked
    roles: str
    worker: str
    is_kept: bool


class Cluster:
    """One engine on a broker; what a test starts, it stops at the end."""

    def __init__(self, bootstrap: str, folder: Path, **given: object) -> None:
        self.folder = folder
        document: dict[str, object] = {
            "kafka": {"bootstrap.servers": bootstrap},
            "prefix": f"t{uuid.uuid4().hex[:10]}",
            "partitions": 2,
            "patience": "1s",
            "heartbeat": "1s",
            "checkpoint_ticks": 10,
            "session_timeout": "2s",
            "transaction_timeout": "60s",
            "http": {"port": 0},
            "data": str(folder / "store"),
        }
        document["metrics"] = [{"topic": f"{document['prefix']}.metrics"}]
        document |= given
        self.path = folder / "holdfast.yaml"
        self.path.write_bytes(msgspec.yaml.encode(document))
        self.settings: Settings = load_settings(self.path, {})
        self._admin = admin(self.settings)
        create(self._admin, self.settings)
        self._producer: Producer = producer(self.settings)
        self._reader: Consumer = consumer(self.settings, f"{self.settings.prefix}-test")
        self._started: list[Started] = []
        self._starting = threading.Lock()
        self._stopping = False

    @property
    def metrics(self) -> str:
        """The metrics topic."""
        return self.settings.metrics[0].topic

    def declare(self, *, keyed: bool) -> None:
        """Say whether the metrics topic is keyed by colo, and make the topics that this needs."""
        self.change(metrics=[{"topic": self.metrics, "keyed": keyed}])
        create(self._admin, self.settings)

    def change(self, **given: object) -> None:
        """Change settings, for workers that are started from now on."""
        made = self.path.with_suffix(".new")
        made.write_bytes(msgspec.yaml.encode(msgspec.yaml.decode(self.path.read_bytes()) | given))
        made.replace(self.path)  # at once, as one that has just been started may be about to read them
        self.settings = load_settings(self.path, {})

    def start(
        self, roles: str, point: str = "none", count: int = 0, worker: str = "one", *, is_kept: bool = False
    ) -> Forked:
        """Start a worker, to be killed when it passes a point."""
        environment = {**os.environ, "HOLDFAST_CONFIG": str(self.path), "HOLDFAST_WORKER": worker}
        with self._starting:
            process = Forked(work, (roles, point, count), environment, self.folder / f"{roles}-{worker}.log")
            self._started.append(Started(process, roles, worker, is_kept))
        return process

    def end_patience(self) -> None:
        """Have the silence after the last frame taken for what it is, by workers that are started again for it.

        One after the other, and none before all partitions have an owner: a static member that is started again in the
        middle of a cooperative rebalance, after it gave a partition up and before it said so, leaves that one to nobody
        for a while.
        """
        self.change(patience="1s")
        with self._starting:
            started = [*self._started]
        for one in started:
            if "aggregate" in one.roles and one.process.poll() is None:
                until(self._is_owned, self.logs)
                before = self.members("aggregate")
                one.process.terminate()
                one.process.wait(WAIT_S)
                if not one.is_kept:
                    self.start(one.roles, worker=one.worker)
                # One that is kept may have ended, and be back, before it was asked to.
                until(lambda: self._is_owned() and (one.is_kept or self.members("aggregate") != before), self.logs)  # noqa: B023

    def _is_owned(self) -> bool:
        """Tell whether each partition of the metrics topic belongs to somebody, and the group is at rest."""
        return self.ownerless("aggregate") == 0

    def ownerless(self, role: str) -> int | None:
        """Count the partitions of a role's topic that belong to nobody; None while its group is not at rest."""
        group = self._group(role)
        given = [member.assignment for member in group.members if member.assignment is not None]
        owned = {place.partition for assignment in given for place in assignment.topic_partitions}
        return self.settings.partitions - len(owned) if group.state == ConsumerGroupState.STABLE else None

    def members(self, role: str) -> set[str]:
        """Return the members of a role's group, by the names that the broker gave them."""
        return {member.member_id for member in self._group(role).members}

    def _group(self, role: str) -> Any:
        name = f"{self.settings.prefix}-{role}"
        return self._admin.describe_consumer_groups([name])[name].result(WAIT_S)

    def keep(self, roles: str) -> None:
        """Start a worker, and start it again whenever it ends by itself, as whoever runs workers does."""
        threading.Thread(target=self._watch, args=(roles,), daemon=True).start()

    def _watch(self, roles: str) -> None:
        while not self._stopping:
            self.start(roles, is_kept=True).wait()

    def stop(self) -> None:
        """Stop everything that runs."""
        self._stopping = True
        for one in self._started:
            one.process.send_signal(signal.SIGCONT)
            one.process.terminate()
        for one in self._started:
            try:
                one.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
        self._started = []

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        if kind is not None:
            sys.stdout.write(self.logs())
        names = [
            name for name in self._admin.list_topics(timeout=WAIT_S).topics if name.startswith(self.settings.prefix)
        ]
        for future in self._admin.delete_topics(names).values():
            future.result()

    def logs(self) -> str:
        """Return what the workers wrote."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-4_000:]}" for path in self.folder.glob("*.log"))

    def submit(self, announcement: Announcement) -> None:
        """Announce a rollout."""
        name = announcement.rollout.rollout.encode()
        self._producer.produce(self.settings.topics.rollouts, encode(announcement), name)
        assert self._producer.flush(WAIT_S) == 0

    def finish(self, announcement: Announcement, at: datetime) -> None:
        """Say that a rollout is over."""
        self.submit(with_event(announcement, "finished", None, at))

    def frames(self, recording: Path, form: Form = "arrow") -> list[Frame]:
        """Cut a recording into frames."""
        return list(frames_of(MetricsFile(recording / "metrics.parquet").read(), form))

    def feed(self, frames: Iterable[Frame], partition: int = -1) -> int:
        """Put frames on the metrics topic; return how many samples are in them."""
        count = 0
        for frame in frames:
            self.send(frame.payload, frame.content_type, frame.key, partition)
            count += frame.rows
        assert self._producer.flush(WAIT_S) == 0
        return count

    def send(self, payload: bytes, content_type: str, key: bytes = b"", partition: int = -1) -> None:
        """Put one frame on the metrics topic."""
        headers: list[tuple[str, str | bytes | None]] = [("content-type", content_type.encode())]
        while True:
            try:
                self._producer.produce(self.metrics, payload, key, partition, headers=headers)
                return
            except BufferError:
                self._producer.poll(0.1)

    def read(self, topic: str) -> list[Entry]:
        """Read a topic to its end, what is committed of it."""
        found = []
        for number in self._admin.list_topics(topic, timeout=WAIT_S).topics[topic].partitions:
            found += [
                Entry(
                    message.key() or b"",
                    message.value() or b"",
                    dict(headers_of(message)),
                    message.partition() or 0,
                    message.offset() or 0,
                )
                for message in read_to_end(self._admin, self._reader, topic, number)
            ]
        return found

    def wait_until_finished(self, rollout: str) -> None:
        """Wait for the judge's last word on a rollout."""

        def is_finished() -> bool:
            return any(
                entry.key == rollout.encode() and b'"finished":true' in entry.value
                for entry in self.read(self.settings.topics.verdicts)
            )

        until(is_finished, lambda: f"{rollout} was not judged to its end\n{self.logs()}")

    def verdicts(self, rollout: str) -> list[VerdictEvent]:
        """Return the verdicts on the topic."""
        return [
            decode(entry.value)
            for entry in self.read(self.settings.topics.verdicts)
            if entry.key == rollout.encode() and entry.headers["ce_type"] == b"dev.holdfast.verdict.v1"
        ]

    def journal(self, rollout: str) -> list[Part]:
        """Return the frames of a rollout."""
        frames = [entry for entry in self.read(self.settings.topics.cohort_ticks) if entry.key == rollout.encode()]
        return [Part(header_of(entry.value), entry.value, entry.offset) for entry in frames]

    def judged_again(self, rollout: str) -> list[VerdictEvent]:
        """Judge the journal once more."""
        found: list[tuple[int, Verdict]] = judge_again(self.journal(rollout), terms_of, ENGINE)
        return [verdict_event(rollout, time_ms, verdict) for time_ms, verdict in found]


def accounted(headers: Sequence[Header]) -> tuple[int, Counter[str]]:
    """Add up what the journal says became of the samples: those in ticks, and those dropped by reason."""
    dropped: Counter[str] = Counter()
    for header in headers:
        dropped.update(header.dropped)
    return sum(header.samples for header in headers), dropped


def missing_or_doubled(headers: Sequence[Header]) -> list[tuple[int, int]]:
    """Name the cohort ticks (source partition, tick) that are not there exactly once between a partition's ends."""
    wrong = []
    for partition in {header.partition for header in headers if header.kind == "tick"}:
        ticks = Counter(header.tick for header in headers if header.kind == "tick" and header.partition == partition)
        wrong += [(partition, tick) for tick in range(min(ticks), max(ticks) + 1) if ticks[tick] != 1]
    return wrong
