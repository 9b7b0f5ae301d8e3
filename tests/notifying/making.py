"""Incidents, documents and notices to test the notifier with."""

from datetime import datetime, timedelta

from holdfast.notifying.addresses import Address
from rollouts.incidents.history import Cause, Event, History, Impact, Opened, Severity, Updated
from rollouts.incidents.notices import Notice, notices
from rollouts.incidents.response import Recipient, Response, Rule
from rollouts.incidents.wording import Message, words

NOON = datetime.fromisoformat("2026-03-12T12:00:00+00:00")


def history(number: int, at: datetime = NOON, *more: Event, severity: Severity = "critical") -> History:
    """Give an incident that a verdict has opened."""
    cause = Cause(rollout=f"edge-{number}", verdict="0" * 32, sequence=17, action="revert", stage="canary", at=at)
    impact = Impact(colos=["ams01"], services=["checkout"], metrics=["errors"], traffic_share=0.12)
    title = f"errors after edge-{number}"
    opened = Opened(at=at, by="holdfast", title=title, severity=severity, impact=impact, cause=cause)
    return History(incident=f"inc-{at:%Y%m%d}-{number:08x}", events=[opened, *more])


def updated(at: datetime, text: str = "we look") -> Updated:
    """Give an update."""
    return Updated(at=at, by="ada", text=text)


def response(urls: dict[str, list[str]], per_hour: int = 60) -> Response:
    """Give a document by which everybody hears everything."""
    return Response(
        response="test",
        recipients=[Recipient(name=name, urls=found, per_hour=per_hour) for name, found in urls.items()],
        rules=[Rule(tell=[*urls])],
    )


def notice(number: int = 1, at: datetime = NOON) -> Notice:
    """Give one notice."""
    return notices(history(number, at), response({"oncall": ["json://localhost"]}))[0]


def message(number: int = 1) -> Message:
    """Give one message."""
    return words(notice(number), response({"oncall": ["json://localhost"]}))


def address(url: str, name: str = "oncall") -> Address:
    """Give an address."""
    return Address(name, 0, url.partition("://")[0], url)


def minutes(number: float) -> timedelta:
    """Give a length of time."""
    return timedelta(minutes=number)
