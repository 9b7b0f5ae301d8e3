"""What hosts have, over HTTP: reports are kept as they are, or none of them; and what a rollout has reached."""

from datetime import timedelta

import msgspec
import pytest

from holdfast.errors import Unreachable
from holdfast.wall import now
from rollouts.blast import blast
from rollouts.reports import Report
from tests.api.serving import Room
from tests.rollouts.fleet import World


def report(host: str = "c0-h0", minutes: float = 0, **given: object) -> dict[str, object]:
    at = (now() + timedelta(minutes=minutes)).isoformat()
    return {"host": host, "colo": "c0", "region": "r0", "sequence": 1, "at": at, "numbers": {"bots": 2}, **given}


def test_reports_are_kept_as_they_are() -> None:
    room = Room()
    given = [report(), report("c0-h1", problem="no room")]
    answer = room.client.post("/v1/reports", json={"reports": given})
    assert (answer.status_code, answer.json()) == (200, {"taken": 2})
    assert room.reports == msgspec.convert(given, list[Report])


def test_reports_of_which_one_is_from_the_future_are_refused_as_a_whole() -> None:
    room = Room()
    answer = room.client.post("/v1/reports", json={"reports": [report(), report("c0-h1", minutes=6)]})
    assert answer.status_code == 422
    assert "c0-h1: reports at" in answer.json()["errors"][0]
    assert "clocks disagree" in answer.json()["errors"][0]
    assert room.reports == []


@pytest.mark.parametrize("body", [{"reports": []}, {}, {"reports": [{"host": "a"}]}, {"reports": [report(speed=1)]}])
def test_what_is_no_report_is_refused(body: dict[str, object]) -> None:
    room = Room()
    assert room.client.post("/v1/reports", json=body).status_code == 422
    assert room.reports == []


def test_reports_that_are_not_known_to_be_kept_may_be_sent_again() -> None:
    room = Room()

    def away(_: object) -> None:
        raise Unreachable("holdfast.applied: the brokers have not taken 1 of 1 reports")

    object.__setattr__(room.services, "keep_reports", away)
    answer = room.client.post("/v1/reports", json={"reports": [report()]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "may be sent again" in answer.json()["detail"]


def test_what_a_rollout_has_reached_is_shown() -> None:
    room, world = Room(), World()
    world.give()
    room.blasts["bots"] = blast(world.state, world.context)
    found = room.get("/v1/rollouts/bots/reach")
    assert (found["phase"], found["stage"], found["reached"]["hosts"]) == ("applying", "one", ["c0-h0"])
    assert found["following"]["hosts"] == ["c0-h1", "c1-h1", "c2-h1", "c3-h1"]


def test_a_rollout_that_is_not_under_control_has_reached_nothing_that_is_known() -> None:
    answer = Room().client.get("/v1/rollouts/bots/reach")
    assert (answer.status_code, answer.json()["detail"]) == (404, "bots: not under control")


def test_what_cannot_be_read_now_may_be_asked_for_again() -> None:
    room = Room()
    room.blasts["bots"] = Unreachable("holdfast.control: not read to its end in 30 s")
    answer = room.client.get("/v1/rollouts/bots/reach")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
