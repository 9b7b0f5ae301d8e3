"""The document that says where samples come from: `source.yaml` of a recording, or the options of `holdfast record`."""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from detectors.policy import LabelName, Name, Selector
from holdfast.errors import BadInput
from holdfast.live.durations import between
from holdfast.live.settings import PathText
from holdfast.live.topic_names import TopicName
from holdfast.located import Place, Problems, join, quoted, read
from holdfast.validation import as_time, either, model, shown, validate
from rollouts.document import Timestamp

FILE: Final = "source.yaml"
"""Name of the document in a recording's folder."""

KEY: Final = "from"
"""The key that names the kind of source."""

NUMBERS: Final = ("time", "value")
"""Columns that are no labels."""

Texts = Annotated[list[PathText], Meta(min_length=1, max_length=1_000)]
Columns = dict[LabelName, Name]
Labels = Annotated[list[LabelName], Meta(min_length=1, max_length=256)]
TimeUnit = Literal["s", "ms", "us", "ns"]


class _Common(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field=KEY):
    """What every source may say.

    Samples from `start` on and before `end` are taken, and of them those whose labels match `select`.
    """

    NAME: ClassVar[str]
    start: Timestamp | None = None
    end: Timestamp | None = None
    select: Selector = {}


class Named(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field=KEY):
    """A source whose columns, or labels, may have any names.

    `columns` gives them the names that a recording has, each written as ours to theirs; `labels` says which ones, by
    our names, are taken at all.
    """

    columns: Columns = {}
    labels: Labels | None = None

    def theirs(self, name: str) -> str:
        """Return what the source calls a column of ours."""
        return self.columns.get(name, name)

    def ours(self, name: str) -> str:
        """Return what we call a column of the source."""
        return next((own for own, other in self.columns.items() if other == name), name)


class KafkaSource(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="kafka"):
    """A metrics topic, up to the end that it has when reading begins.

    Messages are looked for among those that were written from an hour before `start` on; with `slack` also not after
    so long past `end`. `settings` is the file that says how to reach the brokers; without it `HOLDFAST_…` do.
    """

    NAME: ClassVar[str] = "kafka"
    topic: TopicName
    slack: Annotated[str, between("0s", "366d")] | None = None
    settings: PathText | None = None


class ClickHouseSource(Named, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="clickhouse"):
    """A table or query of a ClickHouse: the server of the settings, or with `data` the embedded store in a folder."""

    NAME: ClassVar[str] = "clickhouse"
    table: Name | None = None
    query: Annotated[str, Meta(min_length=1, max_length=100_000)] | None = None
    settings: PathText | None = None
    data: PathText | None = None


class ParquetSource(Named, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="parquet"):
    """Parquet files: paths, globs, or folders, whose files `*.parquet` are taken.

    `time_unit` says what times that are numbers count, `timezone` that times without a zone are in UTC.
    """

    NAME: ClassVar[str] = "parquet"
    files: Texts
    time_unit: TimeUnit | None = None
    timezone: Literal["UTC"] | None = None


class CsvSource(Named, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="csv"):
    """CSV files with a header, perhaps compressed: paths, globs, or folders, whose files `*.csv` are taken.

    `time_unit` says what times that are numbers count, `timezone` that times without a zone are in UTC.
    """

    NAME: ClassVar[str] = "csv"
    files: Texts
    time_unit: TimeUnit | None = None
    timezone: Literal["UTC"] | None = None


class PrometheusSource(Named, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="prometheus"):
    """A server that speaks Prometheus' HTTP interface.

    `select` names the metrics. Samples are the ones that were scraped, at their own times; with `step` the last one of
    each step, at its end. A token, a user's password, or a certificate of our own and its key are read from files.
    """

    NAME: ClassVar[str] = "prometheus"
    url: Annotated[
        str,
        Meta(
            max_length=2_000,
            pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
            extra={"allowed": "an address, as in https://prometheus:9090, without user, query or fragment"},
        ),
    ]
    step: Annotated[str, between("1s", "1d")] | None = None
    timeout: Annotated[str, between("100ms", "10m")] = "30s"
    bearer_token_file: PathText | None = None
    username: Name | None = None
    password_file: PathText | None = None
    ca_file: PathText | None = None
    certificate_file: PathText | None = None
    key_file: PathText | None = None


Source = KafkaSource | ClickHouseSource | ParquetSource | CsvSource | PrometheusSource
Kind = Literal["kafka", "clickhouse", "parquet", "prometheus", "csv"]

MODELS: Final[dict[str, type[Source]]] = {
    one.NAME: one for one in (KafkaSource, ClickHouseSource, ParquetSource, PrometheusSource, CsvSource)
}

_PATHS: Final = ("settings", "data", "bearer_token_file", "password_file", "ca_file", "certificate_file", "key_file")
"""Keys that are paths; `files` are too, several of them."""

_Source = TypeVar("_Source", bound=Source)


def load_source(path: Path) -> Source:
    """Read a `source.yaml`. Paths in it are relative to its folder, and come back with that before them.

    Raises
    ------
    BadInput
        With every error of the file, one a line, in the order of the document.
    """
    problems = Problems(str(path))
    return at(checked(read(path, problems), problems), path.parent)


