"""Sending mail to subscribers: in a thread of its own, with bounds, so that nothing else waits for it."""

import contextlib
import logging
import smtplib
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Protocol

from holdfast.errors import BadInput
from holdfast.status.letters import Site, confirmation, news
from holdfast.status.sealing import Seal
from holdfast.status.settings import Mail, Status, seconds
from holdfast.status.snapshot import Public, PublicIncident, PublicUpdate
from holdfast.wall import now

QUEUE_MAX: Final = 500
"""Most confirmations that wait; what is beyond them is not sent, and whoever asked may ask again."""

ATTEMPTS_MAX: Final = 5
BACKOFF_S: Final = 2.0
_OLD_S: Final = 3_600.0
"""After which time an update is no news any more, as when the page was down all along."""

log = logging.getLogger(__name__)


class Post(Protocol):
    """Takes mail to where it goes."""

    def send(self, letter: EmailMessage) -> None:
        """Send a letter; raises `smtplib.SMTPException` or `OSError` if that fails."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class Smtp:
    """A connection to a server of outgoing mail, made when it is needed.

    Parameters
    ----------
    mail
        Which one.

    Raises
    ------
    BadInput
        If the password cannot be read.
    """

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self._server: smtplib.SMTP | None = None
        try:
            self._password = "" if mail.password is None else Path(mail.password).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            message = f"status.mail.password: {mail.password}: cannot be read: {error}"
            raise BadInput(message) from error

    def send(self, letter: EmailMessage) -> None:
        """Send a letter over the connection that there is, or a new one."""
        if self._server is None:
            self._server = self._connected()
        try:
            self._server.send_message(letter)
        except smtplib.SMTPRecipientsRefused:
            self._server.rset()
            raise
        except (smtplib.SMTPException, OSError):
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()

    def _connected(self) -> smtplib.SMTP:
        mail, limit_s = self._mail, seconds(self._mail.timeout)
        if mail.security == "tls":
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(mail.host, mail.port, timeout=limit_s, context=context)
        else:
            server = smtplib.SMTP(mail.host, mail.port, timeout=limit_s)
        try:
            if mail.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if mail.user is not None:
                server.login(mail.user, self._password)
        except (smtplib.SMTPException, OSError):
            server.close()
            raise
        return server


class Told(Protocol):
    """Remembers how much of an incident subscribers were told, and who they are."""

    def told(self) -> Mapping[str, int] | None:
        """Return how many updates were told, by incident; None if that is not known yet."""
        ...

    def tell(self, incident: str, count: int) -> None:
        """Note how many were told; raises `Unreachable` if it cannot be."""
        ...

    def give_up(self, incident: str, letters: int, why: str) -> None:
        """Note how many letters are not sent any more, and why; raises `Unreachable` if it cannot be."""
        ...

    def addresses(self) -> Mapping[str, str]:
        """Return subscribers' addresses by key."""
        ...


