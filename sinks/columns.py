"""Columns of Arrow as ClickHouse's driver takes them."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa


class _Texts(pd.CategoricalDtype):  # type: ignore[misc]  # pandas publishes no types that mypy takes
    """Texts that were told apart already: pandas sees that they are, and numpy sees objects.

    The driver asks both about a column: pandas to tell its texts apart, which it need not do again for these, and numpy
    for an array of them. Given the texts as objects instead, all of an insert would take five times as long.
    """

    dtype = np.dtype(object)


def as_arrays(rows: pa.Table) -> list[Any]:
    """Return columns as the driver takes them quickest: numbers as arrays, of texts each once and where it stands.

    Times are whole numbers in the unit of their type, which must be that of the table.
    """
    return [_array(each) for each in rows.columns]


def as_lists(rows: pa.Table) -> list[list[object]]:
    """Return columns as Python objects: for tables with lists in them, which the driver takes in no other form."""
    return [list(each.to_pylist()) for each in rows.columns]


def _array(column: pa.ChunkedArray) -> Any:
    kind = column.type
    if pa.types.is_string(kind):
        coded = column.combine_chunks().dictionary_encode()
        texts = pd.Index(np.array(coded.dictionary.to_pylist(), dtype=object), dtype=object)
        return pd.Categorical.from_codes(coded.indices.to_numpy(), dtype=_Texts(texts), validate=False)
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).to_numpy()
    return column.to_numpy()
