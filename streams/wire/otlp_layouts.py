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
from streams.wire.protobuf import Frame, Ints, Spans, where

_BYTES_MIN: Final = 1 << 13  # scopes of one length that are together smaller are read sooner than compared
_NEW_MAX: Final = 2  # layouts that one frame may add
_PER_LENGTH_MAX: Final = 4
_LENGTHS_MAX: Final = 256
_SCOPE_BYTES_MAX: Final = 1 << 20
_ROW_BYTES: Final = 26  # two places, a kind and a flag, and a bucket's first
_BYTES_MAX: Final = 1 << 26  # memory for all layouts together


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
        self.size = 16 * words + self._rows * (_ROW_BYTES + 4 * len(block.labels))

    def fits(self, frame: Frame, start: Ints) -> NDArray[np.bool_]:
        """Say which of the scopes [scope] that begin at these places, of this layout's length, are of this layout."""
        words = frame.words(start, len(self._fixed))
        words &= self._fixed
        fits: NDArray[np.bool_] = (words == self._bytes).all(axis=1)
        return fits

    def block(self, start: Ints, scope: Ints) -> Block:
        """Return the rows of scopes that begin at these places, and have these numbers in their frame."""
        count = len(start)
        labels = {
            name: LabelColumn(np.tile(column.codes, count), column.values) for name, column in self._labels.items()
        }
        return Block(np.repeat(scope, self._rows), self._cells.shifted(start), labels, [])


class Layouts:
    """The layouts that were seen last, by length; the length that was asked for last is the last to go."""

    def __init__(self) -> None:
        self._of_length: dict[int, list[_Layout]] = {}

    def split(self, frame: Frame, scopes: Spans) -> tuple[list[Block], Ints]:
        """Read the scopes [scope] whose layout is known or worth knowing; return them, and which are left."""
        length = scopes.end - scopes.start
        lengths, group, counts = np.unique(length, return_inverse=True, return_counts=True)
        blocks: list[Block] = []
        done = np.zeros(len(scopes), np.bool_)
        new = 0
        for index in where((lengths * counts >= _BYTES_MIN) & (lengths <= _SCOPE_BYTES_MAX)).tolist():
            which = where(group == index)
            known = self._of_length.pop(int(lengths[index]), [])
            self._of_length[int(lengths[index])] = known
            for layout in list(known):
                which = _take(layout, frame, scopes, which, blocks, done)
            while len(which) * lengths[index] >= _BYTES_MIN and new < _NEW_MAX:
                new += 1
                layout = _Layout(frame, scopes.take(which[:1]))
                known.insert(0, layout)
                del known[_PER_LENGTH_MAX:]
                which = _take(layout, frame, scopes, which, blocks, done)
        if new:
            self._shrink()
        return blocks, where(~done)

    def _shrink(self) -> None:
        """Forget what was not asked for the longest, until the rest fits."""
        size = sum(layout.size for known in self._of_length.values() for layout in known)
        for length in list(self._of_length):
            if size <= _BYTES_MAX and len(self._of_length) <= _LENGTHS_MAX:
                break
            size -= sum(layout.size for layout in self._of_length.pop(length))


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
