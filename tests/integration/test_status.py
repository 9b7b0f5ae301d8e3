"""`holdfast status` as a process, on a real broker and with a real server of mail: from a history to the page."""

import copy
import email
import http.client
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.control.board import Board
from holdfast.live.clients import admin, producer
from holdfast.live.settings import load_settings
from holdfast.live.topics import create
from holdfast.wall import now
from rollouts.incidents import history as events
from rollouts.incidents.history import History, encode
from tests.chromium import Page, found
from tests.integration.topics import publish
from tests.kafka.broker import Broker
from tests.status.samples import HIDDEN, MINUTE, PERSON, RESPONSE, live, name, opened, past
from tests.test_following import verdict
from tests.waiting import WAIT_S


class Mailbox(socketserver.StreamRequestHandler):
    """Speaks as much of SMTP as a client needs, and keeps what it is sent."""

    def handle(self) -> None:
        self.say("220 here")
        while line := self.rfile.readline():
            word = line.split()[0].upper().decode() if line.split() else ""
            if word == "DATA":
                self.say("354 go on")
                body = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.letters.append(email.message_from_bytes(body, policy=policy.SMTP))  # type: ignore[attr-defined]
                self.say("250 kept")
            elif word == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 here")

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Post(socketserver.ThreadingTCPServer):
    """A server of mail."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mailbox)
        self.letters: list[EmailMessage] = []


@pytest.fixture
def post() -> Iterator[Post]:
    with Post() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


class Status:
    """A status page of its own, with topics of its own."""

    def __init__(self, bootstrap: str, folder: Path, **status: Any) -> None:
        self.prefix, self._folder = f"t{uuid.uuid4().hex[:10]}", folder
        self.path = folder / f"{self.prefix}.yaml"
        document = folder / "response.yaml"
        document.write_bytes(msgspec.yaml.encode(RESPONSE))
        self.path.write_bytes(
            msgspec.yaml.encode(
                {
                    "kafka": {"bootstrap.servers": bootstrap},
                    "prefix": self.prefix,
                    "partitions": 2,
                    "metrics": [{"topic": f"{self.prefix}.metrics"}],
                    "response": {"document": str(document)},
                    "status": {"port": 0, **status},
                }
            )
        )
        self.bootstrap, self.settings = bootstrap, load_settings(self.path, {})
        self.port = self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        create(admin(self.settings), self.settings)

    def beside(self) -> "Status":
        """Give another server of the same page."""
        other = copy.copy(self)
        other._process, other._number = None, self._number + 1
        return other

    def command(self, *arguments: str) -> list[str]:
        start = "from holdfast.cli import main; main()"
        return [sys.executable, "-c", start, "status", *arguments, "--config", str(self.path)]

    def start(self, *arguments: str) -> None:
        """Start the server, and wait until it says where it listens."""
        log = self._folder / f"{self.prefix}-{self._number}.log"
        with log.open("wb") as stream:
            self._process = subprocess.Popen(self.command("serve", *arguments), stderr=stream)
        end = time.monotonic() + WAIT_S
        while (
            said := re.search(r"^holdfast status serve: http://127\.0\.0\.1:(\d+)\n", log.read_text(), re.M)
        ) is None:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        self.port = int(said[1])

    def stop(self) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(WAIT_S)

    def remove(self) -> None:
        client = admin(self.settings)
        names = [each for each in client.list_topics(timeout=WAIT_S).topics if each.startswith(self.prefix)]
        for future in client.delete_topics(names).values():
            future.result()

    def put(self, *histories: History) -> None:
        writer = producer(self.settings)
        for each in histories:
            writer.produce(self.settings.topics.incidents, encode(each), each.incident.encode())
        assert writer.flush(WAIT_S) == 0

    def ask(self, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            body = None if form is None else urllib.parse.urlencode(form)
            headers = {} if form is None else {"content-type": "application/x-www-form-urlencoded"}
            connection.request("GET" if form is None else "POST", path, body, headers | {"host": "localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def until(self, path: str, is_right: Callable[[str], bool]) -> str:
        end = time.monotonic() + WAIT_S
        while True:
            status, text = self.ask(path)
            if status == 200 and is_right(text):
                return text
            assert time.monotonic() < end, (status, text[:2_000])
            time.sleep(0.05)


def wait_for(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.05)


@pytest.fixture
def status(kafka, tmp_path: Path) -> Iterator[Callable[..., Status]]:
    made: list[Status] = []

    def one(**given: Any) -> Status:
        made.append(Status(kafka.bootstrap, tmp_path, **given))
        return made[-1]

    yield one
    for each in made:
        each.stop()
        each.remove()


def recent(number: int = 1) -> History:
    return live(now() - 5 * MINUTE, number)


def test_a_history_on_the_topic_is_on_the_page_of_whoever_looks_at_it(status: Callable[..., Status]) -> None:
    page = status()
    page.start()
    page.until("/", lambda text: "All services are operational" in text)
    binary = found()
    if binary is None:
        page.put(recent())
        page.until("/", lambda text: "Partial outage of DNS" in text)
        return
    with Page(binary) as browser:
        browser.show(f"http://localhost:{page.port}/", 1_200)
        before = time.monotonic()
        page.put(recent())
        wait_for(lambda: "Partial outage of DNS" in browser.value("document.body.innerText"))
        sys.stderr.write(f"on the topic and on the page: {time.monotonic() - before:.2f} s\n")


def test_those_who_respond_see_what_is_under_way(status: Callable[..., Status]) -> None:
    page = status()
    page.put(recent(), History(incident=name(9), events=[opened(now() - MINUTE, HIDDEN)]))
    page.start()
    text = page.until("/internal", lambda text: "not acknowledged" in text)
    assert PERSON in text
    assert "nothing was heard" not in text
    publish(page.bootstrap, page.settings.topics.verdicts, [verdict(1, 1, "revert")])
    assert name(9) not in page.ask("/")[1]
    page.until("/internal.json", lambda text: not troubled(text) & {"incidents", "status", "control"})


def test_what_is_no_history_leaves_what_was_known(status: Callable[..., Status]) -> None:
    page = status()
    page.put(recent())
    page.start()
    page.until("/", lambda text: "Partial outage of DNS" in text)
    writer = producer(page.settings)
    writer.produce(page.settings.topics.incidents, b"{", name(1).encode())
    writer.produce(page.settings.topics.incidents, encode(recent(2)), name(3).encode())
    writer.flush(WAIT_S)
    page.until("/", lambda text: "Partial outage of DNS" in text)
    page.until("/internal", lambda text: "Some incidents cannot be read" in text)


def is_old(text: str) -> bool:
    """Tell whether a page says how old it is; its script has words for that too, but no figure."""
    return re.search(r"\d+ \w+ old: nothing newer is known", text) is not None


def troubled(text: str) -> set[str]:
    """Name the sources that an internal page does not hear."""
    return {each["name"] for each in msgspec.json.decode(text)["sources"] if each["trouble"] is not None}


def test_the_page_goes_on_and_says_its_age_while_the_broker_is_gone(tmp_path: Path) -> None:
    with Broker() as broker:
        page = Status(broker.bootstrap, tmp_path, stale_after="10s")
        page.put(recent())
        page.start("--folder", str(tmp_path / "site"))
        try:
            page.until("/", lambda text: "Partial outage of DNS" in text)
            kept = tmp_path / "site" / "index.html"
            wait_for(kept.exists)
            broker.stop()
            text = page.until("/", is_old)
            assert "Partial outage of DNS" in text
            assert "Partial outage of DNS" in kept.read_text(encoding="utf-8")
            page.until("/internal.json", lambda text: "incidents" in troubled(text))
            broker.start()
            page.until("/", lambda text: not is_old(text))
        finally:
            assert page.stop() == 0


def test_somebody_subscribes_is_told_and_is_taken_off_the_list(
    status: Callable[..., Status], post: Post, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("ab" * 32, encoding="utf-8")
    mail = {"host": "127.0.0.1", "port": post.server_address[1], "security": "none", "sender": "status@example.com"}
    page = status(url="https://status.example.com", secret=str(tmp_path / "secret"), mail=mail)
    page.put(past(now() - 300 * MINUTE, 7))
    page.start()
    page.until("/", lambda text: "Subscribe by e-mail" in text)
    assert page.ask("/subscribe", {"address": "ann@example.com"})[0] == 200
    wait_for(lambda: post.letters)
    link = next(line for line in post.letters[0].get_content().splitlines() if "/confirm/" in line)
    path = urllib.parse.urlsplit(link).path
    assert page.ask(path)[0] == 200
    assert page.ask(path, {})[0] == 200
    page.put(recent())
    wait_for(lambda: len(post.letters) == 2)
    letter = post.letters[1]
    assert (letter["To"], letter["Subject"]) == ("ann@example.com", "Status: Partial outage of DNS (ongoing)")
    assert "zebra" not in letter.as_string()
    off = urllib.parse.urlsplit(str(letter["List-Unsubscribe"]).strip("<>")).path
    assert page.ask(off, {"List-Unsubscribe": "One-Click"})[0] == 200
    grown = recent()
    said = events.Updated(at=now(), by=PERSON, text="Over soon.", is_public=True)
    page.put(History(incident=grown.incident, events=[*grown.events, said]))
    page.until("/", lambda text: "Over soon." in text)
    time.sleep(1.5)
    assert len(post.letters) == 2
    assert page.stop() == 0
    page.start()  # what was told is known, and told to nobody again
    page.until("/", lambda text: "Over soon." in text)
    time.sleep(1.5)
    assert len(post.letters) == 2
    assert b"ann" not in dumped(page)


def test_of_two_servers_one_tells_subscribers_and_the_other_takes_over(
    status: Callable[..., Status], post: Post, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("ab" * 32, encoding="utf-8")
    mail = {"host": "127.0.0.1", "port": post.server_address[1], "security": "none", "sender": "status@example.com"}
    one = status(url="https://status.example.com", secret=str(tmp_path / "secret"), mail=mail)
    two = one.beside()
    one.start()
    two.start()
    try:
        for page in (one, two):
            page.until("/", lambda text: "Subscribe by e-mail" in text)
        assert two.ask("/subscribe", {"address": "ann@example.com"})[0] == 200
        wait_for(lambda: post.letters)
        link = next(line for line in post.letters[0].get_content().splitlines() if "/confirm/" in line)
        assert two.ask(urllib.parse.urlsplit(link).path, {})[0] == 200
        one.put(recent(1))
        wait_for(lambda: len(post.letters) == 2)
        one.put(recent(2))
        wait_for(lambda: len(post.letters) == 3)
        assert one.stop() == 0  # whichever of them it was
        one.put(recent(3))
        wait_for(lambda: len(post.letters) == 4)
        one.start()
        assert two.stop() == 0
        one.put(recent(4))
        wait_for(lambda: len(post.letters) == 5)
    finally:
        two.stop()
    about = [re.findall(r"inc-\d+-[0-9a-f]+", str(letter))[0] for letter in post.letters[1:]]
    assert about == [name(number) for number in (1, 2, 3, 4)]


def dumped(page: Status) -> bytes:
    """Return all that stands on the page's topic."""
    board = Board(page.settings, page.settings.topics.status)
    try:
        return b"\n".join(key + b" " + (value or b"") for key, value in board.load())
    finally:
        board.close()


def test_a_page_is_exported_into_a_folder(status: Callable[..., Status], tmp_path: Path) -> None:
    page = status()
    page.put(recent())
    folder = tmp_path / "site"
    done = subprocess.run(
        page.command("export", "--folder", str(folder)), check=False, capture_output=True, text=True, timeout=WAIT_S
    )
    assert (done.returncode, done.stdout) == (0, f"{folder}: 7 files written\n"), done.stderr
    assert "Partial outage of DNS" in (folder / "index.html").read_text(encoding="utf-8")
