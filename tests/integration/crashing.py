"""Runs workers as the command line does, and kills the process at a point of the transaction that is named.

That is the COUNT-th time that POINT is passed. POINT is one of `taken`, `produced`, `offsets_added`, `committed`,
`taken_over`, `aborted`, or `none`.
"""

import faulthandler
import os
import signal

from holdfast.live.settings import load_settings
from holdfast.live.workers import run


def work(roles: str, point: str, count: int) -> None:
    """Run until killed."""
    faulthandler.register(signal.SIGUSR1)  # a worker that hangs can be asked where
    passed = 0

    def hook(name: str) -> None:
        nonlocal passed
        if name == point:
            passed += 1
            if passed == count:
                os.kill(os.getpid(), signal.SIGKILL)

    run(load_settings(), roles.split(","), hook)
