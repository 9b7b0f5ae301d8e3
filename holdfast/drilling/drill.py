"""A drill, run on an installation as it is: bad samples go in at one end, and each step is watched from outside."""

import http.client
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from confluent_kafka import Consumer, KafkaException, TopicPartition

from holdfast.control.board import Board
from holdfast.drilling.fleet import Rehearsal
from holdfast.drilling.steps import TAKES, Name, Step
from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import change, partitions_of
from holdfast.live.clients import admin, base, consumer, producer
from holdfast.live.produce import Pace, Played, Player, require_topic
from holdfast.live.reading import end_of
from holdfast.live.settings import Settings
from holdfast.notifying.journal import decode as delivered
from holdfast.notifying.journal import incident_of
from holdfast.response.documents import response_of
from holdfast.response.record import follow
from holdfast.wall import now, now_ms
from rollouts.announced import Announcement, announce, finished_at, with_event
from rollouts.incidents.history import Joined, Opened
from sinks.cloudevents import decode

ANSWER_S: Final = 30.0
_POLL_S: Final = 0.1
_PAGE_S: Final = 0.25
_PAGE_TIMEOUT_S: Final = 5.0
PAGE: Final = "/internal.json"
"""Where a status page says what is internal."""

_PAGE_BYTES_MAX: Final = 4 << 20


class Over(Exception):
    """Nothing more is to be played."""


