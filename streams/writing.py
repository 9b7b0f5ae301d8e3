"""Writing a recording: samples as Parquet, and a folder that appears whole or not at all."""

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from detectors.errors import BadInput

ROWS_PER_GROUP: Final = 1 << 18
FILES: Final = ("metrics.parquet", "rollout.yaml", "policy.yaml", "truth.yaml")
OTHERS: Final = "rollouts"
"""Folder of the other rollouts that were under way."""

LABEL_TYPE: Final = pa.dictionary(pa.int32(), pa.string())

Labels = Mapping[str, tuple[NDArray[np.int32], list[str]]]
"""For each label its codes [column] and the values that they stand for; -1 is absent."""


def schema_of(labels: Sequence[str]) -> pa.Schema:
    """Return the columns of metrics.parquet: time, value, and the labels."""
    return pa.schema(
        [
            ("time", pa.timestamp("ms", tz="UTC")),
            ("value", pa.float64()),
            *((label, LABEL_TYPE) for label in labels),
        ]
    )


def put_in_place(folder: Path, fill: Callable[[Path], None], allowed: Collection[str] = FILES) -> None:
    """Have a recording written aside, and put it into its place; an earlier recording there is replaced.

    Parameters
    ----------
    folder
        Where the recording is to be.
    fill
        Writes it into the empty folder that it is given.
    allowed
        What an earlier recording may hold at most. A folder with anything else is not touched.

    Raises
    ------
    BadInput
        If something else than a recording is in the folder's place, or the folder cannot be written.
    """
    folder = folder.absolute()
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= set(allowed)):
        msg = f"{folder}: there already, and no recording; choose another folder"
        raise BadInput(msg)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as aside:
            made = Path(aside) / "made"
            made.mkdir()
            fill(made)
            if folder.exists():
                folder.rename(Path(aside) / "replaced")
            made.rename(folder)
    except OSError as error:
        msg = f"{folder}: cannot be written: {error.strerror or error}"
        raise BadInput(msg) from error


def write_samples(
    path: Path, labels: Labels, values: NDArray[np.float64], ends_ms: NDArray[np.int64], phase_ms: NDArray[np.int64]
) -> None:
    """Write samples in order of time, which is that of the arrays, a row group at a time.

    Parameters
    ----------
    path
        The file.
    labels
        Of each column, that is host * series.
    values
        [tick, host, series] NaN where there is no sample.
    ends_ms, phase_ms
        [tick] When each tick ends, in epoch milliseconds; [host] how long before that a host is scraped.
    """
    schema = schema_of(list(labels))
    value = values.reshape(-1)
    there = np.flatnonzero(~np.isnan(value))
    _, hosts, series = values.shape
    time = (ends_ms[:, None] - phase_ms).reshape(-1)
    encoded: Any = ["time", *labels]  # pyarrow takes a list too, though its signature says bool
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=encoded) as writer:
        for first in range(0, len(there), ROWS_PER_GROUP):
            rows = there[first : first + ROWS_PER_GROUP]
            which = rows % (hosts * series)
            columns = [
                pa.array(time[rows // series]).cast(schema.field("time").type),
                pa.array(value[rows]),
                *(_dictionary(codes[which], names) for codes, names in labels.values()),
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROWS_PER_GROUP)


def _dictionary(codes: NDArray[np.int32], values: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(values, pa.string()))


def spread(
    by_host: Mapping[str, tuple[NDArray[np.intp], list[str]]], series: Mapping[str, Sequence[str | None]]
) -> dict[str, tuple[NDArray[np.int32], list[str]]]:
    """Spread labels over the columns of hosts and their series.

    Parameters
    ----------
    by_host
        Labels that all series of a host share: codes [host] and values.
    series
        Labels that tell the series of a host apart: the value of each [series], None where it is absent.
    """
    hosts = len(next(iter(by_host.values()))[0])
    length = len(next(iter(series.values())))
    labels = {name: (np.repeat(codes, length).astype(np.int32), values) for name, (codes, values) in by_host.items()}
    for name, values in series.items():
        known = [value for value in dict.fromkeys(values) if value is not None]
        codes = np.array([-1 if value is None else known.index(value) for value in values], np.int32)
        labels[name] = (np.tile(codes, hosts), known)
    return labels
