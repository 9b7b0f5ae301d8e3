"""Sending a message once, in a process that is ended if it takes too long; some such processes are kept ready."""

import contextlib
import logging
import select
import subprocess
import sys
import threading
import time
from typing import IO, Final, Protocol

import msgspec

from holdfast.notifying.addresses import Address
from holdfast.notifying.orders import LINE_BYTES_MAX, READY, REPLIES, Order, Reply, encoded
from rollouts.incidents.wording import Message

PROCESSES_MAX: Final = 16
"""Most messages that are on their way at once."""

READY_COUNT: Final = 2
"""Processes that are kept ready, 60 MB each."""

START_SECONDS: Final = 60.0
"""How long a process may take until it is ready: much else may happen on a machine in trouble."""

_PATIENCE_SECONDS: Final = 1.0
"""How long all may be busy before one more is begun: most messages take less."""

_CHUNK_BYTES: Final = 1 << 16
_END_SECONDS: Final = 5.0

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
    """One process that sends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.notifying.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )

    def wait_until_ready(self) -> None:
        """Wait until it can take orders; raises as `ask` does."""
        if self._line(START_SECONDS) != READY:
            message = "the process that sends did not say that it is ready"
            raise Failed(message)

    def ask(self, order: Order) -> Reply:
        """Have an order carried out.

        Raises
        ------
        Failed
            If no answer comes in time, or none that can be read.
        """
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(encoded(order))
        except OSError as error:
            message = "the process that sends has ended"
            raise Failed(message) from error
        return self._line(order.seconds)

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)

    def _line(self, seconds: float) -> Reply:
        """Read one line within some seconds."""
        pipe: IO[bytes] | None = self._process.stdout
        assert pipe is not None
        end, raw = time.monotonic() + seconds, b""
        while not raw.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                message = f"no answer in {seconds:g} s"
                raise Failed(message)
            chunk = pipe.read(_CHUNK_BYTES)
            raw += chunk
            if not chunk or len(raw) > LINE_BYTES_MAX:
                message = "the process that sends has ended"
                raise Failed(message)
        try:
            return REPLIES.decode(raw)
        except msgspec.DecodeError as error:
            message = "the process that sends gave no answer that could be read"
            raise Failed(message) from error


class Senders:
    """Sends by processes: some are kept ready, more are begun if those are busy for long. Any thread may ask.

    Parameters
    ----------
    ready
        How many processes are kept.
    processes_max
        Most messages on their way at once.
    """

    def __init__(self, ready: int = READY_COUNT, processes_max: int = PROCESSES_MAX) -> None:
        self._kept, self._most = ready, processes_max
        self._change = threading.Condition()
        self._idle: list[_Process] = []
        self._count = 0
        self._is_starting = False
        self._is_closed = False

    def warm_up(self) -> None:
        """Begin processes before they are needed: it takes each some seconds of a core to know all services."""
        with self._change:
            self._keep_some()

    def send(self, address: Address, message: Message, seconds: float) -> None:
        """Send a message once.

        Parameters
        ----------
        address
            Where to.
        message
            What.
        seconds
            How long it may take, once a process is there.

        Raises
        ------
        Failed
            If it was not taken, or nobody knows whether it was.
        """
        self._ask(address, Order(url=address.url, seconds=seconds, message=message))

    def check(self, address: Address) -> None:
        """Look whether an address is one; raise `Failed` if it is not. Nothing is sent."""
        self._ask(address, Order(url=address.url, seconds=START_SECONDS))

    def close(self) -> None:
        """End the processes that wait; the others end with what they do."""
        with self._change:
            self._is_closed = True
            idle, self._idle = self._idle, []
            self._change.notify_all()
        for process in idle:
            process.end()

    def _ask(self, address: Address, order: Order) -> None:
        process = self._take()
        try:
            reply = process.ask(order)
        except BaseException:
            self._lose(process)
            with self._change:
                self._keep_some()
            raise
        self._give(process)
        if reply.error is not None:
            raise Failed(address.scrubbed(reply.error) or "it was not taken", is_final=reply.is_final)

    def _take(self) -> _Process:
        """Wait for a process that has nothing to do; if there is none for a while, begin one more."""
        end = time.monotonic() + START_SECONDS
        with self._change:
            self._keep_some()
            while not self._idle:
                if self._is_closed or time.monotonic() > end:
                    message = "there is no process to send with"
                    raise Failed(message)
                if not self._change.wait(_PATIENCE_SECONDS) and self._count < self._most:
                    self._begin()
            return self._idle.pop()

    def _keep_some(self) -> None:
        if self._count < self._kept:
            self._begin()

    def _begin(self) -> None:
        """Begin a process in a thread of its own, one at a time; the lock is held."""
        if not self._is_closed and not self._is_starting:
            self._count += 1
            self._is_starting = True
            threading.Thread(target=self._start, name="holdfast-sender", daemon=True).start()

    def _start(self) -> None:
        process = _Process()
        try:
            process.wait_until_ready()
        except Failed as error:
            log.warning("a process that sends could not be started: %s", error)
            self._lose(process)
            is_good = False
        else:
            self._give(process)
            is_good = True
        with self._change:
            self._is_starting = False
            if is_good:
                self._keep_some()

    def _give(self, process: _Process) -> None:
        with self._change:
            is_kept = not self._is_closed and len(self._idle) < self._kept
            if is_kept:
                self._idle.append(process)
                self._change.notify()
        if not is_kept:
            self._lose(process)

    def _lose(self, process: _Process) -> None:
        process.end()
        with self._change:
            self._count -= 1
