"""The API described in OpenAPI 3.1, made out of the table of operations and the types of what goes in and out."""

import inspect
import re
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from holdfast.api.gates import GATES
from holdfast.api.operations import OPERATIONS, Operation
from holdfast.api.outgoing import DoubtEvent
from holdfast.api.refusals import PROBLEM, Problem
from sinks.cloudevents import VerdictEvent

_REF: Final = "#/components/schemas/{name}"
_ALWAYS: Final = (400, 401, 403, 421, 500, 503)
_WITH_BODY: Final = (408, 413, 415, 422)


def description() -> dict[str, Any]:
    """Return the whole description; the same bytes whenever it is made."""
    from holdfast import __version__

    types = [Problem, VerdictEvent, DoubtEvent, *_types()]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "holdfast",
            "version": __version__,
            "description": "Verdicts on rollouts, announcing rollouts, and plugs for other rollout systems.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "webhooks": {
            "verdict": {"post": _webhook("A verdict.", by_type[repr(VerdictEvent)])},
            "doubt": {"post": _webhook("Silence of the engine, or its end.", by_type[repr(DoubtEvent)])},
        },
        "components": {
            "schemas": {name: _tidied(each) for name, each in sorted(components.items())},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types() -> Iterable[Any]:
    for each in OPERATIONS:
        if each.body is not None:
            yield each.body
        yield from (kind for _, kind in each.answers.values())


def _operation(each: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    statuses = sorted({*_ALWAYS, *each.problems, *(_WITH_BODY if each.body else ())})
    told = {
        str(status): {"description": words, "content": {each.produces: {"schema": schemas[repr(kind)]}}}
        for status, (words, kind) in each.answers.items()
    }
    failed = {str(status): _failed(status, schemas) for status in statuses}
    found: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "description": f"Needs the scope `{each.scope}`.",
        "parameters": _parameters(each),
        "responses": {**told, **failed},
    }
    if each.body is not None:
        content = {kind: {"schema": schemas[repr(each.body)]} for kind in each.kinds}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _failed(status: int, schemas: dict[str, Any]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": {PROBLEM: {"schema": schemas[repr(Problem)]}}}


def _parameters(each: Operation) -> list[dict[str, Any]]:
    text = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f]+$"}
    gate = {"type": "string", "enum": list(GATES)}
    parts = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": "Percent-encoded, slashes too.",
            "schema": gate if name == "gate" else text,
        }
        for name in re.findall(r"\{(\w+)\}", each.path)
    ]
    asked = [
        {
            "name": one.name,
            "in": "query",
            "required": one.is_required,
            "description": one.description,
            "schema": text,
        }
        for one in each.parameters
    ]
    return [*parts, *asked]


def _webhook(words: str, schema: Any) -> dict[str, Any]:
    signed = [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    ]
    return {
        "summary": words,
        "parameters": signed,
        "requestBody": {"required": True, "content": {"application/cloudevents+json": {"schema": schema}}},
        "responses": {"2XX": {"description": "It was taken; of the answer the status alone is looked at."}},
    }


def _tidied(part: Any) -> Any:
    """Take the indentation of the source out of descriptions."""
    if isinstance(part, list):
        return [_tidied(one) for one in part]
    if not isinstance(part, dict):
        return part
    tidied = {key: _tidied(value) for key, value in part.items()}
    if isinstance(tidied.get("description"), str):
        tidied["description"] = inspect.cleandoc(tidied["description"])
    return tidied


def text() -> str:
    """Return the description as it is committed."""
    return msgspec.json.format(msgspec.json.encode(description())).decode() + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
