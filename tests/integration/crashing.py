"""Runs workers as the command line does, and kills the process at a point of the transaction that is named.

`python -m tests.integration.crashing ROLES POINT COUNT`: at the COUNT-th time that POINT is passed. POINT is one of
`produced`, `offsets_added`, `committed`, `aborted`, or `none`.
"""

import faulthandler
import os
import signal
import sys

from holdfast.live.settings import load_settings
from holdfast.live.workers import run


def main() -> None:
    """Run until killed."""
    roles, point, count = sys.argv[1].split(","), sys.argv[2], int(sys.argv[3])
    faulthandler.register(signal.SIGUSR1)  # a worker that hangs can be asked where
    passed = 0

    def hook(name: str) -> None:
        nonlocal passed
        if name == point:
            passed += 1
            if passed == count:
                os.kill(os.getpid(), signal.SIGKILL)

    run(load_settings(), roles, hook)


if __name__ == "__main__":
    main()
