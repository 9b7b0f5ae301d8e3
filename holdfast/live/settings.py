"""Settings of the live engine: a file, and environment variables over it, checked at start."""

import dataclasses
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct, field

from detectors.policy import Name, duration_ms
from holdfast.api.settings import Api, api_rules
from holdfast.errors import BadInput
from holdfast.live.clickhouse_settings import ClickHouse
from holdfast.live.deployer_settings import Deploying, deployer_rule
from holdfast.live.drift_settings import Drift
from holdfast.live.durations import between
from holdfast.live.gate_settings import Gate, gate_rule
from holdfast.live.logs import Form, Level
from holdfast.live.topic_names import NAMES, TOPIC_NAME_MAX, Given, MetricsTopic, TopicNames, Topics
from holdfast.live.variables import CONFIG, origins, with_variables
from holdfast.located import Place, Problems, join, quoted, read
from holdfast.notifying.settings import Notify, notify_rule
from holdfast.status.settings import Status, status_rules
from holdfast.validation import model, validate

OURS: Final = {
    "isolation.level": "what a transaction took back must never be read",
    "enable.auto.commit": "offsets are committed with what came of them",
    "auto.commit.enable": "offsets are committed with what came of them",
    "enable.auto.offset.store": "offsets are committed with what came of them",
    "group.id": "it is named after prefix and role",
    "group.instance.id": "it is named after worker and role",
    "group.protocol": "the classic one is what `session_timeout` and the way of assigning belong to",
    "transactional.id": "it is named after prefix, role and worker",
    "enable.idempotence": "a message that is sent again must not come twice",
    "partitioner": "a key must be in the same partition whoever writes it",
    "partition.assignment.strategy": "a rebalance must not stop partitions that stay where they are",
    "auto.offset.reset": "nothing may be skipped",
    "enable.partition.eof": "patience begins when a partition was read to its end",
    "session.timeout.ms": "it is `session_timeout`",
    "heartbeat.interval.ms": "it follows from `session_timeout`",
    "transaction.timeout.ms": "it is `transaction_timeout`",
}
"""Keys of librdkafka that are not the user's to set, and why."""


def _not_ours(key: str) -> None:
    if key in OURS:
        message = f"holdfast sets it itself: {OURS[key]}"
        raise ValueError(message)


Count = Annotated[int, Meta(ge=1, le=100_000)]
KafkaKey = Annotated[str, Meta(min_length=1, extra={"allowed": "a key of librdkafka", "parse": _not_ours})]
PathText = Annotated[str, Meta(min_length=1, extra={"allowed": "the path of a file or folder"})]


