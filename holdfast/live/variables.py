"""Environment variables over a settings file: each is put where it belongs, and remembers which one it was."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import inspect

from holdfast.errors import BadInput
from holdfast.located import UNREADABLE, Place, Problems, join, parse
from holdfast.validation import shown

PREFIX: Final = "HOLDFAST_"
CONFIG: Final = "HOLDFAST_CONFIG"
TESTS: Final = "HOLDFAST_TEST_"
"""Begins the names of variables that speak to the test suite."""


def with_variables(
    document: Place, environ: Mapping[str, str], kind: inspect.Type, problems: Problems, errors: list[str]
) -> Place:
    """Put every variable `HOLDFAST_…` in its place of a document.

    A variable names a key in capitals; two underscores go one level down, and below `kafka` an underscore stands for a
    dot. Where the model wants text, the variable is that text; elsewhere it is read as YAML.

    Parameters
    ----------
    document
        The settings as their file has them.
    environ
        The variables; others are passed over.
    kind
        The model of the document.
    problems
        Takes errors of variables that have no place.
    errors
        Takes what makes a variable unreadable as a whole.
    """
    for name, text in sorted(environ.items()):  # so what is a whole comes before its parts
        if not name.startswith(PREFIX) or name == CONFIG or name.startswith(TESTS):
            continue
        here = Place(text, 0, 0, text, source=name)
        if name != name.upper():
            problems.add(
                here, name.lower().removeprefix(PREFIX.lower()), f"allowed: the name in capitals, {name.upper()}"
            )
            continue
        keys = _keys(name)
        value = here if _is_text(_kind_at(kind, keys)) or not text.strip() else _read(name, text, errors)
        document = _put(document, keys, value, problems)
    return document


def _keys(name: str) -> list[str]:
    """Say where a variable belongs."""
    keys = name.removeprefix(PREFIX).lower().split("__")
    return ["kafka", ".".join(keys[1:]).replace("_", ".")] if keys[0] == "kafka" and len(keys) > 1 else keys


def _kind_at(kind: inspect.Type, keys: Sequence[str]) -> inspect.Type | None:
    """Return what the model wants at a place, or None where it knows none."""
    match kind:
        case inspect.Metadata():
            return _kind_at(kind.type, keys)
        case inspect.UnionType():
            members = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
            return _kind_at(members[0], keys) if len(members) == 1 else None
        case _ if not keys:
            return kind
        case inspect.StructType():
            fields = {field.encode_name: field.type for field in kind.fields}
            return _kind_at(fields[keys[0]], keys[1:]) if keys[0] in fields else None
        case inspect.DictType():
            return _kind_at(kind.value_type, keys[1:])
        case _:
            return None


def _is_text(kind: inspect.Type | None) -> bool:
    return isinstance(kind, inspect.StrType)


def _read(name: str, text: str, errors: list[str]) -> Place:
    """Read a variable as YAML; a single line needs no number in errors."""
    found = Problems(name)
    try:
        place = parse(name, text, found)
        found.refuse()
    except BadInput as error:
        errors.append(str(error))
        return Place(UNREADABLE, 0, 0, source=name)
    return sourced(place, name, has_lines="\n" in text.strip())


def sourced(place: Place, source: str, *, has_lines: bool) -> Place:
    """Name the source of a value, and of everything within."""
    value = place.value
    if isinstance(value, dict):
        value = {key: sourced(one, source, has_lines=has_lines) for key, one in value.items()}
    elif isinstance(value, list):
        value = [sourced(one, source, has_lines=has_lines) for one in value]
    keys = {key: sourced(one, source, has_lines=has_lines) for key, one in place.keys.items()}
    line = place.line if has_lines else 0
    return dataclasses.replace(place, value=value, keys=keys, line=line, source=source)


def _put(here: Place, keys: Sequence[str], value: Place, problems: Problems, path: str = "") -> Place:
    """Return a place with a value somewhere below it."""
    if not keys:
        return value
    if here.value is None:
        here = Place({}, 0, 0, source=value.source)
    if here.value is UNREADABLE:
        return here
    if not isinstance(here.value, dict):
        text = f"found {shown(here)} at {path}, which has no keys; allowed: to set {path} as a whole"
        problems.add(value, join(path, keys[0]), text)
        return here
    key, below = keys[0], join(path, keys[0])
    before = here.value.get(key, Place(None, 0, 0))
    places = {**here.value, key: _put(before, keys[1:], value, problems, below)}
    marks = {**here.keys, key: here.keys.get(key, Place(key, 0, 0, key, source=value.source))}
    if len(keys) == 1:
        marks[key] = Place(key, value.line, 0, key, source=value.source)
    return dataclasses.replace(here, value=places, keys=marks)


def origins(place: Place, file: str, path: str = "") -> dict[str, str]:
    """Say of every value in a document where it came from: a file and its line, or a variable.

    Parameters
    ----------
    place
        The document, or a part of it.
    file
        Names the document.
    path
        Where the part stands.
    """
    if place.mapping():
        return {
            name: at for key, one in place.mapping().items() for name, at in origins(one, file, join(path, key)).items()
        }
    if place.items():
        return {
            name: at for i, one in enumerate(place.items()) for name, at in origins(one, file, join(path, i)).items()
        }
    return {path: place.source or f"{file}:{place.line}"} if place.value is not None else {}
