"""The application over services in memory, and a client that asks it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.testclient import TestClient

from detectors.verdict import Action
from holdfast.api.app import application
from holdfast.api.board import Board
from holdfast.api.delivering import TargetState
from holdfast.api.services import Services
from holdfast.api.settings import Api
from holdfast.api.telemetry import ApiTelemetry
from holdfast.api.tokens import Gate
from holdfast.control.reaching import NotUnderControl
from holdfast.control.scribe import Noted
from holdfast.live.events import Received
from holdfast.wall import now
from rollouts.announced import Announcement
from rollouts.blast import Blast
from rollouts.reports import Report
from tests.test_following import VERDICT, at

STAGES = [{"name": name, "canary": {"cohort": name}, "bake": "30m"} for name in ("canary", "region")]
PLAN: dict[str, Any] = {"rollout": "bots", "started": "2026-03-12T11:20:00Z", "stages": STAGES}
POLICY = {"policy": "edge", "metrics": [{"name": "busy", "gauge": "cpu", "worse": "increase", "breach": "halt"}]}
FUTURE = "2099-03-12T11:20:00Z"


class Memory:
    """Announcements in memory. `is_known` is false until they were read; `error` is raised by a change."""

    def __init__(self) -> None:
        self.announced: dict[str, Announcement] = {}
        self.is_known = True
        self.error: Exception | None = None

    def current(self) -> Mapping[str, Announcement] | None:
        return self.announced if self.is_known else None

    def change(self, rollout: str, make: Callable[[Announcement | None], Announcement]) -> Announcement:
        if self.error is not None:
            raise self.error
        made = make(self.announced.get(rollout))
        self.announced[rollout] = made
        return made


class Target:
    """A webhook that has not sent anything."""

    state = TargetState(name="chat", delivered=0, failed_attempts=0, undelivered=0, last_undelivered=[])


class Room:
    """An application of its own for one test; both topics were read to their end."""

    def __init__(self, gate: Gate | None = None, **api: object) -> None:
        self.rollouts, self.board = Memory(), Board()
        self.board.unheard(None)
        self.reports: list[Report] = []
        self.blasts: dict[str, Blast | Exception] = {}
        self.refused: list[Noted] = []
        self.services = Services(
            msgspec.convert(api, Api),
            gate or Gate(None, now),
            self.board,
            self.rollouts,
            ApiTelemetry(),
            self.reports.extend,
            self.reach,
            self.refuse,
            [Target()],
        )
        self.app = application(self.services)
        self.client = TestClient(self.app, base_url="http://localhost", raise_server_exceptions=False)

    def reach(self, rollout: str) -> Blast:
        """Say what a rollout has reached, if a test has said so."""
        unknown = NotUnderControl(f"{rollout}: not under control")
        found: Blast | Exception = self.blasts.get(rollout, unknown)
        if isinstance(found, Exception):
            raise found
        return found

    def refuse(self, noted: Noted) -> bool:
        """Keep a refusal at once."""
        self.refused.append(noted)
        return True

    def submit(self, **changes: object) -> Any:
        """Announce the plan, with changes."""
        return self.client.post("/v1/rollouts", json={"rollout": {**PLAN, **changes}, "policy": POLICY})

    def hear(self, action: Action, sequence: int = 1, stage: str = "canary", *, binding: bool = True) -> None:
        """Put a verdict on the board."""
        found = msgspec.structs.replace(VERDICT, sequence=sequence, action=action, stage=stage, binding=binding)
        self.board.take(Received("bots", at(sequence), f"{sequence:032x}", found))

    def get(self, path: str, **parameters: str) -> Any:
        """Return the body of a page."""
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()
