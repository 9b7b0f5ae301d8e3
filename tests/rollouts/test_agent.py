"""The agent: all units of a state or none, only what is what it is called, and who was killed begins where it was."""

from pathlib import Path

import pytest

from holdfast.control import desired
from holdfast.control.agent import Agent
from holdfast.control.desired import Desired, Unit, Wanted
from holdfast.errors import BadInput
from rollouts.controlled import Before, Deploy, Restore
from rollouts.packages import digest_of
from tests.rollouts.fleet import UNIT, seats

A, B = b"true", b"\x00data"


def wanted(number: int, **units: bytes | None) -> Wanted:
    made = {
        name: Unit(digest=None if content is None else digest_of(content), kind="data-file")
        for name, content in units.items()
    }
    return Wanted(units=made, numbers={"bots": number})


def contents(*given: bytes) -> dict[str, bytes]:
    return {digest_of(content): content for content in given}


def test_a_host_gets_all_units_and_says_which_action_it_has_done(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.apply(wanted(1, a=A, b=B), contents(A, B))
    assert (agent.path("a").read_bytes(), agent.path("b").read_bytes()) == (A, B)
    assert Agent(tmp_path).held == agent.held
    assert not agent.is_news(wanted(1, a=B))


def test_if_one_content_is_not_what_it_is_called_nothing_changes(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.apply(wanted(1, a=A), contents(A))
    with pytest.raises(BadInput, match="the package says"):
        agent.apply(wanted(2, a=B, b=A), {digest_of(A): A, digest_of(B): b"tampered"})
    assert agent.path("a").read_bytes() == A
    assert Agent(tmp_path).held.numbers == {"bots": 1}


def test_a_unit_that_is_not_to_be_there_is_taken_away_and_others_stay(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.apply(wanted(1, a=A, b=B), contents(A, B))
    agent.apply(wanted(2, b=None), {})
    assert not agent.path("b").exists()
    assert agent.path("a").read_bytes() == A


@pytest.mark.parametrize("call", ["symlink_to", "replace"])
def test_an_agent_that_is_killed_before_the_link_is_renamed_has_what_it_had(tmp_path, monkeypatch, call) -> None:
    Agent(tmp_path).apply(wanted(1, a=A), contents(A))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, killed)
        with pytest.raises(KeyboardInterrupt):
            Agent(tmp_path).apply(wanted(2, a=B), contents(B))
    again = Agent(tmp_path)
    assert again.path("a").read_bytes() == A
    again.apply(wanted(2, a=B), contents(B))
    assert again.path("a").read_bytes() == B


def test_the_state_before_is_kept_and_older_ones_are_not(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    for number in range(1, 5):
        agent.apply(wanted(number, a=A), contents(A))
    assert sorted(folder.name[-1] for folder in (tmp_path / "states").iterdir()) == ["3", "4"]


def test_a_late_deploy_does_not_undo_a_restore() -> None:
    kinds, places = {UNIT.unit: UNIT.kind}, seats("c0-h0", "c1-h0")
    deploy = Deploy(id="1", number=1, stage="one", units=[UNIT], seats=places)
    restore = Restore(id="2", number=2, stage="one", before=[Before(units={UNIT.unit: None}, seats=places)])
    current: dict[str, Desired] = {}
    for action in (deploy, restore, deploy, restore):
        current |= {one.colo: one for one in desired.changed(current, "bots", kinds, action)}
    assert desired.changed(current, "bots", kinds, restore) == []
    assert current["c0"].hosts["c0-h0"].units[UNIT.unit].digest is None
    assert desired.decode(desired.encode(current["c0"])) == current["c0"]
