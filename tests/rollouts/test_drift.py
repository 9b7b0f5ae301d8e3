"""Drift: each kind of finding appears when something is wrong, vanishes when it is right, and is unknown in between."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from detectors.policy import Metric, Policy, Ratio
from rollouts.announced import Announcement, announce, with_event
from rollouts.audit import Chain, Record
from rollouts.breakglass import fold
from rollouts.controlled import State
from rollouts.document import Rollout, Stage, Unit
from rollouts.drift import CHECKS, Check, audit, counts, standing
from rollouts.drift_facts import (
    KINDS,
    Bounds,
    Facts,
    Finding,
    Judged,
    Kind,
    Log,
    Sent,
    Series,
    Unknown,
    Verdicts,
    Watched,
    series_of,
)
from rollouts.drift_notes import FOUND, GONE, Note, after, changes, open_of
from rollouts.reports import Report
from tests.overrides import NOW as SIGNED
from tests.overrides import WHO, request
from tests.overrides import Log as People
from tests.rollouts.fleet import BEGIN, NEW, OLD, UNIT
from tests.rollouts.test_controller import baking, command
from tests.test_certificate import made as certificate

NOW = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MINE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
ENGINE = certificate().certificate.engine
POLICY = Policy(
    policy="edge",
    metrics=[
        Metric(name="busy", gauge="cpu", worse="increase", breach="halt"),
        Metric(
            name="errors",
            ratio=Ratio(bad="bad", total="all"),
            select={"service": ["kv", "k?"]},
            worse="increase",
            breach="halt",
        ),
    ],
)
CPU = Series(metric="cpu")
ALL, BAD = (Series(metric=name, select=(("service", ("kv", "k?")),)) for name in ("all", "bad"))
ROLLOUT = Rollout(
    rollout="bots",
    started=NOW - 2 * HOUR,
    package=[UNIT],
    stages=[
        Stage(name="one", canary={"host": "c0-h0"}, bake="30m", deadline="3h"),
        Stage(name="rest", canary={"host": "*"}, bake="30m", deadline="3h"),
    ],
)


def watched(announcement: Announcement | None = None, **given: Any) -> Watched:
    return Watched(announcement=announcement or announce(ROLLOUT, POLICY, certificate()), policy=MINE, **given)


def report(host: str = "c0-h0", digest: str = NEW, at: datetime = NOW) -> Report:
    return Report(host=host, colo="c0", region="r0", sequence=1, at=at, units={UNIT.unit: digest})


def facts(**given: Any) -> Facts:
    """Give facts in which everything is as it should be, but for what is said."""
    fine: dict[str, Any] = {
        "rollouts": {"bots": watched()},
        "control": {},
        "reports": {"c0-h0": report()},
        "verdicts": Verdicts(
            policies={MINE: NOW - HOUR},
            newest={"bots": Judged(policy=MINE, engine=ENGINE, at=NOW - HOUR)},
            since=NOW - 14 * DAY,
        ),
        "sent": Sent(now=frozenset({CPU, ALL, BAD}), ever=frozenset(), since=NOW - HOUR),
        "log": Log(broken=None, drilled=NOW - DAY, overrides=fold(People().chain(), WHO)),
    }
    return Facts(**{**fine, **given})


def found(given: Facts, now: datetime = NOW) -> list[Finding]:
    return audit(given, now)


def only(given: Facts, now: datetime = NOW) -> Finding:
    (one,) = found(given, now)
    return one


def kinds(given: Facts, now: datetime = NOW) -> list[str]:
    return [f"{'' if one.known else 'unknown '}{one.kind}" for one in found(given, now)]


def rollout(**given: Any) -> dict[str, Watched]:
    return {"bots": watched(**given)}


def replaced(**given: Any) -> dict[str, Watched]:
    return {"bots": watched(announce(replace(ROLLOUT, **given), POLICY, certificate()))}


def test_where_all_is_right_there_is_no_drift() -> None:
    assert (found(facts()), standing([])) == ([], "none")


# ---------------------------------------------------------------- policies and gates


def test_a_record_that_is_no_announcement_is_a_rollout_without_policy() -> None:
    one = only(facts(unreadable={"edge": "not an announcement: no policy"}))
    assert (one.kind, one.subject, one.known) == ("without-policy", "edge", True)
    assert "no policy" in one.sentence


def under_control(phase: str = "baking", **given: Any) -> State:
    return replace(baking("one").state, phase=phase, at=NOW, **given)


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


def verdicts(last: datetime | None, since: datetime = NOW - 14 * DAY) -> Verdicts:
    return Verdicts(policies={} if last is None else {MINE: last}, newest={}, since=since)


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


def sent(*series: Series, **given: Any) -> Sent:
    return Sent(**{"now": frozenset(series), "ever": frozenset(), "since": NOW - HOUR, **given})


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


# ---------------------------------------------------------------- what is not known


FIELDS = ("rollouts", "control", "reports", "verdicts", "sent", "log", "settings")
WRONG: dict[str, Any] = {
    "rollouts": {"bots": watched(announce(ROLLOUT, POLICY), objection="none")},
    "control": {"bots": under_control("halted", halted="why")},
    "reports": {"c0-h0": report(digest=OLD)},
    "verdicts": verdicts(None),
    "sent": sent(),
    "log": Log(broken="broken", drilled=None, overrides=fold(People().chain(), WHO)),
    "settings": {"topic audit": "there is none"},
}
LOOKED_AT: dict[str, set[Kind]] = {
    "rollouts": {
        "without-policy",
        "without-gate",
        "policy-differs",
        "never-exercised",
        "metric-unsent",
        "ungated-change",
        "override-overdue",
        "past-deadline",
    },
    "control": {"without-policy", "ungated-change", "past-deadline", "stuck"},
    "reports": {"ungated-change"},
    "verdicts": {"policy-differs", "never-exercised"},
    "sent": {"metric-unsent"},
    "log": {"no-drill", "override-expiring", "override-overdue", "audit-broken"},
    "settings": {"settings-differ"},
}


@given(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["wrong", "unknown"])))
def test_what_is_not_known_is_never_taken_for_fine(states: dict[str, str]) -> None:
    given = {name: WRONG[name] if state == "wrong" else Unknown(why=f"no {name}") for name, state in states.items()}
    findings = found(facts(**given), NOW + DAY)
    doubted = {one.kind for one in findings if not one.known}
    for name, state in states.items():
        if state == "unknown":
            assert LOOKED_AT[name] <= doubted
    assert len({(one.kind, one.subject) for one in findings}) == len(findings)
    assert (standing(findings) == "none") == (not findings)
    assert [KINDS.index(one.kind) for one in findings] == sorted(KINDS.index(one.kind) for one in findings)


def test_if_nothing_is_known_every_kind_says_so() -> None:
    away = Unknown(why="no answer")
    findings = found(facts(**dict.fromkeys(FIELDS, away)))
    assert [one.kind for one in findings] == list(KINDS)
    assert standing(findings) == "unknown"
    assert set(counts(findings, known=True).values()) == {0}
    assert set(counts(findings, known=False).values()) == {1}


def test_every_kind_has_one_check() -> None:
    assert [check.kind for check in CHECKS] == list(KINDS)


def test_what_is_found_outweighs_what_is_not_known() -> None:
    findings = found(facts(log=Unknown(why="away"), sent=sent()))
    assert standing(findings) == "found"


def test_kinds_that_are_left_out_are_not_looked_for() -> None:
    bounds = Bounds(leave_out=frozenset({"metric-unsent"}))
    assert found(facts(sent=Unknown(why="away"), bounds=bounds)) == []


def test_a_check_can_be_added() -> None:
    overdue = Finding(kind="stuck", subject="incident 7", sentence="an action item is overdue")
    look: Callable[[Facts, datetime], list[Finding]] = lambda _facts, now: [overdue] if now > NOW else []  # noqa: E731
    checks = [*CHECKS, Check(kind="stuck", look=look)]
    given = facts()
    assert audit(given, NOW, checks) == []
    assert audit(given, NOW + timedelta(seconds=1), checks) == [overdue]


# ---------------------------------------------------------------- what is written down

FINDING = st.builds(
    Finding,
    kind=st.sampled_from(KINDS[:4]),
    subject=st.sampled_from("abc"),
    sentence=st.sampled_from(["one", "two"]),
    known=st.booleans(),
)


def named(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(one.kind, one.subject) for one in findings if one.known}


@given(st.lists(st.lists(FINDING, max_size=6), max_size=6))
def test_what_is_written_down_tells_what_is_open_and_says_nothing_twice(looks: list[list[Finding]]) -> None:
    chain, offset = Chain("edge"), 0
    for findings in looks:
        before = open_of(chain.links)
        notes = changes(before, findings)
        for note in notes:
            body = {"drift": note.kind, "about": note.subject, "sentence": note.sentence}
            _, raw = chain.following(time=NOW, who="drift", kind=note.entry, subject="", body=body)
            chain.take(Record(raw=raw, offset=offset))
            offset += 1
        open_now = open_of(chain.links)
        assert open_now == after(before, notes)
        assert named(findings) <= open_now.keys()
        doubtful = {one.kind for one in findings if not one.known}
        assert all(kind in doubtful for kind, _ in open_now.keys() - named(findings))
        assert changes(open_now, findings) == []


def test_a_finding_is_written_when_it_comes_and_when_it_goes() -> None:
    one = Finding(kind="stuck", subject="bots", sentence="halted")
    came = changes({}, [one])
    assert came == [Note(entry=FOUND, kind="stuck", subject="bots", sentence="halted")]
    assert [note.entry for note in changes(after({}, came), [])] == [GONE]
    assert changes(after({}, came), [replace(one, known=False)]) == []


def test_units_of_one_name_are_told_apart_by_their_digests() -> None:
    package = [Unit(unit=UNIT.unit, kind=UNIT.kind, digest=OLD)]
    assert kinds(facts(rollouts=replaced(package=package))) == ["ungated-change"]
