"""What is refused over HTTP gets on the audit topic: who asked for what, and why it was not done."""

import asyncio
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast.api import auditing
from holdfast.api.auditing import Auditing, drafted, noted_of, on_record
from holdfast.api.refusals import Refused
from holdfast.api.tokens import Gate, add, make
from holdfast.control.scribe import REFUSED, Noted, Scribe
from holdfast.errors import Unreachable
from tests.api.serving import FUTURE, PLAN, POLICY, Room

AT = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)


def refusal(number: int = 1, at: datetime = AT) -> Noted:
    """A refusal that no other number has."""
    return noted_of(Refused(HTTPStatus.CONFLICT, f"no {number}"), "event", "bots", "ci", at)


class Pen:
    """Writes what it is told to write, or fails."""

    def __init__(self) -> None:
        self.is_writing, self.error = True, cast("Exception | None", None)
        self.asked: list[Noted] = []
        self.begun = self.closed = 0

    def start(self) -> None:
        self.begun += 1

    def has_written(self, noted: Noted) -> bool:
        if self.error is not None:
            raise self.error
        self.asked.append(noted)
        return self.is_writing

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def pen() -> Pen:
    return Pen()


@pytest.fixture
def kept(pen: Pen) -> Auditing:
    return Auditing(lambda: cast(Scribe, pen))


def said(room: Room) -> list[tuple[str, str, str]]:
    return [(each.rollout, each.note.by, each.note.what) for each in room.refused]


def test_what_contradicts_what_is_announced_is_on_record_with_the_name_of_the_token(tmp_path: Path) -> None:
    token, entry = make("ci", ["rollouts:write"])
    add(tmp_path / "tokens.yaml", entry)
    room = Room(Gate(tmp_path / "tokens.yaml", lambda: AT), tokens="tokens.yaml")
    room.client.headers["authorization"] = f"Bearer {token}"
    assert room.submit().status_code == 201
    assert room.refused == []
    answer = room.submit(started=FUTURE)
    assert answer.status_code == 409
    assert said(room) == [("bots", "ci", "announcement refused")]
    assert room.refused[0].note.why == answer.json()["detail"]


def test_an_event_that_cannot_be_is_on_record() -> None:
    room = Room()
    event = {"event": "started", "stage": "region"}
    assert room.client.post("/v1/rollouts/cats/events", json=event).status_code == 404
    assert said(room) == [("cats", "anybody on this machine", "event refused")]


def test_a_document_that_says_what_cannot_be_is_on_record_with_its_errors() -> None:
    room = Room()
    stages: list[Any] = [{"name": "canary", "canary": {"cohort": "canary"}, "bake": "soon"}]
    assert room.submit(stages=stages).status_code == 422
    assert said(room) == [("bots", "anybody on this machine", "announcement refused")]
    assert 'bake: found "soon"' in room.refused[0].note.why


def test_reports_from_the_future_are_on_record() -> None:
    room = Room()
    report = {"host": "h1", "colo": "ams01", "region": "eu", "sequence": 1, "at": FUTURE, "units": {}}
    answer = room.client.post("/v1/reports", json={"reports": [report]})
    assert answer.status_code == 422
    assert said(room) == [("", "anybody on this machine", "reports refused")]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/rollouts", b"{", 400),
        ("/v1/rollouts/%00/events", b"{}", 400),
        ("/judge", b'{"canaryConfig": 1}', 422),
    ],
)
def test_what_was_not_understood_or_changes_nothing_is_not_on_record(path: str, body: bytes, status: int) -> None:
    room = Room()
    answer = room.client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert room.refused == []


def test_who_is_not_let_in_cannot_fill_the_topic(tmp_path: Path) -> None:
    token, entry = make("reader", ["rollouts:read"])
    add(tmp_path / "tokens.yaml", entry)
    room = Room(Gate(tmp_path / "tokens.yaml", lambda: AT), tokens="tokens.yaml")
    for header in ({}, {"authorization": f"Bearer {token}"}):
        answer = room.client.post("/v1/rollouts", json={"rollout": PLAN, "policy": POLICY}, headers=header)
        assert answer.status_code in (401, 403)
    assert room.refused == []


def test_brokers_that_are_away_have_refused_nothing() -> None:
    room = Room()
    room.rollouts.error = Unreachable("away")
    assert room.submit().status_code == 503
    assert room.refused == []


def test_an_entry_is_of_who_asked() -> None:
    draft = drafted(refusal())
    assert (draft.who, draft.kind, draft.subject) == ("ci", REFUSED, "bots")
    assert draft.body["sentence"] == "event refused, by ci: no 1"


def test_the_same_refusal_has_one_name_all_day_and_another_one_the_next() -> None:
    late, tomorrow = AT + timedelta(hours=9), AT + timedelta(days=1)
    assert refusal().key == refusal(at=late).key
    assert refusal().key not in (refusal(2).key, refusal(at=tomorrow).key)


def test_the_answer_waits_for_the_entry(pen: Pen, kept: Auditing) -> None:
    refused = Refused(HTTPStatus.CONFLICT, "no 1")
    assert asyncio.run(on_record(refused, refusal(), kept.keep, timedelta(minutes=1))) is refused
    assert pen.asked == [refusal()]


def test_an_entry_that_is_late_is_told_and_still_written(pen: Pen, kept: Auditing) -> None:
    pen.is_writing = False
    refused = Refused(HTTPStatus.CONFLICT, "no 1", ["why"], {"x": "y"})
    answer = asyncio.run(on_record(refused, refusal(), kept.keep, timedelta(milliseconds=1)))
    assert answer.detail == "no 1; that is not on the audit topic yet"
    assert (answer.status, answer.errors, answer.headers) == (409, ["why"], {"x": "y"})
    assert pen.closed == 0


def test_the_same_again_is_not_written_again(pen: Pen, kept: Auditing) -> None:
    assert kept.keep(refusal())
    assert kept.keep(refusal(at=AT + timedelta(minutes=3)))
    assert len(pen.asked) == 1


def test_so_many_are_written_in_an_hour(pen: Pen, kept: Auditing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "PER_HOUR", 2)
    assert [kept.keep(refusal(number)) for number in (1, 2, 3)] == [True, True, None]
    assert kept.keep(refusal(4, AT + timedelta(hours=1)))


def test_who_is_refused_beyond_that_is_told_at_once(
    pen: Pen, kept: Auditing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(auditing, "PER_HOUR", 0)
    answer = asyncio.run(on_record(Refused(HTTPStatus.CONFLICT, "no"), refusal(), kept.keep, timedelta(days=1)))
    assert answer.detail == "no; that is kept off the audit topic, as too much is refused"
    assert (pen.asked, len(caplog.records)) == ([], 1)


def test_what_writes_is_begun_anew_after_it_has_failed(pen: Pen, kept: Auditing) -> None:
    pen.error = RuntimeError("a defect")
    assert not kept.keep(refusal())
    pen.error = None
    assert kept.keep(refusal())
    assert (pen.begun, pen.closed) == (2, 1)
    kept.close()
    assert pen.closed == 2
