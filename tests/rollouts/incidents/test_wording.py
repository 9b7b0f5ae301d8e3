"""What a notice says: the figures that people need, and nothing that a hostile text could make of it."""

import re
import unicodedata
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollouts.incidents.history import (
    Acknowledged,
    Assessed,
    Candidate,
    Cause,
    Dated,
    Escalated,
    Event,
    History,
    Impact,
    Joined,
    MergedInto,
    Mitigated,
    Opened,
    Overdue,
    Ranked,
    Reminded,
    Reopened,
    Resolved,
    RoleTaken,
    Updated,
)
from rollouts.incidents.notices import Notice, notices
from rollouts.incidents.plain import line, lines
from rollouts.incidents.response import Recipient, Response, Rule, What
from rollouts.incidents.wording import LISTED_MAX, SUBJECT_MAX, Message, subject_of, sum_up, words
from tests.rollouts.incidents.making import NAME, at

RESPONSE = Response(
    response="r",
    recipients=[Recipient(name="oncall", urls=["json://localhost"])],
    rules=[Rule(tell=["oncall"], of=[*Rule(tell=["x"]).of, "closed"])],
    drills=["oncall"],
)
CAUSE = Cause(
    rollout="edge-proxy-42",
    verdict="0" * 32,
    sequence=17,
    action="revert",
    stage="canary",
    at=at(0),
    sentences=["errors in ams01 are 4.1 times as many as in the control"],
)
IMPACT = Impact(
    colos=["ams01", "fra02"],
    services=["checkout"],
    metrics=["errors"],
    traffic_share=0.123,
    hosts_share=0.004,
    onset=at(-2.5),
)
TAGS = {"h2", "p", "strong", "ul", "li", "small"}

hostile = st.text(max_size=300) | st.sampled_from(
    [
        "down\r\nBcc: everybody@example.com\r\n\r\n<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '"><a href="javascript:alert(1)">',
        "\u202egnp.exe \x00\x1b[31m \ud800 \u2028 \u2029 \x85",
        "@everyone @HERE <!channel> <@U123> &lt;!channel&gt;",
        "{{ 7 * 7 }} ${HOME} {incident} %s",
        "x" * 300,
        "\u200b\u200d\ufeff",
    ]
)


