"""The turnstile: which ticks of a rollout are closed by every source partition, and so may be judged, in order."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from streams.live.frames import Header, SourcePartition


@dataclass(frozen=True, slots=True)
class Part:
    """A frame: what it is about, its bytes, and its offset in the journal."""

    header: Header
    frame: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Release:
    """A tick that every source partition has closed; a part is missing where a partition had nothing to say."""

    tick: int
    parts: tuple[Part, ...]


class Turnstile:
    """Holds frames back until a tick is closed everywhere.

    A partition that has never had data, and says so, holds nobody up. What it sends later about ticks that have been
    released is too late: it is counted, and left out.
    """

    def __init__(self) -> None:
        self._sources: dict[str, int] = {}
        self._closed: dict[SourcePartition, int] = {}
        self._idle: set[SourcePartition] = set()
        self._waiting: dict[int, dict[SourcePartition, Part]] = {}
        self.released: int | None = None
        self.late: set[tuple[int, SourcePartition]] = set()  # frames that came too late
        self.dropped: Counter[str] = Counter()  # samples of frames that were left out, by reason

    @property
    def has_nothing(self) -> bool:
        """Whether every source partition has said that it never had data."""
        return bool(self._sources) and not self._expected()

    def push(self, part: Part) -> Iterator[Release]:
        """Take a frame, and yield the ticks that it releases."""
        self._enter(part)
        yield from self._release()

    def _enter(self, part: Part) -> None:
        header = part.header
        self._sources = header.sources
        source = header.source
        if header.kind == "idle":
            if source not in self._closed:
                self._idle.add(source)
            return
        self._idle.discard(source)
        if header.tick <= self._closed.get(source, header.tick - 1):
            self.dropped["repeated_tick"] += header.samples
            return
        self._closed[source] = header.tick
        if self.released is not None and header.tick <= self.released:
            self.late.add((header.tick, source))
            self.dropped["late_partition"] += header.samples
            self.dropped.update(header.dropped)
            return
        self._waiting.setdefault(header.tick, {})[source] = part

    def _expected(self) -> list[SourcePartition]:
        """List the source partitions that have to close a tick."""
        every = [SourcePartition(topic, number) for topic in self._sources for number in range(self._sources[topic])]
        return [source for source in every if source not in self._idle]

    def _release(self) -> Iterator[Release]:
        expected = self._expected()
        if not expected or any(source not in self._closed for source in expected):
            return
        through = min(self._closed[source] for source in expected)
        first = self.released + 1 if self.released is not None else min(self._waiting, default=through + 1)
        for tick in range(first, through + 1):
            parts = self._waiting.pop(tick, {})
            self.released = tick
            yield Release(tick, tuple(parts[source] for source in sorted(parts)))

    def forget_before(self, tick: int) -> None:
        """Forget which frames of earlier ticks came too late."""
        self.late = {(late, source) for late, source in self.late if late >= tick}

    def snapshot(self) -> dict[str, object]:
        """Return the state but for the frames that wait: these are read again, see `resume`."""
        return {
            "sources": self._sources,
            "closed": [(*source, tick) for source, tick in sorted(self._closed.items())],
            "idle": sorted(self._idle),
            "late": sorted((tick, *source) for tick, source in self.late),
            "released": self.released,
            "dropped": dict(self.dropped),
        }

    def restore(
        self,
        sources: dict[str, int],
        closed: list[tuple[str, int, int]],
        idle: list[tuple[str, int]],
        late: list[tuple[int, str, int]],
        released: int | None,
        dropped: dict[str, int],
    ) -> None:
        """Go on from what `snapshot` returned."""
        self._sources = dict(sources)
        self._closed = {SourcePartition(topic, number): tick for topic, number, tick in closed}
        self._idle = {SourcePartition(topic, number) for topic, number in idle}
        self.late = {(tick, SourcePartition(topic, number)) for tick, topic, number in late}
        self.released = released
        self.dropped = Counter(dropped)

    def reenter(self, part: Part) -> None:
        """Take a frame again that had come before the state was taken, and was waiting then."""
        self._waiting.setdefault(part.header.tick, {})[part.header.source] = part
