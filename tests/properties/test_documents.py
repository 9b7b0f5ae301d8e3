"""Documents of any content: what is valid survives being written and read, all else is refused by name."""

from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from detectors.policy import Classical, ClassicalMetric, Metric, Objective, Policy, PrePeriod, Ratio, Tolerance
from holdfast.documents import load_policy, load_rollout
from holdfast.errors import BadInput
from rollouts.document import Rollout

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
METRIC_NAMES = TEXT.filter(lambda name: name != "reporting_hosts")
FRACTION = st.floats(0, 1, exclude_min=True, exclude_max=True)
TOLERANCE = st.builds(Tolerance, relative=st.floats(0, 1e6), absolute=st.floats(0, 1e6))
SELECTOR = st.dictionaries(TEXT, TEXT | st.lists(TEXT, min_size=1, max_size=3), max_size=3)
OBJECTIVE = st.builds(
    Objective,
    below=st.floats(1e-9, 1e9),
    window=st.tuples(st.integers(1, 9), st.integers(0, 9)).map(lambda two: f"{two[0]} of {sum(two)}"),
)
DURATIONS = st.one_of(
    st.integers(1, 10_000).map(lambda n: f"{n}ms"),
    st.integers(1, 600).map(lambda n: f"{n / 10}s"),
    st.integers(1, 3).map(lambda n: f"{n}h"),
)
CLASSICAL_METRIC = st.none() | st.builds(
    ClassicalMetric,
    group=TEXT,
    critical=st.booleans(),
    must_have_data=st.booleans(),
    effect_size=st.sampled_from(["mean_ratio", "cles"]),
    allowed_increase=st.none() | st.floats(0, 1),
    missing=st.sampled_from(["remove", "replace"]),
)
KINDS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.tuples(TEXT, TEXT)
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: {"ratio": Ratio(bad=pair[0], total=pair[1])}),
    st.fixed_dictionaries({"counter": TEXT, "temporality": st.sampled_from(["cumulative", "delta"])}),
    st.fixed_dictionaries({"histogram": TEXT, "quantile": FRACTION}),
    st.fixed_dictionaries({"gauge": TEXT, "scale": st.sampled_from(["auto", "mean", "sd"]) | st.floats(1e-9, 1e9)}),
)


@st.composite
def metrics(draw: st.DrawFn, is_classical: bool = False) -> list[Metric]:
    names = draw(st.lists(METRIC_NAMES, min_size=1, max_size=4, unique=True))
    kinds = [draw(KINDS) for _ in names]
    return [
        Metric(
            name=name,
            worse=draw(st.sampled_from(["increase", "decrease", "either"])),
            breach=draw(st.sampled_from(["halt", "revert"])),
            tolerate=draw(TOLERANCE),
            select=draw(SELECTOR),
            required=draw(st.booleans()),
            weight=draw(st.floats(1e-6, 1e6)),
            objective=None if "histogram" in kind else draw(st.none() | OBJECTIVE),
            classical=draw(CLASSICAL_METRIC) if is_classical else None,
            **kind,
        )
        for name, kind in zip(names, kinds, strict=True)
    ]


PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "policy": TEXT,
    "tick": DURATIONS,
    "alpha": FRACTION,
    "unit": TEXT,
    "region": TEXT,
    "lateness_ticks": st.integers(0, 1_000),
    "gap_ticks_max": st.integers(1, 1_000),
    "ahead_ticks_max": st.integers(1, 100_000),
    "pre_period": st.builds(
        PrePeriod, ticks_min=st.integers(8, 90), ticks_max=st.integers(90, 20_000), required=st.booleans()
    ),
    "advance": st.sampled_from(["evidence", "exposure"]),
    "reporting_tolerance": TOLERANCE,
}
CLASSICAL = st.builds(
    Classical,
    passing=st.floats(80, 100),
    marginal=st.floats(0, 80),
    interval_ticks=st.integers(1, 100),
    ticks_min=st.integers(8, 30),
    ticks_max=st.integers(30, 4_096),
    confidence=FRACTION,
)
POLICIES = st.sampled_from([False, True]).flatmap(
    lambda is_classical: st.builds(
        Policy,
        judge=st.just("classical" if is_classical else "sequential"),
        classical=st.none() | CLASSICAL if is_classical else st.none(),
        metrics=metrics(is_classical),
        **PLAIN,
    )
)


@given(POLICIES)
def test_any_policy_survives_being_written_and_read(tmp_path_factory: pytest.TempPathFactory, policy: Policy) -> None:
    path = tmp_path_factory.getbasetemp() / "written-policy.yaml"
    path.write_text(yaml.safe_dump(msgspec.to_builtins(policy)), "utf-8")
    assert load_policy(path) == policy


@given(st.binary(max_size=200))
def test_any_bytes_load_or_are_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes.yaml"
    path.write_bytes(raw)
    with pytest.raises(BadInput):
        load_rollout(path)


KEYS = st.sampled_from([*Rollout.__struct_fields__, "name", "canary", "bake", "x"])
ANY_TEXT = st.text(st.characters(codec="utf-8"))
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"stages": JUNK, "started": JUNK, "package": JUNK}))
def test_a_rollout_of_any_shape_is_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-shape.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    with pytest.raises(BadInput):
        load_rollout(path)
