"""Drift: each kind of finding appears when something is wrong, vanishes when it is right, and is unknown in between."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from rollouts.announced import announce, with_event
from rollouts.breakglass import fold
from rollouts.drift import standing
from rollouts.drift_facts import (
    Judged,
    Log,
    Series,
    Verdicts,
    Watched,
    series_of,
)
from tests.overrides import NOW as SIGNED
from tests.overrides import WHO, request
from tests.overrides import Log as People
from tests.rollouts.drifting import (
    ALL,
    BAD,
    CPU,
    DAY,
    ENGINE,
    HOUR,
    MINE,
    NOW,
    OTHER,
    POLICY,
    ROLLOUT,
    facts,
    found,
    kinds,
    only,
    replaced,
    report,
    rollout,
    sent,
    under_control,
    verdicts,
    watched,
)
from tests.rollouts.fleet import BEGIN, NEW, OLD, UNIT
from tests.rollouts.test_controller import baking, command
from tests.test_certificate import made as certificate


def test_where_all_is_right_there_is_no_drift() -> None:
    assert (found(facts()), standing([])) == ([], "none")


# ---------------------------------------------------------------- policies and gates


def test_a_record_that_is_no_announcement_is_a_rollout_without_policy() -> None:
    one = only(facts(unreadable={"edge": "not an announcement: no policy"}))
    assert (one.kind, one.subject, one.known) == ("without-policy", "edge", True)
    assert "no policy" in one.sentence


def test_what_is_released_and_not_announced_is_a_rollout_without_policy() -> None:
    control = {"bots": under_control()}
    assert kinds(facts(control=control)) == []
    assert "without-policy" in kinds(facts(control=control, rollouts={}))
    assert "without-policy" not in kinds(facts(control={"bots": under_control("reverted")}, rollouts={}))


def test_a_rollout_whose_policy_has_not_passed_its_gate_is_found_until_it_is_finished() -> None:
    bare = announce(ROLLOUT, POLICY)
    given = watched(bare, objection="it has no gate certificate")
    one = only(facts(rollouts={"bots": given}))
    assert (one.kind, one.subject) == ("without-gate", "bots")
    assert "it has no gate certificate" in one.sentence
    ended = with_event(bare, "finished", None, NOW)
    assert found(facts(rollouts={"bots": replace(given, announcement=ended)})) == []
    shadow = announce(replace(ROLLOUT, mode="shadow"), POLICY)
    assert found(facts(rollouts={"bots": watched(shadow, objection="none")})) == []


def test_who_signed_a_certificate_is_not_known_without_keys() -> None:
    assert kinds(facts(rollouts=rollout(is_checked=False))) == ["unknown without-gate"]


def test_another_policy_than_the_certified_one_is_found() -> None:
    swapped = watched(announce(ROLLOUT, POLICY, certificate(policy=OTHER)), objection="that of another")
    one = only(facts(rollouts={"bots": swapped}))
    assert (one.kind, one.subject) == ("policy-differs", "bots")
    assert OTHER[:19] in one.sentence


def test_another_policy_than_the_gated_one_of_its_name_is_found() -> None:
    mine = watched(announce(ROLLOUT, POLICY), objection="it has no gate certificate")
    done = with_event(
        announce(replace(ROLLOUT, rollout="old"), POLICY, certificate(policy=OTHER)), "finished", None, NOW
    )
    gated = Watched(announcement=done, policy=OTHER)
    assert kinds(facts(rollouts={"bots": mine, "old": gated})) == ["without-gate", "policy-differs"]


@pytest.mark.parametrize(("policy", "engine"), [(OTHER, ENGINE), (MINE, "0.0.1")])
def test_a_verdict_by_another_policy_or_engine_is_found(policy: str, engine: str) -> None:
    newest = {"bots": Judged(policy=policy, engine=engine, at=NOW)}
    verdicts = Verdicts(policies={MINE: NOW}, newest=newest, since=NOW - DAY)
    assert kinds(facts(verdicts=verdicts)) == ["policy-differs"]


def test_settings_that_differ_are_named_one_by_one() -> None:
    given = facts(settings={"topic audit": "retention.ms 1, wanted at least -1", "gate.required": "no"})
    assert [(one.kind, one.subject) for one in found(given)] == [
        ("settings-differ", "gate.required"),
        ("settings-differ", "topic audit"),
    ]


# ---------------------------------------------------------------- exercise


@pytest.mark.parametrize(
    ("last", "started", "since", "expected"),
    [
        (NOW - 13 * DAY, NOW - 20 * DAY, NOW - 14 * DAY, []),
        (NOW - 15 * DAY, NOW - 20 * DAY, NOW - 14 * DAY, ["never-exercised"]),
        (None, NOW - 2 * HOUR, NOW - 3 * HOUR, ["never-exercised"]),
        (None, NOW - 2 * HOUR, NOW - HOUR, ["unknown never-exercised"]),
        (None, NOW - HOUR / 2, NOW - 14 * DAY, []),
        (None, NOW + HOUR, NOW - 14 * DAY, []),
    ],
)
def test_a_policy_that_judges_nothing_is_found_once_it_has_had_time_to(last, started, since, expected) -> None:
    stages = [replace(stage, deadline=None) for stage in ROLLOUT.stages]
    given = facts(
        rollouts=replaced(started=started, stages=stages),
        verdicts=verdicts(last, since),
        reports={"h": report(digest=OLD)},
        baseline={UNIT.unit: frozenset({OLD})},
    )
    assert kinds(given) == expected


@pytest.mark.parametrize(
    ("last", "since", "expected"),
    [
        (NOW - DAY, NOW - 14 * DAY, []),
        (None, NOW - 14 * DAY, ["never-exercised"]),
        (None, NOW - DAY, ["unknown never-exercised"]),
    ],
)
def test_a_policy_that_is_kept_for_use_is_to_be_exercised_too(last, since, expected) -> None:
    given = facts(
        rollouts={},
        policies={MINE: POLICY},
        reports={"h": report(digest=OLD)},
        verdicts=verdicts(last, since),
        baseline={UNIT.unit: frozenset({OLD})},
    )
    assert kinds(given) == expected


@pytest.mark.parametrize(
    ("drilled", "expected"), [(NOW - 90 * DAY, []), (NOW - 91 * DAY, ["no-drill"]), (None, ["no-drill"])]
)
def test_break_glass_is_to_be_rehearsed_where_there_is_any(drilled, expected) -> None:
    log = Log(broken=None, drilled=drilled, overrides=fold(People().chain(), WHO))
    assert kinds(facts(log=log)) == expected
    assert kinds(facts(log=replace(log, overrides=None))) == []


# ---------------------------------------------------------------- metrics


def test_a_policy_names_its_series_with_their_labels() -> None:
    assert series_of(POLICY) == {"busy": ([CPU], []), "errors": ([ALL], [BAD])}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (sent(ALL, BAD), ["metric-unsent"]),
        (sent(ALL, BAD, incomplete="it was long"), ["unknown metric-unsent"]),
        (sent(CPU), ["metric-unsent"]),
        (sent(CPU, Series(metric="all"), BAD), ["metric-unsent"]),
        (sent(CPU, ALL), ["unknown metric-unsent"]),
        (sent(CPU, ALL, ever=frozenset({BAD})), []),
    ],
)
def test_a_metric_that_nobody_sends_is_found_and_one_that_may_be_absent_is_not_known(given, expected) -> None:
    assert kinds(facts(sent=given)) == expected


def test_what_is_not_sent_is_named() -> None:
    assert "all{service=kv|k?}: nobody has sent it" in only(facts(sent=sent(CPU))).sentence


# ---------------------------------------------------------------- changes


@pytest.mark.parametrize(
    ("host", "digest", "expected"),
    [
        ("c0-h0", NEW, []),
        ("c0-h0", OLD, ["ungated-change"]),
        ("c0-h1", NEW, ["ungated-change"]),
    ],
)
def test_a_host_may_have_what_a_stage_that_has_begun_gives_it(host: str, digest: str, expected: list[str]) -> None:
    assert kinds(facts(reports={host: report(host, digest)})) == expected


def test_what_hosts_had_before_is_no_change() -> None:
    given = {"reports": {"c0-h0": report(digest=OLD)}}
    assert kinds(facts(**given, baseline={UNIT.unit: frozenset({OLD})})) == []
    assert kinds(facts(**given, baseline={"another": frozenset({OLD})})) == ["ungated-change"]


def test_a_stage_that_selects_by_what_hosts_do_not_report_reaches_any_of_them() -> None:
    stages = [replace(ROLLOUT.stages[0], canary={"cohort": "canary"})]
    assert kinds(facts(rollouts=replaced(stages=stages), reports={"c0-h1": report("c0-h1")})) == []


def test_hosts_with_the_same_ungated_change_are_one_finding_that_names_a_few() -> None:
    reports = {f"h{number}": report(f"h{number}", OLD) for number in range(8)} | {"c0-h1": report("c0-h1")}
    findings = found(facts(reports=reports))
    assert [one.subject for one in findings] == sorted(f"{UNIT.unit} {digest[:19]}" for digest in (OLD, NEW))
    assert any("on 8 hosts (h0, h1, h2, h3, h4 and 3 more)" in one.sentence for one in findings)


@pytest.mark.parametrize(("phase", "expected"), [("reverted", ["ungated-change"]), ("completed", [])])
def test_what_was_taken_back_and_is_there_is_found(phase: str, expected: list[str]) -> None:
    ended = with_event(announce(ROLLOUT, POLICY), "finished", None, NOW)
    given = facts(rollouts={"bots": watched(ended)}, control={"bots": under_control(phase)})
    assert kinds(given) == expected


def test_of_hosts_that_are_silent_or_unreadable_or_not_there_nothing_is_known() -> None:
    assert kinds(facts(reports={})) == ["unknown ungated-change"]
    assert kinds(facts(reports={"c0-h0": report(at=NOW - HOUR)})) == ["unknown ungated-change"]
    assert kinds(facts(unreadable_reports={"c0-h1": "junk"})) == ["unknown ungated-change"]


# ---------------------------------------------------------------- overrides and the log


def overrides(kind: str = "force_revert", *approvers: int, **given: Any) -> Log:
    log, asked = People(), request(1, kind, **given)  # type: ignore[arg-type]
    assert log.ask(asked) is None
    for approver in approvers:
        assert log.approve(asked, approver) is None
    return Log(broken=None, drilled=NOW, overrides=fold(log.chain(), WHO))


def test_an_override_is_told_of_before_it_expires_and_after_if_what_it_was_for_goes_on() -> None:
    assert SIGNED == NOW
    log = overrides("force_revert", 2, expires=NOW + 3 * HOUR)
    later, end = NOW + 2 * HOUR, NOW + 3 * HOUR
    stages = [replace(stage, deadline=None) for stage in ROLLOUT.stages]
    given = facts(log=log, rollouts=replaced(stages=stages), reports={"c0-h0": report(at=end)})
    assert kinds(given) == []
    assert kinds(given, later) == ["override-expiring"]
    assert kinds(given, end) == ["override-overdue"]
    ended = with_event(announce(ROLLOUT, POLICY), "finished", None, end)
    assert kinds(replace(given, rollouts={"bots": watched(ended)}), end) == []


def test_a_request_that_nobody_has_approved_expires_and_is_then_nothing() -> None:
    given = facts(log=overrides("freeze_all", 2, expires=NOW + HOUR))
    assert "pending, 1 approval short" in only(given).sentence
    assert kinds(given, NOW + HOUR) == ["unknown ungated-change"]


def test_a_rehearsed_override_is_none() -> None:
    assert kinds(facts(log=overrides("freeze_all", 2, 3, expires=NOW + HOUR, drill=True))) == []


def test_a_broken_log_is_found() -> None:
    log = Log(broken="offset 3: entry 2 is missing", drilled=NOW, overrides=None)
    assert only(facts(log=log)).sentence == "offset 3: entry 2 is missing"


# ---------------------------------------------------------------- rollouts that stand still


def test_a_stage_past_its_deadline_is_found_until_its_rollout_is_finished() -> None:
    late = NOW + HOUR + timedelta(seconds=1)
    given = facts(reports={"c0-h0": report(at=late)})
    assert kinds(given, late - timedelta(seconds=2)) == []
    assert kinds(given, late) == ["past-deadline"]
    assert kinds(replace(given, control={"bots": replace(under_control(), at=late)}), late) == []


@pytest.mark.parametrize(
    ("phase", "given", "after_minutes", "expected"),
    [
        ("halted", {"halted": "verdict 7"}, 61, ["stuck"]),
        ("halted", {"halted": "verdict 7"}, 59, []),
        ("applying", {}, 64, []),
        ("applying", {}, 66, ["stuck"]),
        ("reverting", {}, 66, ["stuck"]),
        ("waiting", {}, 61, ["stuck"]),
        ("baking", {}, 600, []),
        ("baking", {"paused": "ann: lunch"}, 61, ["stuck"]),
        ("completed", {}, 600, []),
    ],
)
def test_a_rollout_that_does_not_move_is_stuck(phase, given, after_minutes, expected) -> None:
    at = NOW + timedelta(minutes=after_minutes)
    stages = [replace(stage, deadline=None) for stage in ROLLOUT.stages]
    control = {"bots": under_control(phase, **given)}
    reports = {"c0-h0": report(at=at)}
    assert kinds(facts(control=control, rollouts=replaced(stages=stages), reports=reports), at) == expected


def test_a_rollout_of_control_has_ended_when_its_history_says_so() -> None:
    world = baking()
    world.give(command("abort"))
    world.settle()
    assert kinds(
        facts(
            control={"bots": world.state},
            reports={"c0-h1": report("c0-h1", OLD)},
            baseline={UNIT.unit: frozenset({OLD})},
        ),
        BEGIN + HOUR,
    ) == ["unknown ungated-change"]
