"""What a check says before a rollout, and that the rollout then comes to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pytest

from holdfast.checking import check_recording
from holdfast.errors import BadInput
from holdfast.replaying import Outcome, replay_recording
from holdfast.report import Check, Expected, Finding, Kind, MetricCheck, Past, Seen, Trial
from tests.test_cli import POLICY, ROLLOUT, Command, Small, make_command
from tests.test_docs import fields, missing

Written = Callable[..., Path]

PATIENT: Final = ROLLOUT.replace("bake: 5m, deadline: 8m", "bake: 1m, deadline: 30m")
REQUIRED: Final = POLICY.replace("breach: halt}", "breach: halt, required: true}")
STRICT: Final = POLICY + "advance: strict\n"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return make_command(capsys, monkeypatch)


def make_written(folder: Path) -> Written:
    """Return what writes a recording, and returns its path."""
    count = 0

    def write(small: Small, policy: str = POLICY, rollout: str = ROLLOUT) -> Path:
        nonlocal count
        count += 1
        return small.write(folder / str(count), policy, rollout)

    return write


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return make_written(tmp_path)


def checked(path: Path, stage: str | None = None) -> Check:
    return check_recording(path / "policy.yaml", path, stage)


def of(check: Check, metric: str) -> MetricCheck:
    (found,) = [one for one in check.metrics if one.metric == metric]
    return found


def kinds(check: Check) -> set[tuple[str, str | None]]:
    return {(finding.kind, finding.metric) for finding in check.findings}


def noisy(live: int = 60, spread: float = 0.3, **more: Any) -> Small:
    """Make a recording whose cpu varies a lot from tick to tick, but never comes near zero."""
    small = Small(live=live, **more)
    small.gauges["cpu"] = np.exp(small.rng.uniform(-spread, spread, small.size))
    return small


# ---------------------------------------------------------------- what it rests on


def test_only_the_past_is_looked_at(written: Written) -> None:
    """The same check before the rollout, in it, and after harm."""
    before, after, harmed = Small(live=0), Small(live=60), Small(live=60)
    for small in (after, harmed):
        small.gauges["cpu"][:60], small.gauges["cpu"][60:] = before.gauges["cpu"], 0.5
        for key, gains in small.gains.items():
            gains[:60] = before.gains[key]
    harmed.gauges["cpu"][harmed.since(2, cohort="canary")] *= 5
    checks = [checked(written(small)) for small in (before, after, harmed)]
    assert checks[0].metrics == checks[1].metrics == checks[2].metrics
    assert {check.past for check in checks} == {
        Past(first="2026-03-12T11:10:10Z", last="2026-03-12T11:20:00Z", ticks=60, ticks_min=30)
    }


@pytest.mark.parametrize("day", [13, 28])
def test_a_rollout_that_is_long_to_come_is_checked(day: int, written: Written) -> None:
    check = checked(written(Small(live=0), rollout=ROLLOUT.replace("03-12T", f"03-{day}T")))
    assert check.started == f"2026-03-{day}T11:20:10Z"
    assert check.expected.action == "advance"


def test_a_later_stage_is_checked_on_all_there_is(written: Written) -> None:
    rollout = ROLLOUT + "  - {name: more, canary: {host: '*-h1'}, bake: 10m}\n"
    path = written(Small(), rollout=rollout)
    first, more = checked(path), checked(path, "more")
    assert (first.stage, more.stage) == ("canary", "more")
    assert (first.past.ticks, more.past.ticks) == (60, 120)
    assert (more.started, more.deadline_ticks, more.horizon_ticks) == (None, None, 120)


# ---------------------------------------------------------------- what it foresees


@pytest.mark.parametrize("rollout", [ROLLOUT, PATIENT])
@pytest.mark.parametrize("policy", [POLICY, STRICT, POLICY + "advance: exposure\n"])
def test_what_is_foreseen_comes_about(policy: str, rollout: str, written: Written) -> None:
    """A stage whose every tick is like the past on average advances on the foreseen tick."""
    small = noisy(live=200, spread=0.5, pre=90)
    path = written(small, policy, rollout)
    expected = checked(path).expected
    ahead = written(repeated(small), policy, rollout)
    outcome = replay_recording(ahead)
    assert (expected.action, outcome.final_action) == ("advance", "advance")
    assert expected.ticks == pytest.approx(advanced(outcome), abs=3)


def repeated(small: Small) -> Small:
    """Let both cohorts do after the start what they do on average: nothing moves but the traffic's own average."""
    for values in small.gains.values():
        values[small.pre :] = values[: small.pre].mean(axis=0)
    for values in small.gauges.values():
        values[small.pre :] = np.exp(np.log(values[: small.pre]).mean(axis=0))
        canary = np.array(small.labels["cohort"]) == "canary"
        for colo in set(small.labels["colo"]):
            here = np.array(small.labels["colo"]) == colo
            past = values[: small.pre]
            usual = np.log(past[:, here & canary].mean(axis=1) / past[:, here & ~canary].mean(axis=1)).mean()
            control = values[small.pre, here & ~canary].mean()
            values[small.pre :, here & canary] = control * np.exp(usual)
    return small


