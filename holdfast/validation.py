"""Every error of a document against its typed model, not just the first.

`msgspec.convert` stops at the first error; this walks the same model and goes on. What passes here, converts.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Final, TypeVar, cast

import msgspec
from msgspec import inspect

from holdfast.errors import BadInput
from holdfast.located import UNREADABLE, Place, Problems, cut, join, quoted, read

_YEARS: Final = range(1970, 2262)
"""Years whose times fit 64 bits, whatever the unit."""

_TEXT_LIKE_NUMBER: Final = re.compile(r"([-+]?[0-9]+)(\.[0-9]+)?[eE]([-+]?[0-9]+)", re.ASCII)
_ZONED: Final = "a time with its zone, as in 2026-03-12T11:20:00Z"

Extra = dict[str, object]
Rule = Callable[[Place, Problems], None]

_Document = TypeVar("_Document", bound=msgspec.Struct)


@cache
def model(cls: type) -> inspect.Type:
    """Return the description of a typed model."""
    return inspect.type_info(cls)


def load(path: str | Path, kind: type[_Document], *rules: Rule) -> _Document:
    """Read a document.

    Parameters
    ----------
    path
        Of the file.
    kind
        Its typed model.
    rules
        What the model does not know: each notes what is against it.

    Raises
    ------
    BadInput
        With every error of the file, one a line, in the order of the document.
    """
    problems = Problems(str(path))
    document = read(Path(path), problems)
    validate(document, model(kind), problems)
    for rule in rules:
        rule(document, problems)
    problems.refuse()
    try:
        return msgspec.convert(document.plain(), kind)
    except msgspec.ValidationError as error:  # a constraint that `validate` does not know
        message = f"{path}: {error}"
        raise BadInput(message) from error


def validate(place: Place, kind: inspect.Type, problems: Problems, path: str = "", extra: Extra | None = None) -> None:
    """Note every way in which a value is not of its kind.

    Parameters
    ----------
    place
        The value.
    kind
        What the model says of it.
    problems
        Takes the errors.
    path
        Where the value stands in the document.
    extra
        What the model adds: `allowed` in words, and `parse`, which raises `ValueError` on bad text.
    """
    if place.value is UNREADABLE:
        return
    match kind:
        case inspect.Metadata():
            validate(place, kind.type, problems, path, kind.extra)
        case inspect.StructType() if isinstance(place.value, dict):
            _struct(place, kind, problems, path)
        case inspect.DictType() if isinstance(place.value, dict):
            _dict(place, kind, problems, path)
        case inspect.ListType() if isinstance(place.value, list):
            _list(place, kind, problems, path)
        case inspect.UnionType():
            _union(place, kind, problems, path)
        case _:
            _scalar(place, kind, problems, path, extra or {})


def _struct(place: Place, kind: inspect.StructType, problems: Problems, path: str) -> None:
    fields = {field.encode_name: field for field in kind.fields}
    for key, value in place.mapping().items():
        if key in fields:
            validate(value, fields[key].type, problems, join(path, key))
        elif kind.forbid_unknown_fields:
            near = closest(key, list(fields))
            hint = f", did you mean {near}?" if near else ""
            problems.add(place.keys[key], join(path, key), f"unknown key{hint}; allowed: {', '.join(fields)}")
    for name, field in fields.items():
        if field.required and name not in place.mapping():
            problems.add(place, join(path, name), f"missing; allowed: {allowed(field.type)}")


def closest(key: str, keys: list[str]) -> str | None:
    """Return the allowed key that a mistyped one is nearest to, if any is near."""
    found = difflib.get_close_matches(cut(key), keys, n=1)
    return found[0] if found else None


def _dict(place: Place, kind: inspect.DictType, problems: Problems, path: str) -> None:
    _length(place, len(place.mapping()), kind, problems, path)
    for key, value in place.mapping().items():
        validate(place.keys[key], kind.key_type, problems, join(path, key))
        validate(value, kind.value_type, problems, join(path, key))


def _list(place: Place, kind: inspect.ListType, problems: Problems, path: str) -> None:
    _length(place, len(place.items()), kind, problems, path)
    for index, value in enumerate(place.items()):
        validate(value, kind.item_type, problems, join(path, index))


def _length(
    place: Place, length: int, kind: inspect.DictType | inspect.ListType, problems: Problems, path: str
) -> None:
    if not _length_fits(length, kind):
        problems.add(place, path, f"found {shown(place)}; allowed: {allowed(kind)}")


def _length_fits(length: int, kind: inspect.DictType | inspect.ListType | inspect.StrType) -> bool:
    return (kind.min_length or 0) <= length <= (math.inf if kind.max_length is None else kind.max_length)


def _union(place: Place, kind: inspect.UnionType, problems: Problems, path: str) -> None:
    """Take the member that fits; of those that do not, a list or mapping is held against its like."""
    tried: list[Problems] = []
    for member in kind.types:
        found = Problems(problems.file)
        validate(place, member, found, path)
        if not len(found):
            return
        tried.append(found)
    members = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
    alike = [member for member in members if _is_alike(place, member)]
    if len(members) == 1 or len(alike) == 1:
        validate(place, (alike or members)[0], problems, path)
    else:
        problems.add(place, path, f"found {shown(place)}; allowed: {allowed(kind)}{_hint(place, kind)}")


def _is_alike(place: Place, kind: inspect.Type) -> bool:
    match kind:
        case inspect.Metadata():
            return _is_alike(place, kind.type)
        case inspect.ListType():
            return isinstance(place.value, list)
        case inspect.StructType() | inspect.DictType():
            return isinstance(place.value, dict)
        case _:
            return False


def _scalar(place: Place, kind: inspect.Type, problems: Problems, path: str, extra: Extra) -> None:
    if not _fits(place.value, kind):
        words = extra.get("allowed") or allowed(kind)
        problems.add(place, path, f"found {shown(place)}; allowed: {words}{_hint(place, kind)}")
    elif "parse" in extra:
        try:
            cast("Callable[[object], object]", extra["parse"])(place.value)
        except ValueError as error:
            problems.add(place, path, f"found {shown(place)}; {error}")


def _fits(value: object, kind: inspect.Type) -> bool:
    match kind:
        case inspect.StrType():
            return isinstance(value, str) and _text_fits(value, kind)
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return type(value) is int and _within(value, kind)
        case inspect.FloatType():
            return type(value) in (int, float) and _number_fits(cast("float", value), kind)
        case inspect.LiteralType():
            return isinstance(value, str) and value in kind.values
        case inspect.DateTimeType():
            return _time_fits(value)
        case inspect.NoneType():
            return value is None
        case inspect.StructType() | inspect.DictType() | inspect.ListType():
            return False
        case _:
            message = f"the model uses {type(kind).__name__}, which this reader does not know"
            raise NotImplementedError(message)


def _text_fits(value: str, kind: inspect.StrType) -> bool:
    if not _length_fits(len(value), kind):
        return False
    if kind.pattern is None:
        return True
    match = re.search(kind.pattern, value)
    return match is not None and match.end() == len(value)  # `$` alone lets a line end through


def _number_fits(value: float, kind: inspect.FloatType) -> bool:
    try:
        return math.isfinite(float(value)) and _within(value, kind)
    except OverflowError:
        return False


def _within(value: float, kind: inspect.IntType | inspect.FloatType) -> bool:
    return not (
        (kind.gt is not None and value <= kind.gt)
        or (kind.ge is not None and value < kind.ge)
        or (kind.lt is not None and value >= kind.lt)
        or (kind.le is not None and value > kind.le)
    )


def _time_fits(value: object) -> bool:
    moment = as_time(value)
    return moment is not None and moment.tzinfo is not None and moment.year in _YEARS


def as_time(value: object) -> datetime | None:
    """Return a value as a point in time if it is one: YAML reads some itself, others are text."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    try:
        return msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None


