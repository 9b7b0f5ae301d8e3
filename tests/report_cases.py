"""What reports are tried on: small recordings, and values of any size and any name that no recording is needed for."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from detectors.policy import Metric, Policy, Ratio
from detectors.verdict import Abstained, Reason, Samples, Scope, Verdict
from holdfast.reporting.gathered import EFFECTS, HEAT, SIDES, SILENT, SPANS, WEIGHED, Gathered, Grid, Intake, Tables
from rollouts.document import Rollout, Stage, Unit
from rollouts.truth import Truth
from sinks.cloudevents import verdict_event
from tests.test_cli import START_MS, Small

TWO_STAGES: Final = """\
rollout: bot-0312
started: 2026-03-12T11:20:01Z
package: [{unit: bot-management/features.bin, kind: data-file, digest: "sha256:9f2c4b1a"}]
stages:
  - {name: canary, canary: {cohort: canary}, control: {cohort: control}, bake: 3m, deadline: 8m}
  - {name: more, canary: {host: ["*-h1"]}, bake: 3m, deadline: 20m, started: "2026-03-12T11:25:01Z"}
"""
TRUTH: Final = """\
bad: true
expect: [revert]
onset: 2026-03-12T11:22:01Z
colos: [ams01]
metrics: [errors]
"""
HOSTILE: Final = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(2)>",
    "\N{RIGHT-TO-LEFT OVERRIDE}drow\N{HEBREW LETTER ALEF}",
    "</style></title>]]>{{ 7 * 7 }}{% raw %}",
    "a" * 200,
)


def erring(folder: Path, rollout: str | None = None) -> Path:
    """Write a recording whose canaries in ams01 err more from two minutes after the start on, and say so."""
    small = Small()
    small.gains["http_5xx", ""][small.since(12, cohort="canary", colo="ams01")] *= 8
    return small.write(folder, truth=TRUTH) if rollout is None else small.write(folder, rollout=rollout, truth=TRUTH)


def made(*, metrics: int = 3, colos: int = 4, ticks: int = 100, names: tuple[str, ...] = ()) -> Gathered:
    """Make up what a report shows; `names`, three of them, are given to everything that people name."""
    metric_names, colo_names = (
        [*names, *(f"{kind}_{at:03d}" for at in range(len(names), count))]
        for kind, count in (("metric", metrics), ("colo", colos))
    )
    name, stage, reason = names or ("bot", "canary", "late")
    policy = Policy(
        policy=name,
        metrics=[
            Metric(name=each, ratio=Ratio(bad=each, total=each), worse="increase", breach="revert")
            for each in metric_names
        ],
    )
    rollout = Rollout(
        rollout=name,
        started=datetime(2026, 3, 12, 11, 20, tzinfo=UTC),
        stages=[Stage(name=stage, canary={"cohort": "canary"}, bake="5m", deadline="10m")],
        package=[Unit(unit=name, kind=name, digest="sha256:9f2c4b1a")],
    )
    said = [(tick, verdict(tick, stage, metric_names, colo_names)) for tick in (1, min(50, ticks))]
    return Gathered(
        f"recording {name}",
        rollout,
        policy,
        Truth(bad=True, expect=["revert"], onset=datetime(2026, 3, 12, 11, 21, tzinfo=UTC), colos=colo_names[:2]),
        tuple(verdict_event("bot", START_MS + 10_000 * tick, each) for tick, each in said),
        {stage: START_MS},
        Intake(ticks, 1_000_000, {reason: 17}),
        True,
        tables(stage, metric_names, colo_names, ticks),
    )


def tables(stage: str, metrics: list[str], colos: list[str], ticks: int) -> Tables:
    """Make up what was seen of a stage: levels and effects near nothing, and a colo here and there with evidence."""
    rng = np.random.default_rng(1)
    first = START_MS // 10_000 + 1
    grid, heat_grid = (Grid.over(first, first + ticks - 1, 10_000, steps) for steps in (240, 96))
    everything = [*metrics, "reporting_hosts"]
    at = np.tile(np.arange(grid.steps), len(everything))
    size, count = len(at), len(colos)
    metric = [name for name in everything for _ in range(grid.steps)]
    key = {"stage": [stage] * size, "metric": metric, "edge": np.zeros(size), "step": at}
    effect, level, log_e = rng.normal(0, 0.01, size), rng.uniform(0.01, 0.02, size), rng.normal(-2, 1, size)
    effects = {"effect": effect, "lower": effect - 0.1, "upper": effect + 0.1, "mde": effect + 0.2}
    sides = {
        **{f"{side}{end}": level for side in ("canary", "control") for end in ("", "_min", "_max")},
        "canary_of": np.ones(size),
        "control_of": np.ones(size),
        "ticks": np.full(size, grid.per),
        "empty": np.zeros(size, np.int64),
    }
    cells = count * heat_grid.steps
    heat = {
        "colo": np.repeat(colos, heat_grid.steps),
        "step": np.tile(np.arange(heat_grid.steps), count),
        "log_e": rng.normal(2, 4, cells),
        "metric": [metrics[0]] * cells,
    }
    silent = {
        "colo": colos,
        "cohort": ["canary"] * count,
        "silent": np.ones(count),
        "seen": np.full(count, 100.0),
        "silent_max": np.ones(count),
        "units": np.full(count, 2.0),
    }
    return Tables(
        grid,
        heat_grid,
        pa.table({**key, **effects, "log_e": log_e, "log_e_max": log_e}, schema=EFFECTS),
        pa.table({**key, **sides}, schema=SIDES),
        pa.table({"metric": metric, "step": at, "log_e": log_e, "log_e_max": log_e + 1}, schema=WEIGHED),
        pa.table(heat, schema=HEAT),
        pa.table(silent, schema=SILENT),
        pa.table({"stage": [stage], "first": [first], "last": [first + ticks - 1]}, schema=SPANS),
    )


def verdict(tick: int, stage: str, metrics: list[str], colos: list[str]) -> Verdict:
    """Make a verdict that waits at first, and stops later."""
    is_stop = tick > 1
    reason = Reason(
        metric=metrics[0],
        colo=colos[0],
        effect=0.5,
        interval=(0.25, None),
        e_value=1e300,
        samples=Samples(canary=10.0, control=20.0),
        sentence=f"{metrics[0]} in {colos[0]}: too many",
    )
    return Verdict(
        sequence=2 if is_stop else 1,
        action="revert" if is_stop else "wait",
        cause="evidence" if is_stop else "baking",
        stage=stage,
        binding=False,
        scope=Scope(colos=colos[:3], metrics=metrics[:1] if is_stop else metrics),
        reasons=[reason] if is_stop else [],
        abstained=[Abstained(metric=metrics[-1], colo=colos[-1], minimum_detectable_effect=0.25, why=f"no {colos[0]}")],
        policy="sha256:1",
        engine="holdfast/0",
    )
