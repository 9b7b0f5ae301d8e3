"""Seeing whether people can be told: a test message, who hears what, and what was given up."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from detectors.policy import duration_ms
from holdfast.control.board import newest
from holdfast.live.settings import Settings
from holdfast.notifying.addresses import Address
from holdfast.notifying.journal import Delivered, Key, decode
from holdfast.notifying.sending import Failed, Senders
from holdfast.notifying.settings import Notify
from holdfast.wall import now
from rollouts.incidents.folding import ENGINE, fold
from rollouts.incidents.history import Cause, History, Impact, Opened
from rollouts.incidents.notices import Notice
from rollouts.incidents.response import EVERYTHING, Response, Rule
from rollouts.incidents.wording import Message, words

_ALL: Final = Rule(tell=["anybody"]).of


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a test message at one address: how long it took, and what was wrong if anything was."""

    address: Address
    seconds: float
    error: str | None


def tried(addresses: Sequence[Address], response: Response, notify: Notify) -> Iterator[Tried]:
    """Send a test message, which looks like any other, to each of some addresses, once."""
    senders, message = Senders(), example(addresses[0].recipient, response, now())
    try:
        for address in addresses:
            senders.check(address)  # a process that is not ready yet is not what is timed
            begun, error = time.monotonic(), None
            try:
                senders.send(address, message, duration_ms(notify.timeout) / 1_000)
            except Failed as failed:
                error = str(failed)
            yield Tried(address, time.monotonic() - begun, error)
    finally:
        senders.close()


def example(recipient: str, response: Response, at: datetime) -> Message:
    """Write a message as it would come of a drill."""
    digest = hashlib.sha256(f"{recipient}\n{at.isoformat()}".encode()).hexdigest()[:8]
    opened = Opened(
        at=at,
        by=ENGINE,
        title="test message: nothing has happened",
        severity="minor",
        impact=Impact(
            colos=["test01"],
            services=["test"],
            metrics=["errors"],
            traffic_share=0.02,
            hosts_share=0.01,
            onset=at - timedelta(seconds=90),
        ),
        cause=Cause(rollout="test", verdict="0" * 32, sequence=1, action="revert", stage="canary", at=at),
        is_drill=True,
    )
    history = History(incident=f"inc-{at:%Y%m%d}-{digest}", events=[opened])
    incident = fold(history)
    name = f"{history.incident}-0000-opened"
    notice = Notice(id=name, recipient=recipient, what="opened", at=at, event=opened, incident=incident)
    return words(notice, response)


def heard(recipient: str, response: Response) -> list[str]:
    """Say in words what a recipient hears: by which rules, which steps of the escalation, and whether drills."""
    found: list[str] = []
    for rule in response.rules:
        if recipient in rule.tell:
            of = [each for each in (rule.services, rule.colos) if each != [EVERYTHING]]
            where = "".join(f" of {' '.join(each)}" for each in of)
            what = "" if rule.of == _ALL else f" ({'/'.join(rule.of)})"
            found.append(f"{'/'.join(rule.severities)}{where}{what}")
    found += [
        f"step {number} of the escalation"
        for number, step in enumerate(response.escalation, 1)
        if recipient in step.tell
    ]
    found += ["drills"] if recipient in response.drills else []
    return found or ["nothing"]


def given_up(settings: Settings) -> list[tuple[Key, Delivered]]:
    """Read which notices were given up, oldest first.

    Raises
    ------
    BadInput, Unreachable
        If there is no topic of what was told, or it cannot be read.
    """
    told = [decode(key, value) for key, value in newest(settings, settings.topics.notified).items()]
    return sorted((each for each in told if each[1].state == "undelivered"), key=lambda each: (each[1].at, each[0]))