class Tags(HTMLParser):
    """Collects the tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[object] = []
        self.said = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.said += data


def opened(title: str = "errors after edge-proxy 42", *, is_drill: bool = False, by_hand: bool = False) -> Opened:
    cause = None if by_hand else CAUSE
    impact = Impact() if by_hand else IMPACT
    by = "ada" if by_hand else "holdfast"
    return Opened(at=at(0), by=by, title=title, severity="critical", impact=impact, cause=cause, is_drill=is_drill)


def told(*events: Event) -> Notice:
    return notices(History(incident=NAME, events=[*events]), RESPONSE)[-1]


def written(*events: Event, link: str | None = None) -> Message:
    return words(told(*events), RESPONSE, link)


def test_the_first_notice_says_all_that_one_needs_to_know() -> None:
    assert written(opened(), link="https://status.example.net/{incident}").plain == (
        f"Critical incident {NAME}: errors after edge-proxy 42\n"
        "Opened at 2026-03-12 12:00:00 UTC.\n"
        "\n"
        "What: hurts checkout, seen in errors\n"
        "Where: ams01, fra02\n"
        "How much: 12 % of the traffic is in these colos; the change had reached 0.4 % of the hosts\n"
        "Since: 2026-03-12 11:57:30 UTC, 2 min 30 s before it was opened\n"
        "What was done: 12:00:00 UTC: rollout edge-proxy-42 taken back at stage canary (verdict 17)\n"
        "Why: errors in ams01 are 4.1 times as many as in the control\n"
        "Who is on it: nobody yet\n"
        "Next update: by 12:30 UTC\n"
        "\n"
        f"More: https://status.example.net/{NAME}\n"
        f"Notice {NAME}-0000-opened to oncall, sent by holdfast.\n"
    )


def test_the_page_says_the_same_as_the_plain_text() -> None:
    message = written(opened())
    page = " ".join(Tags(message.html).said.split())
    for said in message.plain.splitlines():
        assert " ".join(said.removeprefix("- ").split()) in page


def test_the_subject_says_how_bad_what_and_where() -> None:
    assert written(opened()).subject == "[critical] opened: errors after edge-proxy 42 (ams01, fra02)"


def test_an_estimate_says_that_it_is_one() -> None:
    event = Dated(at=at(1), by="holdfast", onset=at(-1.0), why="errors in ams01")
    by_hand = opened(by_hand=True)
    plain = written(by_hand, event, Updated(at=at(2), by="ada", text="We are on it.")).plain
    assert "Since: about 2026-03-12 11:59:00 UTC, 1 min before it was opened\n" in plain
    said = written(opened(), event, Updated(at=at(2), by="ada", text="We are on it.")).plain
    assert "Since: 2026-03-12 11:57:30 UTC, " in said  # what somebody has said counts more


def test_a_reminder_says_who_is_to_speak_and_by_when() -> None:
    late = Reminded(at=at(25), by="holdfast", promised=at(30))
    said = "say how it stands by 2026-03-12 12:30:00 UTC, in 5 min."
    assert f"Nobody leads it: somebody is to {said}" in written(opened(), late).plain
    lead = RoleTaken(at=at(1), by="ada", role="lead", person="ada")
    message = written(opened(), lead, late)
    assert f"ada, who is incident lead, is to {said}" in message.plain
    assert (message.tone, message.subject.split(":")[0]) == ("warning", "[critical] due")


def test_what_is_not_known_is_said_to_be_not_known() -> None:
    plain = written(opened(by_hand=True)).plain
    assert "Opened at 2026-03-12 12:00:00 UTC by ada." in plain
    assert "What: not known\nWhere: not known\n" in plain
    assert "How much: share of the traffic not known; share of the hosts not known\n" in plain
    assert "Since: not known; opened at 2026-03-12 12:00:00 UTC\n" in plain
    assert "What was done: nothing by holdfast: it was opened by hand\n" in plain


@pytest.mark.parametrize(
    ("event", "news"),
    [
        (Escalated(at=at(10), by="holdfast", step=0, tell=["oncall"]), "Nobody has acknowledged it in 10 min: step 1"),
        (Updated(at=at(5), by="ada", text="We look.\nIt is the proxy."), "by ada:\nWe look.\nIt is the proxy.\n"),
        (Overdue(at=at(31), by="holdfast", promised=at(30)), "promised for 2026-03-12 12:30:00 UTC did not come."),
        (Assessed(at=at(5), by="ada", severity="minor", why="few"), "by ada, minor instead of critical: few"),
        (Assessed(at=at(5), by="ada", impact=Impact(colos=["lhr03"]), why="moved"), "by ada: moved"),
        (Joined(at=at(5), by="holdfast", cause=CAUSE, impact=Impact(colos=["lhr03"]), why="one unit"), "one unit"),
        (Mitigated(at=at(5), by="holdfast", how="hosts report it"), "Mitigated at 2026-03-12 12:05:00 UTC: hosts"),
        (Resolved(at=at(5), by="ada", how="rolled back"), "Resolved at 2026-03-12 12:05:00 UTC by ada: rolled back"),
        (MergedInto(at=at(5), by="holdfast", incident="inc-20260312-ffffffff"), "is one with inc-20260312-ffffffff"),
    ],
)
def test_what_is_new_is_said_first(event: Event, news: str) -> None:
    assert news in written(opened(), event).plain.partition("\n\n")[0] + "\n"


def test_it_says_when_the_next_word_comes() -> None:
    promised = Updated(at=at(5), by="ada", text="x", next_update=at(12))
    assert "Next update: by 12:12 UTC\n" in written(opened(), promised).plain
    silent = Updated(at=at(5), by="ada", text="x")
    assert "Next update: by 12:35 UTC\n" in written(opened(), silent).plain
    late = Overdue(at=at(31), by="holdfast", promised=at(30))
    assert "Next update: was due by 12:30 UTC\n" in written(opened(), late).plain
    over = Resolved(at=at(5), by="ada", how="x")
    assert "Next update: none is promised: it is over\n" in written(opened(), over).plain
    again: list[Event] = [over, Reopened(at=at(60), by="ada", why="x")]
    assert "Next update: by 13:30 UTC\n" in written(opened(), *again).plain


def test_it_says_who_is_on_it_and_what_may_have_caused_it() -> None:
    taken = RoleTaken(at=at(1), by="ada", role="lead", person="ada")
    likely = Candidate(rollout="edge-proxy-42", score=0.97, evidence=["it reached ams01 2 min before"])
    ranked = Ranked(at=at(1), by="holdfast", candidates=[likely, Candidate(rollout=None, score=0.03, evidence=[])])
    plain = written(opened(), taken, ranked, Updated(at=at(2), by="ada", text="x")).plain
    assert "Who is on it: ada (incident lead)\n" in plain
    assert "- rollout edge-proxy-42 (score 0.97): it reached ams01 2 min before\n- unattributed (score 0.03)\n" in plain
    seen = written(opened(), Acknowledged(at=at(1), by="ada"), Updated(at=at(2), by="ada", text="x")).plain
    assert "Who is on it: somebody has acknowledged it, at 2026-03-12 12:01:00 UTC\n" in seen


def test_when_it_is_over_it_says_how_long_it_took() -> None:
    assert "over after 12 min 30 s\n" in written(opened(), Resolved(at=at(10), by="ada", how="x")).plain


def test_a_drill_says_so_in_the_subject_and_first_of_all() -> None:
    message = written(opened(is_drill=True))
    assert message.subject.startswith("[DRILL] [critical] opened: ")
    assert message.plain.startswith("This is a drill: nothing is broken, and nobody has to do anything.\n")


@pytest.mark.parametrize(
    ("events", "tone", "is_over"),
    [
        ([], "failure", False),
        ([Overdue(at=at(31), by="holdfast", promised=at(30))], "warning", False),
        ([Updated(at=at(1), by="ada", text="x")], "info", False),
        ([Mitigated(at=at(1), by="ada", how="x")], "info", False),
        ([Resolved(at=at(1), by="ada", how="x")], "success", True),
    ],
)
def test_pagers_are_told_how_grave_it_is_and_when_it_is_over(events: list[Event], tone: str, is_over: bool) -> None:
    message = written(opened(), *events)
    assert (message.tone, message.is_over, message.thread) == (tone, is_over, NAME)


def test_a_message_that_sums_up_counts_and_names_the_worst() -> None:
    covered = [told(opened(), Updated(at=at(1), by="ada", text="x"))] * 30
    message = sum_up(covered, at(2), "sum-1", "https://status.example.net/{incident}?x")
    assert message.subject == "[critical] 30 more notices since 12:02 UTC (30 critical)"
    assert message.plain.startswith("30 notices of 1 incident since 2026-03-12 12:02:00 UTC: too many")
    assert message.plain.count("[critical] updated: errors after edge-proxy 42") == LISTED_MAX
    assert "And: 10 others, in 1 incident with those above\n" in message.plain
    assert "More: https://status.example.net/\n" in message.plain
    assert (message.id, message.thread, message.is_over) == ("sum-1", None, False)


def seen_only(text: str) -> bool:
    return all(unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for each in text)


def events_of(text: str, what: What) -> list[Event]:
    person = text[:100] or "x"
    cause = Cause(rollout=text, verdict=text, sequence=1, action="halt", stage=text, at=at(0), sentences=[text])
    impact = Impact(colos=[text], services=[text, "b"], metrics=[text])
    first = Opened(at=at(0), by=person, title=text, severity="major", impact=impact, cause=cause)
    ranked = Ranked(at=at(0), by=person, candidates=[Candidate(rollout=text, score=1.0, evidence=[text])])
    role = RoleTaken(at=at(0), by=person, role="expert", person=person)
    more: dict[What, list[Event]] = {
        "opened": [],
        "updated": [Updated(at=at(1), by=person, text=text)],
        "assessed": [Assessed(at=at(1), by=person, severity="minor", why=text)],
        "mitigated": [Mitigated(at=at(1), by=person, how=text)],
        "resolved": [Resolved(at=at(1), by=person, how=text)],
    }
    between: list[Event] = [] if what == "opened" else [ranked, role]
    return [first, *between, *more[what]]


WHATS = st.sampled_from(["opened", "updated", "assessed", "mitigated", "resolved"])


@given(hostile, WHATS)
def test_whatever_a_text_is_the_subject_is_one_short_line(text: str, what: What) -> None:
    notice = told(*events_of(text, what))
    for subject in (words(notice, RESPONSE).subject, subject_of(notice), sum_up([notice] * 2, at(0), "s").subject):
        assert 0 < len(subject) <= SUBJECT_MAX
        assert len(subject.splitlines()) == 1
        assert seen_only(subject)
        subject.encode()


@given(hostile, WHATS)
def test_whatever_a_text_is_the_page_has_our_tags_alone(text: str, what: What) -> None:
    notice = told(*events_of(text, what))
    for message in (words(notice, RESPONSE), sum_up([notice] * 2, at(0), "s")):
        page = Tags(message.html)
        assert page.tags <= TAGS
        assert page.attributes == []
        assert "\r" not in message.plain + message.html
        assert seen_only((message.plain + message.html).replace("\n", ""))


@given(hostile, WHATS)
def test_whatever_a_text_is_it_calls_nobody(text: str, what: What) -> None:
    message = words(told(*events_of(text, what)), RESPONSE)
    assert not re.search(r"@(everyone|here|channel)\b|<[!@#]", message.plain + message.subject, re.IGNORECASE)


@given(st.text(max_size=6_000))
def test_a_message_has_a_bound(text: str) -> None:
    message = words(told(*events_of(text, "updated")), RESPONSE)
    assert len(message.plain) < 16_000
    assert len(message.html) < 120_000


@given(st.text(max_size=400), st.integers(1, 200))
def test_a_line_is_no_longer_than_it_may_be_and_stays_as_it_is(text: str, longest: int) -> None:
    once = line(text, longest)
    assert len(once) <= longest
    assert line(once, longest) == once


def test_lines_stay_lines() -> None:
    assert lines("one\r\n\n\ttwo\u2028three\x0bfour") == ["one", "two", "three", "four"]


def test_two_incidents_at_once_are_two_threads() -> None:
    other = notices(History(incident="inc-20260312-ffffffff", events=[opened()]), RESPONSE)[0]
    assert words(other, RESPONSE).thread != written(opened()).thread
    assert other.at - at(0) == timedelta(0)
