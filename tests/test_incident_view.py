"""What people say of an incident, and how it is shown to them."""

import io
import re
from datetime import timedelta

import pytest
from rich.console import Console

from holdfast.errors import BadInput
from holdfast.response.saying import incident_id, line, lines, when
from holdfast.response.telling import told
from holdfast.response.view import console_of, in_order, show, show_list
from rollouts.incidents.folding import fold, folded
from rollouts.incidents.history import (
    Acknowledged,
    ActionAdded,
    ActionDone,
    ActionItem,
    Assessed,
    Candidate,
    Closed,
    Dated,
    Escalated,
    Event,
    History,
    Joined,
    Kept,
    MergedInto,
    Mitigated,
    Overdue,
    Ranked,
    Reminded,
    Reopened,
    Resolved,
    Reviewed,
    RoleTaken,
    Severity,
    Updated,
)
from rollouts.incidents.opening import cause_of
from tests.rollouts.incidents.making import NAME, NOON, at, incident, opened, stop


@pytest.mark.parametrize("unseen", ["\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066"])
def test_characters_that_nobody_sees_are_refused(unseen: str) -> None:
    for read in (line, lines):
        with pytest.raises(BadInput, match=f"found the character U\\+{ord(unseen):04X}"):
            read("text", f"a{unseen}b")


def test_lines_are_for_texts_and_not_for_titles() -> None:
    assert lines("text", "a\r\nb\n") == "a\nb"
    with pytest.raises(BadInput, match="U\\+000A"):
        line("title", "Subject: x\nBcc: y")


@pytest.mark.parametrize(("text", "found"), [("  ", 0), ("x" * 201, 201)])
def test_a_line_has_something_in_it_and_an_end(text: str, found: int) -> None:
    with pytest.raises(BadInput, match=f"title: found {found} characters; allowed: 1 to 200"):
        line("title", text)


@pytest.mark.parametrize("text", ["../../etc/passwd", "inc-20260312-0a1b2c3d\n", "INC-20260312-0a1b2c3d", ""])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="allowed: an id"):
        incident_id(text)


def test_a_time_is_a_duration_or_a_day() -> None:
    assert when("--due", "14d", NOON) == NOON + timedelta(days=14)
    assert when("--due", "2026-04-01", NOON).isoformat() == "2026-04-01T00:00:00+00:00"
    for text in ("tomorrow", "2026-03-01", "0s"):
        with pytest.raises(BadInput, match=r"allowed: a duration|which has passed"):
            when("--due", text, NOON)


def shown(*events: Event, width: int = 100) -> str:
    """Return what is shown of an incident and of a list of it."""
    out = io.StringIO()
    console = Console(file=out, width=width)
    one = incident(*events)
    show(console, one, History(incident=NAME, events=[opened(), *events]), at(60 * 24.0))
    show_list(console, [one], at(60 * 24.0))
    return out.getvalue()


