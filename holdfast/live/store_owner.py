"""One process owns the store's folder; others ask it over a socket in that folder.

A question is a length and msgpack, an answer is a status, a length and bytes. Only reading is possible, as with
`Store.query`, and only for the user who runs the owner: the socket has mode 0600.
"""

import os
import socket
import struct
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec
from msgspec import Struct

from sinks.engine import rows_of
from sinks.schema import Place
from sinks.store import Store, StoreError

SOCKET: Final = "socket"
"""Name of the socket in the folder."""

QUESTION_BYTES_MAX: Final = 1 << 20
QUERY_SECONDS_MAX: Final = 60
"""How long a query may take: nothing is put into the store meanwhile."""

_ASKED_AT_ONCE_MAX: Final = 8
_READ_SECONDS: Final = 5.0
_WRITE_SECONDS: Final = 30.0
_WAIT_SECONDS: Final = 2.0 * QUERY_SECONDS_MAX
"""How long a client waits for an answer: there may be another query, or a batch on its way in, before its own."""

_PATH_BYTES_MAX: Final = 100
"""The kernel takes 103 bytes (macOS) or 107 (Linux) for the path of a socket."""

_LENGTH: Final = struct.Struct(">Q")
_GOOD: Final = b"+"
_REFUSED: Final = b"-"


class _Question(Struct, frozen=True):
    """What is asked, and in which format the answer is wanted."""

    sql: str
    form: str


class Owner:
    """Answers questions about a store, each in a thread of its own, as a context manager.

    Parameters
    ----------
    store
        The store, open; it stays open.
    folder
        Its folder.
    seconds_max
        How long a query may take.
    """

    def __init__(self, store: Store, folder: Path, *, seconds_max: int = QUERY_SECONDS_MAX) -> None:
        self._store = store
        self._place = folder / SOCKET
        self._seconds_max = seconds_max
        self._room = threading.BoundedSemaphore(_ASKED_AT_ONCE_MAX)
        self._listener: socket.socket | None = None
        self._elsewhere: Path | None = None

    def __enter__(self) -> Self:
        """Begin to answer.

        Raises
        ------
        StoreError
            If there can be no socket in the folder.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Whoever holds the folder's lock is its owner: a socket that lies there is left over from an earlier one.
            self._place.unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                listener.bind(str(self._short()))
            finally:
                os.umask(before)
            listener.listen(_ASKED_AT_ONCE_MAX)
        except OSError as error:
            listener.close()
            message = f"{self._place}: no socket can be made there: {error.strerror or error}"
            raise StoreError(message) from error
        self._listener = listener
        threading.Thread(target=self._listen, args=(listener,), name="store-owner", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it; who waits for an answer is told that there will be none."""
        assert self._listener is not None
        with suppress(OSError):  # macOS objects to this on a listening socket, and does not need it
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._place.unlink(missing_ok=True)
        if self._elsewhere is not None:
            (self._elsewhere / SOCKET).unlink(missing_ok=True)
            self._elsewhere.rmdir()

    def _short(self) -> Path:
        """Return a path that the kernel takes: where the folder's is too long, the socket is elsewhere and linked."""
        if len(os.fsencode(self._place.absolute())) <= _PATH_BYTES_MAX:
            return self._place.absolute()
        self._elsewhere = Path(tempfile.mkdtemp(prefix="holdfast-"))
        self._place.symlink_to(self._elsewhere / SOCKET)
        return self._elsewhere / SOCKET

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            if self._room.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(connection,), name="query", daemon=True).start()
            else:
                with connection, suppress(OSError):
                    connection.settimeout(_READ_SECONDS)
                    _answer(connection, _REFUSED, b"too many questions at once; try again")

    def _serve(self, connection: socket.socket) -> None:
        try:
            # A client that breaks off, or says nothing, is its own affair.
            with connection, suppress(OSError, EOFError):
                connection.settimeout(_READ_SECONDS)
                status, body = self._found(connection)
                connection.settimeout(_WRITE_SECONDS)
                _answer(connection, status, body)
        finally:
            self._room.release()

    def _found(self, connection: socket.socket) -> tuple[bytes, bytes]:
        (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
        if length > QUESTION_BYTES_MAX:
            return _REFUSED, _too_large(length).encode()
        try:
            question = msgspec.msgpack.decode(_exactly(connection, length), type=_Question)
            return _GOOD, self._store.query(question.sql, question.form, seconds_max=self._seconds_max)
        except msgspec.DecodeError as error:
            return _REFUSED, f"not a question: {error}".encode()
        except StoreError as error:
            return _REFUSED, str(error).encode()


def ask(folder: Path, sql: str, form: str, *, wait_seconds: float = _WAIT_SECONDS) -> bytes:
    """Ask the process that owns a folder.

    Parameters
    ----------
    folder
        Folder of the store.
    sql, form
        As for `Store.query`.
    wait_seconds
        How long to wait for an answer.

    Raises
    ------
    StoreError
        If it refuses, ends before it has answered, takes too long, or nobody is there.
    """
    question = msgspec.msgpack.encode(_Question(sql, form))
    if len(question) > QUESTION_BYTES_MAX:
        raise StoreError(_too_large(len(question)))
    owner = f"the owner of the store {folder}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(wait_seconds)
        try:
            connection.connect(os.path.realpath(folder / SOCKET))
            connection.sendall(_LENGTH.pack(len(question)) + question)
            status = _exactly(connection, 1)
            (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
            body = _exactly(connection, length)
        except TimeoutError as error:
            message = f"{owner} did not answer within {wait_seconds:g} s"
            raise StoreError(message) from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            message = f"{owner} does not answer; it may be starting or ending: try again"
            raise StoreError(message) from error
        except (OSError, EOFError) as error:
            message = f"{owner} ended before it had answered: {error}"
            raise StoreError(message) from error
    if status == _GOOD:
        return body
    raise StoreError(body.decode(errors="replace"))


def is_answered(folder: Path) -> bool:
    """Whether the owner of a folder answers questions.

    A link to a socket that is gone counts too: its owner is starting or ending, and that is what is said then.
    """
    return os.path.lexists(folder / SOCKET)


class Asked:
    """A store that another process owns, asked there; see `sinks.backend.Reads`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = Place()

    def select(self, sql: str) -> list[tuple[object, ...]]:
        """Answer a small question."""
        return rows_of(ask(self._folder, sql, "Arrow"))

    def read(self, sql: str, form: str, seconds_max: int | None = None) -> bytes:
        """Answer a query; how long it may take is for the owner to say."""
        del seconds_max
        return ask(self._folder, sql, form)


def _too_large(size: int) -> str:
    return f"a question of {size:,} bytes; allowed: at most {QUESTION_BYTES_MAX:,}"


def _answer(connection: socket.socket, status: bytes, body: bytes) -> None:
    connection.sendall(status + _LENGTH.pack(len(body)))
    connection.sendall(body)


def _exactly(connection: socket.socket, count: int) -> bytes:
    """Read so many bytes.

    Raises
    ------
    EOFError
        If the other side closes before.
    """
    found = bytearray()
    while len(found) < count:
        piece = connection.recv(min(count - len(found), 1 << 20))
        if not piece:
            message = f"the connection closed after {len(found)} of {count} bytes"
            raise EOFError(message)
        found += piece
    return bytes(found)