def checked(document: Place, problems: Problems) -> Source:
    """Turn a document into its model.

    Parameters
    ----------
    document
        As it was read.
    problems
        Names the file, and holds the errors that were found while reading.

    Raises
    ------
    BadInput
        With every error.
    """
    kind = document.child(KEY)
    name = kind.string() if kind else None
    if isinstance(document.value, dict) and name in MODELS:
        others = {key: place for key, place in document.mapping().items() if key != KEY}
        rest = dataclasses.replace(document, value=others)
        validate(rest, model(MODELS[name]), problems)
        _rules(rest, name, problems)
    elif isinstance(document.value, dict):
        found = "missing" if kind is None else f"found {shown(kind)}"
        problems.add(kind or document, KEY, f"{found}; allowed: {either(list(MODELS))}")
    else:
        problems.add(document, "", f"found {shown(document)}; allowed: a mapping with the key {KEY}")
    problems.refuse()
    try:
        converted: Source = msgspec.convert(document.plain(), Source)
    except msgspec.ValidationError as error:  # a constraint that `validate` does not know
        message = f"{problems.file}: {error}"
        raise BadInput(message) from error
    return converted


def at(source: _Source, folder: Path) -> _Source:
    """Put a folder before the paths of a source that are relative."""
    changes: dict[str, object] = {}
    for name in _PATHS:
        text = getattr(source, name, None)
        if text is not None:
            changes[name] = str(folder / text)
    if isinstance(source, ParquetSource | CsvSource):
        changes["files"] = [str(folder / text) for text in source.files]
    changed: _Source = msgspec.structs.replace(source, **changes)
    return changed


def within(source: _Source, start: datetime | None, end: datetime | None, select: Selector | None = None) -> _Source:
    """Give a source another stretch of time, and another selection if one is given."""
    selected = source.select if select is None else select
    changed: _Source = msgspec.structs.replace(source, start=start, end=end, select=selected)
    return changed


def _rules(document: Place, name: str, problems: Problems) -> None:
    start, end = (_time(document.child(key)) for key in ("start", "end"))
    last = document.child("end")
    if last is not None and start is not None and end is not None and end <= start:
        problems.add(last, "end", f"found {shown(last)}; allowed: later than start")
    _column_rules(document, problems)
    if name == "clickhouse":
        given = [key for key in ("table", "query") if document.child(key)]
        if len(given) != 1:
            text = f"found {' and '.join(given) or 'none'} of table, query; allowed: exactly one"
            problems.add(document, "", text)
        _apart(document, "data", "settings", problems)
    if name == "prometheus":
        _prometheus_rules(document, problems)


def _column_rules(document: Place, problems: Problems) -> None:
    columns, labels, select = (document.child(key) for key in ("columns", "labels", "select"))
    taken: dict[str, str] = {}
    for own, other in (columns.mapping() if columns else {}).items():
        text = other.string()
        if text is None:
            continue
        if text in taken:
            problems.add(other, join("columns", own), f"found {quoted(text)}, which is {taken[text]} already")
        taken.setdefault(text, own)
    for index, label in enumerate(labels.items() if labels else []):
        if label.value in (*NUMBERS, "metric", "colo"):
            text = f"found {shown(label)}, which is taken in any case; allowed: other labels"
            problems.add(label, join("labels", index), text)
    known = [label.value for label in (labels.items() if labels else [])]
    for name in select.mapping() if select and labels else ():
        if name not in (*known, "metric", "colo"):
            text = f"found {quoted(name)}, which is not among labels; allowed: a label that is taken"
            problems.add(select.keys[name] if select else document, join("select", name), text)


def _prometheus_rules(document: Place, problems: Problems) -> None:
    for key in ("start", "end"):
        if document.child(key) is None:
            problems.add(document, key, "missing; allowed: a time with its zone, as in 2026-03-12T11:20:00Z")
    select = document.child("select")
    if select is None or select.child("metric") is None:
        problems.add(select or document, "select.metric", "missing; allowed: names of metrics, or globs")
    _apart(document, "bearer_token_file", "username", problems)
    for first, second in (("username", "password_file"), ("certificate_file", "key_file")):
        _together(document, first, second, problems)
        _together(document, second, first, problems)
    for number in (*NUMBERS, "metric"):
        columns = document.child("columns")
        place = columns.child(number) if columns else None
        if place is not None:
            text = f"found {shown(place)}; allowed: labels alone, as Prometheus names its metrics, times and values"
            problems.add(place, join("columns", number), text)


def _together(document: Place, key: str, other: str, problems: Problems) -> None:
    place = document.child(key)
    if place is not None and document.child(other) is None:
        problems.add(place, key, f"found {shown(place)} without {other}; allowed: both")


def _apart(document: Place, first: str, second: str, problems: Problems) -> None:
    place = document.child(first)
    if place is not None and document.child(second) is not None:
        problems.add(place, first, f"found {shown(place)} beside {second}; allowed: one of them")


def _time(place: Place | None) -> datetime | None:
    moment = as_time(place.value) if place else None
    return moment if moment and moment.tzinfo else None
