"""JSON: an object for each sample, or an object for each set of labels with many metrics."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, count, pairwise
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from streams.recording import NO_TIME, LabelColumn, Samples
from streams.wire.frame import ROWS_MAX, BadFrame, check_labels

CONTENT_TYPE: Final = "application/json"
CONTENT_TYPE_LINES: Final = "application/x-ndjson"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_RANGE: Final = Meta(ge=-62_135_596_800_000, le=253_402_300_799_999)
_ALLOWED: Final = {
    "time": "a time as in RFC 3339 with its offset, milliseconds since 1970 (years 1 to 9999), or null",
    "value": 'a number, null, "NaN", "+Inf" or "-Inf"',
}
_NOT_FINITE: Final = {"NaN": np.nan, "+Inf": np.inf, "Inf": np.inf, "-Inf": -np.inf}

_Time = Annotated[int, _RANGE] | Annotated[float, _RANGE] | str | None
_Value = float | str | None
_ALWAYS: Final = ("metric", "colo")
_OWN: Final = ("time", "value", "metric")

_PEEK_BYTES: Final = 4_096
_LAYOUTS_MAX: Final = 64
_UNKNOWN: Final = "Object contains unknown field"
_PLACE: Final = re.compile(r" - at `\$?(.*)`$", re.DOTALL)
_EXPECTED: Final = re.compile(r"Expected `?(?P<allowed>.*?)`?(?:, got `?(?P<found>.*?)`?)?$", re.DOTALL)


class _Group(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Metrics of one set of labels; each a number, or split by one label more: `{"le": {"0.1": 3, "+Inf": 9}}`."""

    time: _Time
    labels: dict[str, str | None]
    metrics: dict[str, _Value | dict[str, dict[str, _Value]]]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads elements of one type, and hands out what stands in a column."""

    array: msgspec.json.Decoder[list[Any]]
    line: msgspec.json.Decoder[Any]
    columns: Mapping[str, Callable[[Any], Any]]

    def read(self, text: bytes, is_lines: bool) -> list[Any]:
        """Read an array, or lines."""
        return self.line.decode_lines(text) if is_lines else self.array.decode(text)


def _reader(element: Any, columns: Mapping[str, Callable[[Any], Any]]) -> _Reader:
    return _Reader(msgspec.json.Decoder(list[element]), msgspec.json.Decoder(element), columns)


_GROUPS: Final = _reader(_Group, {})
_KEYS: Final = _reader(dict[str, msgspec.Raw], {})
_wider: dict[tuple[str, ...], tuple[str, ...]] = {}
"""For the labels of a first element all labels of its frame, where these were more; bounded by `_LAYOUTS_MAX`."""


@lru_cache(maxsize=_LAYOUTS_MAX)
def _rows(labels: tuple[str, ...]) -> _Reader:
    """Make a reader of rows that have some of these labels: typed, it is twice as quick as one that makes mappings."""
    check_labels(labels)
    fields = {f"label_{number}": name for number, name in enumerate(labels)}
    try:
        kind = msgspec.defstruct(
            "Row",
            [("time", _Time), ("value", _Value), *((field, str | None, None) for field in fields)],
            rename=fields,
            forbid_unknown_fields=True,
            gc=False,
        )
    except ValueError as error:
        msg = f"a label's name cannot be read: {error}"
        raise BadFrame(msg) from error
    return _reader(kind, {name: attrgetter(field) for field, name in fields.items()})


def decode(payload: bytes | memoryview) -> Samples:
    """Read a frame of JSON: an object, an array of objects, or objects on a line each.

    Raises
    ------
    BadFrame
        If it is not such JSON; the text names the element.
    """
    text = bytes(payload).strip()
    if not text:
        msg = "not readable JSON: nothing but white space"
        raise BadFrame(msg)
    is_array = text.startswith(b"[")
    first, end = _first(text, int(is_array))
    is_lines = not is_array and bool(text[end:].strip())
    if not is_array and not is_lines:
        text = b"[%b]" % text
    try:
        if isinstance(first.get("metrics"), dict):
            return _grouped(_GROUPS.read(text, is_lines))
        return _plain(text, is_lines, first)
    except msgspec.DecodeError as error:
        raise BadFrame(_in_our_words(str(error))) from error
    except UnicodeDecodeError as error:
        msg = f"not readable JSON: a text that is not UTF-8: {error.reason}"
        raise BadFrame(msg) from error
    except RecursionError as error:
        msg = "not readable JSON: nested too deeply"
        raise BadFrame(msg) from error


def _first(text: bytes, start: int) -> tuple[dict[str, object], int]:
    """Look at the first object, and where it ends; what cannot be read is found out by whoever reads all."""
    for size in (_PEEK_BYTES, len(text)):
        try:
            beginning = text[start : start + size].decode("utf-8", "surrogateescape")
            found, end = json.JSONDecoder().raw_decode(beginning, len(beginning) - len(beginning.lstrip()))
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found, start + len(beginning[:end].encode("utf-8", "surrogateescape"))
    return {}, len(text)


def _plain(text: bytes, is_lines: bool, first: Mapping[str, object]) -> Samples:
    labels = _names(first)
    labels = _wider.get(labels, labels)
    try:
        reader = _rows(labels)
        rows = reader.read(text, is_lines)
    except msgspec.ValidationError as error:
        if not str(error).startswith(_UNKNOWN):
            raise
        # Further on come labels that the first element has not: find all of them, and be prepared next time.
        reader = _rows(_names(chain(labels, *_KEYS.read(text, is_lines))))
        rows = reader.read(text, is_lines)
        if len(_wider) >= _LAYOUTS_MAX:
            _wider.clear()
        _wider[_names(first)] = tuple(reader.columns)
    _checked(rows)
    time = _times(list(map(attrgetter("time"), rows)), "[{}].time".format)
    value = _values(list(map(attrgetter("value"), rows)), "[{}].value".format)
    columns = {name: _column(map(get, rows), len(rows)) for name, get in reader.columns.items()}
    # Which labels a reader knows hangs on frames before this one; the samples must not.
    return Samples(time, value, {name: column for name, column in columns.items() if column.values or name in _ALWAYS})


def _names(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the labels among the keys of elements, each once, `metric` and `colo` before the others."""
    return tuple(dict.fromkeys(chain(_ALWAYS, (key for key in keys if key not in ("time", "value")))))


