"""The pages and the feed: whatever people write, it stays text; however much there is, a page stays small."""

import gzip
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser
from xml.etree import ElementTree

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.schemas import schema
from holdfast.status.feed import atom, identity
from holdfast.status.pages import CSS, JS, META_POLICY, POLICY, Look, headline, runs
from holdfast.status.site import Site
from holdfast.status.snapshot import Day, Snapshot
from rollouts.incidents import history as events
from rollouts.incidents.history import History
from rollouts.incidents.response import Component, Response
from tests.status.samples import (
    DAY,
    MINUTE,
    NOW,
    PERSON,
    SECRET_TEXT,
    Memory,
    histories,
    live,
    made,
    name,
    opened,
    past,
    told,
)

BYTES_MAX = 50_000
ATOM = "{http://www.w3.org/2005/Atom}"
HOSTILE = [
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "'\"><svg/onload=alert(1)>",
    "{{ 7 * 7 }} {% raw %}",
    "javascript:alert(1)",
    "]]><!--",
    "\u202eabc\u2066",
    "a" * 5_000,
    "\N{PILE OF POO}" * 1_250,
]


def site(snapshot: Snapshot | None = None, now: datetime = NOW, look: Look | None = None) -> Site:
    return Site(snapshot or made(), look or Look("Example", can_subscribe=True), "https://example.com", "holdfast", now)


def body(found: Site, path: str) -> str:
    page = found.page(path)
    assert page is not None
    return page.body.decode()


def hostile(text: str) -> Snapshot:
    """Return a snapshot in which everybody who may say something says this."""
    short = text[:200]
    component = Component(name="dns", title=short, description=text)
    hurt = events.Impact(colos=[short], services=["dns"], metrics=[short])
    found = History(
        incident=name(7),
        events=[
            events.Opened(at=NOW - 9 * MINUTE, by=short[:100], title=short, severity="minor", impact=hurt),
            events.RoleTaken(at=NOW - 8 * MINUTE, by=short[:100], role="lead", person=short[:100]),
            events.Updated(at=NOW - 7 * MINUTE, by=short[:100], text=text, is_public=True),
            events.Mitigated(at=NOW - 5 * MINUTE, by=short[:100], how=text),
        ],
    )
    return made({found.incident: found}, response=Response(response="x", components=[component]))


