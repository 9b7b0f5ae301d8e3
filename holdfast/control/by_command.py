"""Actions carried out by a program on this machine, which is given them on its standard input."""

import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from threading import Event
from typing import IO, Final

from detectors.policy import duration_ms
from holdfast.api.delivering import Failed
from holdfast.control.orders import Order
from holdfast.live.deployer_settings import CommandDeployer
from holdfast.live.variables import PREFIX

OUTPUT_BYTES_MAX: Final = 2_000
"""How much of what a program writes is kept: its end."""

_LOOK_S: Final = 0.05
_GRACE_S: Final = 5.0
_CHUNK: Final = 65_536


class CommandCarrier:
    """Runs a program for each action: no shell, its own process group, and no variables that are meant for holdfast.

    Parameters
    ----------
    command
        The program with its arguments, and how long it may take.
    """

    def __init__(self, command: CommandDeployer) -> None:
        self._command = command
        self._environment = _without_ours(os.environ)

    def carry(self, _order: Order, body: bytes, called_off: Event, /) -> str:
        """Run the program; an exit status of 0 says that it is done.

        Raises
        ------
        Failed
            If it cannot be run, ends with another status, takes too long, or is called off.
        """
        # A file, and no pipe: whether the program reads it, and how slowly, is all the same.
        with tempfile.TemporaryFile() as given:
            given.write(body)
            given.seek(0)
            try:
                process = subprocess.Popen(  # noqa: S603 - what the settings name, and no shell
                    self._command.run,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                text = f"{self._command.run[0]}: cannot be run: {getattr(error, 'strerror', None) or error}"
                raise Failed(text, "unreachable") from error
        assert process.stdout is not None
        with process.stdout as stdout:
            output, ended = self._watched(process, stdout, called_off)
        said = f": {output}" if output else ""
        if ended is not None:
            text = f"{ended}, and was stopped{said}"
            raise Failed(text, "unreachable")
        if process.returncode:
            text = f"{_status(process.returncode)}{said}"
            raise Failed(text, "refused")
        return f"exit status 0{said}"

    def _watched(
        self, process: subprocess.Popen[bytes], stdout: IO[bytes], called_off: Event
    ) -> tuple[str, str | None]:
        """Read what it writes until it ends; return the end of that, and why it was stopped, if it was."""
        kept = b""
        why: str | None = None
        os.set_blocking(stdout.fileno(), False)
        seconds = duration_ms(self._command.timeout) / 1_000
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while process.poll() is None:
                if called_off.is_set() or time.monotonic() > end:
                    why = "called off" if called_off.is_set() else f"not done in {seconds:g} s"
                    _stop(process)
                    break
                if selector.select(_LOOK_S):
                    chunk = _read(stdout)
                    kept = (kept + chunk)[-OUTPUT_BYTES_MAX:]
                    if not chunk:  # closed, and it still runs
                        called_off.wait(_LOOK_S)
        # Who has been started by it, and has its output still open, is not waited for.
        while chunk := _read(stdout):
            kept = (kept + chunk)[-OUTPUT_BYTES_MAX:]
            if time.monotonic() > end + _GRACE_S:
                break
        return _text(kept), why


def _read(stdout: IO[bytes]) -> bytes:
    try:
        return os.read(stdout.fileno(), _CHUNK)
    except BlockingIOError:
        return b""


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started in its group: asked first, then made to."""
    _signal(process, signal.SIGTERM)
    end = time.monotonic() + _GRACE_S
    # Looked at, and not taken leave of: until then nobody else can get its number, which is that of the group.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None and time.monotonic() < end:
        time.sleep(_LOOK_S)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _status(code: int) -> str:
    return f"exit status {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"


def _text(output: bytes) -> str:
    """Write output on one line; what cannot be shown is left out."""
    words = output.decode(errors="replace").split()
    return "".join(each for each in " ".join(words) if each.isprintable())


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
