"""The documents say what is there: links, examples, commands, keys and numbers of the README and of docs/."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import typer.main

from detectors.policy import Classical, ClassicalMetric, Metric, Objective, Policy, PrePeriod
from detectors.verdict import Abstained, Cause, Reason, Verdict
from holdfast.cli import app
from holdfast.control.documents import load_inventory, load_limits, load_plan
from holdfast.control.people_file import load_people
from holdfast.documents import load_policy, load_rollout, load_truth
from holdfast.live.gate_settings import Gate
from holdfast.live.settings import OURS, Signing, load, load_settings
from holdfast.live.topic_names import MetricsTopic
from holdfast.recording.document import MODELS, load_source
from holdfast.replaying import Outcome, replay_recording
from holdfast.response.documents import load_response
from rollouts.document import Rollout, Stage
from rollouts.incidents.response import Component, Grade, Recipient, Response, Rule, Step
from rollouts.truth import Truth
from sinks.cloudevents import VerdictEvent, decode

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
README_LINES_MAX = 250

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LOADERS: dict[str, Callable[[Path], object]] = {
    "policy": load_policy,
    "rollout": load_rollout,
    "bad": load_truth,
    "people": load_people,
    "kafka": lambda path: load_settings(path, {}),
    "clickhouse": lambda path: load_settings(path, {}),
    "from": load_source,
    "package": load_plan,
    "hosts": load_inventory,
    "window": load_limits,
    "response": load_response,
    "deployer": lambda path: load_settings(path, {}),
}


def named(page: Path) -> str:
    """Name a page as seen from the root of the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """List the fenced blocks of a page in one language."""
    return [text for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Name the headings of a page as GitHub links to them."""
    headings = (re.sub(r"[`*]", "", text).strip().lower() for text in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in headings}


def fields(*models: type[msgspec.Struct]) -> set[str]:
    """Name the keys of some models as they are written."""
    return {field.encode_name for model in models for field in msgspec.structs.fields(model)}


def missing(page: str, names: set[str]) -> set[str]:
    """Tell which names a page does not mention as code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return {name for name in names if f"`{name}`" not in text}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=named)
def test_every_document_in_the_docs_is_read_without_an_error(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        file = tmp_path / "example.yaml"
        file.write_text(text, encoding="utf-8")
        LOADERS[text.partition(":")[0]](file)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < README_LINES_MAX


def code(page: Path) -> list[str]:
    """List the pieces of a page that are there to be typed: code in prose, and lines of shell."""
    inline = [" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", prose(page))]
    shell = [line.partition("#")[0].strip() for block in blocks(page, "sh") for line in block.splitlines()]
    return [piece.removeprefix(".venv/bin/") for piece in inline + shell]


def options_of(command: Any) -> set[str]:
    """Name the options of a command, and of those below it."""
    own = {option for parameter in command.params for option in parameter.opts}
    return own.union(*(options_of(one) for one in getattr(command, "commands", {}).values()))


def commands() -> dict[str, set[str]]:
    """Return the commands of the command line, and the options of each."""
    group: Any = typer.main.get_command(app)
    return {**{name: options(command) for name, command in group.commands.items()}, "": own_options(group)}


def own_options(command: Any) -> set[str]:
    """Return the options of a command itself."""
    return {option for parameter in command.params for option in parameter.opts}


def options(command: Any) -> set[str]:
    """Return the options of a command, and of those below it."""
    below = (options(each) for each in getattr(command, "commands", {}).values())
    return own_options(command).union(*below)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_in_the_docs_exists(page: Path) -> None:
    known, wrong = commands(), []
    for piece in code(page):
        if piece.startswith("holdfast "):
            word = piece.split()[1]
            name = "" if word.startswith("-") else word
            options = set(re.findall(r"--[a-z-]+", piece))
            if name not in known or not options <= known[name] | {"--help"}:
                wrong.append(piece)
    assert wrong == []


def test_every_option_in_the_readme_exists() -> None:
    known = {option for options in commands().values() for option in options}
    assert set(re.findall(r"`\s*(--[a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"))) <= known


