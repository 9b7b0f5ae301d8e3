"""Asking a server over HTTP: what can go wrong, goes wrong loudly, after a few tries and in bounded time and memory."""

import http.client
import os
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

import numpy as np

from detectors.policy import duration_ms
from holdfast.errors import BadInput, Unreachable
from holdfast.recording.document import PrometheusSource

ATTEMPTS_MAX: Final = 4
PAUSE_SECONDS: Final = 0.5
"""The first pause before something is tried again; each further one is twice as long, and up to half of it less."""

ANSWER_BYTES_MAX: Final = 64 << 20
"""Largest answer that is taken; of a larger one less is asked for."""

_CHUNK_BYTES: Final = 1 << 16
_SHOWN_BYTES: Final = 300
_TROUBLE: Final = (429, 500, 502, 503, 504)
"""States of a server that may pass by themselves."""
_SECRET_BYTES_MAX: Final = 1 << 16

_OTHERWISE_BAD: Final = (9, 10, 62, 64)
"""Of OpenSSL: a certificate that is not valid yet, or not any more, or for another host. Whom to trust is no matter."""


class TooLarge(Exception):
    """The answer is larger than is taken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: the status, and the body as it came."""

    status: int
    body: bytes

    @property
    def beginning(self) -> str:
        """What to show of the body to people."""
        return " ".join(self.body[:_SHOWN_BYTES].decode(errors="replace").split())


class _Broken(Exception):
    """An attempt failed in a way that may pass by itself."""


