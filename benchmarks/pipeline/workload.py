"""The seeded fleet whose metrics are sent, and the settings of an engine that takes them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from detectors.policy import Metric, Policy, PrePeriod, Ratio
from holdfast.live.clients import admin, producer
from holdfast.live.records import Record, put
from holdfast.live.settings import Settings, load_settings
from holdfast.live.topics import create
from rollouts.announced import Announcement, announce, encode
from rollouts.document import Rollout, Stage
from streams.recording import LabelColumn, Samples
from streams.wire.encoding import Form
from streams.wire.encoding import encode as encode_frame

SEED: Final = 20
TICK_MS: Final = 10_000
START: Final = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
START_MS: Final = int(START.timestamp()) * 1_000
FLUSH_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Size:
    """A fleet: `series` gauges and counters on each of the hosts of each colo."""

    colos: int
    hosts: int
    series: int

    @property
    def samples(self) -> int:
        """Samples a tick."""
        return self.colos * self.hosts * self.series


def policy_of(size: Size) -> Policy:
    """Judge one metric in two as a gauge, and the counters by pairs as ratios."""
    half = size.series // 2
    gauges = [
        Metric(name=f"gauge_{i:02d}", gauge=f"gauge_{i:02d}", worse="increase", breach="halt") for i in range(half)
    ]
    ratios = [
        Metric(
            name=f"ratio_{i:02d}",
            ratio=Ratio(bad=f"counter_{2 * i:02d}", total=f"counter_{2 * i + 1:02d}"),
            worse="increase",
            breach="revert",
        )
        for i in range((size.series - half) // 2)
    ]
    return Policy(policy="benchmark", metrics=gauges + ratios, pre_period=PrePeriod(required=False))


def announcement(size: Size, name: str = "benchmark", started: datetime = START) -> Announcement:
    """Announce a rollout to two hosts in five of each colo."""
    stages = [Stage(name="canary", canary={"cohort": "canary"}, bake="30m", deadline="2h")]
    return announce(Rollout(rollout=name, started=started, stages=stages), policy_of(size))


class Frames:
    """Frames of one colo's or of several colos' scrapes, tick after tick; the labels are the same in all."""

    def __init__(self, size: Size, colos: range) -> None:
        names = [f"gauge_{i:02d}" for i in range(size.series // 2)]
        names += [f"counter_{i:02d}" for i in range(size.series - len(names))]
        shape = len(colos), size.hosts, size.series
        colo, host, series = (index.reshape(-1).astype(np.int32) for index in np.indices(shape))
        self.labels = {
            "metric": LabelColumn(series, names),
            "colo": LabelColumn(colo, [f"colo{i:03d}" for i in colos]),
            "host": LabelColumn(
                colo * size.hosts + host, [f"c{c:03d}h{h:03d}" for c in colos for h in range(size.hosts)]
            ),
            "cohort": LabelColumn((host % 5 < 2).astype(np.int32), ["control", "canary"]),
            "region": LabelColumn(np.zeros(len(colo), np.int32), [("af", "ap", "eu", "me", "sa", "us")[colos[0] % 6]]),
        }
        self._is_counter = series >= size.series // 2
        self._rng = np.random.default_rng(SEED)
        self._level = self._rng.uniform(50.0, 100.0, len(series))
        self._total = np.zeros(len(series))
        self._rows = len(series)

    def at(self, tick: int) -> Samples:
        """Return the samples of a tick."""
        noise: NDArray[np.float64] = self._rng.normal(0.0, 1.0, self._rows)
        self._total += np.maximum(np.rint(self._level + noise), 0.0)
        time = np.full(self._rows, tick * TICK_MS - 3_000, np.int64)
        return Samples(time, np.where(self._is_counter, self._total, self._level + noise), self.labels)


def frames_of(size: Size, ticks: int, form: Form, first: int = START_MS // TICK_MS) -> Iterator[tuple[bytes, str]]:
    """Yield payload and content type of a frame for each tick and colo."""
    frames = [Frames(size, range(colo, colo + 1)) for colo in range(size.colos)]
    for tick in range(first, first + ticks):
        for each in frames:
            yield encode_frame(each.at(tick), form)


def json_messages(samples: Samples, each: int) -> Iterator[bytes]:
    """Yield the samples as JSON: so many objects in an array a message, or the object alone if that is one."""
    labels = {name: [column.values[code] for code in column.codes] for name, column in samples.labels.items()}
    rows = [
        {"time": time, "value": value} | {name: values[row] for name, values in labels.items()}
        for row, (time, value) in enumerate(zip(samples.time.tolist(), samples.value.tolist(), strict=True))
    ]
    for start in range(0, len(rows), each):
        yield msgspec.json.encode(rows[start] if each == 1 else rows[start : start + each])


def feed_json(settings: Settings, size: Size, ticks: int, each: int) -> None:
    """Put ticks of the whole fleet on the first metrics topic, as JSON, so many samples a message."""
    client, topic = producer(settings), settings.metrics[0].topic
    frames = Frames(size, range(size.colos))
    for tick in range(START_MS // TICK_MS, START_MS // TICK_MS + ticks):
        for value in json_messages(frames.at(tick), each):
            send(client, topic, value, b"", "application/json")
    assert client.flush(FLUSH_SECONDS) == 0


def engine(bootstrap: str, folder: Path, **given: Any) -> tuple[Path, Settings]:
    """Make settings and topics of an engine of its own."""
    prefix = f"b{uuid.uuid4().hex[:10]}"
    document: dict[str, Any] = {
        "kafka": {"bootstrap.servers": bootstrap},
        "prefix": prefix,
        "metrics": [{"topic": f"{prefix}.metrics"}],
        "partitions": 1,
        "patience": "5s",
        "http": {"port": 0},
        "data": str(folder / "store"),
    } | given
    path = folder / f"{prefix}.yaml"
    path.write_bytes(msgspec.yaml.encode(document))
    settings = load_settings(path, {})
    create(admin(settings), settings)
    return path, settings


def send(client: Producer, topic: str, value: bytes, key: bytes, kind: str, partition: int = -1) -> None:
    """Queue a message, waiting for room."""
    put(client, Record(topic, key, value, [("content-type", kind.encode())], partition))


def submit(settings: Settings, announced: Announcement) -> None:
    """Announce a rollout on the topic."""
    client = producer(settings)
    client.produce(settings.topics.rollouts, encode(announced), announced.rollout.rollout.encode())
    assert client.flush(FLUSH_SECONDS) == 0


def later(seconds: float) -> datetime:
    """Return a time after the start."""
    return START + timedelta(seconds=seconds)
