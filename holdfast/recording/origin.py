"""What all sources of samples have in common."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from holdfast.recording.document import Source
from sinks.cloudevents import epoch_ms
from streams.recording import Samples

ALWAYS_MS: Final = (-(1 << 62), 1 << 62)
"""A stretch of time that holds every time, in epoch milliseconds."""

NOTES_MAX: Final = 5
"""Most details that are told of one kind of trouble; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some samples in any order, and how much of how much has been read, in whatever a source counts."""

    samples: Samples
    done: int
    total: int


@dataclass(slots=True)
class Told:
    """What is to be told of a reading.

    Attributes
    ----------
    lost
        What could not be read, counted by reason.
    notes
        Sentences for people.
    """

    lost: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


class Origin(Protocol):
    """A source of samples that was opened: it may be read once.

    Attributes
    ----------
    name
        Stands for it in messages.
    told
        Grows while it is read.
    """

    name: str
    told: Told

    def read(self) -> Iterator[Piece]:
        """Yield the samples. Those outside of the stretch of time or of the selection may be among them."""
        ...


def stretch(source: Source) -> tuple[int, int]:
    """Return the stretch of time that a source is asked for: from the first millisecond on and before the second."""
    first, end = ALWAYS_MS
    return (
        first if source.start is None else _ceiled(source.start),
        end if source.end is None else _ceiled(source.end),
    )


def _ceiled(moment: datetime) -> int:
    """Return the first whole millisecond that is not before a time."""
    return epoch_ms(moment) + (moment.microsecond % 1_000 > 0)
