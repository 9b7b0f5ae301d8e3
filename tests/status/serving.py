"""A status page over sources in memory, behind a real server on a real port."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec

from holdfast.api.server import Server
from holdfast.api.settings import Api
from holdfast.api.tokens import Gate
from holdfast.status.app import App
from holdfast.status.folder import Folder
from holdfast.status.keeper import Keeper
from holdfast.status.pages import Look
from holdfast.status.settings import Status
from holdfast.status.streams import Streams
from holdfast.status.subscribing import Desk
from holdfast.wall import now
from tests.status.samples import NOW, RESPONSE, Memory
from tests.waiting import WAIT_S


class Serving:
    """What is served, and where."""

    def __init__(self, memory: Memory, keeper: Keeper, streams: Streams, port: int) -> None:
        self.memory, self.keeper, self.streams, self.port = memory, keeper, streams, port
        self._opened: dict[http.client.HTTPResponse, http.client.HTTPConnection] = {}

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        """Ask for a page over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        connection.request("GET", path, headers={"host": "localhost", **headers})
        answer = connection.getresponse()
        self._opened[answer] = connection
        return answer

    def hang_up(self, *answers: http.client.HTTPResponse) -> None:
        """Close the connections of some answers; of none, of all."""
        for answer in answers or tuple(self._opened):
            answer.close()
            self._opened.pop(answer).close()


@contextmanager
def serving(
    memory: Memory | None = None,
    desk: Desk | None = None,
    folder: Folder | None = None,
    clock: Callable[[], datetime] = lambda: NOW,
    alive_s: float = 0.5,
    **status: Any,
) -> Iterator[Serving]:
    """Serve until the end."""
    found = memory or Memory()
    given = msgspec.convert({"port": 0, **status}, Status)
    look = Look("Example status", can_subscribe=True)
    keeper = Keeper(found, RESPONSE, look, "http://localhost", "holdfast", clock, folder)
    streams = Streams(lambda: keeper.site, given.streams_max, given.streams_per_client, alive_s)
    keeper.listen(streams.changed)
    app = App(given, Gate(None, now), lambda: keeper.site, streams, look, desk)
    server = Server(Api(port=0, requests_max=given.requests_max), app)
    thread = threading.Thread(target=server.run, daemon=True)
    keeper.start()
    thread.start()
    until(lambda: server.is_serving and (keeper.site is not None or found.at is None))
    served = Serving(found, keeper, streams, server.port)
    try:
        yield served
    finally:
        served.hang_up()
        keeper.stop()
        streams.close()
        server.stop()
        thread.join(WAIT_S)
        keeper.join(WAIT_S)


def until(is_so: Callable[[], object]) -> None:
    """Wait for something."""
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.02)
