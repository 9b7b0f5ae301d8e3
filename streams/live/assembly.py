"""Assembly: the frames of one tick, from all source partitions, become the rows that the judge knows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streams.cohorts import CohortTicks, RowKey
from streams.live.frames import Header, Planned, SourcePartition, keys_of, values_of
from streams.live.signatures import Signatures
from streams.live.turnstile import Part

Rows = NDArray[np.intp]

_Name = tuple[SourcePartition, str, tuple[Planned, ...], tuple[tuple[int, ...], ...]]


class Assembly:
    """Puts the parts of a rollout's ticks together.

    Rows are only ever added. What is worked out for the rows of a partition is kept for as long as they stay the same.

    Parameters
    ----------
    rollout
        Whose judge this is.
    """

    def __init__(self, rollout: str) -> None:
        self.signatures = Signatures(rollout)
        self.keys: tuple[RowKey, ...] = ()
        self._parts: dict[SourcePartition, tuple[str, tuple[RowKey, ...]]] = {}  # as the partitions number them
        self._places: dict[_Name, Rows] = {}  # the row of each row of a partition
        self._latest: tuple[list[Rows], Rows | None] = [], None  # places of a tick's parts, and their joint order
        self._colos: dict[str, dict[str, Rows]] = {}
        self.heard: dict[
            str, dict[SourcePartition, int]
        ] = {}  # of colos in several partitions: when they last reported

    def learn(self, parts: Sequence[Part]) -> dict[int, int] | None:
        """Take signatures and rows that are new, and return how signatures are numbered now (old to new), if any."""
        renamed: dict[int, int] | None = None
        unknown = [part for part in parts if _named(part.header) not in self._places]
        for part in unknown:
            changed = self.signatures.add(part.header.planned, part.header.signatures)
            moved = {old: changed[new] for old, new in renamed.items()} if renamed else changed
            renamed = moved
        if not unknown:
            return None
        if renamed and any(old != new for old, new in renamed.items()):
            self.keys = tuple(key._replace(signature=renamed[key.signature]) for key in self.keys)
        rows = set(self.keys)
        for part in unknown:
            rows.update(self._own(part))
        self.keys = tuple(sorted(rows))
        self._places = {}  # all have moved
        for part in parts:
            self._place(part)
        return renamed

    def assemble(self, tick: int, parts: Sequence[Part]) -> CohortTicks:
        """Add the parts up; `learn` has seen them."""
        order = self._order(parts)
        if order is not None:
            values = np.concatenate([values_of(part.frame) for part in parts], axis=1).take(order, axis=1)
            return CohortTicks(tick, self.keys, values[:, :, None])
        values = np.zeros((3, len(self.keys), 1))
        for part in parts:  # in the order of the partitions, since sums depend on it to the last bit
            values[:, self._place(part), 0] += values_of(part.frame)
        return CohortTicks(tick, self.keys, values)

    def _order(self, parts: Sequence[Part]) -> Rows | None:
        """Return at which row of the parts in a row each row here is; None if it is in none of them, or in several."""
        places = [self._place(part) for part in parts]
        known, order = self._latest
        if len(known) != len(places) or any(one is not other for one, other in zip(known, places, strict=True)):
            every = np.concatenate(places) if places else np.empty(0, np.intp)
            is_each_once = np.array_equal(np.sort(every), np.arange(len(self.keys))) and len(every) > 0
            order = np.argsort(every) if is_each_once else None
            self._latest = places, order
        return order

    def in_two(self, tick: int, parts: Sequence[Part], reporting: int, window: int) -> list[str]:
        """Find the colos that have reported in more than one source partition of late.

        Parameters
        ----------
        reporting
            Position of the implicit metric, whose rows count the units that report.
        window
            For how many ticks a report counts: hosts of a colo may send to one partition now and to another then.
        """
        seen: dict[str, int] = defaultdict(int)
        for part in parts:
            for colo in self._by_colo(part, reporting):
                seen[colo] += 1
        shared = {colo for colo, count in seen.items() if count > 1}
        for part in parts if shared else ():
            units = values_of(part.frame)[0]
            for colo, rows in self._by_colo(part, reporting).items():
                if colo in shared and units[rows].any():
                    self.heard.setdefault(colo, {})[part.header.source] = tick
        self.heard = {
            colo: {source: last for source, last in sources.items() if last > tick - window}
            for colo, sources in self.heard.items()
            if max(sources.values()) > tick - window
        }
        return sorted(colo for colo, sources in self.heard.items() if len(sources) > 1)

    def _place(self, part: Part) -> Rows:
        name = _named(part.header)
        if name not in self._places:
            place: Mapping[RowKey, int] = {key: row for row, key in enumerate(self.keys)}
            self._places[name] = np.array([place[key] for key in self._own(part)], np.intp)
        return self._places[name]

    def _own(self, part: Part) -> list[RowKey]:
        """Return the keys of a part's rows, as they are numbered here."""
        ids = self.signatures.ids(part.header.planned, part.header.signatures)
        return [key._replace(signature=ids[key.signature]) for key in self._read(part)]

    def _read(self, part: Part) -> tuple[RowKey, ...]:
        header = part.header
        digest, keys = self._parts.get(header.source, ("", ()))
        if digest != header.keys:  # of each partition the latest are kept: it does not go back to earlier ones
            keys = keys_of(part.frame)
            self._parts[header.source] = header.keys, keys
        return keys

    def _by_colo(self, part: Part, reporting: int) -> dict[str, Rows]:
        name = part.header.keys
        if name not in self._colos:
            rows: dict[str, list[int]] = defaultdict(list)
            for row, key in enumerate(self._read(part)):
                if key.metric == reporting:
                    rows[key.colo].append(row)
            if len(self._colos) > 10 * len(self._parts) + 100:  # those of rows that are gone
                self._colos = {}
            self._colos[name] = {colo: np.array(members, np.intp) for colo, members in rows.items()}
        return self._colos[name]


def _named(header: Header) -> _Name:
    """Name the rows of a part together with what their signatures mean."""
    return header.source, header.keys, header.planned, header.signatures