def _grouped(groups: Sequence[_Group]) -> Samples:
    flat = _flat(groups)
    _checked(flat.metrics)
    names = _names(chain.from_iterable(group.labels for group in groups))
    check_labels([*names, *(name for name in flat.splits if name not in names)])
    owner = np.repeat(np.arange(len(groups)), flat.counts)

    def place(row: int) -> str:
        split = next((f".{name}.{texts[row]}" for name, texts in flat.splits.items() if row in texts), "")
        return f"[{owner[row]}].metrics.{flat.metrics[row]}{split}"

    labels = {"metric": _column(flat.metrics, len(flat.metrics))}
    for name in names[1:]:
        column = _column((group.labels.get(name) for group in groups), len(groups))
        labels[name] = LabelColumn(column.codes[owner], column.values)
    for name, texts in flat.splits.items():
        column = _column(map(texts.get, range(len(owner))), len(owner))
        labels[name] = _laid_over(labels[name], column) if name in labels else column
    time = _times([group.time for group in groups], "[{}].time".format)[owner]
    return Samples(time, _values(flat.values, place), labels)


@dataclass(frozen=True, slots=True)
class _Flat:
    """The metrics of groups, one behind the other; `splits` are, by label and row, what a metric was split by."""

    counts: list[int]
    metrics: list[str]
    values: list[Any]
    splits: dict[str, dict[int, str]]


def _flat(groups: Sequence[_Group]) -> _Flat:
    for number, group in enumerate(groups):
        for name in _OWN:
            if name in group.labels:
                msg = f"[{number}].labels: found `{name}`; allowed: labels other than {', '.join(_OWN)}"
                raise BadFrame(msg)
    values: list[Any] = list(chain.from_iterable(group.metrics.values() for group in groups))
    if dict not in set(map(type, values)):
        metrics = list(chain.from_iterable(group.metrics for group in groups))
        return _Flat([len(group.metrics) for group in groups], metrics, values, {})
    flat = _Flat([], [], [], {})
    for number, group in enumerate(groups):
        before = len(flat.values)
        for metric, value in group.metrics.items():
            if isinstance(value, dict):
                _split(flat, group, f"[{number}].metrics.{metric}", metric, value)
            else:
                flat.metrics.append(metric)
                flat.values.append(value)
        flat.counts.append(len(flat.values) - before)
    return flat


def _split(flat: _Flat, group: _Group, place: str, metric: str, value: Mapping[str, Mapping[str, _Value]]) -> None:
    """Add the parts of a metric that is split by a label."""
    if len(value) != 1 or (name := next(iter(value))) in _OWN or name in group.labels:
        msg = f"{place}: split by {', '.join(value) or 'nothing'}; allowed: one label that is not among the group's"
        raise BadFrame(msg)
    texts = flat.splits.setdefault(name, {})
    texts.update(zip(range(len(flat.values), len(flat.values) + len(value[name])), value[name], strict=True))
    flat.metrics.extend([metric] * len(value[name]))
    flat.values.extend(value[name].values())


def _laid_over(below: LabelColumn, above: LabelColumn) -> LabelColumn:
    """Merge two columns of one label, of which at most one says something in each row."""
    codes = np.where(above.codes < 0, below.codes, above.codes + np.int32(len(below.values)))
    return LabelColumn(codes.astype(np.int32), [*below.values, *above.values])


def _checked(rows: list[Any]) -> None:
    if len(rows) > ROWS_MAX:
        msg = f"{len(rows):,} samples in one frame; allowed: at most {ROWS_MAX:,}"
        raise BadFrame(msg)


