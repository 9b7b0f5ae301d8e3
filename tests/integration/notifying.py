"""Runs the notifier, and kills the process at a point that is named.

`python -m tests.integration.notifying RESPONSE POINT COUNT`: at the COUNT-th time that POINT is passed. POINT is one of
`sent`, `kept`, or `none`.
"""

import os
import signal
import sys
import threading

from holdfast.live.logs import configure
from holdfast.live.settings import load_settings
from holdfast.notifying.notifier import Notifier
from holdfast.response.documents import load_response


def main() -> None:
    """Run until killed."""
    path, point, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    passed = 0

    def hook(name: str) -> None:
        nonlocal passed
        if name == point:
            passed += 1
            if passed == count:
                os.kill(os.getpid(), signal.SIGKILL)

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    configure("info", "text")
    Notifier(load_settings(), load_response(path), hook=hook).run(stop)


if __name__ == "__main__":
    main()
