"""Settings of the live engine: a file, and environment variables over it, checked at start."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import yaml
from msgspec import Meta, Struct, field

from detectors.policy import Duration, Name, duration_ms
from holdfast.errors import BadInput
from holdfast.located import Problems, read
from holdfast.validation import model, validate

PREFIX: Final = "HOLDFAST_"
CONFIG: Final = "HOLDFAST_CONFIG"

Count = Annotated[int, Meta(ge=1, le=100_000)]


class MetricsTopic(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A topic of metrics; `keyed` says that all messages of a colo are in one partition."""

    topic: Name
    keyed: bool = True


class Topics(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names of the topics that are the engine's own; without a name, the prefix and what it is for."""

    rollouts: Name
    catalogue: Name
    cohort_ticks: Name
    checkpoints: Name
    verdicts: Name
    evidence: Name
    dead_letters: Name
    samples: Name

    def samples_of(self, topic: str) -> str:
        """Name the topic that holds the samples of an unkeyed one, keyed by colo."""
        return f"{self.samples}.{topic}"


class Http(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where metrics and health are served; port 0 is any free one."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 9464


class Signing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The Ed25519 key (PEM) that signs verdicts, and the id that it is known by."""

    key: str
    id: Name


class _File(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a settings file may say."""

    kafka: dict[str, str | int | float | bool] = {}
    metrics: Annotated[list[MetricsTopic], Meta(min_length=1, max_length=100)] = field(
        default_factory=lambda: [MetricsTopic(topic="metrics")]
    )
    prefix: Name = "holdfast"
    topics: dict[Literal[Topics.__struct_fields__], Name] = {}
    partitions: Count = 12
    replication: Count = 1
    retention: Duration = "30d"
    worker: Name | None = None
    session_timeout: Duration = "15s"
    transaction_timeout: Duration = "15s"
    patience: Duration = "30s"
    heartbeat: Duration = "10s"
    checkpoint_ticks: Count = 30
    batch_messages: Count = 1_000
    http: Http = Http()
    signing: Signing | None = None
    trusted_keys: dict[Name, str] = {}
    data: str = "holdfast-data"


class Settings(Struct, frozen=True, kw_only=True):
    """The settings in force.

    Attributes
    ----------
    kafka
        Passed through to librdkafka.
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
    checkpoint_ticks
        Ticks between two checkpoints of a rollout.
    batch_messages
        Most messages taken at a time.
    trusted_keys
        Public keys (PEM files) by id.
    data
        Folder of the embedded store.
    """

    kafka: dict[str, str | int | float | bool]
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
    checkpoint_ticks: int
    batch_messages: int
    http: Http
    signing: Signing | None
    trusted_keys: dict[str, str]
    data: Path

    @property
    def sources(self) -> list[str]:
        """Topics that aggregate reads: the keyed ones, and those that are keyed by us."""
        return [each.topic if each.keyed else self.topics.samples_of(each.topic) for each in self.metrics]


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from a file, if one is named, and from variables `HOLDFAST_…`.

    A variable names a key in capitals; two underscores go one level down, and under `kafka` one stands for a dot:
    `HOLDFAST_KAFKA__BOOTSTRAP_SERVERS`. Its value is read as YAML.

    Raises
    ------
    BadInput
        With every error of the file, or the first one of the variables.
    """
    variables = dict(os.environ if environ is None else environ)
    named = path or (Path(variables[CONFIG]) if variables.get(CONFIG) else None)
    given: dict[str, object] = {}
    if named is not None:
        problems = Problems(str(named))
        document = read(named, problems)
        validate(document, model(_File), problems)
        problems.refuse()
        plain = document.plain()
        given = plain if isinstance(plain, dict) else {}
    for name, value in sorted(variables.items()):
        if name.startswith(PREFIX) and name != CONFIG and not name.startswith(f"{PREFIX}TEST_"):
            _set(given, name, value)
    try:
        return _settings(msgspec.convert(given, _File))
    except msgspec.ValidationError as error:
        message = f"{named or 'settings'} and HOLDFAST_ variables: {error}"
        raise BadInput(message) from error


def _set(given: dict[str, object], name: str, text: str) -> None:
    """Put a variable in its place."""
    path = name.removeprefix(PREFIX).lower().split("__")
    if path[0] not in _File.__struct_fields__:
        allowed = ", ".join(PREFIX + key.upper() for key in _File.__struct_fields__)
        message = f"{name}: no such setting; allowed: {allowed}"
        raise BadInput(message)
    if path[0] == "kafka" and len(path) > 1:
        path[1:] = [".".join(path[1:]).replace("_", ".")]
    try:
        value: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        message = f"{name}: not readable as YAML: {str(error).splitlines()[0]}"
        raise BadInput(message) from error
    here = given
    for key in path[:-1]:
        below = here.setdefault(key, {})
        if not isinstance(below, dict):
            message = f"{name}: {key} is no mapping"
            raise BadInput(message)
        here = below
    here[path[-1]] = value


def _settings(file: _File) -> Settings:
    names = {name: f"{file.prefix}.{name.replace('_', '-')}" for name in Topics.__struct_fields__}
    return Settings(
        kafka=file.kafka,
        metrics=file.metrics,
        prefix=file.prefix,
        topics=Topics(**{**names, **file.topics}),
        partitions=file.partitions,
        replication=file.replication,
        retention_ms=duration_ms(file.retention),
        worker=file.worker or socket.gethostname(),
        session_ms=duration_ms(file.session_timeout),
        transaction_ms=duration_ms(file.transaction_timeout),
        patience_seconds=duration_ms(file.patience) / 1_000,
        heartbeat_seconds=duration_ms(file.heartbeat) / 1_000,
        checkpoint_ticks=file.checkpoint_ticks,
        batch_messages=file.batch_messages,
        http=file.http,
        signing=file.signing,
        trusted_keys=file.trusted_keys,
        data=Path(file.data),
    )
