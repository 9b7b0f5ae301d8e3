"""The store: ClickHouse in a folder of this machine, owned by one process at a time."""

import fcntl
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import pyarrow as pa

from sinks.backend import Backend
from sinks.engine import Engine
from sinks.errors import StoreBusy, StoreError
from sinks.folder import DEFAULT_FOLDER
from sinks.live_rows import LiveRows, by_table
from sinks.migrations import migrate
from sinks.staging import BATCH_ROWS, Replay, ReplaySink, Staging

__all__ = ["DEFAULT_FOLDER", "Replay", "ReplaySink", "Store", "StoreBusy", "StoreError"]


class Store:
    r"""Keeps cohort ticks, evidence, verdicts and rollouts, and answers questions about them in SQL.

    In the folder lie `clickhouse/` (the engine's files), `staging/` (replays on their way in) and `lock`.
    A store may be used from several threads; each call waits for the one before.

    Parameters
    ----------
    folder
        Made if it does not exist.
    migrates
        Whether a store of an older schema is brought to this one; without that nothing can be put in.

    Raises
    ------
    StoreBusy
        If another process has the folder open.
    StoreError
        If the folder cannot be written, or was made by a holdfast with a newer or another schema. One with an older
        schema is brought to this one.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, Store(Path(folder)) as store:
    ...     store.query("SELECT count() FROM verdicts", "CSV")
    b'0\n'
    """

    def __init__(self, folder: Path = DEFAULT_FOLDER, *, migrates: bool = True) -> None:
        self._mutex = threading.RLock()
        with ExitStack() as opened:
            lock = opened.enter_context(_locked(folder))
            self._staging = Staging(folder / "staging")
            self._engine: Engine | None = Engine((folder / "clickhouse").absolute())
            opened.callback(self._engine.close)
            if migrates:
                migrate(self._engine, f"the store {folder}")
                self._put_in()
            opened.pop_all()
        self._lock: TextIO = lock

    @property
    def backend(self) -> Backend:
        """The engine, for whoever writes to the store otherwise; nothing else may use the store meanwhile."""
        return self._opened()

    def sink(self, replay: Replay) -> ReplaySink:
        """Begin a replay: what goes into the sink is in the store after its `commit`, all at once.

        The rows then replace everything that was there from its source, also when the policy was another
        one: whoever tunes a policy replays a recording a hundred times, and a count of verdicts should
        still count each once. To keep two policies side by side, give them different sources.
        """
        self._opened()
        return self._staging.begin(replay, self._put_in)

    def query(self, sql: str, form: str = "PrettyCompact", *, seconds_max: int | None = None) -> bytes:
        """Answer a query, which may only read, in any format that ClickHouse knows.

        Tables need no database before their name and no FINAL: rows come deduplicated.

        Parameters
        ----------
        sql, form
            The query, and the format of its answer.
        seconds_max
            After how long it is given up, since nothing is put in meanwhile; None for never.

        Returns
        -------
        bytes
            What ClickHouse wrote: text in UTF-8 for most formats, and whatever Parquet and the like are.

        Raises
        ------
        StoreError
            With the useful part of ClickHouse's message.
        """
        with self._mutex:
            return self._opened().read(sql, form, seconds_max)

    def append(self, batch: Sequence[LiveRows]) -> None:
        """Put rows of a live engine in; when this returns, they will be there after the process is killed.

        Not all at once: after an error, or a kill, some of them may be there. That does no harm, since whoever puts
        them in again, cut into batches as may be, changes nothing.

        Raises
        ------
        StoreError
            If the engine refuses.
        """
        tables = by_table(batch)
        with self._mutex:
            engine = self._opened()
            for name, rows in tables.items():
                for start in range(0, rows.num_rows, BATCH_ROWS):
                    engine.insert(name, rows.slice(start, BATCH_ROWS))

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Put rows of a live engine into one table; see `sinks.backend.Backend.insert`."""
        with self._mutex:
            self._opened().insert(table, rows, token)

    def arrow(self, sql: str) -> pa.Table:
        """Answer a query as an Arrow table."""
        answer = self.query(sql, "Arrow")
        return pa.ipc.open_file(pa.py_buffer(answer)).read_all() if answer else pa.table({})

    def close(self) -> None:
        """Close the store; after this another process may open the folder. Closing twice is harmless."""
        with self._mutex:
            if self._engine is not None:
                self._engine.close()
                self._engine = None
                self._lock.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    def _opened(self) -> Engine:
        if self._engine is None:
            message = "the store is closed"
            raise StoreError(message)
        return self._engine

    def _put_in(self) -> None:
        """Put in what is ready. Queries wait for it, so nobody sees a replay by halves."""
        with self._mutex:
            try:
                self._staging.put_in(self._opened())
            except StoreError as error:
                message = (
                    f"a replay in {self._staging.folder} could not be stored: {error}. It is tried again when the "
                    "store is next opened; to give the replay up, delete its folder there"
                )
                raise StoreError(message) from error


def _locked(folder: Path) -> TextIO:
    """Make the folder, and hold its lock for as long as the returned file is open.

    The kernel lets go of the lock when a process ends, however it ends; the number in it is for people.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+", encoding="ascii")
    except OSError as error:
        message = f"the store {folder} cannot be written: {error.strerror}"
        raise StoreError(message) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        message = f"the store {folder} is in use by another holdfast (process {owner}); a store has one owner"
        raise StoreBusy(message) from error
    except OSError as error:
        file.close()
        message = f"the store {folder} cannot be locked: {error.strerror}"
        raise StoreError(message) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