class Seen(HTMLParser):
    """Notes tags, and attributes that are more than text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.dangerous: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            is_link = key in ("href", "src", "action") and not (value or "").startswith(("/", "#"))
            if key.startswith("on") or key in ("style", "srcdoc") or is_link:
                self.dangerous.append(f"{tag} {key}={value}")


def seen(text: str) -> Seen:
    parser = Seen()
    parser.feed(text)
    return parser


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", ["public", "internal"])
def test_what_people_write_makes_no_tags(text: str, kind: str) -> None:
    plain, other = site(hostile("plain")), site(hostile(text))
    for path in getattr(plain, kind):
        if path.endswith(("json", "atom", "txt")):
            continue
        expected, found = seen(body(plain, path)), seen(body(other, path))
        assert found.tags == expected.tags, path
        assert found.dangerous == []


@settings(max_examples=25, deadline=None)
@given(st.text(min_size=1, max_size=200))
def test_any_text_makes_a_page_a_feed_and_json(text: str) -> None:
    found = site(hostile(text))
    assert seen(body(found, "/")).tags == seen(body(site(hostile("plain")), "/")).tags
    ElementTree.fromstring(body(found, "/feed.atom"))
    msgspec.json.decode(body(found, "/status.json"))


def item(number: int, text: str, due: datetime) -> events.ActionItem:
    return events.ActionItem(id=f"a{number}", what=text[:200], owner=text[:100], due=due)


def many(count: int, text: str) -> dict[str, History]:
    """Return a flood of incidents, each with long updates."""
    found: list[History] = []
    for number in range(count):
        begin = NOW - number * 10 * MINUTE
        said = [
            events.Updated(at=begin + timedelta(seconds=place), by=PERSON, text=text, is_public=True)
            for place in range(12)
        ]
        made_of: list[events.Event] = [
            opened(begin, *(f"service{place:02d}" for place in range(60)), severity="critical"),
            *said,
            *(events.ActionAdded(at=begin, by=PERSON, item=item(place, text, begin)) for place in range(15)),
        ]
        if number % 2:
            made_of.append(events.Resolved(at=begin + MINUTE, by=PERSON, how="x"))
        found.append(History(incident=name(number), events=made_of))
    return {each.incident: each for each in found}


@pytest.mark.parametrize("text", ["<&>" * 1_600, "\N{PILE OF POO}" * 1_200, "x"])
def test_no_page_is_larger_than_50_kb_however_much_there_is_to_say(text: str) -> None:
    components = [
        Component(name=f"service{place:02d}", title="T" * 70 + f"{place}", description="D" * 200) for place in range(60)
    ]
    found = site(made(many(400, text), response=Response(response="x", components=components)))
    for path in ("/", "/history", f"/incidents/{name(0)}", f"/incidents/{name(1)}", "/internal"):
        assert len(body(found, path).encode()) < BYTES_MAX, path
    assert len(body(found, f"/internal/incidents/{name(0)}").encode()) < BYTES_MAX


def test_those_who_respond_read_what_is_to_be_done_by_whom_and_what_is_late() -> None:
    page = body(site(), f"/internal/incidents/{name(1)}")
    (item,) = re.findall(r"<li>a1: .*?</li>", page)
    words = " ".join(re.sub(r"<[^>]*>", "", item).split())
    assert words == f"a1: Fix {SECRET_TEXT}, by {PERSON}, due 12 Mar 2026, 13:34 UTC, overdue"
    assert f"bots-{SECRET_TEXT} (score 0.90)" in page


def test_a_page_asks_for_nothing_from_elsewhere() -> None:
    found = site()
    for path in [*found.public, *found.internal]:
        if path.endswith(("atom", "json", "txt")):
            continue
        links = re.findall(r"(?:src|href|action)=\"([^\"]*)\"", body(found, path))
        assert [link for link in links if not link.startswith(("/", "#main"))] == []
        assert "url(" not in body(found, path)
        assert "@import" not in body(found, path)


def test_style_and_script_are_those_whose_hashes_the_policy_names() -> None:
    text = body(site(), "/")
    assert f"<style>{CSS}</style>" in text
    assert f"<script>{JS}</script>" in text
    assert "unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'; style-src 'sha256-")


def test_a_page_as_a_file_brings_its_policy_along() -> None:
    text = body(site(look=Look("Example", is_static=True)), "/")
    escaped = META_POLICY.replace("'", "&#39;").replace("+", "+")
    assert f'<meta http-equiv="Content-Security-Policy" content="{escaped}">' in text
    assert "<form" not in text


def test_a_page_that_is_old_says_so_and_does_not_say_that_all_is_well() -> None:
    old = made({}, at=NOW)
    text = body(site(old, NOW + 12 * MINUTE), "/")
    assert "As of 14:02 UTC, 12 minutes old: nothing newer is known." in text
    assert headline(old.public, NOW + 12 * MINUTE) == "As of 14:02 UTC: all services are operational"
    assert headline(old.public, NOW) == "All services are operational"


def test_a_page_below_a_path_leads_to_pages_below_it() -> None:
    text = body(site(look=Look("Example", base="/status", can_subscribe=True)), "/")
    links = re.findall(r"(?:href|action|data-events)=\"(/[^\"]*)\"", text)
    assert links
    assert all(link.startswith("/status/") for link in links)


def test_bars_are_runs_of_days_that_are_alike() -> None:
    days = [Day(day="2026-03-01", state="operational", up=1.0)] * 3 + [Day(day="2026-03-04", state="outage", up=0.5)]
    assert runs(days) == [("operational", 14, "M0 23h11"), ("outage", 30, "M12 15h3")]


def test_a_bar_says_in_words_what_it_shows() -> None:
    assert 'aria-label="DNS, the last 90 days: 69 operational, 19 unknown, 2 partial outage"' in body(site(), "/")


def test_the_json_is_what_its_schema_says() -> None:
    jsonschema.validate(msgspec.json.decode(body(site(), "/status.json")), schema("status"))


def test_squeezed_bytes_are_the_same_page() -> None:
    page = site().page("/")
    assert page is not None
    assert gzip.decompress(page.squeezed) == page.body


def test_equal_snapshots_make_equal_bytes() -> None:
    one, other = site(), site()
    for path in one.public:
        assert one.page(path) == other.page(path)


# ------------------------------------------------------------------ the feed, by RFC 4287


def entries(raw: bytes) -> list[ElementTree.Element]:
    return ElementTree.fromstring(raw).findall(f"{ATOM}entry")


def feed(found: dict[str, History] | None = None) -> bytes:
    return atom(told(found), "Example", "https://example.com", "holdfast")


def one(element: ElementTree.Element, tag: str) -> str:
    found = element.findall(f"{ATOM}{tag}")
    assert len(found) == 1, tag
    return found[0].text or ""


def test_the_feed_has_what_atom_demands() -> None:
    root = ElementTree.fromstring(feed())
    assert root.tag == f"{ATOM}feed"
    assert one(root, "id").startswith("urn:uuid:")
    assert one(root, "title") == "Example"
    for element in (root, *root.findall(f"{ATOM}entry")):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one(element, "updated"))
        assert one(element, "id")
        assert one(element, "title")
        assert [link for link in element.findall(f"{ATOM}link") if link.get("rel") == "alternate"]
    assert [link.get("href") for link in root.findall(f"{ATOM}link")] == [
        "https://example.com/feed.atom",
        "https://example.com/",
    ]
    author = root.find(f"{ATOM}author")
    assert author is not None
    assert one(author, "name")


def test_ids_of_the_feed_are_unique_and_newest_comes_first() -> None:
    found = entries(feed())
    ids, times = [one(each, "id") for each in found], [one(each, "updated") for each in found]
    assert len(set(ids)) == len(ids) == 4
    assert times == sorted(times, reverse=True)


def test_an_entry_keeps_its_id_and_moves_its_time_with_a_public_update() -> None:
    before = live()
    more = events.Updated(at=NOW, by=PERSON, text="More.", is_public=True)
    after = History(incident=before.incident, events=[*before.events, more])
    (old,), (new,) = (entries(feed({before.incident: each})) for each in (before, after))
    assert one(old, "id") == one(new, "id") == identity("holdfast", before.incident)
    assert one(old, "updated") < one(new, "updated") == "2026-03-12T14:02:30Z"


def test_a_feed_without_incidents_is_one() -> None:
    root = ElementTree.fromstring(feed({}))
    assert one(root, "updated") == "2026-03-12T00:00:00Z"


def test_the_feed_stays_small() -> None:
    found = [past(NOW - number * DAY, number, text="x" * 5_000) for number in range(80)]
    raw = feed({each.incident: each for each in found})
    assert len(entries(raw)) == 50
    assert len(raw) < 300_000


def test_the_samples_are_four_incidents_that_everybody_may_read() -> None:
    assert len(told(histories()).incidents) == 4
    assert Memory().version() == 0
