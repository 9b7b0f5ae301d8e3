"""One message to one address: tried again, within bounds, and never longer than it matters."""

import queue
import threading
from datetime import timedelta

from holdfast.notifying.addresses import Address
from holdfast.notifying.carrying import STOPPED, Carrier
from holdfast.notifying.journal import Place
from holdfast.notifying.outbox import Outcome, Parcel
from holdfast.notifying.sending import Failed
from holdfast.notifying.settings import Notify
from holdfast.notifying.telemetry import NotifyTelemetry
from holdfast.wall import now
from rollouts.incidents.wording import Message
from tests.notifying.making import address, message, notice
from tests.waiting import WAIT_S

NOTIFY = Notify(attempts=3, backoff="10ms", backoff_max="20ms")


class Sends:
    """Fails so often, and then sends."""

    def __init__(self, *failures: Failed) -> None:
        self._failures = [*failures]
        self.tried = 0

    def send(self, address: Address, message: Message, seconds: float) -> None:
        """Send once."""
        self.tried += 1
        if self._failures:
            raise self._failures.pop(0)


class Stuck:
    """Does not come to an end until it is let go."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()

    def send(self, address: Address, message: Message, seconds: float) -> None:
        """Send once."""
        self.begun.set()
        self.free.wait(WAIT_S)
        error = "no answer in time"
        raise Failed(error)


def parcel(age: timedelta = timedelta(hours=1)) -> Parcel:
    place = Place(recipient="oncall", index=0)
    return Parcel(place=place, message=message(), covers=[notice()], is_summary=False, until=now() + age)


def carried(sender: Sends, given: Parcel | None = None, telemetry: NotifyTelemetry | None = None) -> Outcome:
    outcomes: queue.Queue[Outcome] = queue.Queue()
    carrier = Carrier(address("json://localhost"), NOTIFY, sender, outcomes, telemetry or NotifyTelemetry())
    carrier.start()
    carrier.carry(given or parcel())
    found = outcomes.get(timeout=WAIT_S)
    carrier.stop()
    carrier.join(WAIT_S)
    return found


def test_what_is_taken_at_once_is_sent_once() -> None:
    sender = Sends()
    assert (carried(sender).reason, sender.tried) == (None, 1)


def test_what_fails_is_tried_again() -> None:
    telemetry = NotifyTelemetry()
    sender = Sends(Failed("a"), Failed("b"))
    outcome = carried(sender, telemetry=telemetry)
    assert (outcome.reason, outcome.attempts, sender.tried) == (None, 3, 3)
    labels = {"recipient": "oncall", "outcome": "failed"}
    assert telemetry.registry.get_sample_value("holdfast_notice_attempts_total", labels) == 2


def test_what_always_fails_is_given_up_with_the_last_reason() -> None:
    sender = Sends(*(Failed(f"no {number}") for number in range(9)))
    outcome = carried(sender)
    assert (outcome.reason, outcome.attempts, sender.tried) == ("no 2", 3, 3)


def test_what_will_never_be_taken_is_tried_once() -> None:
    sender = Sends(Failed("no such address", is_final=True), Failed("x"))
    outcome = carried(sender)
    assert (outcome.reason, sender.tried) == ("no such address", 1)


def test_what_matters_no_more_is_not_tried() -> None:
    sender = Sends()
    outcome = carried(sender, parcel(timedelta(seconds=-1)))
    assert (outcome.reason, sender.tried) == ("it became too old", 0)


def test_what_is_stopped_in_the_middle_comes_again() -> None:
    outcomes: queue.Queue[Outcome] = queue.Queue()
    sender = Stuck()
    carrier = Carrier(address("json://localhost"), NOTIFY, sender, outcomes, NotifyTelemetry())
    carrier.start()
    carrier.carry(parcel())
    assert sender.begun.wait(WAIT_S)
    carrier.stop()
    sender.free.set()
    assert outcomes.get(timeout=WAIT_S).reason == STOPPED
    carrier.join(WAIT_S)
