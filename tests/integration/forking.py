"""Processes that have imported everything already: forks of one that does nothing else.

The engine imports for a second or two, and tests of what it survives start its workers again and again. Each of these
is a process of its own like any other, and may be stopped and killed as such.
"""

import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.integration.crashing"])
_one_at_a_time: Final = threading.Lock()
"""How a process has ended can be read once, by whoever looks first; starting another one looks at all."""


class Forked:
    """A process that runs a function; what can be asked of it is named as in `subprocess.Popen`.

    Parameters
    ----------
    run
        What it runs, by a name of its module.
    given
        What that is given.
    environment
        All of its environment.
    log
        The file that its output is added to.
    """

    def __init__(
        self, run: Callable[..., None], given: tuple[object, ...], environment: Mapping[str, str], log: Path
    ) -> None:
        self._process = _forks.Process(target=_begin, args=(run, given, dict(environment), log), daemon=True)
        with _one_at_a_time:
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return how it has ended: its status, or the number of the signal below zero; None while it runs."""
        with _one_at_a_time:
            return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Wait until it has ended, and return how."""
        wait([self._process.sentinel], seconds)
        status = self.poll()
        if status is None:
            assert seconds is not None
            raise subprocess.TimeoutExpired(self._process.name, seconds)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def _begin(run: Callable[..., None], given: tuple[object, ...], environment: dict[str, str], log: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    run(*given)
