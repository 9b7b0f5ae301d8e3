"""A source partition that is being read."""

from dataclasses import dataclass, field

from holdfast.live.framing import Encoded
from holdfast.live.joining import Joining
from streams.live.partition import Closed, Partition
from streams.recording import Samples


@dataclass(slots=True)
class Fed:
    """A source partition: its pure part, and how far it has been read.

    `ended` is when its end was reached, None while there is more to read; `told` are the rollouts that know it as idle.
    """

    partition: Partition
    position: int
    segments: int
    joining: Joining
    ended: float | None = None
    told: set[str] = field(default_factory=set)
    keys: Encoded = field(default_factory=Encoded)
    closed: list[Closed] = field(default_factory=list[Closed])  # not written yet

    @property
    def is_behind(self) -> bool:
        """Whether messages are read again that had been taken before a restart."""
        return self.position < self.partition.accounted

    @property
    def end(self) -> int:
        """Up to where it had been read, also before a restart."""
        return max(self.position, self.partition.accounted)

    def push(self, samples: Samples | None, offset: int) -> None:
        """Take a message; None stands for one that cannot be read."""
        if samples is not None:
            self.partition.push(samples, offset)
        reading = self.joining.reading
        if reading is not None and reading.is_level:
            reading.earlier.push(samples, offset)
        self.position = offset + 1

    def advance(self, waited_ms: int, tick_ms: int) -> bool:
        """Have time go on in silence: so long since the patience was over; tell whether anything had come before."""
        partitions = [self.partition]
        reading = self.joining.reading
        if reading is not None and reading.is_level:
            partitions.append(reading.earlier.partition)
        for partition in partitions:
            newest = partition.newest_ms
            if newest is not None:
                # The tick that it fell silent in is over too by now; from there on time goes on as on the wall.
                partition.advance(max(newest + waited_ms, -(-newest // tick_ms) * tick_ms))
        return any(partition.newest_ms is not None for partition in partitions)

    def closed_ms(self, tick_ms: dict[str, int]) -> int:
        """Return through when ticks are closed (ms), given the tick of each policy; else what is known of the time."""
        closed = [tick * tick_ms.get(digest, 0) for digest, tick in self.partition.closed().items()]
        return max(closed, default=self.partition.newest_ms or 0)
