"""Kayenta's remote judge, asked over HTTP as Kayenta asks."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import Room

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT.parent / "shared" / "kayenta-cases.json"
EXAMPLE = json.loads((ROOT / "examples/kayenta/request.json").read_text(encoding="utf-8"))
CALM = [10.0, 11.0, 9.0, 10.5, 9.5, 10.2, 9.8, 10.1, 9.9, 10.0]
HIGH = [20.0, 21.0, 19.0, 20.5, 19.5, 20.2, 19.8, 20.1, 19.9, 20.0]


def metric(name: str, *groups: str, **analysis: object) -> dict[str, Any]:
    return {"name": name, "groups": list(groups) or ["g"], "analysisConfigurations": {"canary": analysis}}


def pair(name: str, experiment: object, control: object = CALM) -> dict[str, Any]:
    return {"name": name, "id": f"id-{name}", "tags": {}, "values": {"control": control, "experiment": experiment}}


def request(metrics: list[Any], pairs: list[Any], weights: dict[str, float] | None = None, **judge: object) -> Any:
    config = {
        "metrics": metrics,
        "classifier": {"groupWeights": weights or {}},
        "judge": {"judgeConfigurations": judge},
    }
    return {"canaryConfig": config, "scoreThresholds": {"pass": 75, "marginal": 50}, "metricSetPairList": pairs}


def judged(body: Any) -> Any:
    answer = Room().client.post("/judge", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def errors(body: Any) -> list[str]:
    answer = Room().client.post("/judge", json=body)
    assert answer.status_code == 422, answer.text
    found: list[str] = answer.json()["errors"]
    return found


def test_the_example_is_judged_in_the_shape_that_kayenta_reads() -> None:
    found = judged(EXAMPLE)
    assert found.keys() == {"judgeName", "results", "groupScores", "score"}
    errors, latency = found["results"]
    assert errors.keys() == {
        "name", "id", "tags", "classification", "classificationReason", "groups", "experimentMetadata",
        "controlMetadata", "resultMetadata", "critical", "muted",
    }  # fmt: skip
    assert (errors["classification"], errors["critical"], latency["classification"]) == ("High", True, "Pass")
    assert errors["experimentMetadata"]["stats"].keys() == {"count", "mean", "min", "max", "std"}
    assert found["score"]["score"] == 0.0
    assert found["score"]["classification"] == "Fail"
    assert found["score"]["classificationReason"].startswith("a critical metric failed: errors: the canary is above")
    assert {each["name"]: each["score"] for each in found["groupScores"]} == {"Errors": 0.0, "Latency": 100.0}


@pytest.mark.skipif(not REFERENCE.exists(), reason="Kayenta's reference cases are not beside this repository")
def test_every_reference_case_of_kayenta_agrees_over_http() -> None:
    cases = json.loads(REFERENCE.read_text(encoding="utf-8"))["cases"]
    assert cases
    for case in cases:
        effect = {"measure": case["effectSizeMeasure"]}
        effect |= dict(zip(("allowedDecrease", "allowedIncrease"), case["effectSizeThresholds"], strict=True))
        effect |= dict(zip(("criticalDecrease", "criticalIncrease"), case["criticalThresholds"], strict=True))
        analysis = {key: case[key] for key in ("direction", "nanStrategy")}
        judge = {"classifier": case["classifier"]}
        if case["tolerance"] is not None:
            judge |= {"tolerance": case["tolerance"], "confLevel": case["confLevel"]}
        one = metric("m", critical=case["isCritical"], effectSize=effect, **analysis)
        found = judged(request([one], [pair("m", case["experiment"], case["control"])], **judge))["results"][0]
        if case["expected"] is not None:
            assert found["classification"] == case["expected"], case["name"]
        if case["expectedCritical"] is not None:
            assert found["critical"] == case["expectedCritical"], case["name"]


def test_groups_are_weighed_as_kayenta_weighs_them() -> None:
    """Kayenta's ScorerSuite: "Two Groups (Unequal Weight), Four Metrics"."""
    metrics = [metric("a", "g1"), metric("b", "g1"), metric("c", "g1"), metric("d", "g2")]
    pairs = [pair("a", HIGH), pair("b", [1.0] * 9 + [1.1]), pair("c", CALM), pair("d", HIGH)]
    assert judged(request(metrics, pairs, {"g1": 15, "g2": 85}))["score"]["score"] == 5.0


def test_what_is_muted_is_told_and_does_not_count() -> None:
    found = judged(request([metric("a"), metric("b", muted=True)], [pair("a", CALM), pair("b", HIGH)]))
    assert (found["results"][1]["classification"], found["results"][1]["muted"]) == ("High", True)
    assert found["score"]["score"] == 100.0


@pytest.mark.parametrize("values", [[], [None] * 5, ["NaN"] * 5])
def test_no_data_is_never_good_news(values: list[object]) -> None:
    found = judged(request([metric("a", nanStrategy="replace")], [pair("a", values)]))
    assert found["results"][0]["classification"] in ("Nodata", "Low")
    assert found["score"]["classification"] == "Fail"


def test_what_must_have_data_fails_without() -> None:
    found = judged(request([metric("a", mustHaveData=True), metric("b")], [pair("a", []), pair("b", CALM)]))
    assert found["results"][0]["classification"] == "NodataFailMetric"
    assert found["score"]["score"] == 50.0


def test_infinite_samples_are_an_error_and_not_a_pass() -> None:
    found = judged(request([metric("a")], [pair("a", ["Infinity", *CALM])]))
    assert (found["results"][0]["classification"], found["score"]["classification"]) == ("Error", "Fail")


def test_the_same_request_has_the_same_answer_byte_for_byte() -> None:
    room = Room()
    first, second = (room.client.post("/judge", json=EXAMPLE).content for _ in range(2))
    assert first == second


def test_all_that_does_not_fit_together_is_told_at_once() -> None:
    body = request([metric("a"), metric("a"), metric("c")], [pair("a", CALM), pair("b", CALM)], {"g": 60, "h": 60})
    body["scoreThresholds"] = {"pass": 50, "marginal": 75}
    assert [line.partition(":")[0] for line in errors(body)] == [
        "canaryConfig.classifier.groupWeights",
        "canaryConfig.metrics[1].name",
        "metricSetPairList",
        "metricSetPairList[1].name",
        "scoreThresholds.marginal",
    ]


@pytest.mark.parametrize(
    "body",
    [
        request([metric("a", direction="up")], [pair("a", CALM)]),
        request([metric("a", nanStrategy="guess")], [pair("a", CALM)]),
        request([{"name": "a", "groups": []}], [pair("a", CALM)]),
        request([metric("a")], []),
        request([], [pair("a", CALM)]),
        request([metric("a")], [{"name": "a", "id": "1", "values": {"control": CALM}}]),
        request([metric("a")], [pair("a", ["many"])]),
        request([metric("a", muted=True)], [pair("a", CALM)]),
        request([metric("a")], [pair("a", CALM)], {"g": 50}),
        request([metric("a")], [pair("a", CALM)], confLevel=1),
        request([metric("a")], [pair("a", [1] * 5_000, [1] * 5_000)]),
    ],
)
def test_what_kayenta_would_pass_over_is_refused(body: Any) -> None:
    assert errors(body)
