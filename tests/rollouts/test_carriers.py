"""Carriers of actions: a webhook whose answers may be anything, and a command that may do anything."""

import base64
import json
import os
import signal
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
from holdfast.control.deployers import require
from holdfast.control.orders import encode, order_of
from holdfast.errors import BadInput
from holdfast.live.deployer_settings import CommandDeployer, WebhookDeployer
from holdfast.live.settings import load_settings
from tests.rollouts.test_couriers import DEPLOY, KINDS, until
from tests.waiting import WAIT_S

SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"

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


def webhook(folder: Path, url: str, timeout: str = "5m") -> WebhookCarrier:
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
    "a byte at a time": (trickle, "does not acknowledge|no answer in 0.5 s"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_no_acknowledgement(tmp_path: Path, name: str) -> None:
    answering, said = HOSTILE[name]
    with listening(answering) as (url, _), pytest.raises(Failed, match=said):
        carried(webhook(tmp_path, url, "500ms" if answering is trickle else "5m"))


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
        assert len(post(url, b'{"id":"a"}', {}, WAIT_S, 1_000)) == 1_000


def test_a_webhook_without_its_secret_is_refused_at_start(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.yaml"
    path.write_text(f"deployer: {{webhook: {{url: 'https://a/b', secret: {tmp_path / 'no'}}}}}\n")
    with pytest.raises(BadInput, match="no: cannot be read"):
        require(load_settings(path, {}))


# ------------------------------------------------------------------ command


def command(code: str, timeout: str = "2m", *arguments: str) -> CommandCarrier:
    return CommandCarrier(CommandDeployer(run=[sys.executable, "-c", code, *arguments], timeout=timeout))


def test_a_command_is_given_the_order_and_no_shell(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read()); print(sys.argv[2])"
    assert carried(command(code, "2m", str(tmp_path / "given"), "$(id); `id`")) == "exit status 0: $(id); `id`"
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
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '3600'])\n"  # what is ignored is ignored by children too
        "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(3600)"
    )
    with pytest.raises(Failed, match="not done in 10 s, and was stopped"):
        carried(command(code, "10s", str(tmp_path / "pid")))
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def test_a_command_that_is_called_off_ends() -> None:
    called_off = threading.Event()
    threading.Timer(0.3, called_off.set).start()
    with pytest.raises(Failed, match="called off, and was stopped"):
        carried(command("import time; time.sleep(60)"), called_off)


def test_somebody_in_the_background_is_not_waited_for() -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '3600']).pid)"
    pid = int(carried(command(code)).removeprefix("exit status 0: "))
    os.kill(pid, signal.SIGKILL)  # which tells that it is still there


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
