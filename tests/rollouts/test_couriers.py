"""Actions by webhook and by command: told until they are done, never twice as another one, and control never waits."""

import base64
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.delivering import Failed, post
from holdfast.control import by_command
from holdfast.control.by_command import OUTPUT_BYTES_MAX, CommandCarrier
from holdfast.control.by_webhook import WebhookCarrier
from holdfast.control.couriers import LANES_MAX, Courier
from holdfast.control.deployers import require
from holdfast.control.orders import Order, encode, order_of
from holdfast.control.scribe import DID
from holdfast.errors import BadInput
from holdfast.live.deployer_settings import CommandDeployer, Trying, WebhookDeployer
from holdfast.live.settings import load_settings
from rollouts.controlled import Before, Deploy, Restore
from rollouts.plans import Seat
from tests.rollouts.fleet import OLD, UNIT

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
SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
WAIT_S = 30.0


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


# ------------------------------------------------------------------ webhook

Answering = Callable[[BaseHTTPRequestHandler, bytes], object]


@contextmanager
def listening(answering: Answering) -> Iterator[tuple[str, list[bytes]]]:
    """Listen on this machine, and have each request answered by a function."""
    seen: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append(body)
            answering(self, body)

        def log_message(self, *_: object) -> None: ...

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/deploy", seen
    finally:
        server.shutdown()
        server.server_close()


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"content-length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def acknowledge(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    answer(handler, 202, json.dumps({"id": json.loads(body)["id"], "queue": 3}).encode())


def webhook(folder: Path, url: str, timeout: str = "5s") -> WebhookCarrier:
    (folder / "secret").write_text(f"{SECRET}\n")
    return WebhookCarrier(WebhookDeployer(url=url, secret=str(folder / "secret"), timeout=timeout))


def carried(carrier: WebhookCarrier | CommandCarrier, called_off: threading.Event | None = None) -> str:
    order = order_of("bots", KINDS, DEPLOY)
    return carrier.carry(order, encode(order), called_off or threading.Event())


