"""People documents: every error at once, and no rule that nobody could fulfil."""

from pathlib import Path

import msgspec
import pytest

from holdfast.control.people_file import load_people, load_roster
from holdfast.errors import BadInput
from holdfast.live.settings import load_settings
from rollouts.people import digest
from tests.overrides import PEOPLE, key

PUBLIC = {seed: key(seed).public for seed in range(1, 6)}


def text(**changes: str) -> str:
    """Write a people document."""
    given = {"ada": PUBLIC[1], "role": "sre", "approvals": "1", "longest": "4h", "extra": ""} | changes
    return f"""\
people:
  - {{name: ada, roles: [sre, owner], keys: [{{id: ada-1, public: {given["ada"]}}}]}}
  - {{name: bo, roles: [sre], keys: [{{id: bo-1, public: {PUBLIC[2]}, until: 2027-01-01T00:00:00Z}}]}}
overrides:
  freeze_all: {{role: {given["role"]}, approvals: {given["approvals"]}, longest: {given["longest"]}{given["extra"]}}}
"""


def errors(folder: Path, document: str) -> list[str]:
    path = folder / "people.yaml"
    path.write_text(document, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_people(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_a_people_document_is_read(tmp_path: Path) -> None:
    path = tmp_path / "people.yaml"
    path.write_text(text(), encoding="utf-8")
    assert [each.name for each in load_people(path).people] == ["ada", "bo"]


def test_what_is_written_as_json_is_read_and_has_the_same_digest(tmp_path: Path) -> None:
    path = tmp_path / "people.yaml"
    path.write_bytes(msgspec.json.encode(PEOPLE))
    assert digest(load_people(path)) == digest(PEOPLE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ada": PUBLIC[2]}, "people[1].keys[0].public: found"),
        ({"ada": "MCowBQYDK2VwAyEA"}, "people[0].keys[0].public: found"),
        ({"ada": PUBLIC[1][:-2] + ("B=" if PUBLIC[1][-2] != "B" else "C=")}, "people[0].keys[0].public: found"),
        ({"role": "boss"}, 'overrides.freeze_all.role: found "boss", which nobody has; allowed: owner, sre'),
        ({"approvals": "2"}, "overrides.freeze_all.approvals: found 2, but whatever a person asks for, at most 1"),
        ({"approvals": "0"}, "overrides.freeze_all.approvals: found 0; allowed: a whole number at least 1"),
        ({"longest": "0h"}, 'overrides.freeze_all.longest: found "0h"; allowed: longer than 0'),
        ({"longest": "soon"}, 'overrides.freeze_all.longest: found "soon"; allowed: a number and its unit'),
        ({"extra": ", rol: x"}, "overrides.freeze_all.rol: unknown key, did you mean role?"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    assert said in "\n".join(errors(tmp_path, text(**changes)))


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    wrong = text(role="boss", ada="x").replace("name: bo", "name: ada").replace("2027", "1999")
    wrong = wrong.replace("until: 1999", "since: 2026-01-01T00:00:00Z, until: 1999")
    found = errors(tmp_path, wrong)
    assert [line.partition(":")[0] for line in found] == ["2", "3", "3", "5"]


def test_a_digest_is_of_what_is_said_and_not_of_how(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(text(), encoding="utf-8")
    other.write_text("# who may\n" + text().replace("name: ada, roles: [sre, owner]", "roles: [sre, owner], name: ada"))
    assert digest(load_people(one)) == digest(load_people(other))


def test_the_people_of_the_settings_and_the_former_ones_are_known(tmp_path: Path) -> None:
    for name, longest in (("now", "4h"), ("then", "2h")):
        (tmp_path / f"{name}.yaml").write_text(text(longest=longest), encoding="utf-8")
    given = {"HOLDFAST_PEOPLE": str(tmp_path / "now.yaml"), "HOLDFAST_FORMER_PEOPLE": f"[{tmp_path / 'then.yaml'}]"}
    found = load_roster(load_settings(None, given))
    assert found.today == digest(load_people(tmp_path / "now.yaml"))
    assert len(found.known) == 2


def test_without_people_nobody_can_override() -> None:
    with pytest.raises(BadInput, match=r"^people: found nothing; allowed: the path of a people document"):
        load_roster(load_settings(None, {}))
