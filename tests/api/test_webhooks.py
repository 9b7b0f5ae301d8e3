"""Webhooks: signed, tried a bounded number of times, set aside, and taken by the receiver of the examples."""

import base64
import hashlib
import hmac
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detectors.verdict import Action
from holdfast.api.delivering import Delivery, Failed, Undelivered, send
from holdfast.api.outgoing import DoubtEvent, outgoing
from holdfast.api.settings import Webhook
from holdfast.api.signing import headers, secrets_in
from holdfast.api.telemetry import ApiTelemetry
from holdfast.backoff import pause_ms
from holdfast.errors import BadInput
from holdfast.live.events import Event, Fresh, Gap, Received, Stale, Untrusted
from sinks.cloudevents import decode
from tests.kafka.broker import free_ports
from tests.test_following import VERDICT, at, verdict
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parents[2]
KEY = b"k" * 32
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


def received(action: Action = "revert", sequence: int = 1) -> Received:
    message = verdict(sequence, 1, action=action)
    event = decode(message.value)
    return Received("bots", at(1), event.id, event.data)


@contextmanager
def listening(*statuses: int, location: str = "", pause_s: float = 0.0) -> Iterator[tuple[str, list[Any]]]:
    """Listen on this machine, answer with one status after the other, and keep what comes."""
    seen: list[Any] = []
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.path, dict(self.headers.items()), body))
            if pause_s:
                for _ in range(100):
                    self.wfile.write(b"H")
                    self.wfile.flush()
                    time.sleep(pause_s)
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            if location:
                self.send_header("location", location)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook?a=1", seen
    finally:
        server.shutdown()
        server.server_close()


class Sent:
    """A delivery to an address, and what it set aside."""

    def __init__(self, folder: Path, url: str, **given: object) -> None:
        (folder / "secret").write_text(f"{SECRET}\n")
        self.aside: list[tuple[Undelivered, bytes]] = []
        self.telemetry = ApiTelemetry()
        patient = {"secret": str(folder / "secret"), "backoff": "10ms", "timeout": "1m"}
        fields = {"name": "chat", "url": url, **patient, **given}
        self.webhook = msgspec.convert(fields, Webhook)
        self.events: list[Event] = []
        self.delivery = Delivery(
            self.webhook, self.subscribe, lambda letter, body: self.aside.append((letter, body)), self.telemetry
        )

    def subscribe(self) -> Any:
        owner = self

        class Given:
            def __iter__(self) -> Iterator[Event]:
                yield from owner.events
                owner.delivery._stopped.set()

            def close(self) -> None: ...

        return Given()


def test_a_verdict_is_sent_as_the_cloudevent_that_it_is(tmp_path: Path) -> None:
    with listening(204) as (url, seen):
        sent = Sent(tmp_path, url)
        sent.delivery.deliver(received())
    ((path, given, body),) = seen
    assert (path, body) == ("/hook?a=1", verdict(1, 1, action="revert").value)
    assert given["content-type"] == "application/cloudevents+json; charset=UTF-8"
    assert (given["webhook-id"], sent.delivery.state.delivered) == (received().id, 1)


def test_a_signature_is_over_id_time_and_body() -> None:
    """Standard Webhooks: `v1,` and the HMAC-SHA256 of `<id>.<seconds>.<body>`, one for each secret."""
    found = headers([KEY, b"o" * 32], "e1", 1_773_314_400, b"{}")
    expected = base64.b64encode(hmac.new(KEY, b"e1.1773314400.{}", hashlib.sha256).digest()).decode()
    first, second = found["webhook-signature"].split()
    assert (first, second.startswith("v1,"), first == second) == (f"v1,{expected}", True, False)


def receiver() -> Any:
    """Load the example."""
    spec = importlib.util.spec_from_file_location("webhook_receiver", ROOT / "examples/webhook_receiver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("change", "later_s", "is_good"),
    [({}, 0, True), ({}, 299, True), ({}, 301, False), ({}, -301, False), ({"webhook-id": "e2"}, 0, False),
     ({"webhook-timestamp": "1773314401"}, 0, False), ({"webhook-signature": "v1,"}, 0, False),
     ({"webhook-timestamp": "soon"}, 0, False), ({"body": b"{ }"}, 0, False)],
)  # fmt: skip
def test_the_receiver_takes_what_is_signed_and_new_alone(change: dict[str, Any], later_s: int, is_good: bool) -> None:
    signed: dict[str, Any] = {"body": b"{}", **headers([KEY], "e1", 1_773_314_400, b"{}")} | change
    assert receiver().verify(SECRET, signed, signed["body"], 1_773_314_400 + later_s) is is_good


