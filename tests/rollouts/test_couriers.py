"""Actions that take their time: told until they are done, never twice as another one, and control never waits."""

import json
import threading
import time
from collections.abc import Callable

import pytest

from holdfast.api.delivering import Failed
from holdfast.control.couriers import LANES_MAX, Courier
from holdfast.control.orders import Order, encode, order_of
from holdfast.control.scribe import DID
from holdfast.live.deployer_settings import Trying
from rollouts.controlled import Before, Deploy, Restore
from rollouts.plans import Seat
from tests.rollouts.fleet import OLD, UNIT
from tests.waiting import WAIT_S

KINDS = {UNIT.unit: UNIT.kind}
SEATS = [Seat(host="c0-h0", colo="c0", region="r0"), Seat(host="c1-h0", colo="c1", region="r1")]
DEPLOY = Deploy(id="bots/2/deploy", number=1, stage="one", units=[UNIT], seats=SEATS)
RESTORE = Restore(
    id="bots/5/restore",
    number=2,
    stage="one",
    before=[Before(units={UNIT.unit: OLD}, seats=SEATS[:1]), Before(units={UNIT.unit: None}, seats=SEATS[1:])],
)
QUICK = Trying(attempts=3, backoff="10ms", backoff_max="20ms", again_after="10ms")


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


class Told:
    """A carrier that fails as often as it is told to, and waits where it is told to."""

    def __init__(self, failures: int = 0, *, waits: bool = False) -> None:
        self.failures, self.waits = failures, waits
        self.orders: list[tuple[str, int]] = []
        self.bodies: list[bytes] = []
        self.go = threading.Event()

    def carry(self, order: Order, body: bytes, called_off: threading.Event, /) -> str:
        self.orders.append((order.action, order.number))
        self.bodies.append(body)
        while self.waits and not self.go.is_set():
            if called_off.wait(0.005):
                raise Failed("called off", "unreachable")
        if self.failures:
            self.failures -= 1
            raise Failed("it was busy", "refused")
        return "well"


def delivered(courier: Courier, action: Deploy | Restore) -> None:
    until(lambda: courier.deliver("bots", KINDS, action))


def notes(courier: Courier) -> list[tuple[str, str, str]]:
    return [(noted.note.id, noted.note.what, noted.note.why) for noted in courier.notes()]


def test_an_order_says_what_hosts_are_to_have() -> None:
    order = json.loads(encode(order_of("bots", KINDS, RESTORE)))
    assert len(order.pop("id")) == 32
    host = {"host": "c0-h0", "colo": "c0", "region": "r0"}
    assert order.pop("groups")[0] == {"units": {UNIT.unit: {"digest": OLD, "kind": "data-file"}}, "hosts": [host]}
    assert order == {"rollout": "bots", "number": 2, "action": "restore", "stage": "one"}


def test_the_same_action_is_the_same_order_and_another_one_is_not() -> None:
    again = Deploy(id=DEPLOY.id, number=1, stage="one", units=[UNIT], seats=SEATS)
    assert encode(order_of("bots", KINDS, DEPLOY)) == encode(order_of("bots", KINDS, again))
    assert order_of("bots", KINDS, DEPLOY).id != order_of("others", KINDS, DEPLOY).id


def test_control_does_not_wait_for_an_action_and_is_told_once_that_it_is_done() -> None:
    told = Told(waits=True)
    courier = Courier("test", told, QUICK)
    assert [courier.deliver("bots", KINDS, DEPLOY) for _ in range(3)] == [False] * 3
    told.go.set()
    delivered(courier, DEPLOY)
    assert told.orders == [("deploy", 1)]
    assert notes(courier) == [
        ("bots/2/deploy/delivered", "deploy 1 of 2 hosts delivered by test", "well, in attempt 1")
    ]
    assert courier.notes() == []


def test_who_is_asked_after_a_crash_is_told_the_same_again() -> None:
    first, second = Told(), Told()
    for told in (first, second):
        delivered(Courier("test", told, QUICK), DEPLOY)
    assert first.bodies == second.bodies


def test_an_action_that_fails_is_tried_again_and_given_up_once_in_the_notes() -> None:
    told = Told(failures=7)
    courier = Courier("test", told, QUICK)
    delivered(courier, DEPLOY)
    assert len(told.orders) == 8
    assert [(one, why) for one, _, why in notes(courier)] == [
        ("bots/2/deploy/not-delivered", "it was busy, in attempt 3"),
        ("bots/2/deploy/delivered", "well, in attempt 2"),
    ]


def test_a_note_of_a_courier_is_something_that_was_done() -> None:
    courier = Courier("test", Told(failures=3), QUICK)
    delivered(courier, DEPLOY)
    assert {noted.kind for noted in courier.notes()} == {DID}


def test_taking_back_calls_off_what_is_under_way_and_comes_after_it() -> None:
    told = Told(waits=True)
    courier = Courier("test", told, QUICK)
    assert not courier.deliver("bots", KINDS, DEPLOY)
    until(lambda: bool(told.orders))
    assert not courier.deliver("bots", KINDS, RESTORE)
    until(lambda: not courier.deliver("bots", KINDS, RESTORE) and len(told.orders) == 2)
    told.go.set()
    delivered(courier, RESTORE)
    assert told.orders == [("deploy", 1), ("restore", 2)]


def test_what_is_held_is_tried_no_further_until_it_is_asked_for_again() -> None:
    told = Told(failures=10**6)
    courier = Courier("test", told, QUICK)
    assert not courier.deliver("bots", KINDS, DEPLOY)
    until(lambda: len(told.orders) > 4)
    courier.hold("bots")
    until(lambda: all(not each.is_alive() for each in courier._lanes.values()))
    before = len(told.orders)
    time.sleep(0.1)
    assert len(told.orders) == before
    told.failures = 0
    delivered(courier, DEPLOY)


def test_what_is_closed_ends_at_once() -> None:
    courier = Courier("test", Told(waits=True), QUICK)
    assert not courier.deliver("bots", KINDS, DEPLOY)
    courier.close()
    assert [each.is_alive() for each in courier._lanes.values()] == [False]


def test_too_much_at_once_waits_and_taking_back_does_not() -> None:
    told = Told(waits=True)
    courier = Courier("test", told, QUICK)
    for number in range(LANES_MAX + 3):
        courier.deliver(f"r{number}", KINDS, DEPLOY)
    until(lambda: len(told.orders) == LANES_MAX)
    courier.deliver("r66", KINDS, RESTORE)
    until(lambda: told.orders[-1] == ("restore", 2))
    assert len(told.orders) == LANES_MAX + 1
    courier.close()


def test_an_error_of_our_own_is_no_delivery(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Told):
        def carry(self, order: Order, body: bytes, called_off: threading.Event, /) -> str:
            if not self.orders:
                self.orders.append((order.action, 0))
                raise ZeroDivisionError
            return super().carry(order, body, called_off)

    courier = Courier("test", Broken(), QUICK)
    delivered(courier, DEPLOY)
    assert "an error of our own" in caplog.text
