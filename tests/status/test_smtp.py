"""Mail to subscribers over a real server of mail, encrypted and with a login."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from aiosmtpd.smtp import AuthResult, LoginPassword

from holdfast.status.mailing import Mailer, Smtp
from holdfast.status.settings import Status
from tests.clickhouse.test_client import Authority
from tests.notifying.servers import free_port
from tests.status.samples import live
from tests.status.test_mail import one_given_up, only, subscribed
from tests.status.test_subscribing import ANN, SEAL
from tests.waiting import WAIT_S

USER, PASSWORD = "status", "correct horse"


class Letters(Message):
    """Keeps what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.subjects: list[str] = []

    def handle_message(self, message) -> None:
        self.subjects.append(message["Subject"])


class Server:
    """A server that wants STARTTLS and a login, and what came to it."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.letters = Letters()
        self.logins: list[bool] = []
        self.port = free_port()
        self._context = context

    def _login(self, _server, _session, _envelope, _mechanism, said) -> AuthResult:
        is_right = isinstance(said, LoginPassword) and (said.login, said.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        self.logins.append(is_right)
        return AuthResult(success=is_right, handled=False)  # the server itself says 535

    def start(self) -> None:
        self._controller = Controller(
            self.letters,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=self._login,
            auth_required=True,
            tls_context=self._context,
            require_starttls=self._context is not None,
            ready_timeout=WAIT_S,
        )
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop(no_assert=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    one = Server(authority.context)
    one.start()
    yield one
    one.stop()


def mailer(server: Server, folder: Path, password: str = PASSWORD, **mail: object) -> Mailer:
    """Make one that tells one subscriber of what is under way."""
    (folder / "password").write_text(password + "\n", encoding="utf-8")
    given = {
        "host": "localhost",
        "port": server.port,
        "sender": "status@example.com",
        "user": USER,
        "password": str(folder / "password"),
        "per_minute": 100_000,
        **mail,
    }
    status = msgspec.convert({"url": "https://status.example.com", "secret": "x", "mail": given}, Status)
    assert status.mail is not None
    public = only(live())
    return Mailer(status, "holdfast", Smtp(status.mail), SEAL, subscribed(ANN), lambda: public, 0.0)


def test_with_the_right_password_mail_goes_out_encrypted(server: Server, trusted: Authority, tmp_path: Path) -> None:
    one = mailer(server, tmp_path)
    one.work()
    assert (one.sent, one.failed, server.logins) == (1, 0, [True])
    assert len(server.letters.subjects) == 1


def test_a_wrong_password_is_told_and_nothing_is_lost_by_it(
    server: Server, trusted: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = mailer(server, tmp_path, "wrong")
    one.work()
    said = f"localhost:{server.port} does not take the user and password of status.mail (it answers 535)"
    assert said in caplog.text
    assert (one.sent, server.letters.subjects, True in server.logins) == (0, [], False)
    assert "wrong" not in caplog.text
    assert ANN not in caplog.text
    one._post = mailer(server, tmp_path)._post
    one.work()
    assert (one.sent, len(server.letters.subjects)) == (1, 1)


def test_what_a_wrong_password_has_kept_too_long_is_given_up_with_the_reason(
    server: Server, trusted: Authority, tmp_path: Path
) -> None:
    one = mailer(server, tmp_path, "wrong")
    one.work()
    public = only(live())
    later = msgspec.structs.replace(public, as_of=public.as_of.replace(year=public.as_of.year + 1))
    one._public = lambda: later
    one.work()
    letters, why = one_given_up(one)
    assert letters == 1
    assert why.startswith(f"too old by now to be news; localhost:{server.port} does not take the user and password")


def test_a_certificate_that_nobody_trusts_gets_no_password(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = mailer(server, tmp_path)
    one.work()
    assert f"localhost:{server.port} has a certificate that is not trusted: self" in caplog.text
    assert (one.sent, server.logins, server.letters.subjects) == (0, [], [])


def test_a_certificate_of_another_host_gets_no_password(
    server: Server, trusted: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = mailer(server, tmp_path, host="127.0.0.1")
    one.work()
    assert "has a certificate that is not trusted: IP address mismatch" in caplog.text
    assert (one.sent, server.logins) == (0, [])


def test_a_server_without_encryption_gets_no_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(None)
    server.start()
    try:
        one = mailer(server, tmp_path)
        one.work()
    finally:
        server.stop()
    assert "offers no STARTTLS: nothing was sent to it" in caplog.text
    assert (one.sent, server.logins) == (0, [])


def test_a_server_that_is_not_there_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = mailer(Server(None), tmp_path)
    one.work()
    assert "cannot be reached: Connection refused" in caplog.text
