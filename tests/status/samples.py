"""Incidents, services and sources in memory, for tests of the status page."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from detectors.policy import Policy
from detectors.verdict import Reason, Samples
from holdfast.api.board import Board
from holdfast.live.events import Received
from holdfast.status.internal import Facts, internal
from holdfast.status.publishing import public
from holdfast.status.snapshot import Heard, Public, Snapshot
from rollouts.announced import announce
from rollouts.blast import Blast, Extent
from rollouts.breakglass import Approval, Held, Request
from rollouts.document import Rollout
from rollouts.incidents import history as events
from rollouts.incidents.history import History
from rollouts.incidents.response import Component, Response
from tests.test_following import VERDICT

NOW = datetime(2026, 3, 12, 14, 2, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
SECRET_TEXT = "zebra-internal"
"""Stands in everything that must not be read in public."""

RESPONSE = Response(
    response="example",
    components=[
        Component(name="dns", title="DNS", description="Answers to queries"),
        Component(name="http", title="HTTP and CDN", description="Requests at the edge"),
        Component(name="kv", title="Key-value store"),
        Component(name="billing-zebra-internal", title="Billing zebra-internal", is_public=False),
    ],
)
HIDDEN = "billing-zebra-internal"
WATCHED = [(NOW - 71 * DAY, NOW)]


def name(number: int, day: str = "20260312") -> str:
    """Name an incident."""
    return f"inc-{day}-{number:08x}"


def cause(at: datetime, rollout: str = "bots-zebra-internal", sentences: Sequence[str] = ()) -> events.Cause:
    said = list(sentences) or [f"errors in {SECRET_TEXT}-ams01 are 4.2 % (0.1 % before)"]
    return events.Cause(
        rollout=rollout,
        verdict="a" * 32,
        sequence=7,
        action="revert",
        stage=f"canary-{SECRET_TEXT}",
        at=at,
        sentences=said,
    )


def impact(*services: str, onset: datetime | None = None) -> events.Impact:
    return events.Impact(
        colos=[f"ams01-{SECRET_TEXT}", f"fra02-{SECRET_TEXT}"],
        services=list(services),
        metrics=[f"errors-{SECRET_TEXT}"],
        traffic_share=0.124321,
        hosts_share=0.054321,
        onset=onset,
    )


def opened(
    at: datetime, *services: str, severity: events.Severity = "major", onset: datetime | None = None, **more: Any
) -> events.Opened:
    return events.Opened(
        at=at,
        by="holdfast",
        title=f"Revert of bots, {SECRET_TEXT}",
        severity=severity,
        impact=impact(*services, onset=onset),
        cause=cause(at),
        **more,
    )


PERSON = f"Ada {SECRET_TEXT}"


def live(at: datetime = NOW - 40 * MINUTE, number: int = 1) -> History:
    """Return an incident that is under way."""
    return History(
        incident=name(number),
        events=[
            opened(at, "dns", "billing-zebra-internal", onset=at - 2 * MINUTE),
            events.Escalated(at=at + 5 * MINUTE, by="holdfast", step=0, tell=[f"oncall-{SECRET_TEXT}"]),
            events.RoleTaken(at=at + 6 * MINUTE, by=PERSON, role="lead", person=PERSON),
            events.Ranked(
                at=at + 6 * MINUTE,
                by="holdfast",
                candidates=[
                    events.Candidate(rollout=f"bots-{SECRET_TEXT}", score=0.9, evidence=[f"e-value {SECRET_TEXT}"])
                ],
            ),
            events.Updated(at=at + 8 * MINUTE, by=PERSON, text=f"internal words {SECRET_TEXT}"),
            events.Updated(
                at=at + 10 * MINUTE,
                by=PERSON,
                text="Some queries are not answered. We have taken back a change and watch it take effect.",
                is_public=True,
                next_update=at + 45 * MINUTE,
            ),
            events.ActionAdded(
                at=at + 11 * MINUTE,
                by=PERSON,
                item=events.ActionItem(id="a1", what=f"Fix {SECRET_TEXT}", owner=PERSON, due=at + 12 * MINUTE),
            ),
        ],
    )


def past(
    at: datetime, number: int, service: str = "http", severity: events.Severity = "critical", text: str = ""
) -> History:
    """Return an incident that is over."""
    said = text or "Requests failed in one region. A change was taken back; all is well again."
    return History(
        incident=name(number, f"{at:%Y%m%d}"),
        events=[
            opened(at, service, severity=severity),
            events.Updated(at=at + 9 * MINUTE, by=PERSON, text=said, is_public=True, next_update=at + 60 * MINUTE),
            events.Mitigated(at=at + 22 * MINUTE, by="holdfast", how=f"reverted {SECRET_TEXT}"),
            events.Resolved(at=at + 50 * MINUTE, by=PERSON, how=f"quiet {SECRET_TEXT}"),
            events.Reviewed(at=at + 90 * MINUTE, by=PERSON, digest="0" * 64),
            events.Kept(at=at + 91 * MINUTE, by=PERSON, recording=f"rec-{SECRET_TEXT}", digest=SECRET_TEXT),
            events.Closed(at=at + 92 * MINUTE, by=PERSON),
        ],
    )


def histories(*more: History) -> dict[str, History]:
    """Return incidents as they may be: one under way, some that are over, one in a drill, one of a secret service."""
    hidden = History(
        incident=name(90), events=[opened(NOW - 3 * MINUTE, "billing-zebra-internal", severity="critical")]
    )
    drill = History(incident=name(91), events=[opened(NOW - 4 * MINUTE, "dns", severity="critical", is_drill=True)])
    found = [
        live(),
        past(NOW - 3 * DAY, 2),
        past(NOW - 30 * DAY, 3, "kv", "minor"),
        past(NOW - 60 * DAY, 4, "dns", "major"),
        hidden,
        drill,
        *more,
    ]
    return {each.incident: each for each in found}


def extent(count: int, share: float) -> Extent:
    hosts = [f"host{number:03d}" for number in range(count)]
    return Extent(hosts=hosts, fleet=share, regions={"eu": share}, colos={"ams01": share, "fra02": share / 2})


def reasons() -> list[Reason]:
    """Return what a verdict says."""
    sentence = "errors: 1.4 % in the canary, 0.1 % in the control; all of the interval is above what is tolerated"
    return [
        Reason(
            metric="errors",
            colo=colo,
            effect=13.0,
            interval=(9.0, 17.0),
            e_value=1e9,
            samples=Samples(canary=40, control=400),
            sentence=sentence,
        )
        for colo in ("ams01", "fra02", None, "waw01")
    ]


def facts(at: datetime = NOW) -> Facts:
    """Return what is under way."""
    board = Board()
    board.unheard(None)
    stopped = msgspec.structs.replace(
        VERDICT, sequence=7, action="revert", cause="evidence", stage="canary", reasons=reasons()
    )
    board.take(Received("bots-0312", at - MINUTE, "1" * 32, stopped))
    board.take(Received("dns-7", at - MINUTE, "2" * 32, msgspec.structs.replace(VERDICT, sequence=3, action="wait")))
    plan: dict[str, Any] = {
        "started": "2026-03-12T11:20:00Z",
        "stages": [{"name": "canary", "canary": {"cohort": "canary"}, "bake": "30m"}],
    }
    policy = msgspec.convert(
        {"policy": "edge", "metrics": [{"name": "busy", "gauge": "cpu", "worse": "increase", "breach": "halt"}]},
        Policy,
    )
    rollouts = {
        each: announce(msgspec.convert({"rollout": each, **plan}, Rollout), policy)
        for each in ("bots-0312", "dns-7", "kv-2")
    }
    blast = Blast(
        rollout="bots-0312",
        phase="reverting",
        stage="canary",
        reached=extent(12, 0.05),
        changed=extent(4, 0.0166),
        following=extent(0, 0.0),
        held=[],
    )
    request = Request(
        override="freeze_all",
        rollout=None,
        stage=None,
        metric=None,
        reason="an outage upstream",
        signed=at - 5 * MINUTE,
        expires=at + 55 * MINUTE,
        nonce="0" * 32,
        people="p",
        by="Grace",
        key="k",
        drill=False,
    )
    held = Held(
        id="f" * 64, request=request, needed=2, approvals=(Approval(by="Edsger", at=at), Approval(by="Ada", at=at))
    )
    sources = [Heard(name="incidents", at=at), Heard(name="control", at=None, trouble="topic control: there is none")]
    return Facts(announced=rollouts, board=board, blasts={"bots-0312": blast}, overrides=[held], sources=sources)


def told(found: Mapping[str, History] | None = None, at: datetime = NOW, response: Response = RESPONSE) -> Public:
    """Return what everybody may read."""
    return public(histories() if found is None else found, response, WATCHED, at)


def made(found: Mapping[str, History] | None = None, at: datetime = NOW, response: Response = RESPONSE) -> Snapshot:
    """Return a snapshot."""
    known = histories() if found is None else found
    return Snapshot(public=told(known, at, response), internal=internal(known, response, facts(at), at))


class Memory:
    """Sources in memory. `at` is until when all is known; None as long as nothing is."""

    def __init__(self, found: Mapping[str, History] | None = None, at: datetime | None = NOW) -> None:
        self.found = dict(histories() if found is None else found)
        self.at = at
        self.number = 0
        self.days: list[tuple[str, tuple[int, int]]] = []
        self.error: Exception | None = None
        self.responding = True

    def is_responding(self) -> bool:
        return self.responding

    def put(self, history: History) -> None:
        self.found[history.incident] = history
        self.number += 1

    def version(self) -> int:
        return self.number

    def as_of(self) -> datetime | None:
        return self.at

    def histories(self) -> Mapping[str, History]:
        return dict(self.found)

    def watched(self, as_of: datetime) -> Sequence[tuple[datetime, datetime]]:
        return WATCHED

    def facts(self, at: datetime) -> Facts:
        return facts(at)

    def listened(self, day: str, span: tuple[int, int]) -> None:
        if self.error is not None:
            raise self.error
        self.days.append((day, span))
