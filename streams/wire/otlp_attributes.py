"""Attributes of OTLP as labels: resource's, scope's and data point's, each distinct list read once."""

import base64
import json
from typing import Final

import numpy as np

from streams.wire.fields import each_field, scan
from streams.wire.frame import BadFrame
from streams.wire.label_sets import LabelSets, check_names, label_sets
from streams.wire.protobuf import BYTES, FIXED64, VARINT, Frame, Ints, Kind, Spans, where
from streams.wire.texts import Codes, distinct, texts

_KEY_VALUE: Final = Kind("KeyValue", {1: ("key", (BYTES,)), 2: ("value", (BYTES,))})
_KEY: Final = 1 << 3 | BYTES
_VALUE: Final = 2 << 3 | BYTES

_STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _LIST, _BYTES = range(1, 8)
_ANY_VALUE: Final = Kind(
    "AnyValue",
    {
        _STRING: ("string_value", (BYTES,)),
        _BOOL: ("bool_value", (VARINT,)),
        _INT: ("int_value", (VARINT,)),
        _DOUBLE: ("double_value", (FIXED64,)),
        _ARRAY: ("array_value", (BYTES,)),
        _LIST: ("kvlist_value", (BYTES,)),
        _BYTES: ("bytes_value", (BYTES,)),
    },
)
_VALUES: Final = Kind("ArrayValue or KeyValueList", {1: ("values", (BYTES,))})
_DEPTH_MAX: Final = 16
"""How deep values may be nested."""


class AttributeLists:
    """Lists of attributes, gathered kind by kind and then read together."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._sets = 0
        self._owners: list[Ints] = []
        self._pairs: list[Spans] = []

    def add(self, lists: Spans, kind: Kind, tag: int) -> Codes:
        """Take up the lists [list] under a tag of messages of a kind; return the number of the set of each."""
        number, first = distinct(self._frame, lists)
        owner, pairs = scan(self._frame, lists.take(first), kind).every(tag)
        self._owners.append(owner + self._sets)
        self._pairs.append(pairs)
        number = number + np.int32(self._sets)
        self._sets += len(first)
        return number

    def read(self) -> LabelSets:
        """Read all that was taken up.

        Raises
        ------
        BadFrame
            If a key is empty, reserved or comes twice in a list, or a text is not UTF-8.
        """
        frame = self._frame
        pairs = Spans(
            np.concatenate([pairs.start for pairs in self._pairs]), np.concatenate([pairs.end for pairs in self._pairs])
        )
        pair, first = distinct(frame, pairs)
        pairs = pairs.take(first)
        fields = scan(frame, pairs, _KEY_VALUE)
        keys = fields.last(_KEY)
        empty = where(keys.start == keys.end)
        if len(empty):
            msg = f"the attribute at byte {pairs.start[empty[0]]} has no key; every attribute must have one"
            raise BadFrame(msg)
        key, first_key = distinct(frame, keys)
        names = texts(frame, keys.take(first_key), "an attribute's key")
        check_names(names)
        values = _values(frame, fields.one(_VALUE, "an attribute's value"))
        return label_sets(
            self._sets, np.concatenate(self._owners), pair, [names[code] for code in key.tolist()], values
        )


def number_text(value: float) -> str:
    """Write a number as Prometheus writes bounds: the shortest digits that give it back, without an exponent.

    >>> [number_text(value) for value in (0.005, 1.0, 2e10, float("inf"))]
    ['0.005', '1', '20000000000', '+Inf']
    """
    if np.isfinite(value):
        return str(np.format_float_positional(value, trim="-"))
    return "NaN" if np.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _values(frame: Frame, spans: Spans) -> list[str]:
    """Write values as texts; the plain string, which nearly all are, without a look at what else there might be."""
    content = spans.start + 2
    plain = frame.bytes[spans.start] == (_STRING << 3 | BYTES)
    plain &= frame.bytes[spans.start + 1] == spans.end - content
    plain &= (content <= spans.end) & (spans.end - content < 0x80)
    words = texts(frame, Spans(np.where(plain, content, 0), np.where(plain, spans.end, 0)), "an attribute's value")
    for index in where(~plain).tolist():
        value = _any_value(frame, int(spans.start[index]), int(spans.end[index]), 0)
        words[index] = _text(value)
    return words


def _text(value: object) -> str:
    """Write a value as the collector does where a string is wanted."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return number_text(value)
        case int():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _any_value(frame: Frame, start: int, end: int, depth: int) -> object:
    """Read one value; bytes become base64."""
    if depth > _DEPTH_MAX:
        msg = f"the attribute value at byte {start} is nested deeper than {_DEPTH_MAX}; it may be no deeper"
        raise BadFrame(msg)
    value: object = None
    for tag, begin, stop in each_field(frame, start, end, _ANY_VALUE):
        number = tag >> 3
        if number == _STRING:
            value = _string(frame, begin, stop)
        elif number in (_BOOL, _INT):
            unsigned = int(frame.varints(np.array([begin]))[0][0])
            value = unsigned != 0 if number == _BOOL else unsigned - (unsigned >> 63 << 64)
        elif number == _DOUBLE:
            value = float(frame.doubles(np.array([begin]))[0])
        elif number == _BYTES:
            value = base64.b64encode(frame.raw[begin:stop]).decode()
        elif number == _ARRAY:
            value = [_any_value(frame, *span, depth + 1) for span in _spans(frame, begin, stop)]
        elif number == _LIST:
            value = dict(_pair(frame, *span, depth + 1) for span in _spans(frame, begin, stop))
        else:
            msg = f"the attribute value at byte {start} is of kind {number}; allowed are kinds 1 to 7"
            raise BadFrame(msg)
    return value


def _spans(frame: Frame, start: int, end: int) -> list[tuple[int, int]]:
    return [(begin, stop) for tag, begin, stop in each_field(frame, start, end, _VALUES) if tag == (1 << 3 | BYTES)]


def _pair(frame: Frame, start: int, end: int, depth: int) -> tuple[str, object]:
    key, value = "", None
    for tag, begin, stop in each_field(frame, start, end, _KEY_VALUE):
        if tag == _KEY:
            key = _string(frame, begin, stop)
        elif tag == _VALUE:
            value = _any_value(frame, begin, stop, depth)
    return key, value


def _string(frame: Frame, start: int, end: int) -> str:
    return texts(frame, Spans(np.array([start]), np.array([end])), "an attribute's value")[0]
