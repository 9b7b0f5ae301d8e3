"""Drift that cannot be told is never taken for none, and what is found is written down once."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rollouts.announced import announce
from rollouts.audit import Chain, Record
from rollouts.breakglass import fold
from rollouts.document import Unit
from rollouts.drift import CHECKS, Check, audit, counts, standing
from rollouts.drift_facts import (
    KINDS,
    Bounds,
    Facts,
    Finding,
    Kind,
    Log,
    Unknown,
)
from rollouts.drift_notes import FOUND, GONE, Note, after, changes, open_of
from rollouts.incidents.history import ActionAdded, ActionItem
from tests.overrides import WHO
from tests.overrides import Log as People
from tests.rollouts.drifting import (
    DAY,
    NOW,
    POLICY,
    ROLLOUT,
    facts,
    found,
    kinds,
    replaced,
    report,
    sent,
    under_control,
    verdicts,
    watched,
)
from tests.rollouts.fleet import OLD, UNIT
from tests.rollouts.incidents.making import NAME, incident

# ---------------------------------------------------------------- what is not known


FIELDS = ("rollouts", "control", "reports", "verdicts", "sent", "log", "incidents", "settings")
ITEM = ActionItem(id="a1", what="Limit the size", owner="grace", due=NOW - DAY)
WRONG: dict[str, Any] = {
    "rollouts": {"bots": watched(announce(ROLLOUT, POLICY), objection="none")},
    "control": {"bots": under_control("halted", halted="why")},
    "reports": {"c0-h0": report(digest=OLD)},
    "verdicts": verdicts(None),
    "sent": sent(),
    "log": Log(broken="broken", drilled=None, overrides=fold(People().chain(), WHO)),
    "incidents": {NAME: incident(ActionAdded(at=NOW, by="ada", item=ITEM))},
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
    "incidents": {"action-overdue"},
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