class Mailer(threading.Thread):
    """Sends confirmations first, and what is new to all subscribers.

    What is new is what the page says more than was told of it before: however many updates come while a mail is sent,
    they wait in no queue, and go out as one.

    Parameters
    ----------
    status
        Sender, address of the page and bounds.
    installation
        What tells this one from others.
    post
        Takes the mail.
    seal
        Makes the links.
    told
        Who is written to, and what they know.
    public
        Says what stands on the page now; None while nothing is known.
    backoff_s
        Pause after a first attempt that has failed, in seconds; it doubles with each.
    is_my_turn
        Says whether it is up to this server to tell subscribers what is new. Whoever asked here to subscribe is sent
        their confirmation from here in any case.
    """

    def __init__(
        self,
        status: Status,
        installation: str,
        post: Post,
        seal: Seal,
        told: Told,
        public: Callable[[], Public | None],
        backoff_s: float = BACKOFF_S,
        is_my_turn: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(name="status-mail", daemon=True)
        assert status.mail is not None
        assert status.url is not None
        self._mail, self._url, self._title, self._installation = status.mail, status.url, status.title, installation
        self._post, self._seal, self._told, self._public = post, seal, told, public
        self._is_my_turn = is_my_turn
        self._change = threading.Condition()
        self._waiting: deque[str] = deque()
        self._is_stopped = False
        self._pause_s = 60.0 / status.mail.per_minute
        self._backoff_s = backoff_s
        self._reached: dict[str, dict[str, int]] = {}
        self._why = ""
        self.sent = self.failed = self.dropped = 0

    def ask(self, address: str) -> None:
        """Have somebody asked whether they want to subscribe."""
        with self._change:
            if len(self._waiting) >= QUEUE_MAX:
                self.dropped += 1
                log.warning("%d confirmations wait already: one is not sent", QUEUE_MAX)
                return
            self._waiting.append(address)
            self._change.notify()

    def look(self) -> None:
        """Look soon whether there is something new."""
        with self._change:
            self._change.notify()

    def stop(self) -> None:
        """End it soon."""
        with self._change:
            self._is_stopped = True
            self._change.notify()

    def run(self) -> None:
        """Send until `stop`."""
        while not self._is_stopped:
            try:
                self.work()
            except Exception:
                log.exception("mail: an error of our own; going on")
            with self._change:
                if not self._waiting and not self._is_stopped:
                    self._change.wait(1.0)
        self._post.close()

    def work(self) -> None:
        """Send what there is to send now."""
        self._confirmations()
        public, told = self._public(), self._told.told()
        if public is None or told is None or not self._is_my_turn():
            self._post.close()
            return
        for incident in public.incidents:
            before = told.get(incident.id, 0)
            if len(incident.updates) > before and not self._tell(incident, before, public):
                break
        self._post.close()

    def _tell(self, incident: PublicIncident, before: int, public: Public) -> bool:
        """Tell all subscribers of an incident what they were not told yet.

        False if the server takes nothing, or it is up to another server by now.
        """
        total, refused = len(incident.updates), self.failed
        reached = self._reached.setdefault(incident.id, {})
        left = {key: one for key, one in self._told.addresses().items() if max(before, reached.get(key, 0)) < total}
        if (public.as_of - incident.changed).total_seconds() > _OLD_S:
            log.info("%s: %d updates are too old by now to be sent", incident.id, total - before)
            self._give_up(incident.id, len(left), f"too old by now to be news{self._why and f'; {self._why}'}")
        else:
            for key, address in sorted(left.items()):
                fresh = incident.updates[: total - max(before, reached.get(key, 0))]
                if not self._is_my_turn() or not self._send(self._news(address, key, incident, fresh)):
                    return False
                reached[key] = total
            self._give_up(incident.id, self.failed - refused, f"refused for good; {self._why}")
            self._confirmations()
        self._told.tell(incident.id, total)
        self._reached.pop(incident.id, None)
        return True

    def _give_up(self, incident: str, letters: int, why: str) -> None:
        if letters:
            log.error("%s: %d letters to subscribers are given up: %s", incident, letters, why)
            self._told.give_up(incident, letters, why)

    def _news(self, address: str, key: str, incident: PublicIncident, fresh: list[PublicUpdate]) -> EmailMessage:
        removal = f"{self._url}/unsubscribe/{self._seal.removal(key)}"
        page = Site(self._title, self._url, self._installation)
        return news(address, self._mail.sender, page, incident, fresh, removal, now())

    def _confirmations(self) -> None:
        while not self._is_stopped:
            with self._change:
                if not self._waiting:
                    return
                address = self._waiting.popleft()
            link = f"{self._url}/confirm/{self._seal.confirmation(address, now())}"
            self._send(confirmation(address, self._mail.sender, self._title, link, now()))

    def _send(self, letter: EmailMessage) -> bool:
        """Send a letter, again and again for a while if it has to be.

        One that is refused for good is given up; false if the server takes nothing, so that all has to wait.
        """
        for attempt in range(ATTEMPTS_MAX):
            if self._is_stopped:
                return False
            try:
                self._post.send(letter)
            except (smtplib.SMTPException, OSError) as error:
                self._why = trouble_of(error, self._mail)
                log.warning("mail: attempt %d has failed: %s", attempt + 1, self._why)
                if _is_final(error):
                    self.failed += 1
                    return True
                self._wait(self._backoff_s * 2**attempt)
            else:
                self.sent += 1
                self._wait(self._pause_s)
                return True
        self.failed += 1
        return False

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._change:
            self._change.wait_for(lambda: self._is_stopped or time.monotonic() >= end, max(0.0, seconds))


def trouble_of(error: Exception, mail: Mail) -> str:
    """Say why a letter was not taken, and what is to be done: never the address, nor what the server says of it."""
    server = f"{mail.host}:{mail.port}"
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"{server} does not take the user and password of status.mail (it answers {error.smtp_code})"
        case ssl.SSLCertVerificationError():
            return f"{server} has a certificate that is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"{server} does not speak TLS as status.mail.security says: {error.reason or 'no TLS'}"
        case smtplib.SMTPNotSupportedError():
            return (
                f"{server} offers no {'STARTTLS' if mail.security == 'starttls' else 'login'}: nothing was sent to it"
            )
        case smtplib.SMTPResponseException():
            return f"{server} answers {error.smtp_code}"
        case TimeoutError():
            return f"{server} does not answer in {mail.timeout}"
        case smtplib.SMTPServerDisconnected():
            return f"{server} hung up"
        case OSError() if not isinstance(error, smtplib.SMTPException):
            return f"{server} cannot be reached: {error.strerror or type(error).__name__}"
        case _:
            return f"{server}: {type(error).__name__}"


def _is_final(error: Exception) -> bool:
    """Tell whether trying again is of no use: the server said 5xx of this letter."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError | smtplib.SMTPSenderRefused) and error.smtp_code >= 500
