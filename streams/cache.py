"""The replay cache: a folder with what recordings add up to, so that each is read and summed once."""

import fcntl
import functools
import hashlib
import logging
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import numpy as np
import pyarrow as pa
import scipy

from detectors.errors import BadInput
from detectors.policy import Policy
from streams.cache_entry import FORMAT, Block, Damaged, Entry, EntryWriter, Head
from streams.membership import Announced

BYTES_MAX: Final = 8 << 30
"""What a cache may hold, unless told otherwise: 8 GiB."""

_SUFFIX: Final = ".arrow"
_ASIDE: Final = ".aside"
_LOCK: Final = ".lock"
_NUMBERS = count()

log = logging.getLogger(__name__)


class Cache:
    """A folder of entries, which any number of processes may use at the same time.

    Parameters
    ----------
    folder
        Is made if it is not there.
    bytes_max
        What the entries may hold together; the one that was not used for longest goes first. An entry that is being
        written comes on top, until it is done.

    Raises
    ------
    BadInput
        If the folder cannot be used.

    Notes
    -----
    A cache is a help and never a condition. Whatever is wrong with an entry, or with writing one, is logged as a
    warning, and the recording is read instead.
    """

    def __init__(self, folder: Path, bytes_max: int = BYTES_MAX) -> None:
        self.folder = folder
        self.bytes_max = bytes_max
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                pass
        except OSError as error:
            msg = f"{folder}: cannot be used as a cache: {error.strerror or error}; allowed is a folder to write in"
            raise BadInput(msg) from error

    def find(self, key: str) -> Entry | None:
        """Return the entry of a key, if there is a sound one, and note that it was used."""
        path = self.folder / (key + _SUFFIX)
        try:
            entry = Entry(path)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (Damaged, OSError) as error:
            self.discard(path, error)
            return None
        return entry

    def discard(self, path: Path, why: Exception) -> None:
        """Take away an entry that is damaged."""
        log.warning("%s: damaged: %s; the recording is read again", path, why)
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def keep(self, key: str, head: Head, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield blocks on, and keep them as an entry once all have been taken."""
        aside = self.folder / f".{key}.{os.getpid()}.{next(_NUMBERS)}{_ASIDE}"
        writing = _Writing(self, aside)
        try:
            with writing.attempt():
                writing.begin(self._made(aside), head)
            for block in blocks:
                with writing.attempt():
                    writing.add(block)
                yield block
            if writing.is_open:
                with writing.attempt():
                    writing.end()
                    self._publish(aside, key)
        finally:
            writing.close()

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other processes from making, renaming and removing files."""
        with (self.folder / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _made(self, aside: Path) -> BinaryIO:
        """Make a file to write an entry in; it is locked as long as it is open."""
        with self._locked():
            file = aside.open("wb")
            fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def _publish(self, aside: Path, key: str) -> None:
        """Give a finished entry its name, and take away what there is no more room for."""
        with self._locked():
            aside.replace(self.folder / (key + _SUFFIX))
            self._sweep(key + _SUFFIX)

    def _sweep(self, newest: str) -> None:
        """Take away what processes that have died were writing, and the entries that are too many."""
        found: list[tuple[int, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process may just have found it damaged
                if path.suffix == _ASIDE and _is_abandoned(path):
                    path.unlink()
                elif path.suffix == _SUFFIX:
                    stat = path.stat()
                    found.append((stat.st_mtime_ns, stat.st_size, path))
        held = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if held > self.bytes_max and path.name != newest:
                path.unlink(missing_ok=True)
                held -= size


class _Writing:
    """An entry in the making. What goes wrong with it ends it, with a warning, and never the replay."""

    def __init__(self, cache: Cache, aside: Path) -> None:
        self._cache, self._aside = cache, aside
        self._file: BinaryIO | None = None
        self._writer: EntryWriter | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was begun, and not given up."""
        return self._writer is not None

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Give up at an error."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            log.warning("%s: cannot be kept in this cache: %s", self._cache.folder, error)
            self.close()

    def begin(self, file: BinaryIO, head: Head) -> None:
        """Write into a file that is open."""
        self._file = file
        self._writer = EntryWriter(file, head)

    def add(self, block: Block) -> None:
        """Write a block, unless it was given up."""
        if self._writer is None or self._file is None:
            return
        self._writer.add(block)
        if self._file.tell() > self._cache.bytes_max:
            msg = f"it holds more than the {self._cache.bytes_max:,} bytes of a whole cache"
            raise OSError(msg)

    def end(self) -> None:
        """Complete the file."""
        assert self._writer is not None
        assert self._file is not None
        self._writer.close()
        self._file.flush()

    def close(self) -> None:
        """Take away what was not given its name."""
        file, self._file, self._writer = self._file, None, None
        if file is not None:
            with suppress(OSError):
                self._aside.unlink(missing_ok=True)
            with suppress(OSError):  # a full disk may speak up once more
                file.close()


def _is_abandoned(aside: Path) -> bool:
    """Tell whether nobody writes a file any more."""
    with aside.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def key_of(identity: bytes, policy: Policy, rollouts: Sequence[Announced], tick_ms: int, engine: str, rows: int) -> str:
    """Return the name of what the cohort ticks of a recording depend on, and nothing else.

    Tolerances, weights, alpha, breaches, bake times and the like are no part of it, so that policies that differ in
    them alone share an entry.

    Parameters
    ----------
    identity
        What tells the samples from any other.
    rollouts
        The one that is judged, then the others.
    rows
        Samples that are read at a time: counts of dropped samples are told as they are read.
    """
    depends_on = {
        "format": FORMAT,
        # Sums are the same to the last bit if the same code has added them.
        "code": (engine, np.__version__, scipy.__version__, _code()),
        "samples": identity,
        "metrics": [
            (each.gauge, each.counter, each.histogram, each.ratio, each.select, each.temporality)
            for each in policy.metrics
        ],
        "labels": (policy.unit, policy.region),
        "ticks": (tick_ms, policy.lateness_ticks, policy.gap_ticks_max, policy.ahead_ticks_max),
        "rollouts": [[(stage.canary, stage.control, stage.started) for stage in each.stages] for each in rollouts],
        "rows": rows,
    }
    return hashlib.sha256(msgspec.json.encode(depends_on, order="deterministic")).hexdigest()


@functools.cache
def _code() -> str:
    """Return the digest of the modules beside this one: who changes how sums are made may forget the version."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hexdigest()
