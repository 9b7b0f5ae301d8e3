"""The labels of the classical judge: our own cases, and Kayenta's where its reference file is at hand."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.classical import Label, Settings, classify

ROOT = Path(__file__).resolve().parents[2]
OWN = json.loads((ROOT / "tests" / "data" / "classical_cases.json").read_text(encoding="utf-8"))
REFERENCE = ROOT.parent / "shared" / "kayenta-cases.json"


def samples(values: list[float | None]) -> Any:
    return np.array([[np.nan if value is None else value for value in values]], np.float64)


@pytest.mark.parametrize("case", OWN, ids=[case["name"] for case in OWN])
def test_a_case_has_the_label_that_its_comment_argues_for(case: dict[str, Any]) -> None:
    settings = msgspec.convert(case["settings"], Settings)
    judgement = classify(samples(case["canary"]), samples(case["control"]), settings)
    assert (Label(judgement.label[0]).name, bool(judgement.critical[0])) == (case["label"], case["critical"])


def padded(rows: list[list[float | None]]) -> Any:
    width = max(map(len, rows))
    return np.concatenate([samples([*row, *[None] * (width - len(row))]) for row in rows])


def test_all_cases_at_once_have_the_same_labels() -> None:
    settings = [msgspec.convert(case["settings"], Settings) for case in OWN]
    # Padding is a missing sample too, which must not be replaced: such cases keep their own width.
    alike = [place for place, one in enumerate(settings) if one.missing == "remove"]
    cases = [OWN[place] for place in alike]
    judgement = classify(
        padded([case["canary"] for case in cases]),
        padded([case["control"] for case in cases]),
        [settings[place] for place in alike],
    )
    assert [Label(label).name for label in judgement.label] == [case["label"] for case in cases]
    assert judgement.critical.tolist() == [case["critical"] for case in cases]


def settings_of(case: dict[str, Any]) -> Settings:
    """Say in our words what a reference case sets."""
    given: dict[str, Any] = {
        "direction": case["direction"],
        "missing": case["nanStrategy"],
        "critical": case["isCritical"],
        "effect_size": {"meanRatio": "mean_ratio", "cles": "cles"}[case["effectSizeMeasure"]],
        "test": {"MannWhitneyClassifier": "mann_whitney", "MeanInequalityClassifier": "mean_inequality"}[
            case["classifier"]
        ],
        "tolerance": case["tolerance"],
        "confidence": case["confLevel"],
    }
    given["allowed_decrease"], given["allowed_increase"] = case["effectSizeThresholds"]
    given["critical_decrease"], given["critical_increase"] = case["criticalThresholds"]
    return Settings(**{name: value for name, value in given.items() if value is not None})


@pytest.mark.skipif(not REFERENCE.exists(), reason="Kayenta's reference cases are not beside this repository")
def test_every_reference_case_of_kayenta_agrees() -> None:
    cases = json.loads(REFERENCE.read_text(encoding="utf-8"))["cases"]
    assert cases
    for case in cases:
        judgement = classify(samples(case["experiment"]), samples(case["control"]), settings_of(case))
        if case["expected"] is not None:
            assert Label(judgement.label[0]).name == case["expected"].upper(), case["name"]
        if case["expectedCritical"] is not None:
            assert judgement.critical[0] == case["expectedCritical"], case["name"]
