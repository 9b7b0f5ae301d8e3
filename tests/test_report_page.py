"""The page: it parses, needs nothing else, takes names for names, says in words what it shows, and stays small."""

import dataclasses
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast.reporting.build import HEAT_COLOS_MAX, report_data
from holdfast.reporting.page import METRICS_DRAWN_MAX, render
from holdfast.reporting.recorded import gather_recording
from tests.report_cases import HOSTILE, erring, made
from tests.test_classical import CLASSICAL
from tests.test_cli import Command, Small, make_command

ROOT: Final = Path(__file__).resolve().parent.parent
VOID: Final = {"meta", "br", "link", "img", "input", "hr"}
BYTES_MAX: Final = 4_000_000
"""What a page may come to, whatever it is about."""


class Parsed(HTMLParser):
    """A page as a list of elements, each with its attributes, its text and the names of those around it."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[dict[str, Any]] = []
        self.texts: list[tuple[str, list[str]]] = []
        self._open: list[dict[str, Any]] = []
        self.feed(page)
        self.close()
        assert [each["tag"] for each in self._open] == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of {tag} stands there twice"
        found = {"tag": tag, "attrs": dict(attrs), "text": "", "within": [each["tag"] for each in self._open]}
        self.elements.append(found)
        if tag not in VOID:
            self._open.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes what was not opened"
        assert self._open[-1]["tag"] == tag, f"</{tag}> closes <{self._open[-1]['tag']}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append((data, [each["tag"] for each in self._open]))
        for each in self._open:
            each["text"] += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [each for each in self.elements if each["tag"] == tag]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return erring(tmp_path_factory.mktemp("report") / "erring")


@pytest.fixture(scope="module")
def page(recording: Path) -> str:
    return render(report_data(gather_recording(recording)[1]))


@pytest.fixture(scope="module")
def parsed(page: str) -> Parsed:
    return Parsed(page)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return make_command(capsys, monkeypatch)


# ---------------------------------------------------------------- what it says


def test_the_verdict_is_the_first_that_is_said(parsed: Parsed) -> None:
    assert parsed.all("title")[0]["text"].startswith("Revert: bot-0312")
    assert parsed.all("h2")[0]["text"].strip() == "Revert"
    text = parsed.all("main")[0]["text"]
    assert text.index("Roll the change back.") < text.index("Timeline")


def test_reasons_stand_there_as_the_engine_gave_them(recording: Path, parsed: Parsed) -> None:
    outcome, _ = gather_recording(recording)
    text = parsed.all("main")[0]["text"]
    assert outcome.reasons
    assert all(reason["sentence"] in text for reason in outcome.reasons)


def test_the_truth_is_told(parsed: Parsed) -> None:
    text = " ".join(parsed.all("main")[0]["text"].split())
    assert "A bad change; harm began at 11:22:01 UTC in ams01. The verdicts agree with it" in text


def test_a_truth_that_is_contradicted_is_told_as_such() -> None:
    found = dataclasses.replace(report_data(made()), contradictions=("ended in revert; right would be advance",))
    text = Parsed(render(found)).all("main")[0]["text"]
    assert "The verdicts contradict it: ended in revert; right would be advance." in text


def test_what_was_not_judged_is_told_with_why() -> None:
    text = " ".join(Parsed(render(report_data(made()))).all("main")[0]["text"].split())
    assert "metric_002 in colo_003: no colo_000" in text
    assert "The smallest degradation that would have been called by then: 25 %." in text


def test_a_verdict_that_binds_nobody_says_so() -> None:
    assert "not binding" in render(report_data(made()))


def test_a_page_about_the_classical_judge_shows_no_e_values(tmp_path: Path) -> None:
    _, gathered = gather_recording(Small().write(tmp_path / "r", policy=CLASSICAL))
    text = Parsed(render(report_data(gathered))).all("main")[0]["text"]
    assert "nothing bounds how often it is wrong" in text
    assert "Evidence against the change" not in text
    assert "against the change" not in text


def test_a_classical_replay_too_short_for_a_look_has_a_page(tmp_path: Path) -> None:
    _, gathered = gather_recording(Small(live=4).write(tmp_path / "r", policy=CLASSICAL))
    Parsed(render(report_data(gathered)))


# ---------------------------------------------------------------- it needs nothing else


def test_nothing_is_fetched_and_nothing_runs(page: str, parsed: Parsed) -> None:
    assert parsed.all("script") == parsed.all("link") == parsed.all("img") == parsed.all("iframe") == []
    links = [value for each in parsed.elements for name, value in each["attrs"].items() if name in ("href", "src")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "url(" not in page
    assert "@import" not in page
    assert not [name for each in parsed.elements for name in each["attrs"] if name.startswith("on")]
    policy = [each["attrs"]["content"] for each in parsed.all("meta") if "http-equiv" in each["attrs"]]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def test_links_within_the_page_lead_somewhere(parsed: Parsed) -> None:
    names = [each["attrs"]["id"] for each in parsed.elements if "id" in each["attrs"]]
    assert len(names) == len(set(names))
    assert {each["attrs"]["href"].removeprefix("#") for each in parsed.all("a")} <= set(names)
    told = [each["attrs"].get("aria-labelledby", "") for each in parsed.elements]
    assert {name for names in told for name in names.split()} <= set(names)


def test_the_same_recording_makes_the_same_bytes(recording: Path, tmp_path: Path) -> None:
    pages = []
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.html"
        code = "import sys; from holdfast.cli import main; main()"
        line = [sys.executable, "-W", "error", "-c", code, "report", str(recording), "--out", str(out)]
        done = subprocess.run(
            line, cwd=ROOT, env={"PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        pages.append(out.read_bytes())
    assert pages[0] == pages[1]


def test_the_wheel_takes_the_templates_along() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    # Whole packages, whatever the names of their files, unless something is set that leaves some out.
    assert set(build) == {"targets"}
    assert set(build["targets"]["wheel"]) == {"packages"}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert [line for line in ignored if re.search(r"html|css|templates", line)] == []


# ---------------------------------------------------------------- names are anything


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_names(name: str) -> None:
    names = (name, f"{name}1", f"{name}2")
    page = render(report_data(made(names=names)))
    parsed = Parsed(page)
    plain = Parsed(render(report_data(made(names=("p", "p1", "p2")))))
    # A name that was taken for markup would make other elements, or other attributes.
    assert [each["tag"] for each in parsed.elements] == [each["tag"] for each in plain.elements]
    assert [set(each["attrs"]) for each in parsed.elements] == [set(each["attrs"]) for each in plain.elements]
    assert parsed.all("h1")[0]["text"] == name
    assert "49" not in parsed.all("h1")[0]["text"]


def test_a_name_of_the_other_direction_turns_nothing_around_it() -> None:
    name = HOSTILE[2]
    parsed = Parsed(render(report_data(made(names=(name, f"{name}1", f"{name}2")))))
    found = [within for text, within in parsed.texts if name in text and not {"head", "svg"} & set(within)]
    assert found
    assert [within for within in found if "bdi" not in within] == []


# ---------------------------------------------------------------- for everybody


def test_the_page_has_landmarks_a_language_and_a_title(parsed: Parsed) -> None:
    assert parsed.all("html")[0]["attrs"]["lang"] == "en"
    assert all(len(parsed.all(tag)) == 1 for tag in ("main", "header", "nav", "footer", "h1"))
    (title,) = [each["text"] for each in parsed.all("title") if each["within"][-1] == "head"]
    assert title == "Revert: bot-0312 – holdfast report"
    assert parsed.all("nav")[0]["attrs"]["aria-label"]
    assert parsed.all("a")[0]["attrs"]["href"] == "#verdict"


def test_headings_skip_no_level(parsed: Parsed) -> None:
    ranks = [int(each["tag"][1]) for each in parsed.elements if re.fullmatch("h[1-6]", each["tag"])]
    assert ranks[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(ranks))


def test_every_section_bears_a_name(parsed: Parsed) -> None:
    assert all("aria-labelledby" in each["attrs"] for each in parsed.all("section"))


def test_every_picture_is_told_in_words_or_hidden(parsed: Parsed) -> None:
    pictures = parsed.all("svg")
    shown = [each for each in pictures if each["attrs"].get("role") == "img"]
    assert shown
    for each in shown:
        assert len(each["attrs"]["aria-labelledby"].split()) == 2
    told = {each["attrs"].get("id") for each in parsed.elements if each["tag"] in ("title", "desc") and each["text"]}
    assert {name for each in shown for name in each["attrs"]["aria-labelledby"].split()} <= told
    hidden = [each for each in pictures if each not in shown]
    inside = [each for each in parsed.elements if each["attrs"].get("aria-hidden") == "true"]
    assert len(inside) >= len([each for each in hidden if "key" not in each["attrs"].get("class", "")])


def test_every_table_has_a_caption_and_names_its_rows_and_columns(parsed: Parsed) -> None:
    tables = parsed.all("table")
    assert len(parsed.all("caption")) == len(tables) > 3
    heads = parsed.all("th")
    assert {each["attrs"].get("scope") for each in heads} == {"col", "row"}
    assert len([each for each in heads if each["attrs"]["scope"] == "row"]) == len(
        [each for each in parsed.all("tr") if "tbody" in each["within"]]
    )


def test_what_scrolls_can_be_reached_with_the_keyboard(parsed: Parsed) -> None:
    scrolling = [each for each in parsed.all("div") if each["attrs"].get("class") == "scroll"]
    assert scrolling
    assert all(each["attrs"].get("tabindex") == "0" and each["attrs"].get("aria-label") for each in scrolling)


def test_numbers_stand_behind_every_picture_of_a_metric(parsed: Parsed) -> None:
    metrics = [each for each in parsed.all("details") if "metric" in each["attrs"]["class"].split()]
    numbers = [each for each in parsed.all("details") if each["attrs"]["class"] == "numbers"]
    assert len(metrics) == 3
    assert sum("details" in each["within"] for each in numbers) == len(metrics)


def colours(style: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-fA-F]{6});", style))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 has it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


STYLE: Final = (ROOT / "holdfast/reporting/templates/style.css").read_text(encoding="utf-8")
LIGHT: Final = colours(STYLE.partition("@media")[0])
DARK: Final = LIGHT | colours(STYLE.partition("@media")[2].partition("* {")[0])
WORDS: Final = ("ink", "soft", "canary", "control", "limit", "threshold", "advance", "wait", "halt", "revert")


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_stand_out_from_what_they_stand_on(theme: dict[str, str]) -> None:
    pairs = [(word, paper) for word in WORDS for paper in ("paper", "card")]
    pairs += [(action, f"{action}-paper") for action in ("advance", "wait", "halt", "revert")]
    pairs += [("ink", f"{action}-paper") for action in ("advance", "wait", "halt", "revert")]
    found = {pair: contrast(theme[pair[0]], theme[pair[1]]) for pair in pairs}
    assert {pair: value for pair, value in found.items() if value < 4.5} == {}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_lines_stand_out_from_the_paper(theme: dict[str, str]) -> None:
    for line_of in ("canary", "control", "effect", "evidence", "threshold", "limit", "focus"):
        assert contrast(theme[line_of], theme["card"]) >= 3


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_levels_of_the_heat_map_are_told_apart_without_colour(theme: dict[str, str]) -> None:
    # From level to level farther from the paper, which also those see who see no hues.
    steps = [contrast(theme[f"heat-{level}"], theme["card"]) for level in range(1, 6)]
    assert steps == sorted(steps)
    assert all(after / before > 1.2 for before, after in pairwise(steps))


# ---------------------------------------------------------------- bounds


def test_a_large_rollout_makes_a_page_of_bounded_size_that_says_what_it_leaves_out() -> None:
    data = report_data(made(metrics=100, colos=300, ticks=3_000))
    page = render(data)
    assert len(page.encode()) < BYTES_MAX
    text = " ".join(Parsed(page).all("main")[0]["text"].split())
    assert f"Pictures are drawn of the {METRICS_DRAWN_MAX} metrics with most evidence; the other 41 are" in text
    assert f"Shown are the {HEAT_COLOS_MAX} colos with most evidence; {300 - HEAT_COLOS_MAX} more are left out." in text
    assert "24 of 231 steps, evenly spread." in text
    assert all(f"metric_{number:03d}" in text for number in range(100))


def test_metrics_that_say_little_are_folded() -> None:
    parsed = Parsed(render(report_data(made(metrics=30))))
    metrics = [each for each in parsed.all("details") if "metric" in each["attrs"]["class"].split()]
    is_open = ["open" in each["attrs"] for each in metrics]
    assert is_open[0]
    assert sum(is_open) <= 4
    assert len(metrics) == 31


# ---------------------------------------------------------------- the commands


def test_a_page_is_written_about_a_recording(command: Command, recording: Path, page: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    ran = command("report", recording, "--out", out)
    assert (ran.status, ran.out, ran.err) == (0, f"{out}\n", "")
    assert out.read_text(encoding="utf-8") == page
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_replay_writes_the_same_page_beside_its_result(
    command: Command, recording: Path, page: str, tmp_path: Path
) -> None:
    out, store = tmp_path / "page.html", tmp_path / "store"
    ran = command("replay", recording, "--json", "--check", "--data", store, "--report", out)
    assert ran.status == 0
    assert ran.outcomes[0]["final_action"] == "revert"
    assert out.read_text(encoding="utf-8") == page
    stored = tmp_path / "stored.html"
    assert command("report", "bot-0312", "--out", stored, "--store", store).status == 0
    assert "stored replay:erring" in stored.read_text(encoding="utf-8")


def test_what_cannot_be_reported_is_one_clear_error(command: Command, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    none = tmp_path / "none"
    for arguments, error in (
        (("report", recording, "--out", tmp_path), f"{tmp_path}: a folder; allowed: a file in a folder that is there"),
        (("report", recording, "--out", none / "x"), f"{none / 'x'}: no such folder; allowed: a file in"),
        (("report", "bot", "--out", out, "--store", none), f"{none}: no such folder: nothing is kept there yet"),
        (("report", "bot", "--out", out, "--policy", "p.yaml"), "bot: --policy: found 'p.yaml', and there is no such"),
        (("report", recording, "--out", out, "--source", "live"), f"{recording}: --source: found 'live', for the"),
        (("replay", recording, recording, "--report", out), f"{out}: --report: found 2 recordings; allowed: one"),
    ):
        ran = command(*arguments)
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.startswith(error)
        assert ran.err.count("\n") == 1
    assert not out.exists()
