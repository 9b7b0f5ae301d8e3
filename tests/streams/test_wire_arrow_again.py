"""Arrow frames that came before but for their numbers: read without being taken apart, and never taken for others."""

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.recording import LabelColumn, Samples
from streams.wire.arrow import decode, encode
from streams.wire.arrow_again import FramesAgain
from tests.wire_frames import rows

HOSTS = ["h1", "h2", "h3"]


def frame(values: list[float], *, hosts: list[int] | None = None, time: int = 7_000, metric: str = "cpu") -> bytes:
    codes = np.array(hosts or [0] * len(values), np.int32)
    one = np.zeros(len(values), np.int32)
    labels = {
        "metric": LabelColumn(one, [metric]),
        "colo": LabelColumn(one, ["ams01"]),
        "host": LabelColumn(codes, HOSTS),
    }
    return encode(Samples(np.full(len(values), time, np.int64), np.array(values), labels))


def kept(memory: FramesAgain, payload: bytes) -> Samples | None:
    with pa.ipc.open_stream(payload) as reader:
        return memory.keep(payload, reader.read_next_batch(), decode(memoryview(payload)).labels)


def test_frames_that_are_alike_share_their_labels_and_have_their_own_numbers() -> None:
    first, second = decode(frame([1.0, 2.0])), decode(frame([3.0, 4.0], time=17_000))
    assert second.labels is first.labels
    assert (first.value.tolist(), second.value.tolist()) == ([1.0, 2.0], [3.0, 4.0])
    assert (first.time.tolist(), second.time.tolist()) == ([7_000] * 2, [17_000] * 2)


def test_labels_that_are_shared_cannot_be_changed() -> None:
    codes = decode(frame([1.0, 2.0])).labels["host"].codes
    with pytest.raises(ValueError, match="read-only"):
        codes[0] = 1


FRAMES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.floats(), st.integers(0, 2)), min_size=1, max_size=3),
        st.integers(0, 2),
        st.sampled_from(["cpu", "mem", "memory"]),
    ),
    min_size=2,
    max_size=12,
)


@given(FRAMES)
def test_whatever_came_before_a_frame_is_read_as_if_it_were_the_first(
    frames: list[tuple[list[tuple[float, int]], int, str]],
) -> None:
    for samples, time, metric in frames:
        values, hosts = [value for value, _ in samples], [host for _, host in samples]
        payload = frame(values, hosts=hosts, time=time, metric=metric)
        # A view is read without memory.
        assert rows(decode(payload)) == rows(decode(memoryview(payload)))


def test_a_frame_that_says_that_codes_lie_where_its_values_do_is_not_remembered() -> None:
    payload = frame([0.0, 0.0, 0.0], hosts=[0, 1, 2])
    with pa.ipc.open_stream(payload) as reader:
        batch = reader.read_next_batch()
    start = batch.column("time").buffers()[1].address
    value, host = (batch.column(name).buffers()[1] for name in ("value", "host"))
    entry = struct.pack("<qq", host.address - start, host.size)
    assert payload.count(entry) == 1
    aliased = payload.replace(entry, struct.pack("<qq", value.address - start, host.size))
    assert [labels["host"] for *_, labels in rows(decode(memoryview(aliased)))] == ["h1"] * 3
    memory = FramesAgain(1 << 20)
    assert kept(memory, payload) is not None
    assert kept(memory, aliased) is None
    assert memory.read(aliased) is None


def test_a_frame_that_has_to_be_unpacked_is_not_remembered() -> None:
    with pa.ipc.open_stream(frame([1.0] * 500)) as reader:
        batch = reader.read_next_batch()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch)
    assert kept(FramesAgain(1 << 20), sink.getvalue().to_pybytes()) is None


def test_memory_is_bounded_and_what_came_last_stays() -> None:
    memory = FramesAgain(12_000)
    frames = [frame([1.0], metric=f"metric{number}") for number in range(40)]
    for payload in frames:
        kept(memory, payload)
    assert len(memory) < 20
    assert memory.read(frames[0]) is None
    assert memory.read(frames[-1]) is not None
