"""Subscribing: twice confirmed, never told who is on the list, and nothing typed gets into a header."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from holdfast.api.tokens import Gate
from holdfast.errors import BadInput, Unreachable
from holdfast.status.addresses import address, mailbox
from holdfast.status.app import App
from holdfast.status.pages import Look
from holdfast.status.sealing import Seal
from holdfast.status.settings import Status
from holdfast.status.site import Site
from holdfast.status.streams import Streams
from holdfast.status.subscribing import ASKED, CLIENT_MAX, MAILBOX_MAX, Desk
from holdfast.wall import now
from tests.status.samples import NOW, made

SEAL = Seal(b"s" * 32)
OTHER = Seal(b"t" * 32)
ANN = "ann@example.com"

REFUSED = [
    "",
    "ann",
    "@example.com",
    "ann@",
    "ann@localhost",
    "ann@example.com\r\nBcc: all@example.com",
    "ann@example.com\nx",
    "ann@example.com\x00",
    "ann@example.com, bob@example.com",
    "ann@bob@example.com",
    "Ann <ann@example.com>",
    '"ann b"@example.com',
    "ann(comment)@example.com",
    "аnn@example.com",
    "ann@exаmple.com",
    "ann@example.com\u202e",
    "ann@еxample.com",
    "ann@[127.0.0.1]",
    "ann@127.0.0.1",
    ".ann@example.com",
    "an..n@example.com",
    "ann@-example.com",
    "ann@example..com",
    "ann%other.example@example.com",
    "a" * 65 + "@example.com",
    "ann@" + "a." * 130 + "com",
    "-oQ/x;@example.com",
    "|ann@example.com",
]


class List:
    """A list in memory. It is full beyond `most`; `error` is raised instead of keeping anything."""

    def __init__(self, most: int = 10) -> None:
        self.kept: dict[str, str] = {}
        self.most = most
        self.error: Exception | None = None
        self.counts: dict[str, int] = {}
        self.unsent: list[tuple[str, int, str]] = []

    def add(self, address: str) -> bool:
        if self.error is not None:
            raise self.error
        if len(self.kept) >= self.most and SEAL.key(address) not in self.kept:
            return False
        self.kept[SEAL.key(address)] = address
        return True

    def remove(self, key: str) -> None:
        if self.error is not None:
            raise self.error
        self.kept.pop(key, None)

    def addresses(self) -> Mapping[str, str]:
        return dict(self.kept)

    def told(self) -> Mapping[str, int] | None:
        return dict(self.counts)

    def tell(self, incident: str, count: int) -> None:
        self.counts[incident] = count

    def give_up(self, incident: str, letters: int, why: str) -> None:
        self.unsent.append((incident, letters, why))


class Room:
    """A desk, and a client of it."""

    def __init__(self, most: int = 10, **status: Any) -> None:
        self.list, self.asked, self.seconds = List(most), list[str](), 0.0
        self.desk = Desk(SEAL, self.list, self.asked.append, lambda: NOW, lambda: self.seconds)
        site = Site(made({}), Look("Example", can_subscribe=True), "https://status.example.com", "holdfast", NOW)
        given = msgspec.convert(status, Status)
        app = App(given, Gate(None, now), lambda: site, Streams(lambda: site, 1, 1), Look("Example"), self.desk)
        self.client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)

    def ask(self, address: str = ANN, **headers: str) -> Any:
        return self.client.post("/subscribe", data={"address": address}, headers=headers)


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_plain_address_is_refused(room: Room, text: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        address(text)
    assert room.ask(text).status_code == 400
    assert room.asked == []


@given(st.text(max_size=80))
def test_what_passes_as_an_address_is_one_line_of_ascii(text: str) -> None:
    try:
        found = address(text)
    except ValueError:
        return
    assert found.isascii()
    assert found.isprintable()
    assert " " not in found


def test_nobody_is_on_the_list_before_they_have_confirmed(room: Room) -> None:
    assert room.ask().status_code == 200
    assert (room.asked, room.list.kept) == ([ANN], {})
    token = SEAL.confirmation(ANN, NOW)
    shown = room.client.get(f"/confirm/{token}")
    assert shown.status_code == 200
    assert f'action="/confirm/{token}"' in shown.text
    assert room.list.kept == {}
    assert room.client.post(f"/confirm/{token}").status_code == 200
    assert list(room.list.kept.values()) == [ANN]


def test_the_answer_is_the_same_whoever_is_on_the_list_and_however_often_it_was_asked() -> None:
    answers = set()
    for number in range(MAILBOX_MAX + 3):
        room = Room()
        room.list.kept = {SEAL.key(ANN): ANN} if number % 2 else {}
        for _ in range(number + 1):
            answers.add(room.ask().content)
    assert len(answers) == 1
    assert ASKED.heading.encode() in answers.pop()


def test_a_mailbox_is_sent_few_mails_a_day_whatever_its_tag(room: Room) -> None:
    for number in range(9):
        room.ask(f"ann+{number}@example.com")
    assert len(room.asked) == MAILBOX_MAX
    room.seconds = 86_401.0
    room.ask()
    assert len(room.asked) == MAILBOX_MAX + 1


def test_a_client_may_ask_a_few_times_an_hour(room: Room) -> None:
    answers = [room.ask(f"ann{number}@example.com").status_code for number in range(CLIENT_MAX + 2)]
    assert answers == [200] * CLIENT_MAX + [429, 429]
    room.seconds = 3_601.0
    assert room.ask().status_code == 200


def test_behind_a_proxy_clients_are_told_apart_by_what_the_proxy_says() -> None:
    room = Room(behind_proxy=True)
    answers = [room.ask(f"a{n}@example.com", **{"x-forwarded-for": f"6.6.6.6, 203.0.113.{n}"}) for n in range(20)]
    assert {each.status_code for each in answers} == {200}


def test_without_a_proxy_nobody_says_who_they_are(room: Room) -> None:
    answers = [room.ask(f"a{n}@example.com", **{"x-forwarded-for": f"203.0.113.{n}"}) for n in range(20)]
    assert {each.status_code for each in answers} == {200, 429}


def test_a_form_of_somebody_elses_page_is_refused(room: Room) -> None:
    assert room.ask(**{"sec-fetch-site": "cross-site"}).status_code == 403
    assert room.asked == []


def test_a_form_that_is_too_large_is_refused(room: Room) -> None:
    assert room.ask("a" * 3_000 + "@example.com").status_code == 413


@pytest.mark.parametrize("body", [b"", b"address=a%40example.com&address=b%40example.com", b"%ff", b"\xff", b"x=1"])
def test_a_form_that_is_none_is_refused(room: Room, body: bytes) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert room.client.post("/subscribe", content=body, headers=kind).status_code == 400
    assert (
        room.client.post("/subscribe", content=b"{}", headers={"content-type": "application/json"}).status_code == 415
    )


def test_subscribing_is_a_form_and_no_link(room: Room) -> None:
    assert room.client.get(f"/subscribe?address={ANN}").status_code == 405


def test_a_list_that_is_full_takes_nobody_more() -> None:
    room = Room(most=1)
    for number, status in ((1, 200), (2, 503), (1, 200)):
        assert room.client.post(f"/confirm/{SEAL.confirmation(f'a{number}@example.com', NOW)}").status_code == status
    assert len(room.list.kept) == 1


def test_what_cannot_be_kept_is_not_said_to_be(room: Room) -> None:
    room.list.error = Unreachable("gone")
    assert room.client.post(f"/confirm/{SEAL.confirmation(ANN, NOW)}").status_code == 503
    assert room.client.post(f"/unsubscribe/{SEAL.removal(SEAL.key(ANN))}").status_code == 503


# ------------------------------------------------------------------ links


def test_a_link_to_confirm_ends_after_a_day() -> None:
    token = SEAL.confirmation(ANN, NOW)
    assert SEAL.confirmed(token, NOW + timedelta(hours=23)) == ANN
    assert SEAL.confirmed(token, NOW + timedelta(hours=25)) is None


def test_a_link_does_not_show_the_address() -> None:
    token = SEAL.confirmation("ann" * 10 + "@example.com", NOW)
    assert "ann" not in token
    assert "example" not in token


@pytest.mark.parametrize("change", ["", "A", "=", "\n", "é", "." * 900])
def test_a_link_that_was_changed_is_none(room: Room, change: str) -> None:
    token = SEAL.confirmation(ANN, NOW)
    assert SEAL.confirmed(token[:-2] + change, NOW) is None
    assert SEAL.removed(SEAL.removal("0" * 64)[:-2] + change) is None
    assert room.client.post("/confirm/x").status_code == 404


def test_a_link_of_one_kind_or_of_another_secret_is_none_of_the_other() -> None:
    key = SEAL.key(ANN)
    assert SEAL.confirmed(OTHER.confirmation(ANN, NOW), NOW) is None
    assert SEAL.confirmed(SEAL.removal(key), NOW) is None
    assert SEAL.removed(SEAL.confirmation(ANN, NOW)) is None
    assert SEAL.removed(OTHER.removal(key)) is None
    assert SEAL.removed(SEAL.removal(key)) == key


def test_an_address_is_kept_so_that_it_cannot_be_read_or_moved() -> None:
    key = SEAL.key(ANN)
    hidden = SEAL.hidden(ANN, key)
    assert "ann" not in hidden
    assert SEAL.shown(hidden, key) == ANN
    assert SEAL.shown(hidden, SEAL.key("bob@example.com")) is None
    assert OTHER.shown(hidden, key) is None


def test_addresses_of_one_mailbox_are_one_subscriber() -> None:
    assert SEAL.key("Ann+x@example.com") == SEAL.key("ann@example.com") != OTHER.key("ann@example.com")
    assert mailbox("+@example.com") == "+@example.com"


def test_a_secret_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("short\n", encoding="utf-8")
    with pytest.raises(BadInput, match="found 5 bytes; allowed: 32"):
        Seal.load(tmp_path / "secret")
    with pytest.raises(BadInput, match="cannot be read"):
        Seal.load(tmp_path / "none")


def test_one_click_takes_a_subscriber_off_the_list(room: Room) -> None:
    room.list.kept = {SEAL.key(ANN): ANN}
    path = f"/unsubscribe/{SEAL.removal(SEAL.key(ANN))}"
    assert 'action="/unsubscribe/' in room.client.get(path).text
    assert room.list.kept
    answer = room.client.post(path, data={"List-Unsubscribe": "One-Click"}, headers={"sec-fetch-site": "cross-site"})
    assert (answer.status_code, room.list.kept) == (200, {})
    assert room.client.post(path).content == answer.content