class Drill:
    """One drill.

    Parameters
    ----------
    settings
        Of the installation.
    what
        What is played.
    page
        Address of the status page's internal JSON; None if there is no page to look at.
    token
        For that page.
    limit_s
        How long each step is waited for, in seconds, since the one before.
    """

    def __init__(
        self,
        settings: Settings,
        what: Rehearsal,
        *,
        page: str | None,
        token: str | None,
        limit_s: float,
    ) -> None:
        self._settings, self._what, self._page, self._token = settings, what, page, token
        self._limit_s = limit_s
        self._verdicts = self._at_the_end(settings.topics.verdicts)
        self._stop = threading.Event()
        self._seen: dict[Name, int] = {}
        self._came = threading.Condition()
        self._failure: BaseException | None = None
        self.incident: str | None = None
        """The incident that it caused, once there is one."""
        self.steps: list[Step] = []

    @property
    def name(self) -> str:
        """Name of its rollout."""
        return self._what.rollout.rollout

    def run(self, review: Callable[[str], Path]) -> None:
        """Run it.

        Parameters
        ----------
        review
            Writes the draft of a review of an incident, and names the file.

        Raises
        ------
        BadInput, Unreachable
            If it cannot begin.
        """
        topic = self._settings.metrics[0].topic
        require_topic(admin(self._settings), topic)
        watchers = [self._verdict, self._incident, self._notified, *([self._shown] if self._page else [])]
        threads = [threading.Thread(target=partial(self._watch, each), daemon=True) for each in watchers]
        for thread in threads:
            thread.start()
        player = threading.Thread(target=partial(self._play, topic), daemon=True)
        try:
            self._announce()
            player.start()
            self._wait_all(review)
        finally:
            self._stop.set()
            self._finish()
            for thread in (*threads, player):
                thread.join(ANSWER_S)
        if self._failure is not None and not self.steps:
            raise self._failure

    # ------------------------------------------------------------ what is done

    def _announce(self) -> None:
        client, topic = base(self._settings), self._settings.topics.rollouts
        change(client, topic, self.name, lambda before: before or announce(self._what.rollout, self._what.policy))

    def _finish(self) -> None:
        """Tell the judge that it is over, whatever became of it."""

        def made(before: Announcement | None) -> Announcement:
            told = before or announce(self._what.rollout, self._what.policy)
            return told if finished_at(told) else with_event(told, "finished", None, now())

        change(base(self._settings), self._settings.topics.rollouts, self.name, made)

    def _play(self, topic: str) -> None:
        def told(_: Played) -> None:
            if self._stop.is_set():
                raise Over
            if now_ms() >= self._what.onset_ms:
                self._happened("harm", self._what.onset_ms)

        try:
            Player(producer(self._settings), topic, Pace(1.0, self._what.origin_ms), told).play(self._what.frames)
        except Over:
            return
        except (BadInput, Unreachable) as error:
            self._fail(error)

    # ------------------------------------------------------------ what is waited for

    def _wait_all(self, review: Callable[[str], Path]) -> None:
        lead_s = max(0.0, (self._what.onset_ms - now_ms()) / 1_000)
        if not self._wait("harm", lead_s + self._limit_s) or not self._wait("verdict", self._limit_s):
            return
        if not self._wait("incident", self._limit_s):
            return
        if response_of(self._settings).drills:
            self._wait("notification", self._limit_s)
        else:
            self._add(Step("notification", None, "response.yaml names nobody under `drills`", is_tried=False))
        if self._page is not None:
            self._wait("page", self._limit_s)
        else:
            self._add(Step("page", None, "--page names none", is_tried=False))
        assert self.incident is not None
        try:
            file = review(self.incident)
        except (BadInput, Unreachable) as error:
            self._add(Step("review", None, str(error)))
        else:
            self._add(Step("review", now_ms(), str(file)))

    def _wait(self, name: Name, seconds: float) -> bool:
        with self._came:
            self._came.wait_for(lambda: name in self._seen or self._failure is not None, seconds)
            at = self._seen.get(name)
            missed = f"not within {self._limit_s:g} s; it takes {TAKES[name]}"
            why = "" if at is not None else str(self._failure or missed)
        self._add(Step(name, at, why))
        return at is not None

    def _add(self, step: Step) -> None:
        self.steps.append(step)

    def _happened(self, name: Name, at_ms: int) -> None:
        with self._came:
            self._seen.setdefault(name, at_ms)
            self._came.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._came:
            self._failure = self._failure or error
            self._came.notify_all()

    # ------------------------------------------------------------ what is watched

    def _watch(self, watcher: Callable[[], None]) -> None:
        try:
            watcher()
        except (BadInput, Unreachable) as error:
            self._fail(error)
        except KafkaException as error:
            self._fail(Unreachable(str(error.args[0])))

    def _at_the_end(self, topic: str) -> Consumer:
        """Stand at the end of a topic: whatever comes, comes after this."""
        client = consumer(self._settings, f"{self._settings.prefix}-drill")
        asked = admin(self._settings)
        places = [TopicPartition(topic, number) for number in partitions_of(client, topic, ANSWER_S)]
        client.assign([TopicPartition(topic, each.partition, end_of(asked, each)) for each in places])
        return client

    def _verdict(self) -> None:
        key = self.name.encode()
        try:
            while not self._stop.is_set():
                message = self._verdicts.poll(_POLL_S)
                if message is None or message.error() is not None or message.key() != key:
                    continue
                try:
                    event = decode(message.value() or b"")
                except BadInput:
                    continue  # a heartbeat
                if event.data.action in ("halt", "revert"):
                    self._happened("verdict", now_ms())
                    return
        finally:
            self._verdicts.close()

    def _incident(self) -> None:
        for name, history in follow(self._settings, self._stop):
            causes = [event.cause for event in history.events if isinstance(event, Opened | Joined)]
            if any(cause is not None and cause.rollout == self.name for cause in causes):
                self.incident = name
                self._happened("incident", now_ms())
                return

    def _notified(self) -> None:
        with Board(self._settings, self._settings.topics.notified) as board:
            sent = {incident_of(key) for key, value in board.load(ANSWER_S) if _is_sent(key, value)}
            while not self._stop.is_set():
                if self.incident in sent:
                    self._happened("notification", now_ms())
                    return
                sent |= {incident_of(key) for key, value in board.poll(_POLL_S) if _is_sent(key, value)}

    def _shown(self) -> None:
        assert self._page is not None
        address = urlsplit(self._page)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        while not self._stop.wait(_PAGE_S):
            if self.incident is None:
                continue
            connection = kind(address.netloc, timeout=_PAGE_TIMEOUT_S)
            try:
                connection.request("GET", f"{address.path.rstrip('/')}{PAGE}", headers=headers)
                answer = connection.getresponse()
                body = answer.read(_PAGE_BYTES_MAX)
            except (OSError, http.client.HTTPException):
                continue  # it may come yet; that it did not is told by the step
            finally:
                connection.close()
            if answer.status == http.HTTPStatus.OK and self.incident.encode() in body:
                self._happened("page", now_ms())
                return


def _is_sent(key: bytes, value: bytes | None) -> bool:
    return value is not None and delivered(key, value)[1].state == "sent"


def page_of(text: str) -> str:
    """Read the address of a status page.

    Raises
    ------
    BadInput
        If it is none.
    """
    address = urlsplit(text)
    if address.scheme not in ("http", "https") or not address.netloc:
        message = (
            f"--page: found {text!r}; allowed: the address of `holdfast status serve`, as in http://127.0.0.1:8090"
        )
        raise BadInput(message)
    return text