def _hint(place: Place, kind: inspect.Type) -> str:
    """Say what to do where YAML reads a value other than its writer meant it."""
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    value = place.value
    if isinstance(value, str) and any(isinstance(one, inspect.FloatType) for one in kinds):
        return _number_hint(value)
    if any(isinstance(one, inspect.DateTimeType) for one in kinds):
        return _time_hint(value)
    if value is not None and not isinstance(value, str | list | dict):
        in_quotes = any(isinstance(one, inspect.StrType) and _text_fits(place.text, one) for one in kinds)
        return " (put it in quotes)" if in_quotes else ""
    return ""


def _number_hint(value: str) -> str:
    """YAML 1.1 wants a point in the mantissa and a sign in the exponent."""
    match = _TEXT_LIKE_NUMBER.fullmatch(value)
    if match is None:
        return ""
    whole, point, exponent = match.groups()
    signed = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f" (YAML reads this as text; write {whole}{point or '.0'}e{signed})"


def _time_hint(value: object) -> str:
    moment = as_time(value)
    if moment is None and type(value) is not date:
        return ""
    is_bare = moment is None or moment.tzinfo is None
    return " (say Z or an offset)" if is_bare else f" (the years {_YEARS.start} to {_YEARS.stop - 1})"


def shown(place: Place) -> str:
    """Say what was found: a scalar as it was written, of anything larger its kind."""
    value = place.value
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "nothing"
    for kind, name, one in ((dict, "mapping", "key"), (list, "list", "item")):
        if isinstance(value, kind):
            length = len(cast("list[object]", value))
            return f"an empty {name}" if length == 0 else f"a {name} of {length} {one}{'s' * (length > 1)}"
    return cut(place.text)


