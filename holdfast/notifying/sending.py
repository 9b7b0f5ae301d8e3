"""Sending a message once, by a process that sends each in a copy of itself, which is ended if it takes too long."""

import contextlib
import itertools
import logging
import os
import subprocess
import sys
import threading
from typing import IO, Final, Protocol

import msgspec

from holdfast.notifying.addresses import Address
from holdfast.notifying.orders import LINE_BYTES_MAX, READY, REPLIES, Order, Reply, encoded
from rollouts.incidents.wording import Message

AT_ONCE_MAX: Final = 32
"""Most messages that are on their way at once; each is a process."""

START_SECONDS: Final = 120.0
"""How long the process may take until it is ready: much else may happen on a machine in trouble."""

_OVERTIME_SECONDS: Final = 10.0
"""How long after its time an order is still answered by the process itself."""

_END_SECONDS: Final = 5.0
_ENDED: Final = "the process that sends has ended"

log = logging.getLogger(__name__)


class Failed(Exception):
    """An attempt that came to nothing; `is_final` if another one would too. Its text has no secret in it."""

    def __init__(self, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


class Sender(Protocol):
    """Sends a message once."""

    def send(self, address: Address, message: Message, seconds: float) -> None:
        """Send, or raise `Failed`."""
        ...


class _Process:
    """The process that sends, and who waits for its replies."""

    def __init__(self) -> None:
        # On a Mac, Apple's own libraries would end a copy at the first thing that it asks of them.
        environment = {**os.environ, "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.notifying.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        self._change, self._writing = threading.Condition(), threading.Lock()
        self._replies: dict[int, Reply | None] = {0: None}
        self._is_over = False
        threading.Thread(target=self._listen, name="holdfast-sending", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._is_over

    def wait_until_ready(self) -> None:
        """Wait until it can take orders; raises `Failed` if it does not come to that."""
        with self._change:
            self._change.wait_for(lambda: self._is_over or self._replies[0] is not None, START_SECONDS)
            if self._replies[0] != READY:
                raise Failed(_ENDED if self._is_over else f"the process that sends is not ready in {START_SECONDS:g} s")

    def ask(self, order: Order) -> Reply:
        """Have an order carried out.

        Raises
        ------
        Failed
            If no answer comes in time.
        """
        seconds = order.seconds + _OVERTIME_SECONDS  # what the process itself ends in time it also answers
        with self._change:
            self._replies[order.number] = None
        try:
            self._write(encoded(order))
            with self._change:
                self._change.wait_for(lambda: self._is_over or self._replies[order.number] is not None, seconds)
        finally:
            with self._change:
                reply = self._replies.pop(order.number)
        if reply is None:
            raise Failed(_ENDED if self._is_over else f"no answer in {seconds:g} s")
        return reply

    def end(self) -> None:
        """End it; copies that send end by themselves in time."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _write(self, raw: bytes) -> None:
        pipe: IO[bytes] | None = self._process.stdin
        assert pipe is not None
        try:
            with self._writing:
                while raw:
                    raw = raw[pipe.write(raw) :]
        except (OSError, ValueError) as error:
            raise Failed(_ENDED) from error

    def _listen(self) -> None:
        """Hand out replies until there are no more."""
        pipe: IO[bytes] | None = self._process.stdout
        assert pipe is not None
        with pipe:
            while raw := pipe.readline(LINE_BYTES_MAX):
                try:
                    reply = REPLIES.decode(raw)
                except msgspec.DecodeError:
                    log.warning("the process that sends said what cannot be read")
                    continue
                with self._change:
                    if reply.number in self._replies:
                        self._replies[reply.number] = reply
                        self._change.notify_all()
        with self._change:
            self._is_over = True
            self._change.notify_all()


class Senders:
    """Sends, some messages at once; who comes beyond those waits. Any thread may ask."""

    def __init__(self) -> None:
        self._room = threading.BoundedSemaphore(AT_ONCE_MAX)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._process: _Process | None = None
        self._is_closed = False

    def warm_up(self) -> None:
        """Begin the process before it is needed: it takes some seconds of a core to know all services."""
        self._begun()

    def send(self, address: Address, message: Message, seconds: float) -> None:
        """Send a message once.

        Parameters
        ----------
        address
            Where to.
        message
            What.
        seconds
            How long it may take, once it is its turn.

        Raises
        ------
        Failed
            If it was not taken, or nobody knows whether it was.
        """
        self._ask(address, Order(number=next(self._numbers), url=address.url, seconds=seconds, message=message))

    def check(self, address: Address) -> None:
        """Look whether an address is one; raise `Failed` if it is not. Nothing is sent."""
        self._ask(address, Order(number=next(self._numbers), url=address.url, seconds=_OVERTIME_SECONDS))

    def close(self) -> None:
        """End the process; what is on its way comes to an end in its time, and nobody hears of it."""
        with self._lock:
            self._is_closed = True
            process, self._process = self._process, None
        if process is not None:
            process.end()

    def _ask(self, address: Address, order: Order) -> None:
        with self._room:
            process = self._begun()
            process.wait_until_ready()
            reply = process.ask(order)
        if reply.error is not None:
            raise Failed(address.scrubbed(reply.error) or "it was not taken", is_final=reply.is_final)

    def _begun(self) -> _Process:
        """Return the process; if it has ended, another one is begun."""
        with self._lock:
            if self._is_closed:
                raise Failed(_ENDED)
            if self._process is not None and self._process.is_over:
                self._process.end()
                self._process = None
            if self._process is None:
                self._process = _Process()
            return self._process