class Http:
    """Asks one server.

    Parameters
    ----------
    source
        Its address, and who we are there; files with secrets are read now.
    is_final
        Tells of an answer whether it would be the same another time, though its status sounds as if it passed.
    pause
        Waits so many seconds.

    Raises
    ------
    BadInput
        If a file that is named cannot be read.
    """

    def __init__(
        self,
        source: PrometheusSource,
        is_final: Callable[[Answer], bool],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = source.url.rstrip("/")
        parts = urlsplit(self.url)
        self._host, self._path, self._is_secure = parts.netloc, parts.path, parts.scheme == "https"
        self._seconds = duration_ms(source.timeout) / 1_000
        self._is_final, self._pause = is_final, pause
        self._headers = {"Accept": "application/json", "User-Agent": "holdfast", **_authorization(source)}
        self._context = _context(source) if self._is_secure else None
        self._open: http.client.HTTPConnection | None = None
        self._jitter = np.random.default_rng(os.getpid())

    def get(self, path: str, parameters: list[tuple[str, str]]) -> Answer:
        """Ask by GET; see `post`."""
        return self._tried("GET", f"{path}?{urlencode(parameters)}", None)

    def post(self, path: str, parameters: list[tuple[str, str]]) -> Answer:
        """Ask by POST, which takes parameters of any length.

        Raises
        ------
        Unreachable
            If there is no whole answer after a few attempts, or the server is in trouble.
        TooLarge
            If the answer is larger than is taken.
        """
        return self._tried("POST", path, urlencode(parameters).encode())

    def close(self) -> None:
        """Let go of the connection."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _tried(self, method: str, path: str, body: bytes | None) -> Answer:
        trouble = ""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                answer = self._once(method, f"{self._path}{path}", body)
                if answer.status not in _TROUBLE or self._is_final(answer):
                    return answer
                trouble = f"answers with status {answer.status}: {answer.beginning or 'nothing more'}"
            except _Broken as error:
                trouble = str(error)
            if attempt < ATTEMPTS_MAX:
                longest = PAUSE_SECONDS * 2 ** (attempt - 1)
                self._pause(longest * (1 - 0.5 * float(self._jitter.random())))
        message = f"{self.url}: {trouble}; tried {ATTEMPTS_MAX} times"
        raise Unreachable(message)

    def _once(self, method: str, path: str, body: bytes | None) -> Answer:
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        end = time.monotonic() + self._seconds
        try:
            connection = self._connection()
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            read = self._body(response, end)
            return Answer(response.status, read)
        except TooLarge:
            self.close()
            raise
        except ssl.SSLCertVerificationError as error:
            self.close()
            hint = "" if error.verify_code in _OTHERWISE_BAD else "; ca_file names who is"
            message = f"{self.url}: its certificate is not trusted: {error.verify_message}{hint}"
            raise BadInput(message) from error
        except TimeoutError as error:
            self.close()
            message = f"does not answer within {self._seconds:g} s"
            raise _Broken(message) from error
        except http.client.IncompleteRead as error:
            self.close()
            message = "ended in the middle of its answer"
            raise _Broken(message) from error
        except (http.client.HTTPException, OSError) as error:
            self.close()
            if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "") and _names_certificate(error):
                hint = "certificate_file and key_file name one of ours that it trusts"
                message = f"{self.url}: does not take us as we are: {_said(error)}; {hint}"
                raise BadInput(message) from error
            message = f"cannot be asked: {str(error) or type(error).__name__}"
            raise _Broken(message) from error

    def _body(self, response: http.client.HTTPResponse, end: float) -> bytes:
        """Read an answer in pieces: to the timeout of a socket, a byte now and then is enough."""
        pieces: list[bytes] = []
        size = 0
        while piece := response.read(_CHUNK_BYTES):
            size += len(piece)
            if size > ANSWER_BYTES_MAX:
                raise TooLarge
            if time.monotonic() > end:
                raise TimeoutError
            pieces.append(piece)
        if response.length:  # read() of an amount returns what there is, and does not complain
            raise http.client.IncompleteRead(b"".join(pieces), response.length)
        return b"".join(pieces)

    def _connection(self) -> http.client.HTTPConnection:
        if self._open is None:
            if self._context is not None:
                self._open = http.client.HTTPSConnection(self._host, timeout=self._seconds, context=self._context)
            else:
                self._open = http.client.HTTPConnection(self._host, timeout=self._seconds)
        return self._open


def _authorization(source: PrometheusSource) -> dict[str, str]:
    if source.bearer_token_file is not None:
        return {"Authorization": f"Bearer {_secret('bearer_token_file', source.bearer_token_file)}"}
    if source.username is not None and source.password_file is not None:
        pair = f"{source.username}:{_secret('password_file', source.password_file)}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}


def _secret(name: str, path: str) -> str:
    """Read a secret of one line."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_SECRET_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{name}: {path}: cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        raise BadInput(message) from error
    if not text or not text.isprintable():
        message = f"{name}: {path}: found {'nothing' if not text else 'more than one line'}; allowed: one line of text"
        raise BadInput(message)
    return text


def _names_certificate(error: ssl.SSLError) -> bool:
    """Tell whether a server ended a handshake because of our certificate, or since we have none."""
    return any(word in error.reason for word in ("CERTIFICATE", "UNKNOWN_CA"))


def _said(error: ssl.SSLError) -> str:
    """Return what OpenSSL calls an alert, in words."""
    return error.reason.partition("ALERT_")[2].replace("_", " ").lower()


def _context(source: PrometheusSource) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=source.ca_file)
    except (OSError, ssl.SSLError) as error:
        message = f"ca_file: {source.ca_file}: cannot be used: {_reason(error)}"
        raise BadInput(message) from error
    if source.certificate_file is not None:
        try:
            # A key that is locked is refused: a replay must not wait for somebody to type its password.
            context.load_cert_chain(source.certificate_file, source.key_file, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            files = f"{source.certificate_file} and {source.key_file}"
            message = f"certificate_file, key_file: {files}: cannot be used: {_reason(error)}"
            raise BadInput(message) from error
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):  # which says nothing of a key that is locked
        return (error.reason or "damaged, or locked by a password").replace("_", " ").lower()
    return error.strerror or str(error)
