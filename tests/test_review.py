"""The review of an incident: what its draft says, and what is read of it once people have filled it."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import BadInput
from holdfast.reviewing.draft import SECTIONS, draft
from holdfast.reviewing.facts import Knew, Moment, Reached, ReviewFacts
from holdfast.reviewing.keeping import truth_of
from holdfast.reviewing.markdown import ITEMS, NO_ITEMS, REVIEW_BYTES_MAX, UNFILLED, escaped, read, written
from holdfast.reviewing.page import page
from rollouts.incidents.folding import fold
from rollouts.incidents.history import (
    Acknowledged,
    ActionAdded,
    ActionItem,
    Candidate,
    Cause,
    Dated,
    Event,
    History,
    Impact,
    Mitigated,
    Opened,
    Ranked,
    Resolved,
    RoleTaken,
    Updated,
)

NAME = "inc-20261126-0a1b2c3d"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script> [x](javascript:alert(1)) *b* | `c` <!-- --> ## head\n## Summary\n\n"
    "https://evil.example @all"
)


def at(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


CAUSE = Cause(rollout="bots", verdict="v" * 32, sequence=7, action="revert", stage="canary", at=at(70))


def facts_of(
    *events: Event, title: str = "errors tripled", is_drill: bool = False, onset: datetime | None = NOON
) -> ReviewFacts:
    impact = Impact(colos=["ams01"], services=["web"], metrics=["errors"], traffic_share=0.04, onset=onset)
    opened = Opened(
        at=at(75), by="holdfast", title=title, severity="major", impact=impact, cause=CAUSE, is_drill=is_drill
    )
    history = History(incident=NAME, events=[opened, *events])
    return ReviewFacts(fold(history), tuple(history.events))


def knew(action: str, seconds: int, sequence: int) -> Knew:
    said = ("errors are 3.1 times what the control has",)
    return Knew(at(seconds), "bots", sequence, action, "evidence", "canary", True, ("ams01",), ("errors",), said, ())


def figure(facts: ReviewFacts, name: str) -> str:
    return next(each.value for each in draft(facts).figures if each.name == name)


def filled(text: str) -> str:
    """Fill a draft as people do."""
    return text.replace(UNFILLED, "Something that was thought about.").replace(NO_ITEMS, "Nothing: it was a drill.")


def with_row(row: str) -> str:
    """Fill a draft, and add an action item."""
    head = "| Id | What | Owner | Due |\n|---|---|---|---|\n"
    return filled(written(draft(facts_of()))).replace(head, f"{head}{row}\n")


def test_times_are_reckoned_from_the_onset_of_harm() -> None:
    facts = facts_of(
        RoleTaken(at=at(200), by="Ada", role="lead", person="Ada"), Resolved(at=at(900), by="Ada", how="ok")
    )
    facts = replace(facts, restored=at(270))
    assert figure(facts, "Detected after") == "1 min 10 s"
    assert figure(facts, "Opened after") == "5 s"
    assert figure(facts, "Acknowledged after") == "2 min 5 s"
    assert figure(facts, "Mitigated after") == "4 min 30 s"


def test_figures_that_rest_on_an_estimate_say_so() -> None:
    facts = facts_of(Dated(at=at(80), by="holdfast", onset=at(30), why="errors"), onset=None)
    assert figure(facts, "Harm began") == "about 2026-11-26 12:00:30 UTC"
    assert figure(facts, "Detected after") == "about 40 s"
    assert figure(facts, "Opened after") == "5 s"
    assert figure(facts_of(onset=None), "Detected after") == "not known"


def test_an_estimate_becomes_no_truth_of_the_corpus_unless_somebody_says_so() -> None:
    incident = facts_of(Dated(at=at(80), by="holdfast", onset=at(30), why="errors"), onset=None).incident
    with pytest.raises(BadInput, match=r"an estimate.*as in --onset 2026-11-26T12:00:30Z"):
        truth_of(incident, CAUSE, "10s", None, harmless=False)
    assert truth_of(incident, CAUSE, "10s", at(20), harmless=False).onset == at(20)
    assert truth_of(facts_of().incident, CAUSE, "10s", None, harmless=False).onset == at(0)


def test_what_nobody_knows_is_said_to_be_unknown() -> None:
    facts = facts_of()
    assert figure(facts, "Mitigated after") == "not known"
    assert figure(facts, "Hosts reached") == "not known"
    assert figure(facts, "Traffic hurt") == "4 %"


def test_the_timeline_has_everything_to_the_second_and_in_order() -> None:
    facts = replace(
        facts_of(Acknowledged(at=at(90), by="Ada"), Mitigated(at=at(300), by="holdfast", how="taken back")),
        verdicts=(knew("wait", 10, 6), knew("revert", 70, 7)),
        moments=(
            Moment(at(240), "control", "", "bots: taken back"),
            Moment(at(-60), "rollout", "", "bots: canary starts"),
        ),
    )
    lines = written(draft(facts)).split("## Timeline\n")[1].split("##")[0].splitlines()
    times = [line.split("|")[1].strip().replace("\\", "") for line in lines if line.startswith("| 2026")]
    assert times == [
        "2026-11-26 11:59:00 UTC",
        "2026-11-26 12:00:10 UTC",
        "2026-11-26 12:01:10 UTC",
        "2026-11-26 12:01:15 UTC",
        "2026-11-26 12:01:30 UTC",
        "2026-11-26 12:04:00 UTC",
        "2026-11-26 12:05:00 UTC",
    ]


def test_equal_facts_give_equal_bytes() -> None:
    first, second = facts_of(), facts_of()
    assert written(draft(first)) == written(draft(second))
    assert page(draft(first)) == page(draft(second))


def test_a_draft_cannot_be_submitted_as_it_is() -> None:
    with pytest.raises(BadInput) as refused:
        read("review.md", written(draft(facts_of())).encode())
    assert all(f"'{section.title}'" in str(refused.value) for section in SECTIONS)
    assert f"'{ITEMS}'" in str(refused.value)


@pytest.mark.parametrize("title", [section.title for section in SECTIONS])
def test_a_section_that_is_left_out_is_named(title: str) -> None:
    text = filled(written(draft(facts_of())))
    without = re.sub(rf"## {title}\n.*?(?=\n## )", "", text, flags=re.DOTALL)
    with pytest.raises(BadInput, match=f"'{title}' is missing"):
        read("review.md", without.encode())


def test_a_section_with_nothing_but_a_comment_is_not_written() -> None:
    text = filled(written(draft(facts_of()))).replace("Something that was thought about.", "<!-- later -->", 1)
    with pytest.raises(BadInput, match="'Summary' is not written"):
        read("review.md", text.encode())


def test_a_filled_review_says_which_incident_it_is_of_and_what_is_to_be_done() -> None:
    row = "|  | Limit the size of the file | Grace | 2026-12-24 |"
    text = with_row(row)
    found = read("review.md", text.encode())
    assert found.incident == NAME
    assert [(item.what, item.owner, item.due.date().isoformat()) for item in found.items] == [
        ("Limit the size of the file", "Grace", "2026-12-24")
    ]
    assert found.items[0].id == read("again.md", text.encode()).items[0].id


def test_action_items_that_are_known_come_back_as_they_were() -> None:
    item = ActionItem(
        id="a|1", what="*Limit* | it <now>", owner="ops@x", due=datetime(2026, 12, 24, 23, 59, 59, tzinfo=UTC)
    )
    text = filled(written(draft(facts_of(ActionAdded(at=at(100), by="Ada", item=item)))))
    assert read("review.md", text.encode()).items == (item,)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("| | something | Ada | soon |", "found 'soon'; allowed: a day"),
        ("| | something | | 2026-12-24 |", "allowed: id"),
        ("| something |", "found 1 cells"),
        (f"| | {'x' * 201} | Ada | 2026-12-24 |", "allowed: 200 characters"),
    ],
)
def test_an_action_item_without_an_owner_or_a_day_is_refused(row: str, why: str) -> None:
    text = with_row(row)
    with pytest.raises(BadInput, match=re.escape(why)):
        read("review.md", text.encode())


@pytest.mark.parametrize(
    ("raw", "why"),
    [(b"\xff\xfe", "not UTF-8"), (b"# mine\n", "no mark"), (b"x" * (REVIEW_BYTES_MAX + 1), "allowed: 1,048,576")],
)
def test_what_is_no_review_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        read("review.md", raw)


def test_hostile_text_is_text_in_both_forms() -> None:
    facts = replace(
        facts_of(
            Updated(at=at(100), by=HOSTILE[:90], text=HOSTILE),
            Ranked(at=at(80), by="holdfast", candidates=[Candidate(rollout=HOSTILE, score=0.5, evidence=[HOSTILE])]),
            title=HOSTILE.replace("\n", " ")[:200],
        ),
        reached=(Reached(HOSTILE, 3, (HOSTILE,)),),
        missing=(HOSTILE,),
        overrides=(HOSTILE,),
    )
    text, shown = written(draft(facts)), page(draft(facts))
    assert "<script" not in text
    assert "<script" not in shown
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    assert text.count("\n## Summary\n") == 1
    assert text.count("https://evil") == 0


def test_a_drill_says_that_it_is_one() -> None:
    facts = facts_of(is_drill=True)
    assert "This was a drill" in written(draft(facts))
    assert "This was a drill" in page(draft(facts))


@given(st.text(max_size=200))
def test_escaped_text_stays_on_its_line_and_opens_nothing(text: str) -> None:
    found = escaped(text)
    assert len(found.splitlines()) <= 1
    assert "<" not in found
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*_\[]", found)
