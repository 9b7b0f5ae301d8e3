"""What everybody may read: all that is meant for them, and nothing that is not."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.status.pages import Look
from holdfast.status.site import Site
from holdfast.status.snapshot import Public, PublicIncident, digest, encode
from rollouts.incidents import history as events
from rollouts.incidents.history import History
from rollouts.incidents.response import Response
from tests.status.samples import (
    DAY,
    HIDDEN,
    MINUTE,
    NOW,
    PERSON,
    RESPONSE,
    SECRET_TEXT,
    Memory,
    histories,
    impact,
    live,
    made,
    name,
    opened,
    past,
    told,
)


def by_name(public: Public) -> dict[str, PublicIncident]:
    return {each.id: each for each in public.incidents}


def states(public: Public) -> dict[str, str]:
    return {each.name: each.state for each in public.components}


def every_public_byte(found: dict[str, History]) -> bytes:
    site = Site(made(found), Look("Example"), "https://status.example.com", "holdfast", NOW)
    pages = [site.page(path) for path in site.public]
    files = [content for _, content in site.files()]
    return b"\n".join([*(each.body for each in pages if each is not None), *files])


def test_nothing_that_is_not_public_is_in_any_public_byte() -> None:
    whole = every_public_byte(histories())
    assert SECRET_TEXT.encode() not in whole
    for secret in (b"ams01", b"fra02", b"0.124", b"12.4", b"0.054", b"bots-", b"Revert of", b"canary", b"Ada"):
        assert secret not in whole, secret


def test_what_is_meant_for_everybody_is_on_the_page() -> None:
    whole = every_public_byte(histories()).decode()
    assert "Some queries are not answered." in whole
    assert "Partial outage of DNS" in whole


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=15, deadline=None)
@given(title=WORDS, person=WORDS, why=WORDS, colo=WORDS)
def test_internal_words_do_not_leak_whatever_they_are(title: str, person: str, why: str, colo: str) -> None:
    mark = "\u16a0\u16a1\u16a2"
    secret = [f"{mark}{each}{mark}" for each in (title, person, why, colo)]
    hurt = events.Impact(colos=[secret[3]], services=["dns", secret[3]], metrics=[secret[3]])
    found = History(
        incident=name(7),
        events=[
            events.Opened(at=NOW - 9 * MINUTE, by=secret[1], title=secret[0], severity="minor", impact=hurt),
            events.RoleTaken(at=NOW - 8 * MINUTE, by=secret[1], role="lead", person=secret[1]),
            events.Updated(at=NOW - 7 * MINUTE, by=secret[1], text=secret[2]),
            events.Assessed(at=NOW - 6 * MINUTE, by=secret[1], severity="major", why=secret[2]),
            events.Mitigated(at=NOW - 5 * MINUTE, by=secret[1], how=secret[2]),
            events.Reopened(at=NOW - 4 * MINUTE, by=secret[1], why=secret[2]),
            events.Resolved(at=NOW - 3 * MINUTE, by=secret[1], how=secret[2]),
        ],
    )
    whole = every_public_byte({found.incident: found}).decode()
    assert "Partial outage of DNS" in whole
    for character in mark:
        assert character not in whole


def test_a_drill_is_not_in_public() -> None:
    found = History(incident=name(5), events=[opened(NOW - MINUTE, "dns", severity="critical", is_drill=True)])
    public = told({found.incident: found})
    assert (public.incidents, public.state, states(public)["dns"]) == ([], "operational", "operational")


def test_a_drill_hurts_nobodys_days() -> None:
    found = History(incident=name(5), events=[opened(NOW - MINUTE, "dns", severity="critical", is_drill=True)])
    assert told({found.incident: found}).components[0].days[-1].state == "operational"


def test_what_hurts_no_public_service_is_told_once_somebody_says_something_in_public() -> None:
    hidden = opened(NOW - 9 * MINUTE, HIDDEN)
    quiet = History(incident=name(5), events=[hidden])
    said = events.Updated(at=NOW - MINUTE, by=PERSON, text="It is us.", is_public=True)
    assert told({quiet.incident: quiet}).incidents == []
    public = told({quiet.incident: History(incident=quiet.incident, events=[hidden, said])})
    assert [(each.title, each.updates[0].text) for each in public.incidents] == [("Partial outage", "It is us.")]
    assert public.state == "partial-outage"


def test_a_service_is_as_bad_as_the_worst_that_goes_on() -> None:
    found = [
        History(incident=name(number), events=[opened(NOW - MINUTE, "dns", severity=severity)])
        for number, severity in enumerate(events.SEVERITIES)
    ]
    public = told({each.incident: each for each in found})
    assert states(public) == {"dns": "outage", "http": "operational", "kv": "operational"}
    assert public.state == "outage"


def test_what_is_mitigated_hurts_no_more_and_is_still_told_of() -> None:
    found = live()
    done = History(
        incident=found.incident, events=[*found.events, events.Mitigated(at=NOW - MINUTE, by=PERSON, how="x")]
    )
    public = told({found.incident: done})
    assert states(public)["dns"] == "operational"
    assert [each.phase for each in public.current] == ["mitigated"]


def test_closed_is_resolved_to_everybody() -> None:
    found = past(NOW - DAY, 3)
    assert by_name(told({found.incident: found}))[found.incident].phase == "resolved"


def test_the_next_update_is_promised_by_what_was_said_in_public() -> None:
    found = live()
    inside = events.Updated(at=NOW - MINUTE, by=PERSON, text="x", next_update=NOW + 9 * MINUTE)
    public = told({found.incident: History(incident=found.incident, events=[*found.events, inside])})
    assert by_name(public)[found.incident].next_update == NOW + 5 * MINUTE


def test_an_incident_that_went_on_as_another_leads_there() -> None:
    one, other = live(number=1), live(number=2)
    merged = events.MergedInto(at=NOW - MINUTE, by=PERSON, incident=other.incident)
    public = told({one.incident: History(incident=one.incident, events=[*one.events, merged]), other.incident: other})
    assert by_name(public)[one.incident].merged_into == other.incident
    assert [each.id for each in public.current] == [other.incident]


def test_an_incident_that_went_on_as_what_nobody_may_read_is_not_told_of() -> None:
    one = live(number=1)
    merged = events.MergedInto(at=NOW - MINUTE, by=PERSON, incident=name(90))
    found = {**histories(), one.incident: History(incident=one.incident, events=[*one.events, merged])}
    assert one.incident not in by_name(told(found))
    assert name(90).encode() not in every_public_byte(found)


def test_what_cannot_be_read_makes_all_unknown_and_not_healthy() -> None:
    broken = History(incident=name(5), events=[])
    assert told({broken.incident: broken}).state == "unknown"


def test_equal_histories_are_equal_bytes_in_whatever_order_they_came() -> None:
    found = list(histories().items())
    assert len({encode(made(dict(some))) for some in (found, found[::-1])}) == 1


def test_a_snapshot_a_minute_later_says_the_same_if_nothing_has_happened() -> None:
    assert digest(replace(told(), as_of=NOW + MINUTE)) == digest(told())


def test_a_public_update_changes_what_the_snapshot_says() -> None:
    found = live()
    more = events.Updated(at=NOW, by=PERSON, text="More.", is_public=True)
    grown = History(incident=found.incident, events=[*found.events, more])
    assert digest(told({found.incident: grown})) != digest(told({found.incident: found}))


def test_those_who_respond_read_when_the_next_word_is_promised_though_nobody_has_said_one() -> None:
    one = History(incident=name(9), events=[opened(NOW - MINUTE, "dns", severity="critical")])
    assert [each.next_update for each in made({one.incident: one}).internal.incidents] == [NOW + 29 * MINUTE]


def test_an_internal_update_does_not_change_what_the_public_snapshot_says() -> None:
    found = live()
    more = events.Updated(at=NOW, by=PERSON, text="More.", is_public=False)
    grown = History(incident=found.incident, events=[*found.events, more])
    one, other = made({found.incident: found}), made({found.incident: grown})
    assert digest(one.public) == digest(other.public)
    assert digest(one.internal) != digest(other.internal)


@pytest.mark.parametrize("text", ["a\x00b", "a\u202eb", "a\x1bb", "a\u200bb", "a\ufeffb", "a\x85b", "a\u2066b"])
def test_what_cannot_be_seen_does_not_get_through(text: str) -> None:
    found = live()
    more = events.Updated(at=NOW, by=PERSON, text=text, is_public=True)
    public = told({found.incident: History(incident=found.incident, events=[*found.events, more])})
    assert public.incidents[0].updates[0].text == "a\ufffdb"


def test_without_a_document_there_are_no_services_and_incidents_are_told_of_where_somebody_did() -> None:
    found = live()
    public = told({found.incident: found}, response=Response(response="none"))
    assert public.components == []
    assert [each.title for each in public.incidents] == ["Partial outage"]


def test_more_incidents_than_can_be_told_of_leave_the_oldest_out() -> None:
    days = itertools.count()
    found = [past(NOW - next(days) * MINUTE, number) for number in range(2_010)]
    public = told({each.incident: each for each in found})
    assert len(public.incidents) == 2_000
    assert public.incidents[0].opened == NOW


def test_those_who_respond_read_who_is_on_it_and_what_is_late() -> None:
    internal = made(at=NOW + 20 * MINUTE).internal
    assert [each.roles for each in internal.overdue] == [{"lead": PERSON}]
    assert [(each.id, each.owner) for each in internal.actions] == [("a1", PERSON)]
    assert {each.id for each in internal.incidents if each.is_drill} == {name(91)}


def test_those_who_respond_read_the_stopped_rollout_first_with_its_reach_and_reasons() -> None:
    first = made().internal.rollouts[0]
    assert first.reach is not None
    assert (first.rollout, first.action, first.reach.hosts, first.reasons_left_out) == ("bots-0312", "revert", 12, 1)


def test_what_was_not_heard_is_not_relied_on() -> None:
    found = {each.rollout: each.doubt for each in made().internal.rollouts}
    assert found == {"bots-0312": None, "dns-7": None, "kv-2": "nothing was heard of it yet"}


def test_the_samples_have_what_the_tests_look_for() -> None:
    assert SECRET_TEXT in encode(made().internal).decode()
    assert any(not each.is_public for each in RESPONSE.components)
    assert Memory().as_of() == NOW
    assert impact().colos
