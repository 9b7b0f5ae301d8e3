"""Conformance: every check on every public detector, and no detector without."""

import enum
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest

import detectors
from detectors.cases import DetectorCase, FunctionCase
from detectors.checks import DETECTOR_CHECKS, FUNCTION_CHECKS, Check
from detectors.drift import Drift
from detectors.foresight import Foresight
from detectors.since import Since
from detectors.state import Stateful
from detectors.traffic import Traffic
from detectors.windows import Past
from tests.detectors.conforming import registry
from tests.detectors.conforming_functions import function_registry

DETECTORS = registry()
FUNCTIONS = function_registry()

NOT_FOLLOWED = {
    Past: "the pre-period as sums; what is made of it is checked with Placebo and Restarts",
    Foresight: "figures from a stage's pre-period what it will show; no tick changes it",
    Since: "no evidence, but what is told beside Onset's, with which it is checked",
    Stateful: "what all detectors are made from",
}
"""Classes that are neither values nor detectors, and why."""

KNOWN = {
    "Placebo().check_silence_adds_nothing_to_health": "its variance is that of a mean over all ticks, silent ones too",
    "Portfolio(long past).check_silence_adds_nothing_to_health": "as Placebo",
    "Evidence(levels and ratios).check_one_tick_alone_is_no_alarm": (
        "a tick of information 4 moves a mean over 12 by 5/sqrt(3) deviations, which is nearly an alarm, and the "
        "noise of the other ticks adds to that"
    ),
}
"""What fails today, and why. Whoever mends one is told to take it out, since an expected failure must fail."""

HOUSEKEEPING = {"detectors.cases", "detectors.checks"}


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(detectors.__path__, "detectors."):
        if found.name not in HOUSEKEEPING:
            yield importlib.import_module(found.name)


def public(kind: Any) -> list[Any]:
    """Find the public classes or functions of all modules of detectors, each where it was written."""
    found = ((name, value, module) for module in modules() for name, value in vars(module).items())
    return [v for name, v, m in found if kind(v) and v.__module__ == m.__name__ and not name.startswith("_")]


def is_value(one: type) -> bool:
    """Tell whether a class has no state that could change."""
    frozen = is_dataclass(one) and one.__dataclass_params__.frozen  # type: ignore[attr-defined]
    return frozen or issubclass(one, msgspec.Struct | enum.Enum | Exception)


def pair(case: DetectorCase | FunctionCase, check: Check, name: str) -> Any:
    known = [pytest.mark.xfail(reason=KNOWN[name], raises=AssertionError)] if name in KNOWN else []
    return pytest.param(case, check, id=name, marks=known)


def pairs() -> Iterator[Any]:
    for detector, cases in DETECTORS.items():
        for name, case in cases.items():
            for check in DETECTOR_CHECKS:
                if check.__name__ not in case.skips:
                    yield pair(case, check, f"{detector.__name__}({name}).{check.__name__}")
    for function, functions in FUNCTIONS.items():
        for name, one in functions.items():
            for check in FUNCTION_CHECKS:
                if check.__name__ not in one.skips:
                    yield pair(one, check, f"{function.__name__}({name}).{check.__name__}")


@pytest.mark.parametrize(("case", "check"), list(pairs()))
def test_conforms(case: DetectorCase | FunctionCase, check: Check) -> None:
    check(case)


def test_every_known_failure_is_still_checked() -> None:
    assert set(KNOWN) <= {one.id for one in pairs()}


# What is computed inside a function that is checked, or needs no check of its own.
PARTS = {
    "means",
    "location_shift",
    "u_statistic",
    "tie_term",
    "prepare",
    "quantile",
    "scales",
    "row_mean",
    "running_sums",
    "mean_over",
}


def test_every_function_over_series_and_ticks_is_checked_or_part_of_one_that_is() -> None:
    over_ticks = {one for one in public(inspect.isfunction) if "tick]" in (one.__doc__ or "")}
    assert {one.__name__ for one in over_ticks - set(FUNCTIONS)} == PARTS


def test_every_class_with_a_state_is_checked() -> None:
    found = {one for one in public(inspect.isclass) if not is_value(one)}
    assert found == set(DETECTORS) | set(NOT_FOLLOWED)


@pytest.mark.parametrize("watch", [Drift, Traffic])
def test_what_watches_a_stage_finds_something_and_not_everything_in_its_case(watch: type) -> None:
    found = np.array([against > 0 for against, _ in DETECTORS[watch][""].run()])
    assert found.any()
    assert not found.all()


def test_every_case_begins_the_detector_that_it_is_registered_for() -> None:
    assert all(type(case.begin()) is one for one, cases in DETECTORS.items() for case in cases.values())


def test_every_skip_names_a_check_and_a_reason() -> None:
    cases: list[tuple[Any, tuple[Check, ...]]] = [
        (c, DETECTOR_CHECKS) for some in DETECTORS.values() for c in some.values()
    ]
    cases += [(case, FUNCTION_CHECKS) for functions in FUNCTIONS.values() for case in functions.values()]
    for case, checks in cases:
        assert set(case.skips) <= {check.__name__ for check in checks}
        assert all(case.skips.values())
