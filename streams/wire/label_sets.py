"""Sets of labels, each read once however many rows share it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.recording import LabelColumn
from streams.wire.frame import BadFrame
from streams.wire.protobuf import Ints, where
from streams.wire.texts import Codes, Words

LABEL_CELLS_MAX: Final = 1 << 25
"""The most labels times rows of one frame: the columns of a frame have at most so many codes, of 4 bytes each."""

_COLUMNS: Final = frozenset({"metric", "time", "value"})
_COLUMNS_TEXT: Final = ", ".join(sorted(_COLUMNS))


@dataclass(frozen=True, slots=True)
class LabelSets:
    """What sets hold: by label name its values [set], as codes (-1 where absent) of words."""

    codes: dict[str, Codes]
    words: dict[str, Words]


def label_sets(sets: int, owner: Ints, pair: Codes, names: list[str], values: list[str]) -> LabelSets:
    """Lay the labels of sets out by name.

    Parameters
    ----------
    sets
        How many sets there are.
    owner
        The set [occurrence] that has a label.
    pair
        Which pair [occurrence] of name and value it is.
    names, values
        The names [pair] and values [pair].

    Raises
    ------
    BadFrame
        If a set has two values under one name, or there are more labels than a frame may have.
    """
    name_words = Words()
    name_of_pair = name_words.numbers(names)
    labels = name_words.column(name_of_pair).values
    check_cells(sets, len(labels))
    words = {label: Words() for label in labels}
    value_of_pair = np.empty(len(names), np.int32)
    ends = np.cumsum(np.bincount(name_of_pair, minlength=len(labels))).tolist()
    by_name = np.argsort(name_of_pair, kind="stable")
    for label, start, end in zip(labels, [0, *ends], ends, strict=False):
        which = by_name[start:end]
        value_of_pair[which] = words[label].numbers([values[index] for index in which.tolist()])
    codes = np.full((len(labels), sets), -1, np.int32)
    cells = (name_of_pair[pair], owner)
    codes[cells] = value_of_pair[pair]
    twice = where(codes[cells] != value_of_pair[pair])
    if len(twice):
        name = names[int(pair[twice[0]])]
        msg = f"the label {name!r} has two values in one set of labels; one is allowed"
        raise BadFrame(msg)
    return LabelSets(dict(zip(labels, codes, strict=True)), words)


def check_names(names: Iterable[str]) -> None:
    """Refuse labels that are named as the columns are which samples have besides their labels."""
    taken = sorted(_COLUMNS.intersection(names))
    if taken:
        msg = f"a label is named {taken[0]!r}, as a column of all samples is; allowed is any name but {_COLUMNS_TEXT}"
        raise BadFrame(msg)


def check_cells(rows: int, labels: int) -> None:
    """Refuse a frame whose label columns would take far more memory than the frame itself."""
    if rows * labels > LABEL_CELLS_MAX:
        msg = f"the frame has {labels} labels on {rows} rows; allowed are {LABEL_CELLS_MAX} of labels times rows"
        raise BadFrame(msg)


def stacked(blocks: Sequence[tuple[Mapping[str, LabelColumn], int]]) -> dict[str, LabelColumn]:
    """Put the label columns of blocks of rows below each other; each block comes with how many rows it has."""
    names = list(dict.fromkeys(name for labels, _ in blocks for name in labels))
    check_cells(sum(rows for _, rows in blocks), len(names))
    columns: dict[str, LabelColumn] = {}
    for name in names:
        words = Words()
        parts = [
            recoded(labels[name], words) if name in labels else np.full(rows, -1, np.int32) for labels, rows in blocks
        ]
        columns[name] = words.column(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return columns


def filled(column: LabelColumn, other: LabelColumn) -> LabelColumn:
    """Return a label column with the other's values where it has none."""
    words = Words()
    own = recoded(column, words)
    return words.column(np.where(own < 0, recoded(other, words), own))


def recoded(column: LabelColumn, words: Words) -> Codes:
    """Return a column's codes as those of words, which take up its values."""
    table = np.append(words.numbers(column.values), np.int32(-1))  # the last cell serves -1
    return table.take(column.codes, mode="wrap")
