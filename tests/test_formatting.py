"""Answers of a server in the formats of ClickHouse, written by the real engine."""

import json

import numpy as np
import pyarrow as pa
import pytest

from sinks.errors import StoreError
from sinks.formatting import written

ANSWER = pa.table(
    {
        "count()": pa.array([2, 1], pa.uint64()),
        "time": pa.array([0, 1], pa.timestamp("ms", tz="UTC")),
        "colos": pa.array([["ams01"], []], pa.list_(pa.string())),
        "it's `odd` \\": pa.array(["x", "y"]).dictionary_encode(),
    }
)


def test_an_answer_is_written_in_any_format() -> None:
    assert written(ANSWER, "CSV").decode().splitlines() == [
        '2,"1970-01-01 00:00:00.000","[\'ams01\']","x"',
        '1,"1970-01-01 00:00:00.001","[]","y"',
    ]
    assert json.loads(written(ANSWER, "JSON"))["data"][0]["count()"] == 2
    assert "│" in written(ANSWER, "PrettyCompact").decode()


def test_the_order_of_rows_stays() -> None:
    numbers = np.random.default_rng(3).integers(0, 1 << 40, 300_000)
    found = written(pa.table({"n": numbers}), "TSV").split()
    assert [int(each) for each in found] == numbers.tolist()


def test_an_answer_without_rows_has_its_columns() -> None:
    assert written(ANSWER.slice(0, 0).select([0]), "CSVWithNames") == b'"count()"\n'


def test_a_format_that_there_is_not_is_a_clear_error() -> None:
    with pytest.raises(StoreError, match=r"^Unknown format Nope\b"):
        written(ANSWER, "Nope")
