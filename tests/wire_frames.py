"""Samples for the tests of wire formats, and how to look at them."""

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from streams.recording import NO_TIME, LabelColumn, Samples

Row = tuple[int, float, dict[str, str]]


def samples(rows: Sequence[Row]) -> Samples:
    """Lay rows out as columns: time, value, labels."""
    names = dict.fromkeys(["metric", "colo", *(name for _, _, labels in rows for name in labels)])
    columns = {}
    for name in names:
        texts = [labels.get(name, "") for _, _, labels in rows]
        values = list(dict.fromkeys(text for text in texts if text))
        codes = [values.index(text) if text else -1 for text in texts]
        columns[name] = LabelColumn(np.array(codes, np.int32), values)
    times = np.array([time for time, _, _ in rows], np.int64)
    return Samples(times, np.array([value for _, value, _ in rows], np.float64), columns)


def rows(found: Samples) -> list[tuple[int, str, dict[str, str]]]:
    """Return the rows of samples; absent labels are left out, and values are written out, so that NaN is NaN."""
    size = len(found.time)
    assert len(found.value) == size
    assert found.time.dtype == np.int64
    assert found.value.dtype == np.float64
    for column in found.labels.values():
        assert column.codes.dtype == np.int32
        assert len(column.codes) == size
        assert column.codes.min(initial=0) >= -1
        assert column.codes.max(initial=-1) < len(column.values)
        assert all(type(value) is str for value in column.values)
    texts = {
        name: [column.values[code] if code >= 0 else "" for code in column.codes.tolist()]
        for name, column in sorted(found.labels.items())
    }
    return [
        (
            time,
            "nan" if math.isnan(value) else value.hex(),
            {name: each[row] for name, each in texts.items() if each[row]},
        )
        for row, (time, value) in enumerate(zip(found.time.tolist(), found.value.tolist(), strict=True))
    ]


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
_NAMES = st.sampled_from(["host", "region", "le", "http.status", "élan"])
_LABELS = st.dictionaries(_NAMES, _TEXTS, max_size=3)
_ROWS = st.tuples(
    st.integers(-62_135_596_800_000, 253_402_300_799_999) | st.just(NO_TIME) | st.sampled_from([0, 10_000]),
    st.floats(),
    st.builds(
        lambda metric, colo, labels: {"metric": metric, "colo": colo, **labels},
        st.sampled_from(["http_requests", "cpu", ""]),
        st.sampled_from(["ams01", "fra02", ""]),
        _LABELS,
    ),
)
any_samples = st.lists(_ROWS, max_size=12).map(samples)
"""Samples of all kinds, also without a time, a metric or a colo."""