def test_the_readme_names_every_command_and_every_make_target() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) - {"help"}
    assert {name for name in commands() if name and f"`holdfast {name}" not in text} == set()
    assert {target for target in targets if f"`make {target}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_make_target_in_the_docs_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {piece.split()[1] for piece in code(page) if piece.startswith("make ")} <= targets


def test_every_setting_is_explained() -> None:
    settings = load(None, {})
    names = {
        *settings.document,
        *msgspec.to_builtins(settings.settings.topics),
        *msgspec.to_builtins(settings.settings.http),
    }
    assert missing("docs/configuration.md", names | fields(MetricsTopic, Signing, Gate) | set(OURS)) == set()


def test_the_defaults_of_the_settings_are_the_ones_that_the_docs_give() -> None:
    document = load(None, {}).document
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| `([^`|]*)` \|$", (ROOT / "docs" / "configuration.md").read_text("utf-8"), re.M
    )
    assert dict(rows) == {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in document.items()
        if name != "worker" and isinstance(value, str | int)
    }


def test_every_key_of_a_policy_and_a_rollout_is_explained() -> None:
    models = (Policy, PrePeriod, Classical, Metric, ClassicalMetric, Objective, Rollout, Stage)
    assert missing("docs/policies.md", fields(*models)) == set()


def test_the_defaults_of_a_policy_are_the_ones_that_the_docs_give() -> None:
    text = (ROOT / "docs/policies.md").read_text(encoding="utf-8")
    wrong = []
    for model in (Policy, PrePeriod, Classical, ClassicalMetric, Stage, Objective):
        for field in msgspec.structs.fields(model):
            if isinstance(field.default, str | int | float) and field.default != "":
                value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
                if f"| `{field.encode_name}` | `{value}` |" not in text:
                    wrong.append((model.__name__, field.encode_name, value))
    assert wrong == []


def test_every_key_of_a_response_document_is_explained() -> None:
    assert missing("docs/incident-record.md", fields(Response, Component, Grade, Recipient, Rule, Step)) == set()


def test_every_key_of_a_source_is_explained() -> None:
    assert missing("docs/record.md", fields(*MODELS.values())) == set()


def test_every_option_of_record_is_explained() -> None:
    text = (ROOT / "docs/record.md").read_text(encoding="utf-8")
    assert {option for option in commands()["record"] if f"{option}" not in text} == set()


def test_every_key_of_a_truth_is_explained() -> None:
    text = "".join(blocks(ROOT / "docs/recordings.md", "yaml"))
    assert {name for name in fields(Truth) if f"\n{name}:" not in f"\n{text}"} == set()


def test_every_field_and_cause_of_a_verdict_is_explained() -> None:
    assert missing("docs/verdicts.md", fields(Verdict, Reason, Abstained, VerdictEvent)) == set()
    assert missing("docs/verdicts.md", set(get_args(Cause))) == set()


def test_every_key_of_the_json_line_is_explained() -> None:
    assert missing("docs/verdicts.md", set(Outcome.__slots__) - {"contradictions"}) == set()


def test_the_verdict_in_the_readme_is_one() -> None:
    example = blocks(ROOT / "README.md", "json")[0]
    event = decode(example.replace("…", "").encode().replace(b'"id": "', b'"id": "' + b"0" * 24))
    assert event.data.action == "revert"


def test_the_recording_that_the_docs_make_is_judged_as_they_say(tmp_path: Path) -> None:
    page = ROOT / "docs/recordings.md"
    (script,) = blocks(page, "python")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    outcome = replay_recording(tmp_path / "my-recording", check=True)
    assert outcome.contradictions == []
    shown = "".join(blocks(page, ""))
    assert f"my-recording: {outcome.rollout}: {outcome.action} at " in shown
    # The figures move whenever a detector is tuned; what is blamed, and where, does not.
    assert all(f"- {reason['sentence'].partition(':')[0]}: " in shown for reason in outcome.reasons)


def test_the_example_of_the_readme_is_the_one_that_is_run_against_a_broker() -> None:
    found = [
        re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for page in ("README.md", "docs/subscribing.md")
    ]
    assert found[0][0] == found[1][0]