def advanced(outcome: Outcome) -> int:
    """Return the live tick on which the stage advanced."""
    time = next(verdict["time"] for verdict in outcome.verdicts if verdict["data"]["action"] == "advance")
    return round((np.datetime64(time[:-1], "s") - np.datetime64("2026-03-12T11:20:00", "s")) / np.timedelta64(10, "s"))


def test_a_degradation_that_is_said_to_be_called_is_called_and_a_far_smaller_one_is_not(written: Written) -> None:
    visible = of(checked(written(Small(live=0))), "cpu").smallest_visible
    assert visible is not None
    actions = []
    for size in (1.1 * visible, 0.5 * visible):
        small = Small()
        small.gauges["cpu"][small.since(0, cohort="canary")] *= 1 + size
        actions.append(replay_recording(written(small)).action)
    assert actions[0] == "halt"
    assert actions[1] == "advance"


def test_more_is_seen_over_the_fleet_than_in_a_colo_and_later_than_sooner(written: Written) -> None:
    small = Small(colos=("ams01", "fra02", "lhr03"), live=0)
    small.gauges["cpu"][:, small.since(-60, colo="lhr03")[0]] += small.rng.normal(0, 0.1, (60, 4))
    cpu = of(checked(written(small)), "cpu")
    assert cpu.best_colo is not None
    assert cpu.worst_colo is not None
    assert (cpu.worst_colo.colo, cpu.best_colo.colo != "lhr03") == ("lhr03", True)
    assert cpu.smallest_visible is not None
    assert cpu.smallest_visible_after_bake is not None
    assert cpu.best_colo.smallest is not None
    assert cpu.worst_colo.smallest is not None
    assert cpu.smallest_visible < cpu.best_colo.smallest < cpu.worst_colo.smallest
    assert cpu.smallest_visible < cpu.smallest_visible_after_bake


@pytest.mark.parametrize(
    ("policy", "action", "ticks"), [(POLICY, "advance", 48), (REQUIRED, "halt", 49), (STRICT, "halt", 49)]
)
def test_a_noisy_metric_holds_up_the_stage_by_the_rules_of_the_policy(
    policy: str, action: str, ticks: int, written: Written
) -> None:
    path = written(noisy(spread=1.0), policy)
    check = checked(path)
    assert check.expected == Expected(action=action, ticks=ticks, held_by=["cpu"])
    assert ("noisy", "cpu") in kinds(check)
    assert replay_recording(path).final_action == action


