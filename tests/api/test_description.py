"""The description of the API: what is committed is what is served, and what is served is what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from holdfast.api.description import description, text
from holdfast.api.operations import OPERATIONS
from tests.api.serving import Room
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parents[2]
ROOM = Room(body_bytes_max=1_000_000)
ROOM.submit()
ROOM.hear("wait")
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", ROOM.app, headers={"host": "localhost"})
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@SCHEMA.parametrize()
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_one_that_the_description_has(case: Any) -> None:
    case.headers["host"] = "localhost"
    case.call_and_validate(checks=CHECKS, timeout=WAIT_S)


def test_the_committed_description_is_the_one_that_is_served() -> None:
    committed = (ROOT / "docs/openapi.json").read_text(encoding="utf-8")
    assert committed == text(), "run `python -m holdfast.api.description > docs/openapi.json`"
    assert ROOM.get("/openapi.json") == json.loads(committed)


def test_every_operation_is_described_once() -> None:
    told = [each["operationId"] for path in description()["paths"].values() for each in path.values()]
    assert sorted(told) == sorted(each.name for each in OPERATIONS)


def test_every_schema_is_one() -> None:
    components = description()["components"]["schemas"]
    assert len(components) > 30
    for each in components.values():
        Draft202012Validator.check_schema(each)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_operation_needs_a_scope(operation) -> None:
    assert f"`{operation.scope}`" in description()["paths"][operation.path][operation.method.lower()]["description"]
