"""YAML with the place of every value: what an error needs in order to name the line and the path.

It reads what `yaml.safe_load` reads, except that a key may not stand twice in one mapping, keys are text, and
size, depth and aliases are bounded. Nothing here knows what a policy or a rollout is.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Final, cast

import yaml
from yaml.constructor import SafeConstructor

from detectors.errors import BadInput

BYTES_MAX: Final = 1_000_000
"""Largest file that is read, in bytes; documents that people write have a few kilobytes."""

VALUES_MAX: Final = 100_000
"""Most values in one document, aliases counted as often as they are used."""

DEPTH_MAX: Final = 32
"""Deepest nesting; documents have about five levels."""

ERRORS_MAX: Final = 1_000
"""Most errors of one file that are spelled out; the rest is counted."""

SHOWN_MAX: Final = 80
"""Longest excerpt of a file that an error repeats, in characters."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)

Scalar = str | bool | int | float | datetime | date | bytes | None


class Unreadable:
    """The value of a place that has an error already: nothing more is to be said about it."""


UNREADABLE: Final = Unreadable()


@dataclass(frozen=True, slots=True)
class Place:
    """A value and where it stands.

    `text` is a scalar as written; `size` counts the values within, itself too; `source` names where the value came
    from if that is not the document's own file.
    """

    value: "Scalar | Unreadable | list[Place] | dict[str, Place]"
    line: int
    column: int
    text: str = ""
    size: int = 1
    keys: "dict[str, Place]" = field(default_factory=dict)
    """For a mapping: where its keys stand."""
    source: str = ""

    def child(self, key: str) -> "Place | None":
        """Return what stands under a key, or None if there is nothing, or null."""
        found = self.mapping().get(key)
        return None if found is None or found.value is None else found

    def mapping(self) -> "dict[str, Place]":
        """Return the values of a mapping by key; of anything else none."""
        return self.value if isinstance(self.value, dict) else {}

    def items(self) -> "list[Place]":
        """Return the items of a list; of anything else none."""
        return self.value if isinstance(self.value, list) else []

    def string(self) -> str | None:
        """Return the value if it is text."""
        return self.value if isinstance(self.value, str) else None

    def plain(self) -> object:
        """Return the value as `yaml.safe_load` would."""
        if isinstance(self.value, dict):
            return {key: place.plain() for key, place in self.value.items()}
        if isinstance(self.value, list):
            return [place.plain() for place in self.value]
        return self.value


class Problems:
    """The errors of one file, in the order of the document however they were found.

    Errors of values that came from elsewhere follow, by the name of their source.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[tuple[str, int, int, str]] = []

    def __len__(self) -> int:
        """Return the number of errors."""
        return len(self._found)

    def add(self, place: Place, path: str, text: str) -> None:
        """Note an error of the value at `path`, which stands at `place`."""
        self._found.append((place.source, place.line, place.column, f"{path or 'the document'}: {text}"))

    def lines(self) -> list[str]:
        """Return everything found so far, one a line, in order."""
        ordered = sorted(self._found, key=lambda found: found[:3])
        lines = [f"{source or self.file}{f':{line}' if line else ''}: {text}" for source, line, _, text in ordered]
        del lines[ERRORS_MAX:]
        if len(ordered) > ERRORS_MAX:
            lines.append(f"{self.file}: and {len(ordered) - ERRORS_MAX} more errors")
        return lines

    def refuse(self) -> None:
        """Raise everything found so far as one error, if there is anything."""
        lines = self.lines()
        if lines:
            raise BadInput("\n".join(lines))


def join(path: str, key: str | int) -> str:
    """Extend a path by a key or an index, as in `metrics[2].tolerate`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{quoted(key)}]"


def quoted(text: str) -> str:
    """Quote text from a file for an error: in one line, cut if long."""
    return json.dumps(cut(text), ensure_ascii=not text.isprintable())


def cut(text: str) -> str:
    """Cut text that is too long to repeat."""
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def placed(value: object) -> Place:
    """Give every value of a document that was no file a place; it has no line, which is written as 0.

    Parameters
    ----------
    value
        Mappings with text as keys, lists and scalars, as JSON has them.
    """
    if isinstance(value, dict):
        mapping = cast("dict[str, object]", value)
        places = {key: placed(one) for key, one in mapping.items()}
        size = 1 + sum(place.size for place in places.values())
        return Place(places, 0, 0, size=size, keys={key: Place(key, 0, 0, key) for key in mapping})
    if isinstance(value, list):
        items = [placed(one) for one in cast("list[object]", value)]
        return Place(items, 0, 0, size=1 + sum(item.size for item in items))
    return Place(cast("Scalar", value), 0, 0, str(value))


def read(file: Path, problems: Problems) -> Place:
    """Read a YAML file.

    Parameters
    ----------
    file
        The file, at most `BYTES_MAX` large, in UTF-8.
    problems
        Takes errors that leave the rest of the document readable, such as a key that stands twice.

    Raises
    ------
    BadInput
        If the file is missing, is no YAML, or is beyond the bounds.
    """
    return parse(str(file), _text(file), problems)


