from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from streams.cohorts import RowKey
from streams.live.frames import (
    FrameError,
    Header,
    Keys,
    Planned,
    PlannedStage,
    body_of,
    frame_of,
    header_of,
    keys_of,
    values_of,
)

KEYS = (RowKey(0, 0.0, "ams01", "eu", 0), RowKey(0, 0.5, "ams01", "eu", 1), RowKey(1, float("inf"), "gru01", "", 0))


def header(**changed) -> Header:
    given: dict[str, Any] = {
        "kind": "tick",
        "rollout": "features-1",
        "tick": 7,
        "tick_ms": 10_000,
        "topic": "metrics",
        "partition": 2,
        "sources": {"metrics": 3},
        "planned": (Planned("features-1", (PlannedStage("canary", 40), PlannedStage("rest", None))),),
        "signatures": ((-1, 1, 1), (0, 1, 0)),
        "keys": "abc",
        "samples": 12,
        "dropped": {"late": 2},
        "is_disputed": False,
        "announcement": msgspec.Raw(b'{"version":1}'),
    }
    return Header(**(given | changed))


def values() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(3, len(KEYS)))


def read(frame: bytes) -> tuple[Header, np.ndarray]:
    return header_of(frame), values_of(frame)


def test_what_goes_into_a_frame_comes_out_again_to_the_last_bit():
    frame = frame_of(header(), body_of(Keys.of(KEYS), values()))
    assert header_of(frame) == header()
    assert keys_of(frame) == KEYS
    assert values_of(frame).tobytes() == values().tobytes()


def test_the_body_is_the_same_for_every_rollout_and_equal_bytes_for_equal_sums():
    assert body_of(Keys.of(KEYS), values()) == body_of(Keys.of(KEYS), values().copy())


def test_a_frame_is_a_plain_arrow_stream_that_anybody_can_read():
    frame = frame_of(header(), body_of(Keys.of(KEYS), values()))
    table = pa.ipc.open_stream(frame).read_all()
    assert table.column("colo").to_pylist() == ["ams01", "ams01", "gru01"]
    assert table.column("sum").to_pylist() == values()[1].tolist()


def test_other_keys_have_another_digest():
    assert Keys.of(KEYS).digest == Keys.of(KEYS).digest
    assert Keys.of(KEYS).digest != Keys.of(KEYS[:2]).digest


def test_a_partition_without_rows_has_a_frame_too():
    frame = frame_of(header(), body_of(Keys.of(()), np.zeros((3, 0))))
    assert keys_of(frame) == ()
    assert values_of(frame).shape == (3, 0)


@pytest.mark.parametrize("cut", [0, 4, 100, 700])
def test_a_frame_that_is_cut_off_is_refused_in_words(cut):
    frame = frame_of(header(), body_of(Keys.of(KEYS), values()))[:cut]
    with pytest.raises(FrameError):
        read(frame)


def test_an_arrow_stream_of_something_else_is_refused_in_words():
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("a", pa.int64())])):
        pass
    with pytest.raises(FrameError, match="without a cohort-tick header"):
        header_of(sink.getvalue().to_pybytes())
