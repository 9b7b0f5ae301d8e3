"""Layouts of OTLP scopes that were seen before: a scope of a known layout is compared, not scanned.

What a host sends now differs from what it sent ten seconds ago, and from what its neighbour sends, in numbers alone;
and the numbers of OTLP have a fixed size. So one scope that was read in full tells of every other of the same length
where its numbers are and what they are called, if only its remaining bytes are the same. To compare them takes a
fraction of the time that reading takes. Whether a layout is known changes nothing in what comes out.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.recording import LabelColumn
from streams.wire.otlp_points import Cells
from streams.wire.otlp_scopes import Block, read_scopes
from streams.wire.protobuf import Frame, Ints, Spans

_BYTES_MIN: Final = 1 << 13  # scopes of one length that are together smaller are read sooner than compared
_NEW_MAX: Final = 2  # layouts that one frame may add
_LENGTHS_MAX: Final = 256
_PER_LENGTH_MAX: Final = 4
_LAYOUT_BYTES_MAX: Final = 1 << 16  # so all layouts together take less than about a gigabyte at the very worst


class _Layout:
    """A scope that was read: its bytes, which of them are free, and what its rows are."""

    def __init__(self, frame: Frame, span: Spans) -> None:
        start, end = int(span.start[0]), int(span.end[0])
        block = read_scopes(frame, span)
        words = -(-(end - start) // 8)
        fixed = np.zeros(words * 8, np.uint8)
        fixed[: end - start] = 0xFF
        free = np.concatenate([np.empty(0, np.int64), *block.free]) - start
        fixed[free[:, np.newaxis] + np.arange(8)] = 0
        self._fixed = fixed.view(np.uint64)
        self._bytes = np.frombuffer(frame.raw, np.uint64, words, start) & self._fixed
        self._cells = _moved(block.cells, -start)
        self._labels = block.labels
        self._rows = len(block.scope)

    def fits(self, frame: Frame, start: Ints) -> NDArray[np.bool_]:
        """Say which of the scopes [scope] that begin at these places, of this layout's length, are of this layout."""
        words = frame.words(start, len(self._fixed))
        words &= self._fixed
        return ~(words != self._bytes).any(axis=1)

    def block(self, start: Ints, scope: Ints) -> Block:
        """Return the rows of scopes that begin at these places, and have these numbers in their frame."""
        count = len(start)
        labels = {
            name: LabelColumn(np.tile(column.codes, count), column.values) for name, column in self._labels.items()
        }
        return Block(np.repeat(scope, self._rows), self._cells.shifted(start), labels, [])


class Layouts:
    """The layouts that were seen last, at most so many that they stay small."""

    def __init__(self) -> None:
        self._of_length: dict[int, list[_Layout]] = {}

    def split(self, frame: Frame, scopes: Spans) -> tuple[list[Block], Ints]:
        """Read the scopes [scope] whose layout is known or worth knowing; return them, and which are left."""
        length = scopes.end - scopes.start
        lengths, group, counts = np.unique(length, return_inverse=True, return_counts=True)
        blocks: list[Block] = []
        done = np.zeros(len(scopes), np.bool_)
        new = 0
        for index in np.flatnonzero((lengths * counts >= _BYTES_MIN) & (lengths <= _LAYOUT_BYTES_MAX)).tolist():
            which = np.flatnonzero(group == index)
            known = self._known(int(lengths[index]))
            for layout in list(known):
                which = _take(layout, frame, scopes, which, blocks, done)
            while len(which) * lengths[index] >= _BYTES_MIN and new < _NEW_MAX:
                new += 1
                layout = _Layout(frame, scopes.take(which[:1]))
                known.insert(0, layout)
                del known[_PER_LENGTH_MAX:]
                which = _take(layout, frame, scopes, which, blocks, done)
        return blocks, np.flatnonzero(~done)

    def _known(self, length: int) -> list[_Layout]:
        """Return the layouts of a length, which is now the one that was asked for last."""
        known = self._of_length.pop(length, [])
        self._of_length[length] = known
        while len(self._of_length) > _LENGTHS_MAX:
            del self._of_length[next(iter(self._of_length))]
        return known


def _take(
    layout: _Layout, frame: Frame, scopes: Spans, which: Ints, blocks: list[Block], done: NDArray[np.bool_]
) -> Ints:
    """Read those of some scopes that are of a layout; return the others."""
    if not len(which):
        return which
    fits = layout.fits(frame, scopes.start[which])
    taken = which[fits]
    if len(taken):
        blocks.append(layout.block(scopes.start[taken], taken))
        done[taken] = True
    return which[~fits]


def _moved(cells: Cells, by: int) -> Cells:
    """Return cells whose places are moved, but for those that are nowhere."""
    return Cells(
        np.where(cells.at < 0, -1, cells.at + by),
        cells.kind,
        cells.void,
        np.where(cells.time_at < 0, -1, cells.time_at + by),
        cells.first,
        cells.closing,
        np.where(cells.count_at < 0, -1, cells.count_at + by),
    )
