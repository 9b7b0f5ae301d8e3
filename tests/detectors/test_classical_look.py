"""Looks of the classical judge at all metrics of a policy, and the decisions that follow from them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.classical import Label
from detectors.classical.decision import ClassicalDecision
from detectors.classical.look import Look, Panel
from detectors.decision import Rules, Tick
from detectors.policy import Classical, ClassicalMetric, Metric, Policy

TOLERATED = [(0.02, 0.0), (0.02, 0.0), (0.25, 0.1)]


def panel(cpu: ClassicalMetric | None = None, load: ClassicalMetric | None = None, **given: Any) -> Panel:
    metrics = [
        Metric(name="cpu", gauge="cpu", worse="increase", breach="revert", classical=cpu),
        Metric(name="load", gauge="load", worse="either", breach="halt", classical=load),
    ]
    return Panel.of(Policy(policy="p", metrics=metrics, judge="classical", classical=Classical(**given)), TOLERATED)


def sides(cpu: float = 1.0, load: float = 1.0, silent: float = 0.0) -> tuple[Any, Any]:
    """Draw two levels and a share of silent units; a factor of NaN leaves the canary without samples."""
    rng = np.random.default_rng(12)
    control = np.concatenate([rng.normal(10.0, 0.5, (2, 40)), np.zeros((1, 40))])
    canary = rng.normal(10.0, 0.5, (2, 40)) * np.array([[cpu], [load]])
    return np.concatenate([canary, np.full((1, 40), silent)]), control


def labels(look: Look) -> list[str]:
    return [Label(int(label)).name for label in look.judgement.label]


def tick(age: int, *, has_data: bool = True) -> Tick:
    none, no = np.full(3, -np.inf), np.zeros(3, np.bool_)
    return Tick(age, none, none, none, np.ones(3), np.full(3, has_data), no, no, no, no)


def decided(look: Look | None, age: int = 40, **more: Any) -> ClassicalDecision:
    rules = Rules(0.01, 30, 60, ["revert", "halt", "halt"], np.full(3, 1 / 3), "evidence", np.zeros(3, np.bool_))
    decision = ClassicalDecision(rules, look=look)
    decision.step(tick(age, **more))
    return decision


def test_a_healthy_look_passes_and_lets_advance() -> None:
    look = panel().look(*sides(), 40)
    assert (labels(look), look.is_pass, look.is_failure) == (["PASS"] * 3, True, False)
    assert (decided(look).action, decided(look, has_data=False).cause) == ("advance", "data")


def test_a_look_from_before_the_end_of_the_bake_lets_nothing_advance() -> None:
    early = replace(panel().look(*sides(), 40), age=29)
    assert [decided(look).action for look in (None, early)] == ["wait", "wait"]
    assert decided(early).cause == "insufficient"


@pytest.mark.parametrize(
    ("cpu", "load", "blamed", "action"),
    [(1.3, 1.0, [0], "revert"), (1.0, 1.3, [1], "halt"), (1.0, 0.7, [1], "halt"), (1.3, 0.7, [0, 1], "revert")],
)
def test_the_breach_of_what_failed_decides(cpu: float, load: float, blamed: list[int], action: str) -> None:
    decision = decided(panel().look(*sides(cpu, load), 40))
    assert (decision.action, decision.cause, decision.blamed) == (action, "evidence", blamed)


def test_a_decrease_is_no_failure_of_a_metric_that_may_fall() -> None:
    assert labels(panel().look(*sides(0.7, 0.7), 40)) == ["PASS", "LOW", "PASS"]


def test_weights_of_groups_are_percent_of_the_score() -> None:
    for weight, total, passes in ((4.0, 96.0, True), (10.0, 90.0, False), (50.0, 50.0, False)):
        judge = panel(load=ClassicalMetric(group="rest"), groups={"rest": weight})
        look = judge.look(*sides(load=1.3), 40)
        assert (judge.names, float(look.score.total), look.is_pass) == (("all", "rest"), total, passes)
        assert look.is_failure == (total < 75)


def test_a_marginal_look_waits_for_the_deadline() -> None:
    look = panel(marginal=40.0).look(*sides(load=1.3), 40)
    assert [(decided(look, age).action, decided(look, age).cause) for age in (40, 60, 61)] == [
        ("wait", "insufficient"),
        ("wait", "insufficient"),
        ("halt", "deadline"),
    ]


def test_what_must_have_data_halts_without_and_never_reverts() -> None:
    for setting in (ClassicalMetric(must_have_data=True), ClassicalMetric(critical=True)):
        look = panel(cpu=setting).look(*sides(cpu=np.nan), 40)
        decision = decided(look)
        assert look.is_lacking.tolist() == [True, False, False]
        assert (decision.action, decision.cause, decision.blamed) == ("halt", "data", [0])


def test_harm_that_is_seen_counts_before_data_that_lack() -> None:
    decision = decided(panel(cpu=ClassicalMetric(must_have_data=True)).look(*sides(cpu=np.nan, load=1.3), 40))
    assert (decision.action, decision.cause, decision.blamed) == ("halt", "evidence", [1])


def test_half_of_the_metrics_without_data_is_no_pass_and_blames_nobody() -> None:
    look = panel().look(*sides(cpu=np.nan), 40)
    assert (labels(look), look.is_failure) == (["NODATA", "PASS", "PASS"], True)
    assert (decided(look).action, decided(look).blamed) == ("wait", [])


def test_units_that_do_not_report_fail_the_stage_outside_the_score() -> None:
    looks = [panel().look(*sides(silent=share), 40) for share in (0.09, 0.5)]
    assert [(float(look.score.total), look.is_failure) for look in looks] == [(100.0, False), (100.0, True)]
    assert (decided(looks[1]).action, decided(looks[1]).blamed) == ("halt", [2])


def test_tolerance_is_on_the_difference_of_the_means() -> None:
    canary, control = sides(cpu=1.06)
    settings = panel().settings[0]
    assert settings.tolerated_relative == 0.02
    found = []
    for relative, absolute in ((0.02, 0.0), (0.1, 0.0), (0.02, 1.0), (0.0, 0.0)):
        limits = [(relative, absolute), *TOLERATED[1:]]
        policy = Policy(
            policy="p",
            metrics=[Metric(name=name, gauge=name, worse="increase", breach="halt") for name in ("cpu", "load")],
        )
        found.append(labels(Panel.of(policy, limits).look(canary, control, 40))[0])
    assert found == ["HIGH", "PASS", "PASS", "HIGH"]


def test_inputs_are_left_as_they_were_and_the_same_samples_give_the_same_bytes() -> None:
    canary, control = sides(1.2, 0.9)
    before = canary.tobytes(), control.tobytes()
    one, other = (panel().look(canary, control, 40) for _ in range(2))
    assert (canary.tobytes(), control.tobytes()) == before
    assert one.judgement.shift.lower.tobytes() == other.judgement.shift.lower.tobytes()
    assert one.score.total.tobytes() == other.score.total.tobytes()
