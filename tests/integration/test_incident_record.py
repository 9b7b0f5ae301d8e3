"""Incidents on a real broker: written by many at once, read by all, and never in two minds."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from holdfast.errors import BadInput
from holdfast.live.settings import Settings
from holdfast.response.record import amend, append, follow, read_all
from holdfast.wall import now
from rollouts.incidents.history import Acknowledged, Impact, Opened, RoleTaken, Updated
from rollouts.incidents.roles import taken
from tests.integration.conftest import Kafka
from tests.integration.topics import installed

NAME = "inc-20260312-0a1b2c3d"


@pytest.fixture
def settings(kafka: Kafka) -> Iterator[Settings]:
    """Give settings whose topics nobody else has."""
    with installed(kafka.bootstrap, PARTITIONS="1") as found:
        yield found


def opened() -> Opened:
    return Opened(at=now(), by="ada", title="errors at the edge", severity="major", impact=Impact())


def test_what_is_appended_is_read_by_all(settings: Settings) -> None:
    append(settings, NAME, [opened()])
    found = append(settings, NAME, [Acknowledged(at=now(), by="ada")])
    assert (found.count, found.acknowledged is not None) == (2, True)
    assert len(read_all(settings)[NAME].events) == 2


def test_what_was_appended_already_is_not_added_again(settings: Settings) -> None:
    first = opened()
    append(settings, NAME, [first])
    event = Acknowledged(at=first.at + timedelta(seconds=1), by="ada")
    append(settings, NAME, [event])
    assert append(settings, NAME, [event]).count == 2


def test_an_incident_that_nobody_opened_cannot_be_changed(settings: Settings) -> None:
    with pytest.raises(BadInput, match="there is none; the newest are: none at all"):
        append(settings, NAME, [Acknowledged(at=now(), by="ada")])


def test_a_text_with_characters_that_nobody_sees_is_refused(settings: Settings) -> None:
    append(settings, NAME, [opened()])
    with pytest.raises(BadInput, match="not an incident's history"):
        append(settings, NAME, [Updated(at=now(), by="ada", text="all is well\x1b[2J")])
    assert len(read_all(settings)[NAME].events) == 1


def test_of_many_who_take_a_role_at_once_one_has_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.response.record.ATTEMPTS_MAX", 100)
    append(settings, NAME, [opened()])

    def take(person: str) -> str:
        try:
            amend(settings, NAME, lambda incident, at: [e for e in [taken(incident, "lead", person, at)] if e])
        except BadInput as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(3) as pool:
        refused = [why for why in pool.map(take, ["ada", "bob", "cyd"]) if why]
    assert ["has it" in why for why in refused] == [True, True]
    events = read_all(settings)[NAME].events
    assert [type(event) for event in events] == [Opened, RoleTaken]


def test_whoever_follows_hears_of_each_change(settings: Settings) -> None:
    append(settings, NAME, [opened()])
    stop, counts = threading.Event(), list[int]()
    for _, history in follow(settings, stop):
        counts.append(len(history.events))
        if len(counts) == 1:
            append(settings, NAME, [Acknowledged(at=now(), by="ada")])
        else:
            stop.set()
    assert counts == [1, 2]
