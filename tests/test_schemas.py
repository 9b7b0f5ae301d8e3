"""The published schemas agree with what is written and read."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from detectors.policy import Metric, Policy
from detectors.verdict import Abstained, Reason, Samples, Scope, Verdict
from holdfast.recording.document import (
    ClickHouseSource,
    CsvSource,
    KafkaSource,
    ParquetSource,
    PrometheusSource,
)
from holdfast.schemas import NAMES, DocumentName, schema
from rollouts.truth import Truth
from sinks.cloudevents import encode, verdict_event

VERDICT = Verdict(
    sequence=3,
    action="revert",
    cause="evidence",
    stage="first",
    binding=True,
    scope=Scope(colos=["nrt01"], metrics=["failures"]),
    reasons=[
        Reason(
            metric="failures",
            colo="nrt01",
            effect=0.8,
            interval=(0.3, None),
            e_value=4_200.0,
            samples=Samples(canary=1_000.0, control=9_000.0),
            sentence="failures in nrt01 are 80 % above the control",
        )
    ],
    abstained=[Abstained(metric="slow", colo=None, minimum_detectable_effect=None, why="no past")],
    policy="sha256:00",
    engine="0.1.0",
)


def errors(name: DocumentName, document: Any) -> list[str]:
    return [error.json_path for error in Draft202012Validator(schema(name)).iter_errors(document)]


def event() -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(encode(verdict_event("r", 1_773_314_400_000, VERDICT)))
    return decoded


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_a_valid_schema(name: DocumentName) -> None:
    Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("name", NAMES)
def test_schema_says_what_it_is(name: DocumentName) -> None:
    found = schema(name)
    assert (found["$schema"], found["$id"]) == (
        "https://json-schema.org/draft/2020-12/schema",
        f"https://holdfast.dev/schema/{name}.v1.json",
    )
    assert found["title"]
    assert found["description"]


def test_there_is_a_schema_for_every_document() -> None:
    released = {"plan", "package", "inventory", "limits"}
    responded = {"response", "status"}
    known = {"policy", "rollout", "verdict", "heartbeat", "truth", "certificate", "source", "people"}
    assert set(NAMES) == known | released | responded == set(get_args(DocumentName))


def test_encoded_verdict_event_is_valid() -> None:
    assert errors("verdict", event()) == []


@pytest.mark.parametrize("attribute", ["specversion", "id", "source", "type", "subject", "time", "data"])
def test_verdict_event_without_an_attribute_is_invalid(attribute: str) -> None:
    document = event()
    del document[attribute]
    assert errors("verdict", document) == ["$"]


def test_type_of_the_event_is_constant() -> None:
    properties = schema("verdict")["$defs"]["VerdictEvent"]["properties"]
    assert properties["type"] == {"const": "dev.holdfast.verdict.v1"}


def test_verdict_with_an_unknown_action_is_invalid() -> None:
    document = event()
    document["data"]["action"] = "hurry"
    assert errors("verdict", document) == ["$.data.action"]


def test_policy_model_is_valid() -> None:
    policy = Policy(policy="p", metrics=[Metric(name="m", gauge="g", worse="increase", breach="halt")])
    assert errors("policy", msgspec.to_builtins(policy)) == []


def test_policy_with_an_unknown_key_is_invalid() -> None:
    text = "{policy: p, metrics: [{name: m, gauge: g, worse: increase, breach: halt, wieght: 1}]}"
    assert errors("policy", yaml.safe_load(text)) == ["$.metrics[0]"]


def test_objective_is_written_with_its_key_for() -> None:
    text = (
        "{policy: p, metrics: [{name: m, gauge: g, worse: increase, breach: halt, objective: {below: 1, for: 1 of 2}}]}"
    )
    assert errors("policy", yaml.safe_load(text)) == []


def test_rollout_with_an_empty_canary_is_invalid() -> None:
    text = '{rollout: r, started: "2026-04-02T08:00:00Z", stages: [{name: s, canary: {}, bake: 1m}]}'
    assert errors("rollout", yaml.safe_load(text)) == ["$.stages[0].canary"]


def test_truth_model_is_valid() -> None:
    assert errors("truth", msgspec.to_builtins(Truth(bad=True, expect=["halt"]))) == []


def test_source_of_each_kind_is_valid_and_an_unknown_one_is_not() -> None:
    sources = [
        KafkaSource(topic="metrics"),
        ClickHouseSource(query="SELECT 1"),
        ParquetSource(files=["a"]),
        CsvSource(files=["a"], time_unit="s"),
        PrometheusSource(url="http://a", select={"metric": "m"}),
    ]
    assert [errors("source", msgspec.to_builtins(source)) for source in sources] == [[]] * 5
    assert errors("source", {"from": "carrier-pigeon"}) == ["$"]


PAGES = Path(__file__).parent.parent / "docs"


def documented(page: str, first: str) -> dict[str, Any]:
    """Return the document of a page that begins with a key."""
    blocks = re.findall(r"```yaml\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if block.startswith(first))
    document: dict[str, Any] = yaml.safe_load(found)
    return document


def test_plan_inventory_and_limits_of_the_docs_are_valid() -> None:
    plan = documented("packages.md", "package:")
    assert errors("plan", plan) == []
    assert errors("package", plan["package"]) == []
    assert errors("inventory", documented("packages.md", "hosts:")) == []
    assert errors("limits", documented("control.md", "window:")) == []


@pytest.mark.parametrize(
    ("name", "change", "place"),
    [
        ("plan", {"stages": []}, "$.stages"),
        ("plan", {"rest": "perhaps"}, "$.rest"),
        ("plan", {"freezes": [{"from": "18:00", "until": "08:00", "zone": "UTC", "reason": "r", "days": ["x"]}]},
         "$.freezes[0].days"),
        ("plan", {"speed": 2}, "$"),
    ],
)  # fmt: skip
def test_plan_with_something_else_is_invalid(name: DocumentName, change: dict[str, Any], place: str) -> None:
    assert errors(name, documented("packages.md", "package:") | change) == [place]


def test_stage_that_reaches_more_than_everybody_is_invalid() -> None:
    plan = documented("packages.md", "package:")
    plan["stages"][0]["reach"]["percent"] = 101
    plan["stages"][1]["most"]["fleet"] = 0
    assert errors("plan", plan) == ["$.stages[0].reach.percent", "$.stages[1].most.fleet"]


def test_package_whose_digest_is_none_is_invalid() -> None:
    unit = {"unit": "bots/features.bin", "kind": "data-file", "digest": "sha256:00"}
    assert errors("package", [unit]) == ["$[0].digest"]


def test_inventory_without_hosts_and_limits_of_nothing_are_invalid() -> None:
    assert errors("inventory", {"hosts": []}) == ["$.hosts"]
    assert errors("limits", {"rollouts_per_colo": 0}) == ["$.rollouts_per_colo"]
    assert errors("limits", {}) == []


def test_descriptions_are_not_indented() -> None:
    assert "\n    " not in msgspec.json.encode(schema("verdict")).decode().replace("\\n", "\n")
