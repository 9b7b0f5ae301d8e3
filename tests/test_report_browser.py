"""The page in a real browser: it shows on a telephone, in the dark and on paper, without a word of complaint."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.reporting.build import report_data
from holdfast.reporting.page import render
from holdfast.reporting.recorded import gather_recording
from tests.chromium import Page, found
from tests.report_cases import HOSTILE, TWO_STAGES, erring, made

BINARY = found()
pytestmark = pytest.mark.skipif(BINARY is None, reason="no Chromium on this machine; HOLDFAST_TEST_CHROMIUM names one")


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    assert BINARY is not None
    with Page(BINARY) as page:
        yield page


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of all kinds."""
    folder = tmp_path_factory.mktemp("pages")
    kinds = {
        "erring": gather_recording(erring(folder / "erring", TWO_STAGES))[1],
        "large": made(metrics=100, colos=300, ticks=3_000),
        "long names": made(names=(HOSTILE[4], f"{HOSTILE[4]}1", f"{HOSTILE[4]}2")),
        **{f"hostile {place}": made(names=(name, f"{name}1", f"{name}2")) for place, name in enumerate(HOSTILE[:4])},
    }
    files = {}
    for name, gathered in kinds.items():
        files[name] = folder / f"{name}.html"
        files[name].write_text(render(report_data(gathered)), encoding="utf-8")
    return files


KINDS = ("erring", "large", "long names", *(f"hostile {place}" for place in range(4)))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_complained_of_or_fetched(browser: Page, pages: dict[str, Path], kind: str) -> None:
    browser.said.clear()
    browser.show(pages[kind], 1_200)
    assert browser.value("document.querySelectorAll('main section').length") >= 5
    assert browser.said == []


@pytest.mark.parametrize("width", [320, 380, 768, 1_200])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wider_than_the_screen(browser: Page, pages: dict[str, Path], kind: str, width: int) -> None:
    browser.show(pages[kind], width)
    # With all that is folded unfolded: tables may be wide, and then scroll by themselves.
    browser.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert browser.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_theme(browser: Page, pages: dict[str, Path], scheme: str) -> None:
    browser.show(pages["erring"], 1_200, scheme)
    paper, ink = (
        sum(int(part) for part in browser.value(f"getComputedStyle(document.body).{name}").strip("rgb()").split(","))
        for name in ("backgroundColor", "color")
    )
    assert (paper > ink) == (scheme == "light")


@pytest.mark.parametrize("width", [380, 1_200])
def test_words_beside_pictures_do_not_run_into_each_other(browser: Page, pages: dict[str, Path], width: int) -> None:
    browser.show(pages["erring"], width)
    script = """
        [...document.querySelectorAll('.x, .y, .moments')].flatMap(group => {
            const boxes = [...group.children].map(each => each.getBoundingClientRect()).filter(box => box.width)
            const text = group.className
            return boxes.flatMap((one, at) => boxes.slice(at + 1).filter(other => {
                const lines = text === 'moments' ? one.height - other.height : 0
                const across = one.left < other.right - 1 && other.left < one.right - 1
                const down = one.top < other.bottom - 2 && other.top < one.bottom - 2
                return across && down && Math.abs(lines) < 1
            }).map(other => text + ' ' + one.left + ' ' + other.left))
        })
    """
    assert browser.value(script) == []


def test_a_line_fills_the_width_that_there_is(browser: Page, pages: dict[str, Path]) -> None:
    for width in (380, 1_200):
        browser.show(pages["erring"], width)
        line = "document.querySelector('#timeline .line.evidence').getBoundingClientRect()"
        canvas = "document.querySelector('#timeline .line.evidence').closest('.canvas').getBoundingClientRect()"
        assert browser.value(f"{line}.width") > 0.9 * browser.value(f"{canvas}.width")


def test_the_keyboard_reaches_all_that_folds_and_scrolls(browser: Page, pages: dict[str, Path]) -> None:
    browser.show(pages["erring"], 380)
    reached = set()
    for _ in range(60):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.add(browser.value("document.activeElement.tagName + '.' + document.activeElement.className"))
    assert {"A.skip", "SUMMARY.", "DIV.scroll"} <= reached
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_who_hears_the_page_hears_what_the_pictures_show(browser: Page, pages: dict[str, Path]) -> None:
    browser.show(pages["erring"], 1_200)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    heard = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    pictures = [name for role, name in heard if role in ("image", "img")]
    assert pictures
    assert all(len(name) > 20 for name in pictures)
    assert any("errors: e-value over time Greatest e-value" in name for name in pictures)
    roles = {role for role, _ in heard}
    assert {"main", "banner", "navigation", "contentinfo", "heading", "table", "columnheader", "rowheader"} <= roles


def test_on_paper_what_was_folded_is_shown(browser: Page, pages: dict[str, Path]) -> None:
    browser.show(pages["erring"], 1_200)
    shown = "document.querySelector('details.metric:not([open]) .line').checkVisibility()"
    assert not browser.value(shown)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.value(shown)
    assert not browser.value("document.querySelector('nav').checkVisibility()")
    browser.call("Emulation.setEmulatedMedia", media="")
    assert browser.pdf().startswith(b"%PDF")


def test_a_picture_of_the_page_is_not_blank(browser: Page, pages: dict[str, Path]) -> None:
    browser.show(pages["erring"], 380)
    blank = "document.body.replaceChildren()"
    seen = browser.screenshot()
    browser.value(blank)
    assert len(seen) > 3 * len(browser.screenshot())
