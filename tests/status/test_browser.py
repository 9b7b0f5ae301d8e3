"""The pages in a real browser, with and without scripts: seen by axe, by keyboard, on a telephone, on paper, live."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from rollouts.incidents import history as events
from rollouts.incidents.history import History
from tests import waiting
from tests.chromium import OnItsWay, Page, found
from tests.status.axe import axe, findings
from tests.status.samples import MINUTE, NOW, PERSON, Memory, live, name, past
from tests.status.serving import Serving, serving
from tests.status.test_subscribing import Room

BINARY = found()
pytestmark = pytest.mark.skipif(BINARY is None, reason="no Chromium on this machine; HOLDFAST_TEST_CHROMIUM names one")

RESOLVED = name(2, "20260309")
PUBLIC = ["/", "/history", f"/incidents/{name(1)}", f"/incidents/{RESOLVED}"]
PATHS = [*PUBLIC, "/internal", f"/internal/incidents/{name(1)}"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    assert BINARY is not None
    with Page(BINARY) as page:
        yield page


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    # Pages say how old they are by the clock of who reads them, and those of a test are of one moment.
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def script() -> str:
    found = axe()
    if found is None:
        pytest.skip("no axe-core: it comes from npm, or HOLDFAST_TEST_AXE names its script")
    return found


def until(browser: Page, expression: str, is_so: Callable[[object], bool] = bool) -> None:
    def is_so_by_now() -> bool:
        try:
            return is_so(browser.value(expression))
        except OnItsWay:
            return False

    waiting.until(is_so_by_now, lambda: expression)


@pytest.mark.parametrize(("width", "scheme"), [(380, "dark"), (1_200, "light")])
@pytest.mark.parametrize("path", PATHS)
def test_axe_finds_nothing(browser: Page, served: Serving, script: str, path: str, width: int, scheme: str) -> None:
    browser.show(served.url + path, width, scheme)
    browser.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
    said, passes = findings(browser, script)
    assert said == []
    assert passes > 25


def test_axe_finds_something_where_there_is_something(browser: Page, served: Serving, script: str) -> None:
    browser.show(served.url, 1_200)
    browser.value("document.querySelector('label').replaceWith(document.querySelector('input'))")
    browser.value("document.documentElement.removeAttribute('lang')")
    assert {"label", "html-has-lang"} <= {line.split('"')[1] for line in findings(browser, script)[0]}


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_complained_of_and_nobody_else_is_asked(browser: Page, served: Serving, path: str) -> None:
    browser.said.clear()
    browser.show(served.url + path, 1_200)
    until(browser, "performance.getEntriesByType('resource').length + 1")
    assert [each for each in browser.said if not each.startswith(f"{served.url}/")] == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("width", [320, 768])
def test_nothing_is_wider_than_the_screen(browser: Page, served: Serving, path: str, width: int) -> None:
    browser.show(served.url + path, width)
    browser.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert browser.value("document.documentElement.scrollWidth") <= width


def test_on_a_telephone_no_word_of_a_table_is_taken_apart(browser: Page, served: Serving) -> None:
    broken = """
        [...document.querySelectorAll('.scroll th, .scroll td')].flatMap(cell => {
            const found = [], texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
            for (let text; (text = texts.nextNode());)
                for (const word of text.data.matchAll(/[a-z]+/gi)) {
                    const range = document.createRange();
                    range.setStart(text, word.index);
                    range.setEnd(text, word.index + word[0].length);
                    found.push([word[0], range.getClientRects().length]);
                }
            return found;
        })"""
    browser.show(f"{served.url}/internal", 380)
    words = browser.value(broken)
    assert len(words) > 20
    assert [word for word, lines in words if lines > 1] == []


@pytest.mark.parametrize("path", PATHS)
def test_without_scripts_the_page_says_the_same(browser: Page, served: Serving, path: str) -> None:
    # All but what a script says of the page's age, as it does for a page of the past.
    words = "[...document.querySelectorAll('#live > :not(#stale)')].map(each => each.innerText).join()"
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.show(served.url + path, 1_200)
        without = browser.value(words)
        assert browser.value("document.getElementById('stale').hidden")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.show(served.url + path, 1_200)
    assert without == browser.value(words)
    assert len(without) > 100


def test_a_page_changes_by_itself_and_keeps_what_was_unfolded_and_where_the_keyboard_is(browser: Page) -> None:
    memory = Memory()
    with serving(memory) as served:
        browser.show(served.url, 1_200)
        browser.value("document.getElementById('days-1').open = true")
        browser.value("document.getElementById('address').value = 'ann@exam'")
        browser.value("document.getElementById('address').focus()")
        until(browser, "performance.getEntriesByName(location.origin + '/events').length + 1")
        more = events.Updated(at=NOW, by=PERSON, text="Nearly done.", is_public=True)
        memory.put(History(incident=name(1), events=[*live().events, more]))
        until(browser, "document.body.innerText.includes('Nearly done.')")
        assert browser.value("document.getElementById('days-1').open")
        assert browser.value("document.getElementById('address').value") == "ann@exam"
        assert browser.value("document.activeElement.id") == "address"
        memory.put(past(NOW - 2 * MINUTE, 60))
        until(browser, f"document.body.innerHTML.includes('{past(NOW, 60).incident}')")


def test_what_people_write_is_text_after_the_page_has_changed_by_itself(browser: Page) -> None:
    memory = Memory()
    with serving(memory) as served:
        browser.said.clear()
        browser.show(served.url, 1_200)
        text = "<img src=x onerror=\"document.title='hurt'\"><script>document.title='hurt'</script>"
        more = events.Updated(at=NOW, by=PERSON, text=text, is_public=True)
        memory.put(History(incident=name(1), events=[*live().events, more]))
        until(browser, "document.body.innerText.includes('onerror')")
        assert browser.value("document.querySelectorAll('main img, main script').length") == 0
        assert "hurt" not in browser.value("document.title")


def test_an_old_page_says_so_by_itself(browser: Page, served: Serving) -> None:
    browser.show(served.url, 1_200)
    assert "old: nothing newer is known." in browser.value("document.getElementById('stale').innerText")
    assert not browser.value("document.getElementById('stale').hidden")


def test_the_keyboard_reaches_all_that_can_be_done_and_shows_where_it_is(browser: Page, served: Serving) -> None:
    browser.show(served.url, 380)
    reached: list[str] = []
    for _ in range(40):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(browser.value("document.activeElement.tagName + '.' + document.activeElement.className"))
        if reached[-1] == "BUTTON.":
            break
    assert reached[0] == "A.skip"
    assert {"A.", "SUMMARY.", "INPUT.", "BUTTON."} <= set(reached)
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_form_is_filled_in_without_scripts(browser: Page) -> None:
    room = Room()
    with serving(desk=room.desk) as served:
        browser.call("Emulation.setScriptExecutionDisabled", value=True)
        try:
            browser.show(served.url, 380)
            browser.value("document.getElementById('address').value = 'ann@example.com'")
            with suppress(OnItsWay):
                browser.value("document.querySelector('.subscribe button').click()")
            until(browser, "document.querySelector('h1')?.innerText", lambda text: text == "Look into your mailbox")
        finally:
            browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert room.asked == ["ann@example.com"]


def test_who_hears_the_page_hears_what_the_bars_show(browser: Page, served: Serving) -> None:
    browser.show(served.url, 1_200)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    heard = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    pictures = [text for role, text in heard if role in ("image", "img")]
    assert "DNS, the last 90 days: 69 operational, 19 unknown, 2 partial outage" in pictures
    roles = {role for role, _ in heard}
    assert {"main", "banner", "navigation", "contentinfo", "heading", "textbox", "button"} <= roles


def test_on_paper_there_is_what_can_be_read_and_nothing_to_click(browser: Page, served: Serving) -> None:
    browser.show(served.url, 1_200)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert not browser.value("document.querySelector('nav').checkVisibility()")
    assert not browser.value("document.querySelector('.subscribe').checkVisibility()")
    assert browser.value("document.querySelector('.bars').checkVisibility()")
    browser.call("Emulation.setEmulatedMedia", media="")
    assert browser.pdf().startswith(b"%PDF")
