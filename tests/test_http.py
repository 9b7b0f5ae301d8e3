"""Metrics and health over HTTP, on a real socket."""

import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from holdfast.errors import BadInput
from holdfast.live.http import Server
from holdfast.live.settings import Http
from holdfast.live.telemetry import Telemetry
from tests.waiting import WAIT_S, until


class Ready:
    def __init__(self) -> None:
        self.is_ready = False

    def __call__(self) -> bool:
        return self.is_ready


READY = Ready()


@pytest.fixture
def worker() -> Telemetry:
    return Telemetry("judge", "one")


@pytest.fixture
def server(worker: Telemetry) -> Iterator[Server]:
    READY.is_ready = False
    with Server(Http(port=0), [worker], READY, silent_seconds_max=WAIT_S) as opened:
        yield opened


def get(server: Server, path: str, **headers: str) -> tuple[int, str, str]:
    request = Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urlopen(request, timeout=WAIT_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_metrics_are_there_for_prometheus(server: Server, worker: Telemetry) -> None:
    worker.decided(0.1, "advance")
    status, kind, text = get(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    assert 'holdfast_verdicts_total{action="advance",role="judge",worker="one"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_metrics_are_there_as_openmetrics_for_whoever_asks_so(server: Server) -> None:
    status, kind, text = get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (status, kind.partition(";")[0]) == (200, "application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_a_loop_that_goes_round_is_alive(server: Server) -> None:
    status, _, text = get(server, "/healthz")
    assert (status, json.loads(text)["status"]) == (200, "alive")


def test_a_loop_that_stands_still_is_not(server: Server, worker: Telemetry) -> None:
    worker._alive -= WAIT_S + 1
    status, _, text = get(server, "/healthz")
    assert (status, json.loads(text)["status"]) == (503, "silent")
    assert json.loads(text)["silent_seconds"]["judge"] > WAIT_S


def test_ready_is_what_the_workers_say(server: Server) -> None:
    assert get(server, "/readyz")[0] == 503
    READY.is_ready = True
    assert get(server, "/readyz")[0] == 200


def test_other_pages_are_named_as_missing(server: Server) -> None:
    status, _, text = get(server, "/")
    assert status == 404
    assert "there are /metrics, /healthz and /readyz" in json.loads(text)["error"]


def test_head_gives_the_headers_alone(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    connection.request("HEAD", "/metrics")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 100
    connection.close()


def test_nothing_can_be_changed(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    connection.request("POST", "/metrics", b"x")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 501
    connection.close()


def test_connections_that_say_nothing_do_not_keep_others_out_for_long(server: Server) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(15)]
    try:
        assert get(server, "/healthz")[0] == 200
    finally:
        for each in silent:
            each.close()


def test_an_address_that_is_taken_is_a_clear_error(server: Server, worker: Telemetry) -> None:
    with pytest.raises(BadInput, match=rf"http: cannot listen on 127\.0\.0\.1:{server.port}: .*in use"):
        Server(Http(port=server.port), [worker], READY).__enter__()


def test_it_closes_without_leaving_anything(worker: Telemetry) -> None:
    before = threading.active_count()
    with Server(Http(port=0), [worker], READY) as opened:
        get(opened, "/metrics")
        port = opened.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    until(lambda: threading.active_count() <= before, threading.enumerate)
