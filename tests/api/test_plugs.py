"""The plugs, asked as the systems that they are for ask: by the examples, and read by the rules of those systems."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from detectors.verdict import Action
from holdfast.api.gates import GATES
from holdfast.cli import app
from holdfast.commands.verdict import EXIT
from holdfast.live.events import Fresh, Gap, Stale, Untrusted
from tests.api.serving import FUTURE, Room
from tests.test_following import at

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
STALE = Stale("bots", at(9))
GARBAGE = Untrusted("bots", "not signed", "verdicts", 0, 7)


@pytest.fixture
def room() -> Room:
    room = Room()
    room.submit()
    return room


def argo(room: Room) -> str:
    """Measure as Argo Rollouts does (metricproviders/webmetric and utils/evaluate), and return the phase."""
    template = yaml.safe_load((EXAMPLES / "argo/analysis-template.yaml").read_text())
    (metric,) = template["spec"]["metrics"]
    arguments = {"rollout": "bots", "stage": "canary", "token": "x"}
    filled = re.sub(r"\{\{ ?args\.([\w-]+) ?\}\}", lambda found: arguments[found[1]], json.dumps(metric))
    metric = json.loads(filled)
    web = metric["provider"]["web"]
    headers = {each["key"]: each["value"] for each in web["headers"]}
    path = web["url"].removeprefix("https://holdfast.example.com")
    answer = room.client.request(web["method"], path, content=web["body"], headers=headers)
    if not 200 <= answer.status_code < 300:
        return "Error"
    (key,) = re.fullmatch(r"\{\$\.(\w+)\}", web["jsonPath"]).groups()  # type: ignore[union-attr]
    result = answer.json()[key]
    is_success, is_failure = (condition(metric[each], result) for each in ("successCondition", "failureCondition"))
    if is_failure:
        return "Failed"
    return "Successful" if is_success else "Inconclusive"


def condition(text: str, result: str) -> bool:
    """Evaluate a condition of the one form that the example has."""
    (expected,) = re.fullmatch(r'result == "(\w+)"', text).groups()  # type: ignore[union-attr]
    return result == expected


def spinnaker(room: Room) -> str:
    """Monitor as Spinnaker does (orca's MonitorWebhookTask), and return the status of the stage."""
    stage = json.loads((EXAMPLES / "spinnaker/stage.json").read_text())
    path = stage["url"].removeprefix("https://holdfast.example.com")
    answer = room.client.request(stage["method"], path, headers=stage["customHeaders"])
    if answer.status_code >= 400:
        return "RUNNING" if answer.status_code >= 500 else "TERMINAL"
    result = answer.json()[stage["statusJsonPath"].removeprefix("$.")]
    assert isinstance(answer.json()[stage["progressJsonPath"].removeprefix("$.")], str)
    statuses = {each.strip().upper(): "SUCCEEDED" for each in stage["successStatuses"].split(",")}
    statuses |= {each.strip().upper(): "TERMINAL" for each in stage["terminalStatuses"].split(",")}
    return statuses.get(result.upper(), "RUNNING")


def flagger(room: Room, kind: str) -> bool:
    """Call a webhook of the example as Flagger does (pkg/controller/webhook.go): whether it is taken for success."""
    canary = yaml.safe_load((EXAMPLES / "flagger/canary.yaml").read_text())
    (hook,) = [each for each in canary["spec"]["analysis"]["webhooks"] if each["type"] == kind]
    payload = {**canary["metadata"], "phase": "Progressing", "checksum": "5d8b", "metadata": hook["metadata"]}
    answer = room.client.post(hook["url"].removeprefix("https://holdfast.example.com"), json=payload)
    return bool(answer.status_code <= 202)


def gates(room: Room) -> dict[str, bool]:
    """Ask each gate."""
    payload = {"name": "x", "namespace": "y", "metadata": {"rollout": "bots", "stage": "canary"}}
    return {gate: room.client.post(f"/v1/plugs/flagger/{gate}", json=payload).status_code == 200 for gate in GATES}


CASES: list[tuple[Action, str, str, set[str]]] = [
    ("wait", "Inconclusive", "RUNNING", {"confirm-rollout", "pre-rollout", "rollout"}),
    ("advance", "Successful", "SUCCEEDED", {str(gate) for gate in GATES} - {"rollback"}),
    ("halt", "Failed", "TERMINAL", set()),
    ("revert", "Failed", "TERMINAL", {"rollback"}),
]


@pytest.mark.parametrize(("action", "phase", "status", "is_open"), CASES, ids=[case[0] for case in CASES])
def test_each_action_is_told_in_the_words_of_each_system(
    room: Room, action: Action, phase: str, status: str, is_open: set[str]
) -> None:
    room.hear(action)
    assert (argo(room), spinnaker(room)) == (phase, status)
    assert {gate for gate, found in gates(room).items() if found} == is_open
    for kind in ("rollout", "confirm-promotion", "rollback"):
        assert flagger(room, kind) == (kind in is_open)


def unheard(room: Room) -> None:
    room.board.unheard("away")


def unread(room: Room) -> None:
    room.rollouts.is_known = False


DOUBTS = {
    "stale": lambda room: room.board.take(STALE),
    "a gap": lambda room: room.board.take(Gap("bots", 2, 3, "advance")),
    "untrusted": lambda room: room.board.take(GARBAGE),
    "a memory": lambda room: room.board.remembered(["bots"]),
    "no brokers": unheard,
    "no rollouts": unread,
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_whatever_is_in_doubt_is_never_a_success(room: Room, doubt: str) -> None:
    room.hear("advance")
    assert argo(room) == "Successful"
    DOUBTS[doubt](room)
    assert (argo(room), spinnaker(room), any(gates(room).values())) == ("Inconclusive", "RUNNING", False)


@pytest.mark.parametrize("doubt", sorted(DOUBTS.keys() - {"no rollouts"}))
def test_a_stop_stays_one_whatever_is_in_doubt(room: Room, doubt: str) -> None:
    room.hear("revert")
    DOUBTS[doubt](room)
    assert (argo(room), spinnaker(room), flagger(room, "rollback")) == ("Failed", "TERMINAL", True)


def test_a_stop_of_which_only_a_heartbeat_tells_is_one(room: Room) -> None:
    room.hear("advance")
    room.board.take(Gap("bots", 2, 3, "revert"))
    assert (argo(room), flagger(room, "rollback")) == ("Failed", True)


def test_doubt_ends_with_the_next_sign_of_life_but_a_gap_with_the_next_verdict_alone(room: Room) -> None:
    room.hear("advance")
    for event in (STALE, GARBAGE):
        room.board.take(event)
        room.board.take(Fresh("bots", "advance"))
        assert argo(room) == "Successful"
    room.board.take(Gap("bots", 2, 2, None))
    room.board.take(Fresh("bots", "advance"))
    assert argo(room) == "Inconclusive"
    room.hear("advance", 3)
    assert argo(room) == "Successful"


def test_nothing_heard_is_no_success(room: Room) -> None:
    assert (argo(room), spinnaker(room)) == ("Inconclusive", "RUNNING")


def test_a_rollout_in_shadow_binds_nobody() -> None:
    room = Room()
    room.submit(mode="shadow", started=FUTURE)
    for action in ("advance", "revert"):
        room.hear(action, binding=False)
        assert (argo(room), flagger(room, "rollback")) == ("Inconclusive", False)


def test_a_verdict_on_another_stage_decides_nothing_but_its_stop_does(room: Room) -> None:
    room.hear("advance", stage="region")
    assert argo(room) == "Inconclusive"
    room.hear("halt", 2, stage="region")
    assert argo(room) == "Failed"


def test_a_rollout_that_finished_without_a_decision_is_no_success(room: Room) -> None:
    room.hear("wait")
    room.board.finished("bots")
    assert (argo(room), spinnaker(room)) == ("Inconclusive", "TERMINAL")


def test_a_rollout_or_stage_that_there_is_not_is_an_error(room: Room) -> None:
    assert room.client.get("/v1/plugs/argo", params={"rollout": "cats", "stage": "canary"}).status_code == 404
    answer = room.client.get("/v1/plugs/argo", params={"rollout": "bots", "stage": "moon"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "bots: no stage 'moon'; allowed: canary, region")
    assert argo(Room()) == "Error"


def test_asked_in_the_query_or_in_a_body_the_answer_is_the_same(room: Room) -> None:
    asked = {"rollout": "bots", "stage": "canary"}
    for plug in ("argo", "spinnaker"):
        assert room.get(f"/v1/plugs/{plug}", **asked) == room.client.post(f"/v1/plugs/{plug}", json=asked).json()


def test_flagger_shows_why_a_gate_is_closed(room: Room) -> None:
    room.hear("halt")
    payload = {"name": "x", "namespace": "y", "metadata": {"rollout": "bots"}}
    answer = room.client.post("/v1/plugs/flagger/rollout", json=payload)
    assert answer.json()["detail"] == "rollout: closed: halt: stop here, and have a person look"


@pytest.mark.parametrize(
    ("gate", "metadata", "status"),
    [
        ("moon", {"rollout": "bots"}, 404),
        ("rollout", {}, 422),
        ("confirm-promotion", {"rollout": "bots"}, 422),
        ("rollout", {"rollout": "cats"}, 404),
    ],
)
def test_a_gate_that_cannot_be_asked_is_refused(room: Room, gate: str, metadata: dict[str, str], status: int) -> None:
    payload = {"name": "x", "namespace": "y", "metadata": metadata}
    assert room.client.post(f"/v1/plugs/flagger/{gate}", json=payload).status_code == status


def test_flagger_gives_its_token_in_the_metadata(tmp_path: Path) -> None:
    from tests.api.test_app import guarded

    room, header = guarded(tmp_path, "verdicts:read")
    payload: dict[str, Any] = {"name": "x", "namespace": "y", "metadata": {"rollout": "cats"}}
    assert room.client.post("/v1/plugs/flagger/rollout", json=payload).status_code == 401
    payload["metadata"]["token"] = header["authorization"].removeprefix("Bearer ")
    assert room.client.post("/v1/plugs/flagger/rollout", json=payload).status_code == 404


def test_the_newest_verdict_is_shown_with_its_reasons(room: Room) -> None:
    room.hear("advance")
    room.hear("wait", 2, stage="region")
    found = room.get("/v1/rollouts/bots/verdict", stage="canary")
    assert (found["phase"], found["action"], found["sequence"], found["verdict"]["stage"]) == (
        "success", "advance", 1, "canary",
    )  # fmt: skip
    assert room.get("/v1/rollouts/bots/verdict")["sequence"] == 2


def test_the_workflow_for_github_runs_commands_that_there_are() -> None:
    workflow = yaml.safe_load((EXAMPLES / "github/rollout.yml").read_text())
    steps = {step["name"]: step for step in workflow["jobs"]["canary"]["steps"] if "run" in step}
    group: Any = typer.main.get_command(app)
    lines = [line for step in steps.values() for line in step["run"].splitlines() if line.startswith("holdfast ")]
    assert len(lines) == 3
    for line in lines:
        words = line.split()
        command = group.commands[words[1]].commands[words[2]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
    # A step fails by any status but 0, and 0 is `advance` alone.
    assert [outcome for outcome, status in EXIT.items() if status == 0] == ["advance"]
    assert steps["Roll back"]["if"] == "failure() && steps.verdict.outcome == 'failure'"
    assert workflow["jobs"]["everywhere"]["needs"] == "canary"


def test_the_examples_in_the_docs_are_the_files() -> None:
    page = (ROOT / "docs/plugs.md").read_text(encoding="utf-8")
    for name in ("argo/analysis-template.yaml", "flagger/canary.yaml", "spinnaker/stage.json", "github/rollout.yml"):
        assert f"\n{(EXAMPLES / name).read_text(encoding='utf-8')}```\n" in page, name
