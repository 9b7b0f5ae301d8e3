"""`holdfast serve` as a process, on a real broker: what follows verdicts, what is announced, and what is sent out."""

import base64
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer

from detectors.verdict import Action
from holdfast.api.tokens import add, make
from holdfast.control.audit_log import read
from holdfast.control.scribe import REFUSED
from holdfast.live.clients import admin
from holdfast.live.settings import load_settings
from holdfast.live.topics import create
from sinks.messages import Message
from tests.api.serving import PLAN, POLICY
from tests.integration.topics import publish
from tests.test_following import beat, verdict
from tests.waiting import WAIT_S, until


class Serve:
    """A server of its own, with topics of its own, and a client of it."""

    def __init__(self, bootstrap: str, folder: Path, **api: object) -> None:
        self.bootstrap, self.prefix, self._folder = bootstrap, f"s{uuid.uuid4().hex[:10]}", folder
        self._path = folder / f"{self.prefix}.yaml"
        self._path.write_bytes(
            msgspec.yaml.encode(
                {
                    "kafka": {"bootstrap.servers": bootstrap},
                    "prefix": self.prefix,
                    "partitions": 2,
                    "metrics": [{"topic": f"{self.prefix}.metrics"}],
                    "http": {"port": 0},
                    "api": {"port": 0, "stale_after": "3s", **api},
                }
            )
        )
        self.settings = load_settings(self._path, {})
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.headers: dict[str, str] = {}

    def create(self) -> None:
        create(admin(self.settings), self.settings)

    def start(self) -> None:
        """Start the server, and wait until it says where it listens."""
        command = [sys.executable, "-c", "from holdfast.cli import main; main()", "serve", "--config", str(self._path)]
        log = self._folder / f"{self.prefix}.log"
        with log.open("wb") as stream:
            self._process = subprocess.Popen(command, stderr=stream)
        end = time.monotonic() + WAIT_S
        while (found := re.search(r"^holdfast serve: http://127\.0\.0\.1:(\d+)\n", log.read_text(), re.M)) is None:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        self.port = int(found[1])

    def stop(self) -> int:
        """Stop the server as whoever runs it does, and return its status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(WAIT_S)

    def remove(self) -> None:
        client = admin(self.settings)
        names = [name for name in client.list_topics(timeout=WAIT_S).topics if name.startswith(self.prefix)]
        for future in client.delete_topics(names).values() if names else ():
            future.result()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and body of an answer; 0 if there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            headers = {"content-type": "application/json", **self.headers}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def until(self, path: str, is_right: Callable[[int, Any], bool], beat: Callable[[], Message] | None = None) -> Any:
        """Ask until the answer is right; the engine beats meanwhile, lest it be taken for silent on a slow machine."""
        end, turn = time.monotonic() + WAIT_S, 0
        while True:
            turn += 1
            found = self.ask("GET", path)
            if is_right(*found):
                return found[1]
            assert time.monotonic() < end, found
            time.sleep(0.1)
            if beat is not None and turn % 10 == 0:
                self.tell(beat())

    def tell(self, *messages: Message) -> None:
        publish(self.bootstrap, self.settings.topics.verdicts, messages)

    def ready(self) -> None:
        self.until("/readyz", lambda status, _: status == 200)

    def submit(self, **changes: object) -> tuple[int, Any]:
        return self.ask("POST", "/v1/rollouts", {"rollout": {**PLAN, **changes}, "policy": POLICY})


ARGO = "/v1/plugs/argo?rollout=bots&stage=canary"


@pytest.fixture
def serving(kafka, tmp_path: Path) -> Iterator[Callable[..., Serve]]:
    made: list[Serve] = []

    def serve(*, is_made: bool = True, **api: object) -> Serve:
        one = Serve(kafka.bootstrap, tmp_path, **api)
        made.append(one)
        if is_made:
            one.create()
        return one

    yield serve
    for one in made:
        one.stop()
        one.remove()


def until_found(look: Callable[[], Any], is_right: Callable[[Any], bool]) -> Any:
    """Look until it is right."""
    end = time.monotonic() + WAIT_S
    while not is_right(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def is_known(status: int, _body: Any) -> bool:
    """Tell whether the server has seen by now what was announced; it answers when it is written."""
    return status == 200


def result(wanted: str) -> Callable[[int, Any], bool]:
    return lambda status, body: status == 200 and body["result"] == wanted


def test_verdicts_are_followed_and_silence_is_doubt(serving) -> None:
    serve = serving()
    serve.start()
    serve.ready()
    assert serve.submit() == (201, {"rollout": "bots", "version": 1, "changed": True})
    assert serve.submit() == (200, {"rollout": "bots", "version": 1, "changed": False})
    assert serve.until("/v1/rollouts/bots", is_known)["version"] == 1
    event = {"event": "started", "stage": "region", "at": "2026-03-12T12:00:00Z"}
    assert serve.ask("POST", "/v1/rollouts/bots/events", event)[1]["version"] == 2
    assert serve.ask("GET", ARGO)[1]["why"] == "nothing was heard of the rollout yet"
    ticks = count(1)
    serve.tell(verdict(1, next(ticks)))
    serve.until(ARGO, lambda _, body: body["why"] == "nothing is decided yet (baking)", lambda: beat(1, next(ticks)))
    serve.tell(verdict(2, next(ticks), action="advance"))
    serve.until(ARGO, result("Successful"), lambda: beat(2, next(ticks)))
    doubt = serve.until(ARGO, result("Inconclusive"))  # after `stale_after`
    assert doubt["why"] == "the engine has said nothing new for too long"
    serve.tell(beat(2, next(ticks)))
    serve.until(ARGO, result("Successful"), lambda: beat(2, next(ticks)))
    serve.tell(verdict(3, next(ticks), action="revert"))
    serve.until(ARGO, result("Failed"))
    assert serve.stop() == 0


def test_what_is_refused_is_on_the_audit_topic_once(serving) -> None:
    serve = serving()
    serve.start()
    serve.ready()
    assert serve.submit()[0] == 201
    for _ in range(2):
        status, refused = serve.submit(started="2026-03-12T12:00:00Z")
        assert status == 409
        assert "announced already" in refused["detail"]
    chain = until_found(lambda: read(serve.settings), lambda found: bool(found.links))
    (entry,) = [link.entry for link in chain.links]
    assert (entry.who, entry.kind, entry.subject) == ("anybody on this machine", REFUSED, "bots")
    assert "announced already" in msgspec.to_builtins(entry)["body"]["sentence"]


def test_what_a_server_finds_at_its_start_is_a_memory_until_the_engine_speaks(serving) -> None:
    serve = serving()
    serve.tell(verdict(1, 1, action="advance"), verdict(1, 1, "cats", action="revert"))
    serve.start()
    serve.ready()
    for name in ("bots", "cats"):
        serve.submit(rollout=name)
    doubt = serve.until(ARGO, is_known)
    assert (doubt["result"], doubt["phase"]) == ("Inconclusive", "doubt")
    assert serve.until(ARGO.replace("bots", "cats"), is_known)["result"] == "Failed"
    ticks = count(2)
    serve.until(ARGO, result("Successful"), lambda: beat(1, next(ticks)))


def test_without_brokers_the_judge_judges_and_nothing_is_ready(serving) -> None:
    serve = serving(is_made=False)
    serve.start()
    body = json.loads((Path(__file__).parents[2] / "examples/kayenta/request.json").read_text())
    status, found = serve.ask("POST", "/judge", body)
    assert (status, found["score"]["classification"]) == (200, "Fail")
    assert serve.ask("GET", "/readyz")[0] == 503
    assert serve.ask("GET", "/healthz")[0] == 200
    assert serve.ask("GET", ARGO)[1]["result"] == "Inconclusive"
    serve.create()
    serve.ready()


def test_a_server_asks_for_tokens(serving, tmp_path: Path) -> None:
    token, kept = make("ci", ["verdicts:read", "health:read"])
    add(tmp_path / "tokens.yaml", kept)
    serve = serving(tokens=str(tmp_path / "tokens.yaml"))
    serve.start()
    assert serve.ask("GET", "/readyz")[0] == 401
    serve.headers = {"authorization": f"Bearer {token}"}
    serve.ready()
    assert serve.submit()[0] == 403


def test_headers_that_do_not_come_and_headers_that_are_too_many_are_cut_off(serving) -> None:
    serve = serving(timeout="1s")
    serve.start()
    with socket.create_connection(("127.0.0.1", serve.port), timeout=WAIT_S) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n")
        assert slow.recv(100) == b""  # closed
    with socket.create_connection(("127.0.0.1", serve.port), timeout=WAIT_S) as slow:
        slow.sendall(b"POST /judge HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nx")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
    with socket.create_connection(("127.0.0.1", serve.port), timeout=WAIT_S) as large:
        # No more than is read at once: an answer to what is still on its way may be lost with the connection.
        large.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 20_000)
        assert large.recv(100).startswith(b"HTTP/1.1 400 ")
    for line in (
        b"GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET /a\x00b HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", serve.port), timeout=WAIT_S) as odd:
            odd.sendall(line)
            assert odd.recv(100).startswith(b"HTTP/1.1 4")
    assert serve.ask("GET", "/healthz")[0] == 200


class Receiver:
    """Takes webhooks; answers 500 while it is told to."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if receiver.status < 300:
                    receiver.seen.append(event)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def actions(self) -> list[str]:
        """Return what the verdicts say that were taken; on a slow machine the engine's silence comes between them."""
        return [event["data"]["action"] for event in self.seen if event["type"] == "dev.holdfast.verdict.v1"]


