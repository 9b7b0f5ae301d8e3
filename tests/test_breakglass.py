"""Overrides: what puts one in force, and what is refused, whoever wrote it to the log."""

from datetime import timedelta

import msgspec
import pytest

from rollouts.breakglass import APPROVE, CLOCK_SECONDS_MAX, DENY, REQUEST, REVOKE, Request, Seen, in_force, status, take
from rollouts.people import KINDS, OverrideKind, Roster, roster, with_role
from tests.overrides import HERE, NOW, PEOPLE, RULE, WHO, Log, hand, person, request, vote

LATER = NOW + timedelta(minutes=2)
END = NOW + timedelta(hours=1)
ADVANCE = request(kind="force_advance")


def asked(request_: Request = ADVANCE) -> Log:
    log = Log()
    assert log.ask(request_) is None
    return log


def statuses(log: Log, at=LATER) -> list[str]:
    state = log.state()
    return [status(state, held, at) for held in state.held.values()]


# ---------------------------------------------------------------- into force, and out of it


def test_so_many_different_people_put_an_override_in_force() -> None:
    log = asked()
    assert (statuses(log), in_force(log.state(), LATER)) == (["pending"], ())
    assert log.approve(ADVANCE, 2) is None
    assert statuses(log) == ["pending"]
    assert log.approve(ADVANCE, 3) is None
    assert statuses(log) == ["in force"]
    assert [held.request.override for held in in_force(log.state(), LATER)] == ["force_advance"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_can_be_put_in_force(kind: OverrideKind) -> None:
    log = asked(request(kind=kind))
    log.approve(request(kind=kind), 2)
    log.approve(request(kind=kind), 3)
    assert statuses(log) == ["in force"]


def test_it_ends_when_it_was_said_to() -> None:
    log = asked()
    log.approve(ADVANCE, 2)
    log.approve(ADVANCE, 3)
    assert statuses(log, END - timedelta(milliseconds=1)) == ["in force"]
    assert statuses(log, END) == ["expired"]
    assert in_force(log.state(), END) == ()


def test_one_denial_ends_a_request() -> None:
    log = asked()
    assert log.say(DENY, vote(2, ADVANCE), 2) is None
    assert statuses(log) == ["denied"]
    assert log.approve(ADVANCE, 3) == "over"


def test_what_is_in_force_is_revoked_and_not_denied() -> None:
    log = asked()
    log.approve(ADVANCE, 2)
    log.approve(ADVANCE, 3)
    assert log.say(DENY, vote(2, ADVANCE), 2) == "over"
    assert log.say(REVOKE, vote(2, ADVANCE), 2) is None
    assert statuses(log) == ["revoked"]


def test_who_asked_may_take_it_back() -> None:
    log = asked()
    assert log.say(REVOKE, vote(1, ADVANCE), 1) is None
    assert statuses(log) == ["revoked"]


def test_a_drill_goes_the_same_way_and_is_never_in_force() -> None:
    drill = request(kind="force_revert", drill=True)
    log = asked(drill)
    log.approve(drill, 2)
    assert statuses(log) == ["in force"]
    assert in_force(log.state(), LATER) == ()


def test_entries_of_other_kinds_change_nothing() -> None:
    log = asked()
    before = log.state()
    log.put("rollout.refused", {"why": "x"})
    log.put("breakglass.refused", {"why": "x"})
    assert log.state() == before


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("seed", "changes", "why"),
    [
        (5, {}, "key"),  # ended
        (6, {}, "key"),  # nobody's
        (1, {"by": "bo"}, "key"),  # another's
        (1, {"people": "sha256:0"}, "people"),
        (1, {"signed": NOW - timedelta(seconds=CLOCK_SECONDS_MAX + 1)}, "clock"),
        (1, {"signed": NOW + timedelta(seconds=CLOCK_SECONDS_MAX + 1)}, "clock"),
        (1, {"expires": NOW}, "expired"),
        (1, {"expires": NOW + timedelta(hours=4, seconds=1)}, "rule"),
        (1, {"stage": None}, "target"),
        (1, {"metric": "errors"}, "target"),
        (1, {"reason": ""}, "unreadable"),
        (1, {"nonce": "x"}, "unreadable"),
        (1, {"expires": NOW.replace(year=9999)}, "unreadable"),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(seed: int, changes: dict[str, object], why: str) -> None:
    log = Log()
    wanted = msgspec.structs.replace(request(seed, "force_advance"), **changes)
    assert log.ask(wanted, seed) == why
    assert log.state().held == {}
    assert [each.refusal.why for each in log.state().refused] == [why]


def test_the_same_request_again_is_a_replay() -> None:
    log = asked()
    log.say(REVOKE, vote(1, ADVANCE), 1)
    assert log.ask(ADVANCE) == "replayed"
    assert statuses(log) == ["revoked"]


def test_an_override_without_a_rule_is_nobodys_to_ask_for() -> None:
    rules = msgspec.structs.replace(PEOPLE.overrides, freeze_all=None)
    who = roster(msgspec.structs.replace(PEOPLE, overrides=rules))
    assert Log(who).ask(request(kind="freeze_all", people=who.today)) == "rule"


def test_who_has_not_the_role_cannot_ask() -> None:
    rule = msgspec.structs.replace(RULE, asked_by="owner")
    who = roster(msgspec.structs.replace(PEOPLE, overrides=msgspec.structs.replace(PEOPLE.overrides, freeze_all=rule)))
    assert Log(who).ask(request(kind="freeze_all", people=who.today)) == "role"
    assert Log(who).ask(request(4, "freeze_all", people=who.today), 4) is None


@pytest.mark.parametrize(
    ("seed", "why"), [(1, "own"), (4, "role"), (5, "key"), (6, "key")], ids=["own", "role", "ended", "nobody's"]
)
def test_an_approval_that_breaks_a_rule_is_refused(seed: int, why: str) -> None:
    log = asked()
    assert log.approve(ADVANCE, seed) == why
    assert log.state().held == asked().state().held


def test_one_person_has_one_vote_even_with_two_keys() -> None:
    log = asked()
    assert log.approve(ADVANCE, 2) is None
    assert log.approve(ADVANCE, 12) == "twice"
    assert statuses(log) == ["pending"]


def test_nobody_can_approve_what_was_not_asked_for() -> None:
    assert Log().approve(ADVANCE, 2) == "unknown"


def test_an_approval_after_the_end_is_too_late() -> None:
    log = asked()
    log.approve(ADVANCE, 2)
    assert log.approve(ADVANCE, 3, END) == "expired"
    assert statuses(log, END) == ["expired"]


def test_an_approval_counts_for_what_was_asked_for_and_nothing_else() -> None:
    log = asked()
    other = msgspec.structs.replace(ADVANCE, stage="fleet")
    assert log.approve(other, 2) == "unknown"


@pytest.mark.parametrize("changes", [{"stage": "fleet"}, {"reason": "because"}, {"expires": END + timedelta(hours=1)}])
def test_a_request_that_was_tampered_with_is_refused(changes: dict[str, object]) -> None:
    signed = hand(1).sign(REQUEST, HERE, ADVANCE)
    tampered = msgspec.to_builtins(msgspec.structs.replace(ADVANCE, **changes)) | {"signature": signed["signature"]}
    log = Log()
    log.put(REQUEST, tampered)
    assert (log.state().held, log.state().refused[0].refusal.why) == ({}, "signature")


def test_a_signature_of_another_installation_does_not_count_here() -> None:
    log = Log()
    log.put(REQUEST, hand(1).sign(REQUEST, "staging", ADVANCE))
    assert log.state().refused[0].refusal.why == "signature"


def test_a_denial_is_no_approval() -> None:
    log = asked()
    log.put(APPROVE, hand(2).sign(DENY, HERE, vote(2, ADVANCE)), "bo")
    assert log.state().refused[0].refusal.why == "signature"


def test_who_writes_must_be_who_signs() -> None:
    log = Log()
    log.put(REQUEST, hand(1).sign(REQUEST, HERE, ADVANCE), "bo")
    assert log.state().refused[0].refusal.why == "unreadable"


def test_a_writer_whose_clock_is_not_the_brokers_is_refused() -> None:
    body = hand(1).sign(REQUEST, HERE, ADVANCE)
    for seconds, why in ((CLOCK_SECONDS_MAX, None), (CLOCK_SECONDS_MAX + 1, "clock")):
        seen = Seen(kind=REQUEST, who="ada", at=NOW, body=body, written=NOW + timedelta(seconds=seconds))
        _, refusal = take(Log().state(), seen, HERE, WHO)
        assert (refusal and refusal.why) == why


def test_a_key_that_has_ended_cannot_sign_with_an_old_time() -> None:
    log = asked(request(kind="freeze_all"))
    past = NOW - timedelta(days=2)
    assert log.ask(request(5, "freeze_all", signed=past, expires=past + timedelta(hours=1)), 5, past) == "clock"


# ---------------------------------------------------------------- people who change, logs that are broken


def changed_people() -> tuple[Roster, Roster]:
    more = msgspec.structs.replace(PEOPLE, people=[*PEOPLE.people, person("eve", 7)])
    return roster(more), roster(more, [PEOPLE])


def test_what_was_asked_for_under_other_people_does_not_count() -> None:
    alone, _ = changed_people()
    log = asked()
    log.who = alone
    assert log.state().held == {}
    assert log.state().refused[0].refusal.why == "people"


def test_former_people_keep_what_was_asked_for_under_them_in_force() -> None:
    _, both = changed_people()
    log = asked()
    log.approve(ADVANCE, 2)
    log.approve(ADVANCE, 3)
    log.who = both
    assert statuses(log) == ["in force"]


def test_a_change_of_people_between_request_and_approval_is_noticed() -> None:
    _, both = changed_people()
    log = asked()
    log.who = both
    assert log.say(APPROVE, vote(2, ADVANCE, people=both.today), 2) == "people"
    assert log.say(REVOKE, vote(2, ADVANCE, people=both.today), 2) is None


def test_while_the_log_is_broken_what_loosens_is_suspended_and_what_tightens_is_not() -> None:
    freeze = request(kind="freeze_all")
    log = asked()
    log.ask(freeze)
    for one in (ADVANCE, freeze):
        log.approve(one, 2)
        log.approve(one, 3)
    log.put("test.entry", {})
    log.put("test.entry", {})
    del log.raws[6]
    assert statuses(log) == ["suspended", "in force"]
    assert [held.request.override for held in in_force(log.state(), LATER)] == ["freeze_all"]


def test_who_has_a_role_and_a_key_that_counts() -> None:
    assert [each.name for each in with_role(PEOPLE, "sre", NOW)] == ["ada", "bo", "cy"]
    assert [each.name for each in with_role(PEOPLE, "sre", NOW - timedelta(days=2))] == ["ada", "bo", "cy", "old"]
