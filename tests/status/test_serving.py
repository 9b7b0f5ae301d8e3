"""The page over a real port: live, bounded, and there when what it is made of is gone."""

import http.client
import socket
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from holdfast.errors import BadInput, Unreachable
from holdfast.status.folder import Folder
from holdfast.status.keeper import Keeper
from holdfast.status.pages import Look
from holdfast.status.site import Site
from tests.status.samples import DAY, HIDDEN, MINUTE, NOW, RESPONSE, Memory, histories, live, made, name, opened, past
from tests.status.serving import Serving, serving, until
from tests.waiting import WAIT_S


def listen(served: Serving, path: str = "/events") -> http.client.HTTPResponse:
    answer = served.get(path)
    assert answer.status == 200
    assert answer.getheader("content-type") == "text/event-stream"
    return answer


def next_of(stream: http.client.HTTPResponse, event: str) -> str:
    """Return the data of the next event of a kind."""
    lines = iter(lambda: stream.readline().decode().rstrip("\n"), None)
    for line in lines:
        if line == f"event: {event}":
            return next(lines).removeprefix("data: ")
    raise AssertionError


def test_who_listens_is_told_when_something_happens() -> None:
    with serving() as served:
        stream = listen(served)
        first = next_of(stream, "snapshot")
        served.memory.put(live(NOW - MINUTE, 33))
        assert next_of(stream, "snapshot") != first
        assert name(33) in served.get("/").read().decode()


def test_who_listens_in_public_is_not_told_of_what_is_internal() -> None:
    with serving(alive_s=0.1) as served:
        public, internal = listen(served), listen(served, "/internal/events")
        first, before = next_of(public, "snapshot"), next_of(internal, "snapshot")
        served.memory.put(type(live())(incident=name(34), events=[opened(NOW, HIDDEN)]))
        assert next_of(internal, "snapshot") != before
        # After the next two signs of life nothing else was said.
        said = [public.readline() for _ in range(9)]
        assert [line for line in said if line.startswith(b"event: snapshot")] == []
        assert first


def test_who_listens_is_told_how_old_it_is() -> None:
    with serving() as served:
        assert next_of(listen(served), "alive") == "2026-03-12T14:02:30Z 14:02:30"


def test_there_are_no_more_readers_than_there_may_be() -> None:
    with serving(streams_max=3, streams_per_client=2) as served:
        open_now = [listen(served) for _ in range(2)]
        assert served.get("/events").status == 503
        assert served.get("/").status == 200
        served.hang_up(open_now.pop())
        until(lambda: served.streams.count < 2)
        listen(served)


def test_a_reader_that_goes_makes_room() -> None:
    with serving() as served:
        stream = listen(served)
        until(lambda: served.streams.count == 1)
        served.hang_up(stream)
        until(lambda: served.streams.count == 0)


def test_a_client_that_sends_nothing_keeps_nobody_waiting() -> None:
    with serving(requests_max=1) as served:
        idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(4)]
        idle[0].sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
        assert served.get("/").status == 200
        for each in idle:
            each.close()


def test_headers_that_are_too_large_are_refused() -> None:
    with serving() as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as large:
            # No more than is read at once: an answer to what is still on its way may be lost with the connection.
            large.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-large: " + b"a" * 20_000)
            assert large.recv(100).startswith(b"HTTP/1.1 400 ")
        assert served.get("/").status == 200


def test_a_flood_of_incidents_does_not_keep_the_page_from_being_read() -> None:
    with serving() as served:
        for number in range(300):
            served.memory.put(past(NOW - number * MINUTE, 1_000 + number))
            if number % 60 == 0:
                assert served.get("/").status == 200
        until(lambda: served.keeper.site is not None and len(served.keeper.site.snapshot.public.incidents) > 300)


def test_what_is_gone_leaves_the_page_that_was_and_says_how_old_it_is() -> None:
    clock = [NOW]
    with serving(clock=lambda: clock[0]) as served:
        assert "nothing newer is known" not in served.get("/").read().decode().split("<script>")[0]
        clock[0] = NOW + timedelta(minutes=12)
        served.memory.number += 1  # nothing is heard, but it is time for another page
        until(lambda: "12 minutes old" in served.get("/").read().decode())
        text = served.get("/").read().decode()
        assert "Some queries are not answered." in text
        assert "As of 14:02 UTC: some services are partly out" in text


def test_before_anything_is_known_nothing_is_said_to_be_well() -> None:
    with serving(Memory(at=None)) as served:
        answer = served.get("/")
        assert answer.status == 503
        assert b"operational" not in answer.read().lower().split(b"</style>")[1]


def test_an_error_of_our_own_leaves_the_page_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as served:
        site = served.keeper.site

        def broken(_: object) -> object:
            message = "broken"
            raise RuntimeError(message)

        monkeypatch.setattr(served.memory, "facts", broken)
        served.memory.number += 1
        until(lambda: served.get("/").status == 200)
        assert served.keeper.site is site