def test_the_tolerance_that_is_advised_can_be_excluded(written: Written) -> None:
    cpu = of(checked(written(noisy(spread=1.0))), "cpu")
    assert cpu.is_noisy
    assert cpu.excludable is not None
    assert not of(checked(written(noisy(spread=1.0), tolerating(1.01 * cpu.excludable))), "cpu").is_noisy
    assert of(checked(written(noisy(spread=1.0), tolerating(0.9 * cpu.excludable))), "cpu").is_noisy


def tolerating(relative: float) -> str:
    return POLICY.replace("relative: 0.2}", f"relative: {relative}}}")


def test_the_bake_that_is_advised_suffices(written: Written) -> None:
    cpu = of(checked(written(noisy(spread=1.0, pre=400), STRICT)), "cpu")
    assert cpu.is_noisy
    assert cpu.ticks_to_exclude is not None
    longer = ROLLOUT.replace("deadline: 8m", f"deadline: {10 * cpu.ticks_to_exclude}s")
    check = checked(written(noisy(spread=1.0, pre=400), STRICT, longer))
    assert check.expected == Expected(action="advance", ticks=cpu.ticks_to_exclude, held_by=["cpu"])


# ---------------------------------------------------------------- what stands in the way


def test_a_quiet_recording_has_nothing_in_the_way(written: Written) -> None:
    check = checked(written(Small(live=0)))
    assert check.findings == []
    assert (check.is_comparable, check.placebo) == (True, Trial(ticks=20, ticks_before=40, metrics=[], colos=[]))
    assert check.expected == Expected(action="advance", ticks=30, held_by=[])


def test_a_past_that_would_have_been_a_breach_is_not_comparable(written: Written) -> None:
    small = Small(pre=200)
    small.gauges["cpu"][small.since(-40, cohort="canary", colo="fra02")] *= 3
    check = checked(written(small))
    assert check.is_comparable is False
    assert check.placebo == Trial(ticks=48, ticks_before=152, metrics=["cpu"], colos=["fra02"])
    assert check.findings[0].kind == "not-comparable"
    assert "cpu in fra02" in check.findings[0].text


def test_a_past_that_moves_on_both_sides_is_comparable(written: Written) -> None:
    small = Small(pre=200)
    small.gauges["cpu"][160:] *= 3
    assert checked(written(small)).is_comparable


def test_objectives_are_no_matter_of_comparing(written: Written) -> None:
    policy = POLICY.replace("breach: halt}", "breach: halt, objective: {below: 0.1}}")
    assert checked(written(Small(live=0), policy)).is_comparable


@pytest.mark.parametrize(("required", "action"), [("true", "refused"), ("false", "halt")])
def test_a_short_past_is_told(required: str, action: str, written: Written) -> None:
    check = checked(written(Small(pre=20), POLICY + f"pre_period: {{required: {required}}}\n"))
    assert (check.expected.action, check.is_comparable) == (action, None)
    assert {("short-past", None), ("untried", None), ("no-past", "cpu"), ("counted", "errors")} <= kinds(check)


def test_a_ratio_without_bad_events_is_counted(written: Written) -> None:
    small = Small()
    small.gains["http_5xx", ""][:] = 0
    path = written(small)
    errors = of(checked(path), "errors")
    assert (errors.judged, errors.scale, ("counted", "errors") in kinds(checked(path))) == ("counting", "share", True)
    assert errors.smallest_visible is not None
    for times in (1.2, 0.3):
        small.gains["http_5xx", ""][small.since(0, cohort="canary")] = times * errors.smallest_visible * 3_000
        assert (replay_recording(written(small)).action == "revert") == (times > 1)


def test_a_metric_that_has_never_had_both_sides_is_told(written: Written) -> None:
    small = Small()
    small.absent["cpu"] = small.since(-60, cohort="control")
    check = checked(written(small))
    assert of(check, "cpu").judged == "not"
    assert check.expected == Expected(action="halt", ticks=49, held_by=["cpu"])
    assert any(finding.metric == "cpu" for finding in check.findings)


