"""Reading response documents: every error of a file at once, with what keeps a message from ever being sent."""

from pathlib import Path

import pytest

from holdfast.errors import BadInput
from holdfast.live.settings import load_settings
from holdfast.response.documents import NOBODY, load_response, response_of

GOOD = """\
response: team
components:
  - {name: edge, title: Edge}
grades:
  - {severity: critical, services: [edge, "ed*"]}
recipients:
  - {name: oncall, urls: ["json://localhost"]}
rules:
  - {tell: [oncall], services: [edge]}
escalation:
  - {after: 5m, tell: [oncall]}
  - {after: 5m, tell: [oncall]}
drills: [oncall]
"""


def errors(tmp_path: Path, text: str) -> list[str]:
    """Return the errors of a document, without its path."""
    path = tmp_path / "response.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_response(path)
    except BadInput as error:
        return [line.removeprefix(f"{path}:") for line in str(error).splitlines()]
    return []


def test_a_good_document_is_read(tmp_path: Path) -> None:
    assert errors(tmp_path, GOOD) == []


def test_without_a_document_incidents_are_opened_and_nobody_is_told() -> None:
    assert response_of(load_settings(None, {})) is NOBODY
    assert NOBODY.opens == ["revert"]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (
            "rules:\n  - {tell: [oncall]",
            "rules:\n  - {tell: [nobody]",
            'rules[0].tell[0]: found "nobody"; allowed: oncall',
        ),
        ("drills: [oncall]", "drills: [x]", 'drills[0]: found "x"; allowed: oncall'),
        ("  - {after: 5m, tell: [oncall]}\ndrills", "  - {after: 4m, tell: [oncall]}\ndrills", "escalation[1].after"),
        ("services: [edge, ", "services: [egde, ", 'grades[0].services[0]: found "egde"; allowed: a glob, or edge'),
        (
            "  - {name: edge, title: Edge}",
            "  - {name: edge, title: a}\n  - {name: edge, title: b}",
            "components[1].name",
        ),
        ("title: Edge", 'title: "a\\nb"', 'components[0].title: found "a\\nb"; allowed: a line'),
        ("severity: critical", "severity: bad", "grades[0].severity"),
        ("response: team", "response: team\nrespond: x", "respond"),
        ("after: 5m", "after: 5x", "escalation[0].after"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, old: str, new: str, error: str) -> None:
    assert old in GOOD
    found = errors(tmp_path, GOOD.replace(old, new, 1))
    assert any(error in line for line in found), found


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("drills: [oncall]", "drills: [x]").replace("tell: [oncall], services", "tell: [y], services")
    assert len(errors(tmp_path, text)) == 2