# ------------------------------------------------------------------ files


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Write the page into a folder, and serve that by a web server that knows nothing of it."""
    Folder(tmp_path / "site").write(site())
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield tmp_path / "site", server.server_address[1]
    server.shutdown()
    server.server_close()


def site() -> Site:
    return Site(made(), Look("Example", is_static=True), "https://status.example.com", "holdfast", NOW)


def test_any_web_server_hands_the_files_out(files: tuple[Path, int]) -> None:
    for path in (
        "/",
        "/history/",
        "/feed.atom",
        "/status.json",
        f"/incidents/{name(1)}/",
        f"/incidents/{name(1)}.json",
    ):
        connection = http.client.HTTPConnection("127.0.0.1", files[1], timeout=WAIT_S)
        connection.request("GET", path)
        assert connection.getresponse().status == 200, path


def test_nothing_internal_and_nothing_half_written_is_among_the_files(files: tuple[Path, int]) -> None:
    names = sorted(path.relative_to(files[0]).as_posix() for path in files[0].rglob("*") if path.is_file())
    assert "internal/index.html" not in names
    assert [each for each in names if Path(each).name.startswith(".")] == []
    assert len(names) == 5 + 2 * 4


def test_what_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "site")
    assert folder.write(site()) == 13
    assert folder.write(site()) == 0


def test_the_first_page_is_written_last(tmp_path: Path) -> None:
    assert [place for place, _ in site().files()][-1] == "index.html"
    assert not (tmp_path / "site").exists()


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(BadInput, match="cannot be made"):
        Folder(tmp_path / "file" / "site")


def test_a_served_page_is_kept_as_files_and_what_is_old_is_not_written_over_it(tmp_path: Path) -> None:
    clock = [NOW]
    with serving(folder=Folder(tmp_path), clock=lambda: clock[0]) as served:
        until((tmp_path / "index.html").exists)
        kept = (tmp_path / "index.html").read_bytes()
        clock[0] = NOW + timedelta(minutes=12)
        served.memory.number += 1
        until(lambda: "12 minutes old" in served.get("/").read().decode())
        assert (tmp_path / "index.html").read_bytes() == kept
    assert b"Content-Security-Policy" in kept


def test_a_page_that_is_started_when_all_is_down_shows_what_was_kept(tmp_path: Path) -> None:
    Folder(tmp_path).write(site())
    later = NOW + timedelta(minutes=12)
    with serving(Memory(at=None), folder=Folder(tmp_path), clock=lambda: later) as served:
        until(lambda: served.keeper.site)
        text = served.get("/").read().decode()
        assert "Some queries are not answered." in text
        assert "12 minutes old" in text
        assert "the topic of incidents was not read yet" in served.get("/internal").read().decode()


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b""])
def test_what_was_kept_and_cannot_be_read_is_no_page(tmp_path: Path, content: bytes) -> None:
    folder = Folder(tmp_path)
    (tmp_path / "status.json").write_bytes(content)
    assert folder.read() is None


# ------------------------------------------------------------------ listening


class Patient(Keeper):
    """Keeps what it has heard each time that it looks."""

    def work(self) -> None:
        self._kept_s -= 1_000.0
        super().work()


def test_it_is_kept_when_the_page_was_listening() -> None:
    memory = Memory({}, at=NOW)
    keeper = Patient(memory, RESPONSE, Look("Example"), "", "holdfast", lambda: NOW)
    keeper.work()
    memory.at = NOW + MINUTE
    keeper.work()
    memory.at = NOW + MINUTE + DAY  # nothing was heard for a day
    keeper.work()
    assert memory.days == [("2026-03-12", (50_550, 50_610)), ("2026-03-13", (50_610, 50_610))]


def test_time_in_which_nobody_would_have_opened_an_incident_is_not_known() -> None:
    memory = Memory({}, at=NOW)
    keeper = Patient(memory, RESPONSE, Look("Example"), "", "holdfast", lambda: NOW)
    keeper.work()
    memory.responding, memory.at = False, NOW + MINUTE
    keeper.work()
    assert memory.days == []
    memory.responding, memory.at = True, NOW + 2 * MINUTE
    keeper.work()
    assert memory.days == [("2026-03-12", (50_610, 50_670))]


def test_what_cannot_be_kept_of_listening_does_not_end_the_page() -> None:
    memory = Memory(at=NOW)
    memory.error = Unreachable("gone")
    keeper = Patient(memory, RESPONSE, Look("Example"), "", "holdfast", lambda: NOW)
    keeper.work()
    memory.at = NOW + MINUTE
    keeper.work()
    assert keeper.site is not None
    assert len(histories()) == 6
