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

_BYTES_MIN: Final = 1 << 14  # scopes of one length that are together smaller are read sooner than compared
_ROWS_MIN: Final = 256  # and so are those that come to fewer rows
_NEW_MAX: Final = 2  # layouts that one frame may try
_FAILURES_MAX: Final = 10  # after which one in a thousand is tried
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
        self.rows = len(block.scope)
        self.size = 16 * words + self.rows * (_ROW_BYTES + 4 * len(block.labels))

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
        return Block(np.repeat(scope, self.rows), self._cells.shifted(start), labels, [])


class Layouts:
    """The layouts that were seen last, by length; the length that was asked for last is the last to go."""

    def __init__(self) -> None:
        self._of_length: dict[int, list[_Layout]] = {}
        self._failures = 0  # layouts in a row that were of no use
        self._wanted = 0  # how often a new one was wanted

    @property
    def known(self) -> int:
        """How many there are."""
        return sum(len(known) for known in self._of_length.values())

    def split(self, frame: Frame, scopes: Spans) -> tuple[list[Block], Ints]:
        """Read the scopes [scope] whose layout is known or worth knowing; return them, and which are left."""
        length = scopes.end - scopes.start
        lengths, group, counts = np.unique(length, return_inverse=True, return_counts=True)
        blocks: list[Block] = []
        left = np.ones(len(scopes), np.bool_)
        tried = 0
        # If one layout serves the whole of a frame, however small, nothing is left that must be read in another way.
        alone = len(lengths) == 1
        bytes_min = 0 if alone else _BYTES_MIN
        for index in where((lengths * counts >= bytes_min) & (lengths <= _SCOPE_BYTES_MAX)).tolist():
            size = int(lengths[index])
            known = self._of_length[size] = self._of_length.pop(size, [])
            which = where(group == index)
            for layout in list(known):
                which = _take(layout, frame, scopes, which, blocks, alone=alone)
            while len(which) and len(which) * size >= bytes_min and tried < _NEW_MAX and self._may_try():
                tried += 1
                layout = _Layout(frame, scopes.take(which[:1]))
                rest = _take(layout, frame, scopes, which, blocks, alone=alone)
                if len(rest) < len(which):
                    known.insert(0, layout)
                    del known[_PER_LENGTH_MAX:]
                    self._failures = 0
                else:
                    self._failures = min(self._failures + 1, _FAILURES_MAX)
                which = rest
            left[group == index] = False
            left[which] = True
        self._shrink()
        return blocks, where(left)

    def _may_try(self) -> bool:
        """Say whether to try another layout: the more have failed of late, the more seldom."""
        self._wanted += 1
        return self._wanted % (1 << self._failures) == 0

    def _shrink(self) -> None:
        """Forget what was not asked for the longest, until the rest fits."""
        size = sum(layout.size for known in self._of_length.values() for layout in known)
        for length in list(self._of_length):
            if size <= _BYTES_MAX and len(self._of_length) <= _LENGTHS_MAX:
                break
            size -= sum(layout.size for layout in self._of_length.pop(length))


def _take(layout: _Layout, frame: Frame, scopes: Spans, which: Ints, blocks: list[Block], *, alone: bool) -> Ints:
    """Read those of some scopes that are of a layout, if they are many or `alone` and all; return the others."""
    if not len(which) or (not alone and len(which) * layout.rows < _ROWS_MIN):
        return which
    fits = layout.fits(frame, scopes.start[which])
    taken = which[fits]
    if len(taken) * layout.rows < _ROWS_MIN and not (alone and len(taken) == len(scopes)):
        return which
    blocks.append(layout.block(scopes.start[taken], taken))
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
