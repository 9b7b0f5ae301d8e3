"""Actions that take their time: carried out beside control, which asks whether they are done, and never waits.

Each rollout has a lane of its own, a thread with one action in it. An action is tried a bounded number of times, with
pauses that grow; then it is given up, which is noted, and after a rest it is tried as often again, for as long as
control asks for it. What is asked for next calls off what is under way.
"""

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from detectors.policy import duration_ms
from holdfast.api.delivering import Failed
from holdfast.control.orders import Order, encode, hosts_of, order_of
from holdfast.control.scribe import Noted
from holdfast.live.deployer_settings import Trying, pauses_ms
from holdfast.wall import now
from rollouts.controlled import Deploy, Note, Restore
from rollouts.folding import CONTROL

log = logging.getLogger(__name__)

LANES_MAX: Final = 64
"""Most actions under way before another deploy begins; restores are never kept waiting."""

NOTES_MAX: Final = 1_000
"""Most notes that wait to be taken; the oldest ones beyond are in the log alone."""

_JITTER_STEPS: Final = 1 << 16
_END_S: Final = 15.0


class Carrier(Protocol):
    """Whoever carries an action out, once."""

    def carry(self, order: Order, body: bytes, called_off: threading.Event, /) -> str:
        """Carry an action out, and return what is worth noting; end soon when it is called off.

        Raises
        ------
        Failed
            If it is not known to be done.
        """
        ...


class Courier:
    """A deployer over a carrier.

    Parameters
    ----------
    name
        Of the carrier, in notes: `webhook` or `command`.
    carrier
        Carries actions out; from several threads at once, of different rollouts.
    trying
        How often, and with which pauses.
    """

    def __init__(self, name: str, carrier: Carrier, trying: Trying) -> None:
        self._name, self._carrier, self._trying = name, carrier, trying
        self._lanes: dict[str, _Lane] = {}
        self._notes: deque[Noted] = deque(maxlen=NOTES_MAX)

    def deliver(self, rollout: str, kinds: Mapping[str, str], action: Deploy | Restore, /) -> bool:
        """Tell, once, whether an action is done; if it is not, see to it. Returns at once."""
        lane = self._lanes.get(rollout)
        if lane is not None and lane.action == action.id:
            if not lane.is_done:
                if not lane.is_alive():  # it was called off, and is asked for after all
                    self._begin(rollout, kinds, action)
                return False
            del self._lanes[rollout]
            return True
        if lane is not None:
            lane.call_off()
            if lane.is_alive():
                return False
            del self._lanes[rollout]
        if isinstance(action, Restore) or len(self._lanes) < LANES_MAX:
            self._begin(rollout, kinds, action)
        return False

    def hold(self, rollout: str, /) -> None:
        """Try no further what is under way for a rollout, until it is asked for again."""
        lane = self._lanes.get(rollout)
        if lane is not None and not lane.is_done:
            lane.call_off()

    def notes(self) -> list[Noted]:
        """Hand over what is worth noting since it was asked last."""
        found: list[Noted] = []
        while self._notes:
            found.append(self._notes.popleft())
        return found

    def close(self) -> None:
        """Call everything off, and wait until it has ended, if it does in time."""
        for lane in self._lanes.values():
            lane.call_off()
        end = time.monotonic() + _END_S
        for lane in self._lanes.values():
            lane.join(max(0.0, end - time.monotonic()))

    def _begin(self, rollout: str, kinds: Mapping[str, str], action: Deploy | Restore) -> None:
        order = order_of(rollout, kinds, action)
        lane = _Lane(action.id, lambda called_off: self._carry(action.id, order, called_off), rollout)
        self._lanes[rollout] = lane
        lane.start()

    def _carry(self, effect: str, order: Order, called_off: threading.Event) -> bool:
        """Try an action until it is done, or called off; tell which."""
        body = encode(order)
        is_noted = False
        while not called_off.is_set():
            done, said = self._round(order, body, called_off)
            if done or (not is_noted and not called_off.is_set()):
                is_noted = True
                self._note(effect, order, "delivered" if done else "not delivered", said)
            if done:
                return True
            called_off.wait(duration_ms(self._trying.again_after) / 1_000)
        return False

    def _round(self, order: Order, body: bytes, called_off: threading.Event) -> tuple[bool, str]:
        """Try an action as often as the settings say; return whether it is done, and what was said."""
        pauses = pauses_ms(self._trying)
        said = ""
        for attempt in range(1, self._trying.attempts + 1):
            try:
                said = self._carrier.carry(order, body, called_off)
            except Failed as error:
                said = f"{error}, in attempt {attempt}"
                log.warning("%s: %s %d by %s: %s", order.rollout, order.action, order.number, self._name, said)
                if called_off.is_set():
                    return False, said
            else:
                return True, f"{said}, in attempt {attempt}"
            if attempt <= len(pauses):
                called_off.wait(pauses[attempt - 1] * _share(order.id, attempt) / 1_000)
            if called_off.is_set():
                return False, said
        return False, said

    def _note(self, effect: str, order: Order, what: str, why: str) -> None:
        note = Note(
            id=f"{effect}/{what.replace(' ', '-')}",
            at=now(),
            what=f"{order.action} {order.number} of {hosts_of(order)} hosts {what} by {self._name}",
            by=CONTROL,
            why=why,
        )
        self._notes.append(Noted(rollout=order.rollout, note=note))


class _Lane(threading.Thread):
    """Carries out one action."""

    def __init__(self, action: str, carry: Callable[[threading.Event], bool], rollout: str) -> None:
        super().__init__(name=f"holdfast-deploys-{rollout}", daemon=True)
        self.action, self._carry = action, carry
        self._called_off = threading.Event()
        self.is_done = False

    def call_off(self) -> None:
        self._called_off.set()

    def run(self) -> None:
        try:
            self.is_done = self._carry(self._called_off)
        except Exception:
            # Control finds that the thread has ended without being done, and begins anew.
            log.exception("%s: an error of our own", self.action)
            self._called_off.wait(1.0)


def _share(order: str, attempt: int) -> float:
    """Return which part of a pause is waited for: half to all, by order and attempt, so that not all come at once."""
    digest = hashlib.sha256(f"{order}\n{attempt}".encode()).digest()
    return 0.5 + int.from_bytes(digest[:2], "big") / _JITTER_STEPS / 2
