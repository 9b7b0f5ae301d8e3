"""What a request says, read within bounds: its body, its parameters, its documents."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.requests import ClientDisconnect, Request

from detectors.policy import Name
from holdfast.api.refusals import Refused
from holdfast.errors import BadInput
from holdfast.located import DEPTH_MAX, Place, Problems, parse, placed

JSON: Final = "application/json"
YAML: Final = "application/yaml"

_PARAMETERS_MAX: Final = 20

Model = TypeVar("Model")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose body was read: parts of its path by name, its query, and what it is made of."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    kind: str
    body: bytes
    authorization: str | None


async def asked(request: Request, body_bytes_max: int, seconds: float) -> Asked:
    """Read a request.

    Parameters
    ----------
    request
        Whose path is still quoted.
    body_bytes_max
        Most bytes of a body.
    seconds
        How long the body may take to come.

    Raises
    ------
    Refused
        If it is too large (413), too slow (408), or cannot be understood (400).
    """
    path = {name: _unquoted(text) for name, text in request.path_params.items()}
    body = await _body(request, body_bytes_max, seconds)
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    return Asked(path, _query(request), kind, body, request.headers.get("authorization"))


async def _body(request: Request, body_bytes_max: int, seconds: float) -> bytes:
    too_large = Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is too large; allowed: {body_bytes_max} bytes")
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()) or int(length[:20]) > body_bytes_max:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > body_bytes_max:
                    raise too_large
                parts.append(part)
    except TimeoutError as error:
        detail = f"the body did not come in {seconds:g} s"
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, detail, headers={"connection": "close"}) from error
    except ClientDisconnect as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the body did not come whole") from error
    return b"".join(parts)


def _unquoted(text: str) -> str:
    try:
        return msgspec.convert(unquote_to_bytes(text).decode(), Name)
    except (UnicodeDecodeError, msgspec.ValidationError) as error:
        detail = "the path: allowed: names of 1 to 200 characters in UTF-8, without control characters"
        raise Refused(HTTPStatus.BAD_REQUEST, detail) from error


def _query(request: Request) -> dict[str, str]:
    raw: bytes = request.scope.get("query_string", b"")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS_MAX)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the query cannot be read; allowed: UTF-8, percent-encoded") from error
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused(HTTPStatus.BAD_REQUEST, "the query: a parameter stands there twice; allowed: once")
    return found


def only(query: Mapping[str, str], allowed: tuple[str, ...]) -> None:
    """Refuse parameters that there are none of: a mistyped one must not be taken for one that is missing.

    Raises
    ------
    Refused
        If there are some (400).
    """
    unknown = sorted(query.keys() - set(allowed))
    if unknown:
        words = f"allowed: {', '.join(allowed)}" if allowed else "allowed: none"
        raise Refused(HTTPStatus.BAD_REQUEST, f"the query: unknown parameter {unknown[0][:80]!r}; {words}")


def named(query: Mapping[str, str], key: str) -> str:
    """Return a parameter that is a name.

    Raises
    ------
    Refused
        If it is missing, or no name (400).
    """
    try:
        return msgspec.convert(query.get(key), Name)
    except msgspec.ValidationError as error:
        detail = f"the query: {key}: allowed: text of 1 to 200 characters, without control characters"
        raise Refused(HTTPStatus.BAD_REQUEST, detail) from error


def decoded(asked: Asked, kind: type[Model]) -> Model:
    """Read a body of JSON.

    Raises
    ------
    Refused
        If it is said to be something else (415), is no JSON (400), or is not of that kind (422).
    """
    if asked.kind != JSON:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"found {asked.kind[:80]!r}; allowed: {JSON}")
    try:
        return msgspec.json.decode(asked.body, type=kind)
    except msgspec.ValidationError as error:
        detail = str(error)
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "the body is not what is expected", [detail]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from error
    except RecursionError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is nested too deeply") from error


def document(asked: Asked) -> Place:
    """Read a body of JSON or YAML as a document whose errors have places.

    Raises
    ------
    Refused
        If it is said to be something else (415), or cannot be read (400).
    """
    try:
        text = asked.body.decode()
        if asked.kind == YAML:
            problems = Problems("body")
            place = parse("body", text, problems)
            problems.refuse()
            return place
        if asked.kind == JSON:
            return placed(_within(json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)))
    except BadInput as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the body cannot be read", str(error).splitlines()) from error
    except (ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {said[:200]}") from error
    raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"found {asked.kind[:80]!r}; allowed: {JSON} or {YAML}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        again = next(key for key in keys if keys.count(key) > 1)
        message = f"the key {again[:80]!r} stands there twice; allowed: once"
        raise ValueError(message)
    return found


def _no_constant(text: str) -> float:
    message = f"found {text}; allowed: numbers that JSON has"
    raise ValueError(message)


def _within(value: Any, depth: int = 0) -> Any:
    """Refuse what is nested too deeply, before anything else recurses into it."""
    if depth > DEPTH_MAX:
        raise RecursionError
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _within(one, depth + 1)
    return value