class Http(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where metrics and health are served; port 0 is any free one."""

    host: Name = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 9464


class Log(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The least that is logged, and how; without a form, words on a terminal and JSON elsewhere."""

    level: Level = "info"
    form: Form | None = None


class Signing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The Ed25519 key (PEM) that signs verdicts, and the id that it is known by."""

    key: PathText
    id: Name


class ResponseFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where it stands who responds to incidents; see `rollouts.incidents.response`."""

    document: PathText | None = None


class _File(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a settings file may say."""

    kafka: dict[KafkaKey, str] = {}
    metrics: Annotated[list[MetricsTopic], Meta(min_length=1, max_length=100)] = field(
        default_factory=lambda: [MetricsTopic(topic="metrics")]
    )
    prefix: Given = "holdfast"
    topics: TopicNames = TopicNames()
    partitions: Count = 12
    replication: Annotated[int, Meta(ge=1, le=100)] = 1
    retention: Annotated[str, between("1m", "366d")] = "30d"
    worker: Given | None = None
    session_timeout: Annotated[str, between("1s", "10m")] = "15s"
    transaction_timeout: Annotated[str, between("1s", "15m")] = "15s"
    patience: Annotated[str, between("100ms", "1d")] = "30s"
    heartbeat: Annotated[str, between("100ms", "1h")] = "10s"
    evidence: bool = True
    checkpoint_ticks: Count = 30
    batch_messages: Count = 1_000
    http: Http = Http()
    log: Log = Log()
    signing: Signing | None = None
    trusted_keys: dict[Name, PathText] = {}
    gate: Gate = Gate()
    people: PathText | None = None
    former_people: Annotated[list[PathText], Meta(max_length=100)] = []
    response: ResponseFile = ResponseFile()
    drift: Drift = Drift()
    data: PathText = "holdfast-data"
    clickhouse: ClickHouse | None = None
    api: Api = Api()
    notify: Notify = Notify()
    status: Status = Status()
    deployer: Deploying = Deploying()


class Settings(Struct, frozen=True, kw_only=True):
    """The settings in force.

    Attributes
    ----------
    kafka
        Passed through to librdkafka, each value as it was written.
    metrics
        Topics that are aggregated.
    prefix
        Begins the names of consumer groups and of transactional ids.
    partitions, replication, retention_ms
        Of topics that `holdfast topics create` makes.
    worker
        Name of this worker, which no other may bear: by it a worker that comes back is recognised.
    session_ms, transaction_ms
        After how long a silent worker is taken for dead, and an open transaction is taken back.
    patience_seconds
        How long a partition may be silent before its ticks close by the clock on the wall.
    heartbeat_seconds
        Time between two signs of life of a judge.
    evidence
        Whether judges write the rows that the store keeps beside verdicts.
    checkpoint_ticks
        Ticks between two checkpoints of a rollout.
    batch_messages
        Most messages taken at a time.
    trusted_keys
        Public keys (PEM files) by id.
    gate
        Whether policies must have passed their gate.
    people, former_people
        Files of the people who may override, and of those who were before them.
    response
        Names the response document.
    drift
        What `holdfast audit drift` looks for.
    data
        Folder of the embedded store.
    clickhouse
        The server that the sink writes to; None for the embedded store.
    api
        Where `holdfast serve` listens, whom it lets in, and where it sends events.
    notify
        How notices of incidents are sent, and for how long that is tried.
    status
        Where `holdfast status serve` listens, and how it writes to subscribers.
    deployer
        What brings units to hosts.
    origins
        Where each value came from, by its path: a file and line, or a variable. What is not there is a default.
    """

    kafka: dict[str, str]
    metrics: list[MetricsTopic]
    prefix: str
    topics: Topics
    partitions: int
    replication: int
    retention_ms: int
    worker: str
    session_ms: int
    transaction_ms: int
    patience_seconds: float
    heartbeat_seconds: float
    evidence: bool
    checkpoint_ticks: int
    batch_messages: int
    http: Http
    log: Log
    signing: Signing | None
    trusted_keys: dict[str, str]
    gate: Gate
    people: str | None
    former_people: list[str]
    response: ResponseFile
    drift: Drift
    data: Path
    clickhouse: ClickHouse | None
    api: Api
    notify: Notify
    status: Status
    deployer: Deploying
    origins: dict[str, str] = {}

    @property
    def sources(self) -> list[str]:
        """Topics that aggregate reads: the keyed ones, and those that are keyed by us."""
        return [each.topic if each.keyed else self.topics.samples_of(each.topic) for each in self.metrics]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and the document that says the same: with every default written out."""

    settings: Settings
    document: dict[str, object]


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from a file, if one is named, and from variables `HOLDFAST_…`.

    Parameters
    ----------
    path
        The file; else the one that `HOLDFAST_CONFIG` names, else none.
    environ
        The variables, see `holdfast.live.variables`; None for those of the process.

    Raises
    ------
    BadInput
        With every error of the file and of the variables, one a line.
    """
    return load(path, environ).settings


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings and keep the document; see `load_settings`."""
    variables = dict(os.environ if environ is None else environ)
    errors: list[str] = []
    if path is None and CONFIG in variables:
        path = Path(variables[CONFIG])
        if not variables[CONFIG]:
            errors.append(f"{CONFIG}: found nothing; allowed: the path of a settings file, or no such variable")
    problems = Problems(str(path))
    document = Place({}, 0, 0)
    if path is not None and not errors:
        try:
            document = read(path, problems)
        except BadInput as error:
            errors.append(str(error))
    document = with_variables(document, variables, model(_File), problems, errors)
    document = _kafka_as_written(document)
    validate(document, model(_File), problems)
    _topic_rules(document, problems)
    _worker_rule(document, problems)
    gate_rule(document, problems)
    api_rules(document, problems)
    notify_rule(document, problems)
    status_rules(document, problems)
    deployer_rule(document, problems)
    _collected(problems.refuse, errors)
    if errors:
        raise BadInput("\n".join(errors))
    return _loaded(msgspec.convert(document.plain(), _File), origins(document, str(path)))


def _collected(refuse: Callable[[], None], errors: list[str]) -> None:
    try:
        refuse()
    except BadInput as error:
        errors.append(str(error))


def _kafka_as_written(document: Place) -> Place:
    """Take what is meant for librdkafka as text: it is no YAML to it, and a password of digits is no number."""
    kafka = document.mapping().get("kafka")
    if kafka is None or not isinstance(kafka.value, dict):
        return document
    texts = {
        key: place
        if place.value is None or isinstance(place.value, str | list | dict) or not place.text
        else dataclasses.replace(place, value=place.text)
        for key, place in kafka.value.items()
    }
    return dataclasses.replace(document, value={**document.mapping(), "kafka": dataclasses.replace(kafka, value=texts)})


def _topic_rules(document: Place, problems: Problems) -> None:
    """Note names that two topics would bear, and names that would become too long."""
    prefix, given, metrics = (document.child(key) for key in ("prefix", "topics", "metrics"))
    own = {name: place for name, place in (given.mapping() if given else {}).items() if place.value is not None}
    defaults = {name: _default((prefix.string() if prefix else None) or "holdfast", name) for name in NAMES}
    bearers = {text: f"topics.{name}" for name, text in defaults.items() if name not in own}
    found = [(place, join("topics", name), place.string()) for name, place in own.items()]
    samples = own["samples"].string() if "samples" in own else defaults["samples"]
    for index, each in enumerate(metrics.items() if metrics else []):
        topic, keyed, path = each.child("topic"), each.child("keyed"), f"metrics[{index}].topic"
        name = topic.string() if topic else None
        if topic is None or name is None:
            continue
        found.append((topic, path, name))
        if keyed and keyed.value is False:
            found.append((topic, path, f"{samples}.{name}"))
    for place, path, text in found:
        if text is not None and len(text) > TOPIC_NAME_MAX >= len(place.text):
            problems.add(place, path, f"{quoted(text)} would be longer than Kafka allows, {TOPIC_NAME_MAX} characters")
        if text is not None and text in bearers:
            also = bearers[text]
            problems.add(place, path, f"found {quoted(text)}, the name of {also} too; allowed: each name once")
        bearers.setdefault(text or "", path)


def _default(prefix: str, name: str) -> str:
    return f"{prefix}.{name.replace('_', '-')}"


def _worker_rule(document: Place, problems: Problems) -> None:
    """Hold the name of the machine, which is that of the worker if it has none, against what Kafka takes."""
    worker = document.child("worker")
    if worker is None:
        name = socket.gethostname()
        here = Place(name, 0, 0, name, source="the name of this machine")
        validate(here, msgspec.inspect.type_info(Given), problems, "worker")


def _loaded(file: _File, sources: dict[str, str]) -> Loaded:
    named: dict[str, str | None] = msgspec.to_builtins(file.topics)
    settings = Settings(
        kafka=file.kafka,
        metrics=file.metrics,
        prefix=file.prefix,
        topics=Topics(**{name: named[name] or _default(file.prefix, name) for name in NAMES}),
        partitions=file.partitions,
        replication=file.replication,
        retention_ms=duration_ms(file.retention),
        worker=file.worker or socket.gethostname(),
        session_ms=duration_ms(file.session_timeout),
        transaction_ms=duration_ms(file.transaction_timeout),
        patience_seconds=duration_ms(file.patience) / 1_000,
        heartbeat_seconds=duration_ms(file.heartbeat) / 1_000,
        evidence=file.evidence,
        checkpoint_ticks=file.checkpoint_ticks,
        batch_messages=file.batch_messages,
        http=file.http,
        log=file.log,
        signing=file.signing,
        trusted_keys=file.trusted_keys,
        gate=file.gate,
        people=file.people,
        former_people=file.former_people,
        response=file.response,
        drift=file.drift,
        data=Path(file.data),
        clickhouse=file.clickhouse,
        api=file.api,
        notify=file.notify,
        status=file.status,
        deployer=file.deployer,
        origins=sources,
    )
    written = msgspec.to_builtins(file) | {
        "topics": msgspec.to_builtins(settings.topics),
        "worker": settings.worker,
    }
    return Loaded(settings, written)
