"""Hearing verdicts, for control."""

import queue
import threading
import time
from datetime import datetime

from holdfast.live.clients import base
from holdfast.live.events import Event as Told
from holdfast.live.events import Fresh, Gap, Received, Stale, Untrusted
from holdfast.live.settings import Settings
from holdfast.live.subscription import Subscription
from rollouts.inputs import Doubt, Input, Trust, Verdict


class Ears:
    """Hears verdicts in a thread of its own; each is dealt with before the next one is asked for."""

    def __init__(self, settings: Settings) -> None:
        given: dict[str, object] = {key: value for key, value in settings.kafka.items() if key != "bootstrap.servers"}
        # A worker that comes back is known by its name, and one that was killed is not waited for long.
        given["group.instance.id"] = f"{settings.worker}-control-verdicts"
        given["session.timeout.ms"] = settings.session_ms
        given["heartbeat.interval.ms"] = max(100, settings.session_ms // 5)
        self._subscription = Subscription(
            str(base(settings)["bootstrap.servers"]),
            f"{settings.prefix}-control-verdicts",
            trusted_keys=settings.trusted_keys or None,
            topic=settings.topics.verdicts,
            settings=given,
        )
        self._heard: queue.Queue[Told | Exception] = queue.Queue(maxsize=1)
        self._dealt_with = threading.Semaphore(0)
        self._is_closed = False
        self._verdict_s = time.monotonic()
        self._thread = threading.Thread(target=self._listen, name="holdfast-ears", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def next(self) -> Told | None:
        """Return what was heard, if anything was; raise what kept it from listening."""
        try:
            found = self._heard.get_nowait()
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def done(self) -> None:
        """Say that it was dealt with."""
        self._dealt_with.release()

    def has_judged(self, rollout: str, at: datetime) -> bool:
        """Tell whether the judge is known to have come as far as a time in a rollout."""
        through = self._subscription.judged_through(rollout)
        return through is not None and through >= at

    @property
    def silent_s(self) -> float:
        """Seconds since a verdict was heard, or since the beginning."""
        return time.monotonic() - self._verdict_s

    @property
    def backlog(self) -> int:
        """How many messages of the verdict topic were not read a moment ago."""
        return self._subscription.backlog

    def close(self) -> None:
        """Stop listening; what was not dealt with comes again."""
        self._is_closed = True
        self._subscription.close()
        self._dealt_with.release()

    def _listen(self) -> None:
        try:
            for told in self._subscription:
                if isinstance(told, Received):
                    self._verdict_s = time.monotonic()
                self._heard.put(told)
                self._dealt_with.acquire()
                if self._is_closed:
                    return
        except Exception as error:  # noqa: BLE001 - handed to whoever asks next, who ends the worker
            self._heard.put(error)


def input_of(told: Told) -> Input:
    """Say what an event of the subscription is to a rollout."""
    match told:
        case Received():
            return Verdict(
                sequence=told.sequence,
                action=told.action,
                stage=told.stage,
                binding=told.binding,
                colos=told.scope.colos or None,
                metrics=told.scope.metrics,
            )
        case Gap():
            why = f"verdicts {told.first} to {told.last} are missing"
            return Doubt(why=why, sequence=told.last, is_missing=True, in_force=told.in_force)
        case Untrusted():
            return Doubt(why=f"a message is not to be trusted: {told.reason}")
        case Stale():
            return Doubt(why="it says nothing new")
        case Fresh():
            return Trust(in_force=told.in_force)
