"""Sending events to webhooks: tried a bounded number of times, then set aside on a topic, and counted.

Addresses come from the settings alone, redirects are not followed, and of an answer the status alone is looked at.
"""

import http.client
import logging
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from detectors.policy import duration_ms
from holdfast.api.outgoing import CONTENT_TYPE, outgoing
from holdfast.api.settings import Webhook
from holdfast.api.signing import headers, secrets_in
from holdfast.api.telemetry import ApiTelemetry
from holdfast.api.watching import Watch
from holdfast.backoff import pause_ms
from holdfast.live.events import Event, Received
from holdfast.wall import now, now_ms

UNDELIVERED_KEPT: Final = 20
"""How many of the events last given up a target tells of."""

_ANSWER_BYTES: Final = 1_024

log = logging.getLogger(__name__)


class Undelivered(Struct, frozen=True, kw_only=True):
    """An event that was given up: what it was, and what came of the last attempt."""

    webhook: str
    id: str
    rollout: str | None
    action: str
    attempts: int
    error: str
    given_up: datetime


class TargetState(Struct, frozen=True, kw_only=True):
    """What became of the events for a target since the server started."""

    name: str
    delivered: int
    failed_attempts: int
    undelivered: int
    last_undelivered: list[Undelivered]


class TargetStates(Struct, frozen=True, kw_only=True):
    """What became of the events for each target."""

    webhooks: list[TargetState]


class Failed(Exception):
    """An attempt that came to nothing; `is_final` if another one would too."""

    def __init__(self, text: str, outcome: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.outcome, self.is_final = outcome, is_final


def send(url: str, body: bytes, given: dict[str, str], seconds: float) -> None:
    """Post a body, once; of the answer the status alone counts. See `post`."""
    post(url, body, given, seconds, _ANSWER_BYTES)


def post(url: str, body: bytes, given: dict[str, str], seconds: float, answer_bytes: int) -> bytes:
    """Post a body, once, and return the beginning of the answer.

    Parameters
    ----------
    url
        Of http or https.
    body, given
        What is sent, and its headers.
    seconds
        How long all of it may take.
    answer_bytes
        How much of the answer is read.

    Raises
    ------
    Failed
        If nobody answers in time, or the answer is no success.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection = (
        http.client.HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=seconds)
    )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # The timeout of a socket is one of each step; somebody who answers a byte at a time is cut off by this one.
    held: list[socket.socket] = []
    late = threading.Timer(seconds, _cut, [held])
    late.daemon = True
    late.start()
    try:
        connection.connect()
        # Kept here, as the connection itself lets go of it when the answer says that it is the last one.
        held.append(connection.sock)
        connection.request("POST", path, body, {"content-type": CONTENT_TYPE, "user-agent": "holdfast", **given})
        answer = connection.getresponse()
        status = answer.status
        content = answer.read(answer_bytes)
    except (OSError, http.client.HTTPException, AttributeError) as error:  # cut off, a connection has no socket
        reason = getattr(error, "strerror", None) or type(error).__name__
        text = f"no answer in {seconds:g} s: {reason}"
        raise Failed(text, "unreachable") from error
    finally:
        late.cancel()
        connection.close()
    if not 200 <= status < 300:
        # 410 says that nobody wants this any more; a redirect is not followed, but may be put right by next time.
        text = f"answered with status {status}"
        raise Failed(text, "refused", is_final=status == 410)
    return content


def _cut(held: list[socket.socket]) -> None:
    for each in held:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


@dataclass(slots=True)
class _Counts:
    delivered: int = 0
    failed: int = 0
    undelivered: int = 0


class Events(Protocol):
    """Events without an end, each dealt with when the next one is asked for."""

    def __iter__(self) -> Iterator[Event]:
        """Return what hands them out."""
        ...

    def close(self) -> None:
        """End it; from another thread, too."""
        ...


class Delivery(Watch):
    """Sends what a subscriber is told to one target, one event after the other.

    Parameters
    ----------
    webhook
        The target.
    subscribe
        Begins to listen; called again after an error.
    set_aside
        Keeps an event that was given up: called with what to tell of it and its body, and returns once it is kept.
    telemetry
        Counts.

    Raises
    ------
    BadInput
        If the file of secrets cannot be used.
    """

    def __init__(
        self,
        webhook: Webhook,
        subscribe: Callable[[], "Events"],
        set_aside: Callable[[Undelivered, bytes], None],
        telemetry: ApiTelemetry,
    ) -> None:
        super().__init__(f"webhook-{webhook.name}")
        self._webhook, self._subscribe, self._set_aside = webhook, subscribe, set_aside
        self._telemetry = telemetry
        self._keys = secrets_in(Path(webhook.secret))
        self._counts = _Counts()
        self._last: deque[Undelivered] = deque(maxlen=UNDELIVERED_KEPT)
        self._events: Events | None = None

    @property
    def state(self) -> TargetState:
        """What became of its events so far."""
        return TargetState(
            name=self._webhook.name,
            delivered=self._counts.delivered,
            failed_attempts=self._counts.failed,
            undelivered=self._counts.undelivered,
            last_undelivered=list(self._last),
        )

    def stop(self) -> None:
        """End it soon; an event that is not delivered yet comes again at the next start."""
        super().stop()
        if self._events is not None:
            self._events.close()

    def watch(self) -> None:
        """Listen, and send."""
        self._events = self._subscribe()
        try:
            for event in self._events:
                if self.is_stopped:
                    return
                self.alive()
                if not isinstance(event, Received) or event.action in self._webhook.actions:
                    self.deliver(event)
        finally:
            self._events.close()

    def deliver(self, event: Event) -> None:
        """Send an event until it is taken, or given up."""
        name, body = outgoing(event, now_ms())
        seconds = duration_ms(self._webhook.timeout) / 1_000
        attempt, failure = 0, ""
        while attempt < self._webhook.attempts and not self.is_stopped:
            attempt += 1
            try:
                given = headers(self._keys, name, now_ms() // 1_000, body)
                send(self._webhook.url, body, given, seconds)
            except Failed as error:
                failure = str(error)
                self._counts.failed += 1
                self._telemetry.attempted(self._webhook.name, error.outcome)
                log.info("%s: event %s, attempt %d: %s", self.name, name, attempt, error)
                if error.is_final:
                    break
                if attempt < self._webhook.attempts:
                    self._stopped.wait(self._pause_s(name, attempt))
                self.alive()
            else:
                self._counts.delivered += 1
                self._telemetry.attempted(self._webhook.name, "delivered")
                return
        if not self.is_stopped:
            self._give_up(event, name, body, attempt, failure)

    def _pause_s(self, name: str, attempt: int) -> float:
        hook = self._webhook
        return pause_ms(duration_ms(hook.backoff), duration_ms(hook.backoff_max), attempt, hook.name, name) / 1_000

    def _give_up(self, event: Event, name: str, body: bytes, attempts: int, failure: str) -> None:
        letter = Undelivered(
            webhook=self._webhook.name,
            id=name,
            rollout=event.rollout,
            action=event.action,
            attempts=attempts,
            error=failure,
            given_up=now(),
        )
        log.error(
            "%s: event %s of %s given up after %d attempts: %s", self.name, name, event.rollout, attempts, failure
        )
        self._set_aside(letter, body)
        self._counts.undelivered += 1
        self._last.append(letter)
        self._telemetry.undelivered(self._webhook.name)
