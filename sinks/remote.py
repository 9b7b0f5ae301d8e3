"""Replays into a ClickHouse server."""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from sinks.backend import Backend
from sinks.staging import Replay, ReplaySink, Staging


class RemoteStore:
    """Keeps replays in a server. Many may do so at a time.

    A replay is put in by several inserts, so whoever asks meanwhile may see it by halves; one that broke off there is
    made whole by replaying once more.

    Parameters
    ----------
    backend
        The server, of this schema; it stays open.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._folder = TemporaryDirectory(prefix="holdfast-")
        self._staging = Staging(Path(self._folder.name))

    def sink(self, replay: Replay) -> ReplaySink:
        """Begin a replay: what goes into the sink is in the server after its `commit`, in place of what was there."""
        return self._staging.begin(replay, lambda: self._staging.put_in(self._backend))

    def close(self) -> None:
        """Remove what was gathered."""
        self._folder.cleanup()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was gathered."""
        self.close()