def test_verdicts_are_sent_out_and_what_is_not_taken_is_set_aside(serving, kafka, tmp_path: Path) -> None:
    receiver = Receiver()
    secret = tmp_path / "secret"
    secret.write_text(f"whsec_{base64.b64encode(b'k' * 32).decode()}")
    url = f"http://127.0.0.1:{receiver.server.server_address[1]}/"
    hook = {"name": "chat", "url": url, "secret": str(secret), "attempts": 2, "backoff": "10ms", "timeout": "1m"}
    serve = serving(webhooks=[hook], stale_after="60s")
    serve.start()
    serve.ready()
    sequences = count(1)

    def tell(action: Action) -> None:
        sequence = next(sequences)
        serve.tell(verdict(sequence, sequence, action=action))

    def is_heard() -> bool:  # a group that is new hears what comes after it has joined
        tell("wait")
        time.sleep(0.5)
        return bool(receiver.actions())

    def halts(body: Any) -> list[Any]:  # what was told before, or silence, may be set aside as well
        return [letter for letter in body["webhooks"][0]["last_undelivered"] if letter["action"] == "halt"]

    until(is_heard)
    receiver.status = 500
    tell("halt")
    (letter,) = halts(serve.until("/v1/webhooks", lambda _, body: halts(body)))
    assert letter["attempts"] == 2
    receiver.status = 204
    tell("revert")
    until(lambda: "revert" in receiver.actions(), receiver.actions)
    receiver.server.shutdown()
    receiver.server.server_close()
    assert "halt" not in receiver.actions()
    reader = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": serve.prefix, "auto.offset.reset": "earliest"})
    reader.subscribe([serve.settings.topics.undelivered])
    kept: list[tuple[bytes | None, str]] = []

    def is_kept() -> bool:
        record = reader.poll(1.0)
        if record is not None and record.error() is None:
            kept.append((record.key(), json.loads(record.value() or b"")["data"]["action"]))
        return (b"bots", "halt") in kept

    until(is_kept, lambda: kept)
    reader.close()
