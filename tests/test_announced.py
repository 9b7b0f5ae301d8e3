"""The document on the rollouts topic: what may be added to it, when a stage starts, and what is refused."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from detectors.errors import BadInput
from detectors.policy import Metric, Policy
from holdfast.documents import recheck
from rollouts.announced import (
    Announcement,
    announce,
    decode,
    encode,
    finished_at,
    follows,
    replaced,
    start_of,
    with_event,
)
from rollouts.document import NOT_YET, Rollout, Stage
from tests.test_certificate import made

POLICY = Policy(policy="edge", metrics=[Metric(name="busy", gauge="cpu", worse="increase", breach="halt")])
BEGIN = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def stage(name: str, started: datetime | None = None) -> Stage:
    return Stage(name=name, canary={"cohort": name}, bake="30m", started=started)


PLAN = Rollout(rollout="bots", started=BEGIN, stages=[stage("canary"), stage("region"), stage("fleet")])
FIRST = announce(PLAN, POLICY)
DATED = announce(msgspec.structs.replace(PLAN, stages=[stage("canary"), stage("region", at(60))]), POLICY)


def started(announcement: Announcement, name: str, minutes: float) -> Announcement:
    return with_event(announcement, "started", name, at(minutes))


def finished(announcement: Announcement, minutes: float) -> Announcement:
    return with_event(announcement, "finished", None, at(minutes))


def test_a_rollout_is_announced_with_version_1() -> None:
    assert FIRST.version == 1


def test_each_event_is_added_behind_the_others_and_bears_the_version_that_brought_it() -> None:
    both = started(started(FIRST, "canary", 1), "region", 40)
    assert [(told.version, told.stage) for told in both.events] == [(2, "canary"), (3, "region")]
    assert both.version == 3


def test_an_event_leaves_the_announcement_that_it_is_added_to_as_it_was() -> None:
    before = encode(FIRST)
    started(FIRST, "canary", 1)
    assert encode(FIRST) == before


def test_the_same_event_again_changes_nothing() -> None:
    once = started(FIRST, "canary", 1)
    assert started(once, "canary", 1) is once


def test_the_first_stage_starts_with_the_rollout() -> None:
    assert start_of(FIRST, 0) == BEGIN


def test_a_rollout_that_an_event_starts_has_no_start_until_then() -> None:
    plan = announce(msgspec.structs.replace(PLAN, started=NOT_YET), POLICY)
    assert start_of(plan, 0) is None
    assert start_of(started(plan, "canary", 5), 0) == at(5)


def test_a_later_stage_without_a_time_has_not_started() -> None:
    assert start_of(FIRST, 1) is None


def test_a_stage_starts_when_the_plan_says() -> None:
    assert start_of(DATED, 1) == at(60)


@pytest.mark.parametrize(("name", "index", "minutes"), [("canary", 0, 5), ("region", 1, 90)])
def test_an_event_wins_over_the_time_in_the_plan(name: str, index: int, minutes: float) -> None:
    assert start_of(started(DATED, name, minutes), index) == at(minutes)


def test_a_stage_that_is_due_after_the_end_never_starts() -> None:
    assert start_of(finished(DATED, 50), 1) is None


def test_a_stage_that_started_before_the_end_keeps_its_start() -> None:
    assert start_of(finished(started(FIRST, "canary", 1), 50), 0) == at(1)


def test_a_rollout_may_be_called_off_before_it_starts() -> None:
    assert start_of(finished(FIRST, -5), 0) is None


def test_the_end_is_the_time_of_the_event() -> None:
    assert (finished_at(FIRST), finished_at(finished(FIRST, 50))) == (None, at(50))


@pytest.mark.parametrize(
    ("add", "text"),
    [
        (lambda: started(FIRST, "moon", 1), "bots: stage: found 'moon'; allowed: canary, region, fleet"),
        (
            lambda: with_event(FIRST, "started", None, BEGIN),
            "bots: stage: found nothing; allowed: canary, region, fleet",
        ),
        (
            lambda: started(started(FIRST, "canary", 1), "canary", 2),
            "bots: stage: 'canary' has started already, at 2026-03-12T11:21:00Z",
        ),
        (
            lambda: started(FIRST, "fleet", 90),
            "bots: stage: 'fleet' cannot start before 'region' has; tell the start of that one first",
        ),
        (
            lambda: started(FIRST, "region", -1),
            "bots: effective_at: found 2026-03-12T11:19:00Z, before 'canary' started at 2026-03-12T11:20:00Z",
        ),
        (
            lambda: started(DATED, "canary", 61),
            "bots: effective_at: found 2026-03-12T12:21:00Z, after 'region' starts at 2026-03-12T12:20:00Z",
        ),
        (
            lambda: started(finished(FIRST, 50), "region", 60),
            "bots: found 'started' after the rollout finished at 2026-03-12T12:10:00Z; allowed: nothing more",
        ),
        (
            lambda: finished(finished(FIRST, 50), 60),
            "bots: found 'finished' after the rollout finished at 2026-03-12T12:10:00Z; allowed: nothing more",
        ),
        (
            lambda: with_event(FIRST, "finished", "canary", at(50)),
            "bots: stage: found 'canary' with 'finished'; allowed: nothing, a rollout finishes as a whole",
        ),
        (
            lambda: finished(started(FIRST, "canary", 50), 50),
            "bots: effective_at: found 2026-03-12T12:10:00Z; allowed: later than 2026-03-12T12:10:00Z, when 'canary'",
        ),
    ],
)
def test_an_event_is_refused_that(add: Callable[[], Announcement], text: str) -> None:
    with pytest.raises(BadInput, match=f"^{re.escape(text)}"):
        add()


OTHER = msgspec.structs.replace(PLAN, mode="shadow")


def test_a_plan_that_has_not_started_may_be_replaced() -> None:
    again = replaced(FIRST, OTHER, POLICY, at(-1))
    assert (again.version, again.rollout) == (2, OTHER)


def test_a_plan_is_not_replaced_by_itself() -> None:
    assert replaced(FIRST, PLAN, POLICY, at(5)) is FIRST


def test_a_plan_that_has_started_is_not_replaced() -> None:
    with pytest.raises(BadInput, match=r"^bots: started at 2026-03-12T11:20:00Z; allowed: to replace what has not"):
        replaced(FIRST, OTHER, POLICY, BEGIN)


def test_a_plan_with_an_event_is_not_replaced() -> None:
    with pytest.raises(BadInput, match=r"^bots: the event 'finished' was told already; allowed: "):
        replaced(finished(FIRST, -5), OTHER, POLICY, at(-10))


def test_decoding_undoes_encoding() -> None:
    whole = finished(started(started(FIRST, "canary", 1), "region", 40), 90)
    assert decode(encode(whole)) == whole


def test_events_of_a_plan_that_was_replaced_are_read() -> None:
    whole = started(replaced(FIRST, OTHER, POLICY, at(-1)), "canary", 1)
    assert decode(encode(whole)) == whole


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda found: found.pop("policy"), "Object missing required field `policy`"),
        (lambda found: found["rollout"].update(stages=[]), "Expected `array` of length >= 1 - at `$.rollout.stages`"),
        (lambda found: found["events"][1].update(stage="moon"), "events[1]: stage: found 'moon'; allowed: canary, "),
        (lambda found: found["events"][0].update(version=1), "events[0]: version: found 1; allowed: one more with "),
        (lambda found: found.update(version=9), "events[0]: version: found 2; allowed: one more with each event"),
        (lambda found: found["events"].reverse(), "events[0]: version: found 3; allowed: one more with each event"),
        (lambda found: found.update(colour="red"), "Object contains unknown field `colour`"),
    ],
)
def test_what_is_no_announcement_is_refused(change: Callable[[dict[str, object]], object], text: str) -> None:
    found = msgspec.json.decode(encode(started(started(FIRST, "canary", 1), "region", 40)))
    change(found)
    with pytest.raises(BadInput, match=f"^not an announcement: {re.escape(text)}"):
        decode(msgspec.json.encode(found))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput, match=r"^not an announcement: "):
        decode(raw)


def test_an_announcement_follows_one_with_fewer_events() -> None:
    assert follows(started(started(FIRST, "canary", 1), "region", 40), FIRST) is None


def test_a_version_does_not_go_back() -> None:
    later = started(FIRST, "canary", 1)
    assert follows(FIRST, later) == "version: found 1 after 2; allowed: a higher one"


def test_an_event_is_not_taken_back() -> None:
    other = started(started(FIRST, "canary", 2), "region", 40)
    assert follows(other, started(FIRST, "canary", 1)) == "events: found other events than the 1 of version 2"


def test_a_plan_with_events_stays_what_it_was() -> None:
    later = started(started(FIRST, "canary", 1), "region", 40)
    changed = msgspec.structs.replace(later, rollout=OTHER)
    text = "found another plan or policy than in version 2, which has events already"
    assert follows(changed, started(FIRST, "canary", 1)) == text


def test_a_document_with_its_defaults_spelled_out_passes_the_rules() -> None:
    recheck(POLICY, PLAN, "here")


def test_the_rules_name_every_error_of_both_documents() -> None:
    policy = msgspec.structs.replace(POLICY, tick="0s")
    rollout = msgspec.structs.replace(PLAN, stages=[stage("canary"), stage("canary")])
    with pytest.raises(BadInput) as refused:
        recheck(policy, rollout, "here")
    assert str(refused.value).splitlines() == [
        'here: policy: tick: found "0s"; a tick must be longer than 0',
        'here: rollout: stages[1].name: found "canary", the name of stages[0] too; allowed: each name once',
    ]


# ---------------------------------------------------------------- certificates


def test_a_certificate_travels_with_the_announcement() -> None:
    announced = announce(PLAN, POLICY, made())
    assert decode(encode(announced)) == announced
    assert started(announced, "canary", 1).certificate == made()


def test_what_has_no_certificate_is_written_as_it_always_was() -> None:
    assert b"certificate" not in encode(FIRST)
    assert decode(encode(FIRST)).certificate is msgspec.UNSET


def test_a_certificate_may_be_added_to_what_has_started() -> None:
    running = started(FIRST, "canary", 1)
    certified = replaced(running, PLAN, POLICY, at(5), made())
    assert (certified.version, certified.events, certified.certificate) == (3, running.events, made())
    assert follows(certified, running) is None


def test_the_same_certificate_again_changes_nothing_and_none_takes_none_away() -> None:
    certified = announce(PLAN, POLICY, made())
    assert replaced(certified, PLAN, POLICY, at(-5), made()) is certified
    assert replaced(certified, PLAN, POLICY, at(-5)) is certified


def test_another_policy_does_not_keep_the_certificate_of_the_one_before() -> None:
    other = msgspec.structs.replace(POLICY, alpha=0.02)
    assert replaced(announce(PLAN, POLICY, made()), PLAN, other, at(-5)).certificate is msgspec.UNSET