def test_a_webhook_posts_the_order_signed(tmp_path: Path) -> None:
    given: list[Any] = []

    def taken(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        given.append(dict(handler.headers.items()))
        acknowledge(handler, body)

    with listening(taken) as (url, seen):
        assert carried(webhook(tmp_path, url)) == "acknowledged"
    order = order_of("bots", KINDS, DEPLOY)
    assert seen == [encode(order)]
    assert (given[0]["webhook-id"], given[0]["content-type"]) == (order.id, "application/json")
    assert given[0]["webhook-signature"].startswith("v1,")


def trickle(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("connection", "close")
    handler.end_headers()
    for _ in range(2_000):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.01)


def huge(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(json.dumps({"id": json.loads(body)["id"]}).encode()[:-1] + b',"x":"')
    for _ in range(2_000):
        handler.wfile.write(b"x" * 1_000_000)


HOSTILE: dict[str, tuple[Answering, str]] = {
    "no JSON": (lambda h, _: answer(h, 200, b"<html>welcome</html>"), "does not acknowledge"),
    "not UTF-8": (lambda h, _: answer(h, 200, b'{"id":"\xff\xfe"}'), "does not acknowledge"),
    "nothing": (lambda h, _: answer(h, 204, b""), "does not acknowledge"),
    "a list": (lambda h, _: answer(h, 200, b"[1]"), "does not acknowledge"),
    "deep": (lambda h, _: answer(h, 200, b'{"id":' + b"[" * 60_000), "does not acknowledge"),
    "another action": (lambda h, _: answer(h, 200, b'{"id":"00"}'), "does not acknowledge"),
    "huge": (huge, "does not acknowledge"),
    "an error": (lambda h, _: answer(h, 500, b""), "status 500"),
    "no headers": (lambda h, _: h.wfile.write(b"\0" * 100_000), "no answer"),
    "a byte at a time": (trickle, "does not acknowledge"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_no_acknowledgement(tmp_path: Path, name: str) -> None:
    answering, said = HOSTILE[name]
    with listening(answering) as (url, _), pytest.raises(Failed, match=said):
        carried(webhook(tmp_path, url, "500ms"))


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with listening(acknowledge) as (elsewhere, seen):
        elsewhere_too = {"location": elsewhere}
        with listening(lambda h, _: answer(h, 307, b"", **elsewhere_too)) as (url, _), pytest.raises(Failed) as found:
            carried(webhook(tmp_path, url))
    assert str(found.value) == "answered with status 307"
    assert seen == []


def test_who_never_answers_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(Failed, match=r"no answer in 0\.1 s"):
        carried(webhook(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}/", "100ms"))


def test_an_answer_is_read_to_its_bound_alone() -> None:
    with listening(huge) as (url, _):
        assert len(post(url, b'{"id":"a"}', {}, 5.0, 1_000)) == 1_000


def test_a_webhook_without_its_secret_is_refused_at_start(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.yaml"
    path.write_text(f"deployer: {{webhook: {{url: 'https://a/b', secret: {tmp_path / 'no'}}}}}\n")
    with pytest.raises(BadInput, match="no: cannot be read"):
        require(load_settings(path, {}))


# ------------------------------------------------------------------ command


def command(code: str, timeout: str = "20s", *arguments: str) -> CommandCarrier:
    return CommandCarrier(CommandDeployer(run=[sys.executable, "-c", code, *arguments], timeout=timeout))


def test_a_command_is_given_the_order_and_no_shell(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read()); print(sys.argv[2])"
    assert carried(command(code, "20s", str(tmp_path / "given"), "$(id); `id`")) == "exit status 0: $(id); `id`"
    assert (tmp_path / "given").read_bytes() == encode(order_of("bots", KINDS, DEPLOY))


def test_a_command_that_fails_tells_its_status_and_its_last_words() -> None:
    with pytest.raises(Failed, match=r"^exit status 3: no room left$"):
        carried(command("import sys; sys.stderr.write('no\\nroom left\\n'); sys.exit(3)"))


def test_a_command_that_kills_itself_is_not_done() -> None:
    with pytest.raises(Failed, match="ended by SIGKILL"):
        carried(command("import os; os.kill(os.getpid(), 9)"))


def test_of_what_a_command_writes_the_end_is_kept() -> None:
    found = carried(command("import sys; sys.stdout.write('x' * 3_000_000 + '\\x1b[31m the end')"))
    assert found.endswith("the end")
    assert "\x1b" not in found
    assert len(found) < OUTPUT_BYTES_MAX + 100


def test_a_command_that_takes_too_long_is_stopped_with_all_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_command, "_GRACE_S", 0.2)
    code = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; "
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'])\n"
        "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(60)"
    )
    with pytest.raises(Failed, match="not done in 2 s, and was stopped"):
        carried(command(code, "2s", str(tmp_path / "pid")))
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def test_a_command_that_is_called_off_ends() -> None:
    called_off = threading.Event()
    threading.Timer(0.3, called_off.set).start()
    with pytest.raises(Failed, match="called off, and was stopped"):
        carried(command("import time; time.sleep(60)"), called_off)


def test_somebody_in_the_background_is_not_waited_for() -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)']); print('up')"
    begun = time.monotonic()
    assert carried(command(code)) == "exit status 0: up"
    assert time.monotonic() - begun < 5


def test_a_command_that_closes_its_output_and_its_input_is_waited_for() -> None:
    code = "import os, time; [os.close(n) for n in (0, 1, 2)]; time.sleep(0.3); os._exit(7)"
    with pytest.raises(Failed, match="exit status 7"):
        carried(command(code))


def test_variables_for_holdfast_are_not_for_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_KAFKA__SASL_PASSWORD", "hush")
    monkeypatch.setenv("DEPLOY_TO", "edge")
    code = "import os; print(os.environ['DEPLOY_TO'], [name for name in os.environ if name.startswith('HOLDFAST_')])"
    assert carried(command(code)) == "exit status 0: edge []"


def test_a_command_that_is_not_there_is_refused_at_start_and_not_done_later(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.yaml"
    path.write_text(f"deployer: {{command: {{run: [{tmp_path}/nobody]}}}}\n")
    settings = load_settings(path, {})
    with pytest.raises(BadInput, match=r"deployer\.command\.run: found .*nobody"):
        require(settings)
    assert settings.deployer.command is not None
    with pytest.raises(Failed, match="cannot be run: No such file"):
        carried(CommandCarrier(settings.deployer.command))


def test_a_webhook_and_a_command_are_not_named_together(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.yaml"
    path.write_text("deployer:\n  webhook: {url: 'https://a/b', secret: s}\n  command: {run: [a]}\n")
    with pytest.raises(BadInput, match=r":3: deployer\.command: found beside deployer\.webhook"):
        load_settings(path, {})
