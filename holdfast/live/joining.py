"""Which rollouts the live reading of a source partition writes frames for, and which are still behind it."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from msgspec import Struct

from holdfast.live.framing import Encoded
from streams.live.earlier import Earlier
from streams.live.search import Answer, Search

_NAME_LENGTH: Final = 10
"""Hexadecimal digits by which a name is known: all of them ride in the metadata of an offset, which may be 4 kB."""


_NAMES_KEPT: Final = 20_000


class AskedMarks(Struct, frozen=True, array_like=True):
    """A rollout whose past is read; see `Asked`."""

    name: str
    digest: str
    first: int
    through: int | None


class ReadingMarks(Struct, frozen=True, array_like=True):
    """A past that is read; see `Reading`. It is begun again from `offset`."""

    offset: int
    time_ms: int
    is_whole: bool
    asked: tuple[AskedMarks, ...]
    floors: dict[str, int]


class JoiningMarks(Struct, frozen=True):
    """What a restart needs to know of `Joining`, with short digests in the place of names."""

    joined: tuple[str, ...] = ()
    waiting: dict[str, int | None] = {}
    owed: dict[str, dict[str, int]] = {}
    reading: ReadingMarks | None = None
    passed_ms: int = 0


@lru_cache(maxsize=_NAMES_KEPT)
def short(name: str) -> str:
    """Return the digest by which a rollout, or a policy by its digest, is known in marks."""
    return hashlib.sha256(name.encode()).hexdigest()[:_NAME_LENGTH]


@dataclass(slots=True)
class Asked:
    """A rollout whose past is read.

    `digest` is that of its policy, `first` the first tick that it wants, `through` the last one that was written, and
    `skipped` counts samples of ticks before the first.
    """

    digest: str
    first: int
    through: int | None
    skipped: int = 0


@dataclass(slots=True)
class Reading:
    """A second reading that is under way.

    Attributes
    ----------
    offset, time_ms, is_whole
        Where it began; see `streams.live.search.Found`.
    asked
        For which rollouts, by name.
    earlier
        What it comes to.
    floors
        By policy: the last tick that the live reading had closed when this began.
    keys
        Of its frames.
    is_paused
        Whether it has come to where the live reading was, and no more messages come.
    is_level
        Whether it is where the live reading is, and is given the same messages from there on.
    """

    offset: int
    time_ms: int
    is_whole: bool
    asked: dict[str, Asked]
    earlier: Earlier
    floors: dict[str, int] = field(default_factory=dict)
    keys: Encoded = field(default_factory=Encoded)
    is_paused: bool = False
    is_level: bool = False

    def marks(self) -> ReadingMarks:
        """Return what a restart needs."""
        asked = tuple(
            AskedMarks(short(name), short(each.digest), each.first, each.through) for name, each in self.asked.items()
        )
        floors = {short(digest): tick for digest, tick in self.floors.items()}
        return ReadingMarks(self.offset, self.time_ms, self.is_whole, asked, floors)


@dataclass(slots=True)
class Searching:
    """A search for where to begin: its question at hand, and for whom it was asked what is wanted."""

    search: Search
    end: int
    answer: Answer
    names: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Joining:
    """The open rollouts of one source partition.

    Attributes
    ----------
    joined
        Those for which the live reading writes frames.
    waiting
        Those whose past is to be read next, each with the last tick that was written for it already, if any.
    owed
        By rollout: samples that the past had dropped, which its next frame is to tell.
    searching, reading
        The past that is read now, of one or more rollouts.
    is_changed
        Whether there is something to be written down.
    passed_ms
        Through when ticks were ever closed (ms): what is over stays so while nothing is open and nobody keeps the time.
    """

    joined: set[str] = field(default_factory=set)
    waiting: dict[str, int | None] = field(default_factory=dict)
    owed: dict[str, Counter[str]] = field(default_factory=dict)
    searching: Searching | None = None
    reading: Reading | None = None
    is_changed: bool = False
    passed_ms: int = 0

    @property
    def behind(self) -> set[str]:
        """The rollouts whose past is not through."""
        return self.waiting.keys() | (self.reading.asked.keys() if self.reading is not None else set())

    def keep_only(self, names: Collection[str]) -> None:
        """Forget the rollouts that are no longer open."""
        self.joined &= set(names)
        self.waiting = {name: through for name, through in self.waiting.items() if name in names}
        self.owed = {name: dropped for name, dropped in self.owed.items() if name in names}
        if self.reading is not None:
            self.reading.asked = {name: asked for name, asked in self.reading.asked.items() if name in names}

    def marks(self) -> JoiningMarks:
        """Return what a restart needs."""
        return JoiningMarks(
            tuple(sorted(short(name) for name in self.joined)),
            {short(name): through for name, through in self.waiting.items()},
            {short(name): dict(dropped) for name, dropped in self.owed.items()},
            None if self.reading is None else self.reading.marks(),
            self.passed_ms,
        )

    @classmethod
    def restored(cls, marks: JoiningMarks, names: Iterable[str]) -> "Joining":
        """Go on from marks, but for what is being read; rollouts that are not among the names are forgotten."""
        known = {short(name): name for name in names}
        return cls(
            {known[each] for each in marks.joined if each in known},
            {known[each]: through for each, through in marks.waiting.items() if each in known},
            {known[each]: Counter(dropped) for each, dropped in marks.owed.items() if each in known},
            passed_ms=marks.passed_ms,
        )
