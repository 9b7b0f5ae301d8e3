"""What runs beside the worker, in threads of its own: nothing of it can keep an incident from being opened."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from holdfast.live.settings import Settings
from rollouts.incidents.response import Response

log = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 5.0
"""How long a part that has failed rests before it is begun again."""

END_SECONDS: Final = 5.0
"""How long the end of a part is waited for."""


class Part(Protocol):
    """Something that runs beside the worker with clients of its own, as long as this worker is in charge."""

    def run(self, stop: threading.Event, /) -> None:
        """Work until told to stop."""
        ...


Make = Callable[[Settings, Response], Part]


class Beside:
    """Runs parts, each in a thread of its own, and begins those anew that fail.

    Parameters
    ----------
    parts
        By name.
    failed
        Told the name of a part that has failed.
    """

    def __init__(self, parts: dict[str, Callable[[], Part]], failed: Callable[[str], None]) -> None:
        self._stop, self._failed = threading.Event(), failed
        self._threads = [
            threading.Thread(target=self._work, args=(name, make), name=f"holdfast-{name}", daemon=True)
            for name, make in parts.items()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End them; one that takes longer than `END_SECONDS` ends with the process."""
        self._stop.set()
        _join(self._threads)

    def _work(self, name: str, make: Callable[[], Part]) -> None:
        while not self._stop.is_set():
            try:
                make().run(self._stop)
            except Exception:
                log.exception("%s: failed; it begins anew in %g s", name, AGAIN_SECONDS)
                self._failed(name)
                self._stop.wait(AGAIN_SECONDS)
            else:
                return


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        if thread.is_alive():
            thread.join(END_SECONDS)