def test_a_metric_with_gaps_is_told(written: Written) -> None:
    small = Small()
    small.absent["cpu"] = (np.arange(small.size[0]) % 3 > 0)[:, None] & np.ones(small.size, np.bool_)
    check = checked(written(small, POLICY + "gap_ticks_max: 1\n"))
    assert of(check, "cpu").coverage == pytest.approx(2 / 3, abs=0.02)
    assert ("no-data", "cpu") in kinds(check)
    assert check.expected.action == "halt"


def test_a_colo_without_a_control_is_told(written: Written) -> None:
    small = Small(colos=("ams01", "fra02", "lhr03"), live=0)
    small.labels["cohort"][:4] = ["canary"] * 4
    alone = checked(written(small))
    assert alone.metrics[-1].colos_not_compared == ["ams01"]
    small.labels["cohort"][8:] = ["control"] * 4
    matched = checked(written(small))
    assert matched.metrics[-1].colos_without_control == ["ams01"]
    assert ("no-control", None) in kinds(alone) & kinds(matched)


# ---------------------------------------------------------------- the command


def test_the_command_prints_a_table_or_json(command: Command, written: Written) -> None:
    path = written(noisy(spread=1.0, live=0))
    text = command("check", path / "policy.yaml", path)
    assert (text.status, text.err) == (0, "")
    assert all(name in text.out for name in ("errors", "cpu", "reporting_hosts", "held up by cpu"))
    assert all(line == line.rstrip() and len(line) <= 80 for line in text.out.splitlines())
    line = command("check", path / "policy.yaml", path, "--json")
    assert (line.status, line.out.count("\n")) == (0, 1)
    assert json.loads(line.out)["expected"] == {"action": "advance", "ticks": 48, "held_by": ["cpu"]}


@pytest.mark.parametrize("width", ["80", "120", "40"])
def test_the_table_fits(width: str, command: Command, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    colos = ("a" * 90, "münchen 1", "[bold]")
    path = written(Small(colos=colos, live=0))
    ran = command("check", path / "policy.yaml", path)
    assert ran.status == 0
    assert max(len(line) for line in ran.out.splitlines()) <= int(width)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rollout": ROLLOUT.replace("03-12T", "03-11T")}, r"stages\[0\].started: no tick lies before 2026-03-11"),
        ({"rollout": ROLLOUT.replace("{cohort: canary}", "{cohort: red}")}, r"stages\[0\].canary: no series matches"),
        ({"rollout": ROLLOUT.replace("{cohort: canary}", "{host: '*'}").replace(", control: {cohort: control}", "")},
         "none is left as a control"),
        ({"policy": POLICY.replace("gauge: cpu", "gauge: fan")}, r"metrics\[1\] \(cpu\): the recording has no series"),
        ({"policy": POLICY.replace("worse: increase, tolerate: {relative: 0.2}", "wors: increase")}, "wors"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(change: dict[str, str], message: str, written: Written) -> None:
    path = written(Small(live=0), **change)
    with pytest.raises(BadInput, match=message):
        checked(path)


def test_a_stage_or_folder_that_is_not_there_is_bad_input(command: Command, written: Written, tmp_path: Path) -> None:
    path = written(Small(live=0))
    ran = command("check", path / "policy.yaml", path, "--stage", "second")
    assert (ran.status, ran.err) == (2, f"{path}/rollout.yaml: no stage is named 'second'; there are: canary\n")
    assert command("check", path / "policy.yaml", tmp_path / "none").status == 2
    assert command("check", path / "none.yaml", path).status == 2


def test_every_field_of_a_check_is_explained() -> None:
    models = (Check, Past, Trial, Seen, MetricCheck, Expected, Finding)
    assert missing("docs/check.md", fields(*models)) == set()


def test_every_kind_of_finding_is_explained() -> None:
    assert missing("docs/check.md", set(get_args(Kind))) == set()
