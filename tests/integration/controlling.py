"""Runs a control worker as the command line does, and kills the process at a point that is named.

`python -m tests.integration.controlling POINT COUNT`: at the COUNT-th time that POINT is passed. POINT is one of
`produced` (in a transaction), `kept` (events are kept, nothing is done), `done` (an effect is, and nobody knows),
`noted` (entries are on the audit topic, and nobody knows), or `none`.
"""

import os
import signal
import sys

from holdfast.control.deployers import deployer_of
from holdfast.control.worker import Control
from holdfast.live.logs import configure
from holdfast.live.settings import load_settings


def main() -> None:
    """Run until killed."""
    point, count = sys.argv[1], int(sys.argv[2])
    settings = load_settings()
    configure("info", "text")
    passed = 0

    def hook(name: str) -> None:
        nonlocal passed
        passed += name == point
        if name == point and passed == count:
            os.kill(os.getpid(), signal.SIGKILL)

    control = Control(settings, lambda: deployer_of(settings), hook=hook)
    signal.signal(signal.SIGTERM, lambda *_: control.stop())
    control.run()


if __name__ == "__main__":
    main()
