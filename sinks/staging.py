"""Rows put aside in files until all of them are there: how a replay gets into the store whole or not at all.

ClickHouse has no transaction over several tables and inserts. So a replay first writes Arrow files into a
folder `NNNNNNNN.open`; renaming it to `.ready` is the one atomic step. From then on the rows are the store's:
they are put in at once, and if the process dies on the way, again when the store is next opened, which is
harmless since putting in replaces all rows of the source. A folder still `.open` at that time is removed.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import msgspec
import pyarrow as pa
from msgspec import Struct

from detectors.verdict import Verdict
from sinks.backend import Backend
from sinks.cloudevents import epoch_ms, verdict_event
from sinks.errors import StoreError
from sinks.live_rows import complete, decided_at, verdict_row, without_added
from sinks.replacing import SOURCE, replace
from sinks.schema import ROWS

BATCH_ROWS: Final = 100_000
"""Rows per file and insert: enough for ClickHouse to be fast, little enough for memory (about 15 MB)."""

OPEN: Final = ".open"
READY: Final = ".ready"

_VERDICTS_MAX: Final = 1_000
"""Verdicts held as Python objects before they become a table: their bodies can be large."""

_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="lz4")

_Row = dict[str, object]


class _Rollout(Struct):
    rollout: str
    started: datetime
    mode: Literal["enforce", "shadow"] = "enforce"


class _Policy(Struct):
    policy: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What is replayed.

    Attributes
    ----------
    source
        Where the rows come from, as in `replay:<recording>`; `commit` replaces all rows of this source.
    document, policy_document
        The rollout and the policy that judges it, as JSON.
    policy_digest
        Digest of the policy.
    truth
        What is known to be true of the rollout, as `sinks.live_rows.truth_row` has it; None for nothing.
    """

    source: str
    document: bytes
    policy_document: bytes
    policy_digest: str
    truth: Mapping[str, object] | None = None


