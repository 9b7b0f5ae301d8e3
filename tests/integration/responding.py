"""Runs a worker of incidents as the command line does, and kills the process at a point that is named.

`python -m tests.integration.responding POINT COUNT [tell]`: at the COUNT-th time that POINT is passed. POINT is one of
`produced`, `offsets_added` (both in a transaction), `committed`, or `none`. With `tell` it has people told, too.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.live.logs import configure
from holdfast.live.loop import Hook, let_pass
from holdfast.live.settings import Settings, load_settings
from holdfast.live.telemetry import Telemetry
from holdfast.notifying.notifier import Notifier
from holdfast.response.documents import response_of
from holdfast.response.parts import Make
from holdfast.response.worker import Respond


@contextmanager
def working(settings: Settings, hook: Hook = let_pass) -> Iterator[Respond]:
    """Run a worker in this process."""
    worker = Respond(settings, response_of(settings), Telemetry("respond", settings.worker), {}, hook)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join()


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

    parts: dict[str, Make] = {"notify": Notifier} if sys.argv[3:] == ["tell"] else {}
    worker = Respond(settings, response_of(settings), Telemetry("respond", settings.worker), parts, hook)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()


if __name__ == "__main__":
    main()
