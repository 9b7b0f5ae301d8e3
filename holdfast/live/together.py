"""All of the engine in one place, for small fleets: the verdict path here, the store in a process of its own."""

import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Final, Self

import msgspec

from holdfast.live.logs import configure
from holdfast.live.settings import Settings

log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 30.0


def run(settings: Settings) -> None:
    """Run re-key (if a topic needs it), aggregate and judge here, and the sink beside, until SIGTERM or SIGINT.

    The sink serves its own metrics on the next port. If it fails it is started again; no verdict waits for it.
    """
    from holdfast.live import workers  # here, so that the other process does without

    roles = [*(["rekey"] if any(not each.keyed for each in settings.metrics) else []), "aggregate", "judge"]
    with _Sink(settings):
        workers.run(settings, roles)


class _Sink:
    """Keeps a sink running in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        http = settings.http
        self._settings = msgspec.structs.replace(
            settings, http=msgspec.structs.replace(http, port=http.port + 1 if http.port else 0)
        )
        self._context = multiprocessing.get_context("spawn")  # a fork would share sockets and locks of Kafka's clients
        self._process: BaseProcess | None = None
        self._starting, self._stopped = threading.Lock(), threading.Event()
        self._watch = threading.Thread(target=self._keep, name="sink", daemon=True)

    def _keep(self) -> None:
        while True:
            with self._starting:  # who stops it finds it either not begun for good, or running
                if self._stopped.is_set():
                    return
                self._process = self._context.Process(target=_sink, args=(self._settings,), name="holdfast-sink")
                self._process.start()
            self._process.join()
            if not self._stopped.wait(_AGAIN_SECONDS):
                log.error("the sink ended with status %s; started again", self._process.exitcode)

    def __enter__(self) -> Self:
        """Start it."""
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it in good order."""
        with self._starting:
            self._stopped.set()
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
            self._process.join(_STOP_SECONDS)
            if self._process.is_alive():
                self._process.kill()
        self._watch.join(_STOP_SECONDS)


def _sink(settings: Settings) -> None:
    from holdfast.live import sink

    # Ctrl-C reaches the whole group of processes; this one is stopped by the other, when that is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    configure(settings.log.level, settings.log.form)
    sink.run(settings)


def _end_with_parent() -> None:
    """Stop in good order once the other process is gone: killed, it can tell nobody, and the store has one owner."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