ITEM = ActionItem(id="a1", what="check sizes", owner="bob", due=at(60.0))
SAID: list[tuple[Event, str]] = [
    (Joined(at=NOON, by="x", cause=cause_of(stop()), impact=opened().impact, why="same"), "the revert of bot-features"),
    (Ranked(at=NOON, by="x", candidates=[Candidate(rollout=None, score=0.5, evidence=[])]), "unattributed, score 0.50"),
    (Assessed(at=NOON, by="x", severity="minor", why="few"), "now minor: few"),
    (Dated(at=NOON, by="x", onset=at(-2.0), why="errors"), "began at about 2026-03-12 11:58:00Z: errors"),
    (Reminded(at=NOON, by="x", promised=at(5.0)), "reminded of the update promised for 2026-03-12 12:05:00Z"),
    (RoleTaken(at=NOON, by="x", role="lead", person="ada"), "ada is incident lead"),
    (Acknowledged(at=NOON, by="x"), "acknowledged"),
    (Escalated(at=NOON, by="x", step=0, tell=["oncall"]), "step 1 tells oncall"),
    (Updated(at=NOON, by="x", text="soon", is_public=True, next_update=at(30.0)), "public update: soon (next update"),
    (Overdue(at=NOON, by="x", promised=at(5.0)), "the update promised for 2026-03-12 12:05:00Z did not come"),
    (Mitigated(at=NOON, by="x", how="back"), "mitigated: back"),
    (Resolved(at=NOON, by="x", how="over"), "resolved: over"),
    (Reopened(at=NOON, by="x", why="again"), "reopened: again"),
    (ActionAdded(at=NOON, by="x", item=ITEM), "action item a1: check sizes, by bob"),
    (ActionDone(at=NOON, by="x", id="a1"), "action item a1 is done"),
    (Reviewed(at=NOON, by="x", digest="ab" * 32), "reviewed: abababababab"),
    (Kept(at=NOON, by="x", recording="r", digest="d"), "kept as the recording r"),
    (MergedInto(at=NOON, by="x", incident=NAME), f"goes on as {NAME}"),
    (Closed(at=NOON, by="x"), "closed"),
]


@pytest.mark.parametrize(("event", "words"), SAID, ids=lambda each: type(each).__name__)
def test_each_event_has_its_words(event: Event, words: str) -> None:
    assert words in told(event)


def test_what_is_unknown_is_shown_as_not_known() -> None:
    assert shown().count("not known") == 5


def test_an_estimate_is_shown_as_one() -> None:
    event = Dated(at=NOON, by="x", onset=at(-2.0), why="errors")
    assert re.search(r"began +about 2026-03-12 11:58:00Z\n", shown(event, width=200))


def test_a_late_word_and_a_late_action_item_are_shown() -> None:
    text = shown(
        Updated(at=NOON, by="ada", text="x", next_update=at(5.0)),
        Overdue(at=at(6.0), by="holdfast", promised=at(5.0)),
        ActionAdded(at=NOON, by="ada", item=ITEM),
    )
    assert "2026-03-12 12:05:00Z, overdue" in text
    assert "due 2026-03-12 13:00:00Z, overdue" in text
    assert "1 action item is overdue" in text


def test_markup_in_what_people_say_is_text() -> None:
    assert "[red]all[/red]" in shown(Updated(at=NOON, by="ada", text="[red]all[/red]", next_update=at(5.0)))


def test_the_worst_comes_first_and_what_is_over_last() -> None:
    def one(name: str, severity: Severity, *events: Event):
        return folded(fold(History(incident=name, events=[opened(severity=severity)])), events)

    over = one("inc-20260312-00000001", "critical", Resolved(at=NOON, by="ada", how="x"))
    listed = [over, one("inc-20260312-00000002", "minor"), one("inc-20260312-00000003", "critical")]
    assert [each.id[-1] for each in in_order(listed)] == ["3", "2", "1"]


def test_in_a_pipe_an_incident_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    one = fold(History(incident="inc-20260312-0a1b2c3d", events=[opened()]))
    show_list(console_of(), [one], at(4.0))
    (line,) = [each for each in capsys.readouterr().out.splitlines() if one.id in each]
    assert one.title in line


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_a_list_is_whole_however_narrow_the_terminal(width: int) -> None:
    out = io.StringIO()
    said = Updated(at=NOON, by="ada", text="x", next_update=at(5.0))
    lead = RoleTaken(at=NOON, by="ada", role="lead", person="ada")
    one = incident(lead, said)
    show_list(Console(file=out, width=width), [one], at(4.0))
    text = " ".join(out.getvalue().split())
    for word in (one.id, one.severity, "open", "ada", "2026-03-12 12:05:00Z", one.title):
        assert word in text


def test_an_empty_list_says_so() -> None:
    out = io.StringIO()
    show_list(Console(file=out), [], NOON)
    assert out.getvalue() == "no incidents\n"
