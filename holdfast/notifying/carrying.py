"""Carrying messages to one address each, in threads of their own, so that nobody who is slow delays anybody else."""

import logging
import queue
import threading
from typing import Final

from detectors.policy import duration_ms
from holdfast.backoff import pause_ms
from holdfast.notifying.addresses import Address
from holdfast.notifying.outbox import Outcome, Parcel
from holdfast.notifying.sending import Failed, Sender
from holdfast.notifying.settings import Notify
from holdfast.notifying.telemetry import NotifyTelemetry
from holdfast.wall import now

STOPPED: Final = "it was stopped"
"""Reason of a parcel that comes again at the next start."""

log = logging.getLogger(__name__)


class Carrier:
    """Carries one message after the other to an address: tried a bounded number of times, and for a bounded time.

    Parameters
    ----------
    address
        Where to.
    notify
        How often, and how long.
    sender
        Sends once.
    outcomes
        Takes what came of each.
    telemetry
        Counts.
    """

    def __init__(
        self,
        address: Address,
        notify: Notify,
        sender: Sender,
        outcomes: "queue.Queue[Outcome]",
        telemetry: NotifyTelemetry,
    ) -> None:
        self._address, self._notify, self._sender = address, notify, sender
        self._outcomes, self._telemetry = outcomes, telemetry
        self._parcels: queue.Queue[Parcel | None] = queue.Queue(maxsize=2)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"holdfast-notify-{address.name}", daemon=True)

    def start(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def carry(self, parcel: Parcel) -> None:
        """Take a message, when the one before has come to something."""
        self._parcels.put_nowait(parcel)

    def stop(self) -> None:
        """End it after the attempt at hand."""
        self._stopped.set()
        self._parcels.put_nowait(None)

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        self._thread.join(seconds)

    def _work(self) -> None:
        while (parcel := self._parcels.get()) is not None and not self._stopped.is_set():
            self._outcomes.put(self._carried(parcel))

    def _carried(self, parcel: Parcel) -> Outcome:
        seconds = duration_ms(self._notify.timeout) / 1_000
        name, attempt, reason = self._address.name, 0, ""
        while attempt < self._notify.attempts and not self._stopped.is_set():
            if now() >= parcel.until:
                reason = f"{reason}; it became too old" if reason else "it became too old"
                break
            attempt += 1
            try:
                self._sender.send(self._address, parcel.message, seconds)
            except Failed as error:
                reason = str(error)
                self._telemetry.attempted(self._address.recipient, "failed")
                log.warning("%s: %s, attempt %d: %s", name, parcel.message.id, attempt, reason)
                if error.is_final:
                    break
                if attempt < self._notify.attempts:
                    self._stopped.wait(self._pause_s(parcel.message.id, attempt))
            else:
                self._telemetry.attempted(self._address.recipient, "sent")
                return Outcome(parcel=parcel, at=now(), attempts=attempt)
        is_stopped = self._stopped.is_set() and attempt < self._notify.attempts
        return Outcome(parcel=parcel, at=now(), attempts=attempt, reason=STOPPED if is_stopped else reason)

    def _pause_s(self, name: str, attempt: int) -> float:
        first, longest = duration_ms(self._notify.backoff), duration_ms(self._notify.backoff_max)
        return pause_ms(first, longest, attempt, self._address.name, name) / 1_000