def test_the_receiver_of_the_examples_takes_an_event_once(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    command = [sys.executable, str(ROOT / "examples/webhook_receiver.py")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        try:
            process.stderr.readline()
            sent = Sent(tmp_path, f"http://127.0.0.1:{port}/")
            for event in (received(), received(), received("halt", 2), Stale("bots", None)):
                sent.delivery.deliver(event)
            assert sent.delivery.state.delivered == 4
            lines = [process.stdout.readline().strip() for _ in range(3)]
            assert lines == ["bots: revert", "bots: halt", "bots: wait"]
            with pytest.raises(Failed, match="status 401"):
                send(f"http://127.0.0.1:{port}/", b"{}", headers([b"x" * 32], "e", 1, b"{}"), WAIT_S)
        finally:
            process.terminate()


def test_what_fails_is_tried_again_under_the_same_id(tmp_path: Path) -> None:
    with listening(500, 503, 200) as (url, seen):
        sent = Sent(tmp_path, url)
        sent.delivery.deliver(received())
    assert len({given["webhook-id"] for _, given, _ in seen}) == 1
    assert (len(seen), sent.delivery.state.failed_attempts, sent.delivery.state.delivered, sent.aside) == (3, 2, 1, [])


def test_what_is_never_taken_is_set_aside_and_counted(tmp_path: Path) -> None:
    with listening(500) as (url, seen):
        sent = Sent(tmp_path, url, attempts=3)
        sent.delivery.deliver(received())
    ((letter, body),) = sent.aside
    assert (len(seen), letter.attempts, letter.error, body) == (3, 3, "answered with status 500", seen[0][2])
    assert sent.delivery.state.last_undelivered == [letter]
    assert sent.telemetry.registry.get_sample_value("holdfast_webhook_undelivered_total", {"webhook": "chat"}) == 1


def test_an_address_that_is_gone_is_not_tried_again(tmp_path: Path) -> None:
    with listening(410) as (url, seen):
        Sent(tmp_path, url).delivery.deliver(received())
    assert len(seen) == 1


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with listening(200) as (inside, never), listening(307, location=inside) as (url, seen):
        sent = Sent(tmp_path, url, attempts=2)
        sent.delivery.deliver(received())
    assert (len(seen), never, sent.aside[0][0].error) == (2, [], "answered with status 307")


def test_a_proxy_of_the_environment_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(200) as (proxy, never), listening(204) as (url, seen):
        monkeypatch.setenv("http_proxy", proxy)
        Sent(tmp_path, url).delivery.deliver(received())
    assert (len(seen), never) == (1, [])


def test_nobody_there_is_a_failure() -> None:
    with pytest.raises(Failed, match="no answer") as caught:
        send(f"http://127.0.0.1:{free_ports(1)[0]}/", b"", {}, 1.0)
    assert caught.value.outcome == "unreachable"


def test_somebody_who_answers_a_byte_at_a_time_is_cut_off() -> None:
    with listening(200, pause_s=0.1) as (url, _), pytest.raises(Failed, match=r"no answer in 0\.3 s"):
        send(url, b"", {}, 0.3)


def test_pauses_grow_within_their_bound_and_are_not_alike() -> None:
    pauses = [[pause_ms(1_000, 30_000, attempt, "a", f"e{event}") for event in range(50)] for attempt in range(1, 10)]
    for attempt, found in enumerate(pauses):
        longest = min(30_000, 1_000 << attempt)
        assert all(longest / 2 <= pause <= longest for pause in found)
        assert len(set(found)) > 40


def test_only_the_actions_that_are_asked_for_are_sent_but_every_doubt(tmp_path: Path) -> None:
    with listening(204) as (url, seen):
        sent = Sent(tmp_path, url, actions=["revert"])
        sent.events = [received("wait"), received("advance", 2), received("revert", 3), Stale("bots", None)]
        sent.delivery.run()
    assert [json.loads(body)["data"]["action"] for _, _, body in seen] == ["revert", "wait"]


@pytest.mark.parametrize(
    ("event", "kind", "in_force"),
    [(Stale("bots", at(1)), "stale", None), (Stale(None, None), "stale", None),
     (Gap("bots", 1, 2, "halt"), "gap", "halt"),
     (Fresh("bots", "advance"), "fresh", "advance"), (Untrusted("bots", "no", "v", 0, 1), "untrusted", None)],
)  # fmt: skip
def test_doubts_are_cloudevents_that_say_wait(event: Event, kind: str, in_force: str | None) -> None:
    name, body = outgoing(event, 1_773_314_400_000)
    found = msgspec.json.decode(body, type=DoubtEvent)
    assert (found.id, found.subject, found.data.kind, found.data.action) == (name, event.rollout, kind, "wait")
    assert (found.data.in_force, found.time) == (in_force, "2026-03-12T11:20:00Z")


def test_one_or_two_secrets_are_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n{SECRET}\n")
    assert secrets_in(path) == [KEY, KEY]
    for text in ("", "short", f"whsec_{base64.b64encode(b'short').decode()}", f"{SECRET} " * 3, "whsec_é"):
        path.write_text(text)
        with pytest.raises(BadInput, match="secret"):
            secrets_in(path)


def test_a_verdict_that_waits_is_sent_by_default() -> None:
    assert "wait" in Webhook(name="a", url="https://a", secret="s").actions
    assert VERDICT.action == "wait"