def _column(texts: Iterable[str | None], size: int) -> LabelColumn:
    """Encode texts by a dictionary; an empty one is absent."""
    numbers = count()
    code: defaultdict[str | None, int] = defaultdict(numbers.__next__, {None: -1, "": -1})
    codes = np.fromiter(map(code.__getitem__, texts), np.int32, size)
    return LabelColumn(codes, [text for text in code if text])


def _values(values: list[Any], place: Callable[[int], str]) -> NDArray[np.float64]:
    if str in set(map(type, values)):
        values = list(values)
        for number, value in enumerate(values):
            if isinstance(value, str):
                if value not in _NOT_FINITE:
                    raise BadFrame(_refusal(place(number), json.dumps(value), _ALLOWED["value"]))
                values[number] = _NOT_FINITE[value]
    return np.array(values, np.float64)  # None becomes NaN


def _times(times: list[Any], place: Callable[[int], str]) -> NDArray[np.int64]:
    """Return times in epoch milliseconds; what is finer is cut off, towards the past."""
    if set(map(type, times)) <= {int}:
        return np.array(times, np.int64)
    known: dict[Any, int] = {None: NO_TIME}
    for number, time in enumerate(times):
        if time not in known:
            known[time] = _milliseconds(time, place(number)) if isinstance(time, str) else int(time // 1)
    return np.fromiter(map(known.__getitem__, times), np.int64, len(times))


def _milliseconds(text: str, place: str) -> int:
    try:
        moment: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)])
        return (moment - _EPOCH) // _MILLISECOND
    except (msgspec.ValidationError, OverflowError) as error:
        raise BadFrame(_refusal(place, json.dumps(text), _ALLOWED["time"])) from error


def _refusal(place: str, found: str, allowed: str) -> str:
    return f"{place}: found {found}; allowed: {allowed}"


def _in_our_words(text: str) -> str:
    """Put what msgspec says of a frame as all our errors are put: place, what was found, what is allowed."""
    at = _PLACE.search(text)
    if at is None:
        return f"not readable JSON: {text}"
    place, what = at[1], text[: at.start()]
    expected = _EXPECTED.match(what)
    column = "value" if "metrics" in place else place.rpartition(".")[2]
    if expected is None:
        allowed = _ALLOWED.get(column, "`time`, and `value` or `labels` and `metrics`")
        return f"{place}: {what[:1].lower()}{what[1:]}; allowed: {allowed}"
    return _refusal(place, expected["found"] or "one out of range", _ALLOWED.get(column, expected["allowed"]))


def encode(samples: Samples) -> bytes:
    """Write samples as an array of objects."""
    labels = {name: _texts(column) for name, column in samples.labels.items()}
    return msgspec.json.encode(
        [
            {"time": time, "value": value, **{name: text for name, text in zip(labels, texts, strict=True) if text}}
            for time, value, *texts in zip(_json_times(samples), _json_values(samples), *labels.values(), strict=True)
        ]
    )


def encode_grouped(samples: Samples) -> bytes:
    """Write samples as an array of groups, in the same order; buckets of a histogram are split by `le`."""
    labels = {name: column for name, column in samples.labels.items() if name not in ("metric", "le")}
    common = np.array([samples.time, *(column.codes for column in labels.values())])
    changes = np.flatnonzero((common[:, 1:] != common[:, :-1]).any(axis=0)) + 1
    texts = {name: _texts(column) for name, column in labels.items()}
    times, values = _json_times(samples), _json_values(samples)
    metric = _texts(samples.labels["metric"])
    edge = _texts(samples.labels["le"]) if "le" in samples.labels else [None] * len(metric)
    groups: list[_Group] = []
    for start, stop in pairwise([0, *changes.tolist(), len(metric)] if metric else []):
        mine: dict[str, str | None] = {name: text for name, column in texts.items() if (text := column[start])}
        for row in range(start, stop):
            if row == start or not _fits(groups[-1].metrics, metric[row] or "", edge[row]):
                groups.append(_Group(times[start], mine, {}))
            if edge[row]:
                buckets: Any = groups[-1].metrics.setdefault(metric[row] or "", {"le": {}})
                buckets["le"][edge[row]] = values[row]
            else:
                groups[-1].metrics[metric[row] or ""] = values[row]
    return msgspec.json.encode(groups)


def _fits(metrics: dict[str, Any], name: str, edge: str | None) -> bool:
    """Tell whether a sample may be the next of a group without changing the order of any."""
    if name not in metrics:
        return True
    there = metrics[name]
    return bool(edge) and isinstance(there, dict) and next(reversed(metrics)) == name and edge not in there["le"]


def _texts(column: LabelColumn) -> list[str | None]:
    values = [*column.values, None]
    return [values[code] for code in column.codes.tolist()]


def _json_times(samples: Samples) -> list[int | None]:
    return [None if time == NO_TIME else time for time in samples.time.tolist()]


def _json_values(samples: Samples) -> list[Any]:
    values: list[Any] = samples.value.tolist()
    for row in np.flatnonzero(~np.isfinite(samples.value)).tolist():
        values[row] = "NaN" if np.isnan(samples.value[row]) else "+Inf" if samples.value[row] > 0 else "-Inf"
    return values