def allowed(kind: inspect.Type) -> str:
    """Say in words what a kind allows."""
    match kind:
        case inspect.Metadata():
            return str((kind.extra or {}).get("allowed") or allowed(kind.type))
        case inspect.StructType():
            return f"a mapping with the keys {', '.join(field.encode_name for field in kind.fields)}"
        case inspect.DictType():
            return "a mapping" + (" with at least one key" if kind.min_length else "")
        case inspect.ListType():
            return f"a list{_span(kind, 'item')}"
        case inspect.UnionType():
            return either([words for one in kind.types for words in _alternatives(one)])
        case inspect.StrType():
            return f"text{_span(kind, 'character')}"
        case inspect.LiteralType():
            return either(_alternatives(kind))
        case inspect.IntType() | inspect.FloatType():
            return _number(kind)
        case inspect.BoolType():
            return "true or false"
        case inspect.DateTimeType():
            return _ZONED
        case _:
            return "nothing"


def _alternatives(kind: inspect.Type) -> list[str]:
    if isinstance(kind, inspect.LiteralType):
        return [str(value) for value in kind.values]
    return [] if isinstance(kind, inspect.NoneType) else [allowed(kind)]


def either(names: list[str]) -> str:
    """Join names as in "a, b or c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _span(kind: inspect.ListType | inspect.StrType, unit: str) -> str:
    if kind.min_length and kind.max_length:
        return f" of {kind.min_length} to {kind.max_length} {unit}s"
    if kind.min_length:
        return f" of at least {kind.min_length} {unit}{'s' * (kind.min_length > 1)}"
    return f" of at most {kind.max_length} {unit}s" if kind.max_length else ""


def _number(kind: inspect.IntType | inspect.FloatType) -> str:
    names = (("above", kind.gt), ("at least", kind.ge), ("below", kind.lt), ("at most", kind.le))
    bounds = " and ".join(f"{name} {bound}" for name, bound in names if bound is not None)
    return f"{'a whole number' if isinstance(kind, inspect.IntType) else 'a number'} {bounds}".rstrip()


def repeated(places: Iterable[tuple[str, Place]], name: str) -> Iterator[tuple[str, Place, str, str]]:
    """Yield texts under `name` that an earlier item has too: path of the item, place, text, and path of the first."""
    first: dict[str, str] = {}
    for path, place in places:
        found = place.child(name)
        text = found.string() if found else None
        if found is None or text is None:
            continue
        if text in first:
            yield path, found, text, first[text]
        first.setdefault(text, path)
