"""What subscribers are sent: once, with bounds, and nothing typed gets into a header."""

import smtplib
from datetime import timedelta
from email.message import EmailMessage

import msgspec
import pytest

from holdfast.status.letters import Site as About
from holdfast.status.letters import confirmation, news
from holdfast.status.mailing import QUEUE_MAX, Mailer
from holdfast.status.settings import Status
from holdfast.status.snapshot import Public
from rollouts.incidents import history as events
from rollouts.incidents.history import History
from tests.status.samples import NOW, PERSON, live, past, told
from tests.status.test_subscribing import ANN, SEAL, List
from tests.waiting import WAIT_S, until


class Post:
    """Takes mail in memory. `errors` are raised first, one after the other."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.letters: list[EmailMessage] = []

    def send(self, letter: EmailMessage) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.letters.append(letter)

    def close(self) -> None:
        pass


def mailer(post: Post, listed: List, public: Public | None) -> Mailer:
    status = msgspec.convert(
        {
            "url": "https://status.example.com",
            "secret": "x",
            "mail": {"host": "localhost", "sender": "status@example.com", "per_minute": 100_000},
        },
        Status,
    )
    return Mailer(status, "holdfast", post, SEAL, listed, lambda: public, 0.0)


def subscribed(*addresses: str) -> List:
    found = List()
    for each in addresses:
        found.add(each)
    return found


def one_given_up(one: Mailer) -> tuple[int, str]:
    """Give how many letters were given up, and why."""
    listed = one._told
    assert isinstance(listed, List)
    ((_, letters, why),) = listed.unsent
    return letters, why


def only(history: History) -> Public:
    return told({history.incident: history})


def test_subscribers_are_told_of_what_is_new_once() -> None:
    post, listed, found = Post(), subscribed(ANN, "bob@example.com"), live()
    one = mailer(post, listed, only(found))
    one.work()
    one.work()
    assert sorted(letter["To"] for letter in post.letters) == [ANN, "bob@example.com"]
    assert listed.counts == {found.incident: 2}


def test_what_came_meanwhile_goes_out_as_one_mail_with_what_was_not_told_yet() -> None:
    found = live()
    more = [events.Updated(at=NOW, by=PERSON, text=f"News {number}.", is_public=True) for number in range(3)]
    grown = History(incident=found.incident, events=[*found.events, *more])
    post, listed = Post(), subscribed(ANN)
    listed.counts = {found.incident: 2}
    mailer(post, listed, only(grown)).work()
    (letter,) = post.letters
    text = letter.get_content()
    assert [f"News {number}." in text for number in range(3)] == [True] * 3
    assert "Some queries" not in text
    assert "zebra" not in letter.as_string()


def test_what_is_no_news_any_more_is_not_sent() -> None:
    post, listed, found = Post(), subscribed(ANN), past(NOW - timedelta(days=2), 2)
    mailer(post, listed, only(found)).work()
    assert post.letters == []
    assert listed.counts == {found.incident: 4}
    assert listed.unsent == [(found.incident, 1, "too old by now to be news")]


def test_a_server_that_takes_nothing_for_a_moment_is_asked_again() -> None:
    post = Post(ConnectionRefusedError(), smtplib.SMTPServerDisconnected())
    one = mailer(post, subscribed(ANN), only(live()))
    one.work()
    assert (len(post.letters), one.failed) == (1, 0)


def test_a_server_that_takes_nothing_is_left_alone_and_who_was_told_is_not_told_again() -> None:
    listed = subscribed("a@example.com", "b@example.com")
    first = Post()
    one = mailer(first, listed, only(live()))
    original = first.send

    def send(letter: EmailMessage) -> None:
        if first.letters:
            raise ConnectionRefusedError
        original(letter)

    first.send = send  # type: ignore[method-assign]
    one.work()
    assert (len(first.letters), listed.counts) == (1, {})
    first.send = original  # type: ignore[method-assign]
    one.work()
    assert sorted(letter["To"] for letter in first.letters) == ["a@example.com", "b@example.com"]


def test_a_mailbox_that_is_refused_for_good_keeps_nobody_waiting() -> None:
    post = Post(smtplib.SMTPRecipientsRefused({"a@example.com": (550, b"no such user")}))
    one = mailer(post, subscribed("a@example.com", "b@example.com"), only(live()))
    one.work()
    assert (len(post.letters), one.failed) == (1, 1)
    assert one_given_up(one) == (1, "refused for good; localhost:587: SMTPRecipientsRefused")


def test_confirmations_that_wait_are_bounded() -> None:
    post = Post()
    one = mailer(post, List(), None)
    for number in range(QUEUE_MAX + 5):
        one.ask(f"a{number}@example.com")
    one.work()
    assert (len(post.letters), one.dropped) == (QUEUE_MAX, 5)


def test_before_it_is_known_what_was_told_nothing_is() -> None:
    post, listed = Post(), subscribed(ANN)
    listed.told = lambda: None  # type: ignore[method-assign]
    mailer(post, listed, only(live())).work()
    assert post.letters == []


def test_a_letter_can_be_ended_with_one_click() -> None:
    public = only(live())
    about = About("Example", "https://status.example.com", "holdfast")
    removal = f"https://status.example.com/unsubscribe/{SEAL.removal(SEAL.key(ANN))}"
    letter = news(ANN, "status@example.com", about, public.incidents[0], public.incidents[0].updates, removal, NOW)
    assert letter["List-Unsubscribe"] == f"<{removal}>"
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Subject"] == "Example: Partial outage of DNS (ongoing)"
    assert "Next update by 12 Mar 2026, 14:07 UTC." in letter.get_content()


@pytest.mark.parametrize("title", ["A\r\nBcc: all@example.com", "A\nB", "A\x00B", "Ünïcode \N{PILE OF POO}"])
def test_nothing_gets_into_the_headers_of_a_letter(title: str) -> None:
    letter = confirmation(ANN, "status@example.com", title, "https://status.example.com/confirm/x", NOW)
    raw = letter.as_bytes().partition(b"\r\n\r\n")[0]
    assert [line for line in raw.split(b"\r\n") if line.lower().startswith(b"bcc")] == []
    assert sorted({name.lower() for name in letter.keys()}) == sorted(  # noqa: SIM118 - no mapping
        ["from", "to", "subject", "date", "auto-submitted", "content-type", "content-transfer-encoding", "mime-version"]
    )


def test_the_thread_ends_when_it_is_told_to() -> None:
    post, found = Post(), live()
    one = mailer(post, subscribed(ANN), only(found))
    one.start()
    one.ask("bob@example.com")
    until(lambda: len(post.letters) == 2)
    one.stop()
    one.join(WAIT_S)
    assert not one.is_alive()
    assert sorted(letter["To"] for letter in post.letters) == [ANN, "bob@example.com"]