class ReplaySink:
    """Takes what a replay saw and decided; nothing of it is in the store before `commit`.

    As a context manager it discards the rows unless they were committed inside.

    Parameters
    ----------
    folder
        An empty folder whose name ends with `.open`.
    replay
        What is replayed.
    put_in
        Called by `commit` once the folder is ready, to put the rows into the tables.
    """

    def __init__(
        self,
        folder: Path,
        replay: Replay,
        put_in: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._source = replay.source
        self._put_in = put_in
        self._tables: dict[str, list[pa.Table]] = {name: [] for name in ROWS}
        self._verdicts: list[_Row] = []
        self._files = 0
        self._closed = False
        self._truths = [] if replay.truth is None else [dict(replay.truth)]
        rollout = msgspec.json.decode(replay.document, type=_Rollout)
        self._latest_ms = epoch_ms(rollout.started)
        self._rollout: _Row = {
            "rollout": rollout.rollout,
            "started": self._latest_ms,
            "policy": msgspec.json.decode(replay.policy_document, type=_Policy).policy,
            "mode": rollout.mode,
            "document": replay.document.decode(),
            "policy_document": replay.policy_document.decode(),
            "policy_digest": replay.policy_digest,
        }
        (folder / SOURCE).write_bytes(replay.source.encode())

    def cohort_ticks(self, table: pa.Table) -> None:
        """Take rows of the table `cohort_ticks`, columns by name."""
        self._append("cohort_ticks", table)

    def evidence(self, table: pa.Table) -> None:
        """Take rows of the table `evidence`, columns by name."""
        self._append("evidence", table)

    def ticks(self, table: pa.Table) -> None:
        """Take rows of the table `ticks`, columns by name; a replay decides by no clock on the wall."""
        self._append("ticks", decided_at(table, 0))

    def verdict(self, rollout: str, time_ms: int, verdict: Verdict) -> None:
        """Take one verdict, decided on everything up to `time_ms` (end of the tick, epoch milliseconds)."""
        event = verdict_event(rollout, time_ms, verdict)
        self._verdicts.append(verdict_row(event, time_ms))
        if len(self._verdicts) >= _VERDICTS_MAX:
            self._fold_verdicts()

    def commit(self) -> None:
        """Put everything into the store, in place of what was there from this source.

        Raises
        ------
        StoreError
            If the engine refuses; the rows are safe on disk then, and go in when the store is next opened.
        """
        self._fold_verdicts()
        self._append_rows("rollouts", [self._rollout | {"recorded": self._latest_ms}])
        self._append_rows("truths", self._truths)
        for name in ROWS:
            self._write(name, 1)
        _sync(self._folder)
        self._folder.rename(self._folder.with_suffix(READY))
        _sync(self._folder.parent)
        self._closed = True
        self._put_in()

    def abort(self) -> None:
        """Discard the rows; after `commit` this does nothing."""
        if not self._closed:
            self._closed = True
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return the sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard the rows unless they were committed."""
        self.abort()

    def _fold_verdicts(self) -> None:
        rows, self._verdicts = self._verdicts, []
        self._append_rows("verdicts", rows)

    def _append_rows(self, name: str, rows: list[_Row]) -> None:
        # Columns that holdfast adds (source, version) are missing here, and null.
        self._append(name, pa.Table.from_pylist(rows, schema=without_added(ROWS[name])))

    def _append(self, name: str, table: pa.Table) -> None:
        if self._closed:
            message = f"this replay of {self._source} is closed; nothing can be added to it"
            raise StoreError(message)
        if table.num_rows == 0:
            return
        if "time" in table.column_names:
            self._latest_ms = max(self._latest_ms, int(table["time"].cast(pa.int64()).to_numpy().max()))
        self._tables[name].append(complete(name, table, self._source))
        self._write(name, BATCH_ROWS)

    def _write(self, name: str, rows_min: int) -> None:
        """Move full batches of a table to files, and keep a rest of less than `rows_min` rows."""
        waiting = sum(table.num_rows for table in self._tables[name])
        if waiting < rows_min:
            return
        table = pa.concat_tables(self._tables[name]).combine_chunks()
        written = 0
        while table.num_rows - written >= rows_min:
            self._write_file(name, table.slice(written, BATCH_ROWS))
            written += min(BATCH_ROWS, table.num_rows - written)
        self._tables[name] = [table.slice(written)]

    def _write_file(self, name: str, table: pa.Table) -> None:
        self._files += 1
        path = self._folder / f"{name}.{self._files:08d}"
        try:
            with path.open("wb") as file:
                with pa.ipc.new_stream(file, table.schema, options=_COMPRESSED) as writer:
                    writer.write_table(table)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            message = f"cannot write {path}: {error.strerror or error}"
            raise StoreError(message) from error


def _sync(folder: Path) -> None:
    """Make the names in a folder durable, so that after a power cut a ready replay is a complete one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Staging:
    """A folder in which replays are gathered.

    Parameters
    ----------
    folder
        Made if it does not exist; what an earlier process left unfinished there is removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._replays = 0
        folder.mkdir(exist_ok=True)
        for unfinished in folder.glob(f"*{OPEN}"):
            shutil.rmtree(unfinished)

    def begin(
        self,
        replay: Replay,
        put_in: Callable[[], None],
    ) -> ReplaySink:
        """Begin a replay; `put_in` is called when it is ready."""
        self._replays += 1
        folder = self.folder / f"{self._replays:08d}{OPEN}"
        folder.mkdir()
        return ReplaySink(folder, replay, put_in)

    def put_in(self, store: Backend) -> None:
        """Put the rows of every ready replay into a store, oldest first, and remove its folder.

        Safe to repeat after a crash at any point.
        """
        for ready in sorted(self.folder.glob(f"*{READY}")):
            replace(store, ready)
            shutil.rmtree(ready)