def parse(file: str, text: str, problems: Problems) -> Place:
    """Read the text of a YAML document; see `read`.

    Parameters
    ----------
    file
        Names the document in errors.
    text
        The document.
    problems
        Takes errors that leave the rest of the document readable.

    Raises
    ------
    BadInput
        If the text is no YAML, or is beyond the bounds.
    """
    try:
        _bound(file, text)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"{file}:{line}: not valid YAML: {error.reason}"
        raise BadInput(message) from error
    except yaml.MarkedYAMLError as error:
        raise BadInput(_syntax(file, error)) from error
    if node is None:
        message = f"{file}:1: the file is empty; allowed: one YAML mapping"
        raise BadInput(message)
    place = _Builder(problems).place(node, "")
    if place.size > VALUES_MAX:
        message = f"{file}:{place.line}: {place.size} values, aliases included; allowed: at most {VALUES_MAX}"
        raise BadInput(message)
    return place


def _text(file: Path) -> str:
    """Read the bytes and decode them."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        message = f"{file}: cannot be read: {reason[:1].lower()}{reason[1:]}"
        raise BadInput(message) from error
    if len(raw) > BYTES_MAX:
        message = f"{file}: larger than 1 MB; allowed: at most {BYTES_MAX} bytes"
        raise BadInput(message)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"{file}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8; allowed: text in UTF-8"
        raise BadInput(message) from error


def _syntax(file: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f":{mark.line + 1}" if mark else ""
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return f"{file}{where}: not valid YAML: {said}"


def _bound(file: str, text: str) -> None:
    """Refuse a document that is nested too deeply, before anything recurses into it."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            line = event.start_mark.line + 1 if event.start_mark else 1
            message = f"{file}:{line}: nested too deeply; allowed: at most {DEPTH_MAX} levels"
            raise BadInput(message)


class _Builder:
    """Turns YAML nodes into places. A node that aliases repeat becomes one place, shared."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._scalars = SafeConstructor()
        self._built: dict[int, Place] = {}
        self._open: set[int] = set()
        self._merges = 0

    def place(self, node: yaml.Node, path: str) -> Place:
        """Build the place of a node and of everything within."""
        if id(node) in self._built:
            return self._built[id(node)]
        if id(node) in self._open:
            return self._refused(node, path, "found an alias to what it stands in; allowed: no such alias")
        self._open.add(id(node))
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            place = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode) and kind == "seq":
            place = self._sequence(node, path)
        elif isinstance(node, yaml.ScalarNode):
            place = self._scalar(node, path)
        else:
            place = self._refused(node, path, f"found the tag {quoted(node.tag)}; allowed: no tag")
        self._open.remove(id(node))
        self._built[id(node)] = place
        return place

    def _refused(self, node: yaml.Node, path: str, text: str) -> Place:
        place = Place(UNREADABLE, node.start_mark.line + 1, node.start_mark.column)
        self._problems.add(place, path, text)
        return place

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Place:
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError, LookupError):
            kind = cut(node.tag.removeprefix(_TAG))
            text = f"found {quoted(node.value)}, which is no {kind}; put text in quotes"
            return self._refused(node, path, text)
        return Place(value, node.start_mark.line + 1, node.start_mark.column, node.value)

    def _sequence(self, node: yaml.SequenceNode, path: str) -> Place:
        items = [self.place(item, join(path, index)) for index, item in enumerate(node.value)]
        size = 1 + sum(item.size for item in items)
        return Place(items, node.start_mark.line + 1, node.start_mark.column, size=size)

    def _mapping(self, node: yaml.MappingNode, path: str) -> Place:
        values: dict[str, Place] = {}
        keys: dict[str, Place] = {}
        merged: list[Place] = []
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            name, place = key
            if name in keys:
                text = f"found again (first on line {keys[name].line}); allowed: once"
                self._problems.add(place, join(path, name), text)
                self.place(value_node, join(path, name))
                continue
            keys[name] = place
            value = self.place(value_node, join(path, name))
            if key_node.tag == f"{_TAG}merge":
                merged = self._merged(value, join(path, name))
            else:
                values[name] = value
        for source in merged:
            for name, value in source.mapping().items():
                values.setdefault(name, value)
                keys.setdefault(name, source.keys[name])
        size = 1 + sum(value.size for value in values.values())
        return Place(values, node.start_mark.line + 1, node.start_mark.column, size=size, keys=keys)

    def _key(self, node: yaml.Node, path: str) -> tuple[str, Place] | None:
        """Read a key, which must be text; `<<` is the merge key of YAML."""
        if isinstance(node, yaml.ScalarNode) and node.tag in (f"{_TAG}str", f"{_TAG}merge"):
            return node.value, Place(node.value, node.start_mark.line + 1, node.start_mark.column, node.value)
        shown = cut(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        self._refused(node, path, f"found the key {shown}; allowed: text (put it in quotes)")
        return None

    def _merged(self, value: Place, path: str) -> list[Place]:
        """Return the mappings that `<<` merges; of two that hold the same key the first counts."""
        sources = [value] if isinstance(value.value, dict) else value.items()
        if not sources or not all(isinstance(source.value, dict) for source in sources):
            text = "found no mapping; allowed: an alias to a mapping, or a list of them"
            self._problems.add(value, path, text)
            return []
        self._merges += sum(1 + len(source.mapping()) for source in sources)
        if self._merges > VALUES_MAX:
            where = f"{self._problems.file}:{value.line}: {path}"
            message = f"{where}: too much is merged; allowed: at most {VALUES_MAX} values"
            raise BadInput(message)
        return sources
