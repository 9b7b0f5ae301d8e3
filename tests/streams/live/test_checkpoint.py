"""A checkpoint is read as it was written, or not at all."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from detectors.checks import same_bits
from detectors.errors import StateMismatch
from detectors.state import State
from streams.live.checkpoint import BLOCK_BYTES_MAX, decode, encode, read

KINDS = st.sampled_from(["f8", "f4", "i8", "i4", "u1", "?", ">f8"])
ARRAYS = arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
NAMES = st.text(max_size=8)
VALUES = ARRAYS | st.integers(-(2**62), 2**62) | NAMES | st.lists(st.integers(0, 99)) | st.lists(NAMES)
STATES = st.dictionaries(NAMES, st.recursive(VALUES, lambda inner: st.dictionaries(NAMES, inner, max_size=4)))


def large(seed: int = 1) -> State:
    """Return a state of several blocks, which noise cannot be compressed to less."""
    return {"noise": np.random.default_rng(seed).normal(size=200_000), "tick": seed}


@given(STATES)
def test_any_state_is_read_as_it_was_written(state: Any) -> None:
    assert same_bits(decode(encode(state, tick=5)), state)


def test_blocks_are_small_enough_and_may_come_in_any_order() -> None:
    blocks = encode(large(), tick=7)
    assert len(blocks) >= 3
    assert max(map(len, blocks)) <= BLOCK_BYTES_MAX
    assert [(read(one).tick, read(one).index, read(one).count) for one in blocks] == [
        (7, index, len(blocks)) for index in range(len(blocks))
    ]
    assert same_bits(decode([*blocks[1:], blocks[0]]), large())


def test_what_is_read_can_be_written_to() -> None:
    value: Any = decode(encode({"sum": np.zeros(3)}, tick=1))["sum"]
    value += 1.0
    assert value.tolist() == [1.0, 1.0, 1.0]


def test_numbers_of_like_size_compress() -> None:
    sums = np.cumsum(np.random.default_rng(2).uniform(1.0, 1.01, 50_000))
    assert sum(map(len, encode({"sums": sums}, tick=1))) < 0.75 * sums.nbytes


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda blocks: [],
        lambda blocks: blocks[1:],
        lambda blocks: [*blocks, blocks[0]],
        lambda blocks: [encode(large(), tick=8)[0], *blocks[1:]],
        lambda blocks: [encode(large(2), tick=7)[0], *blocks[1:]],
        lambda blocks: [blocks[0][:-1], *blocks[1:]],
        lambda blocks: [b"", *blocks[1:]],
        lambda blocks: [blocks[0][:-1] + bytes([blocks[0][-1] ^ 1]), *blocks[1:]],
    ],
    ids=["none", "one missing", "one twice", "of two ticks", "of two states", "cut", "empty", "a bit flipped"],
)
def test_blocks_that_are_not_one_whole_set_are_refused(spoiled: Any) -> None:
    with pytest.raises(StateMismatch):
        decode(spoiled(encode(large(), tick=7)))


def test_a_set_that_holds_no_state_is_refused() -> None:
    block = msgspec.structs.replace(read(encode({"a": 1}, tick=1)[0]), size=9)
    with pytest.raises(StateMismatch, match="holds no state"):
        decode([msgspec.msgpack.encode(block)])


@pytest.mark.parametrize("value", [np.array(["a"], object), np.array(["a"]), 1.5 + 2j, object()])
def test_what_is_no_number_word_or_array_of_numbers_is_not_written(value: Any) -> None:
    with pytest.raises(TypeError):
        encode({"value": value}, tick=1)
