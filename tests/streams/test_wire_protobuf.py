"""Protocol buffers: every form of field, however many messages there are, and every damage by its name."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.wire.fields import each_field, scan
from streams.wire.frame import BadFrame
from streams.wire.protobuf import BYTES, FIXED32, FIXED64, FRAME_BYTES_MAX, VARINT, Frame, Kind, Spans, field, varint
from streams.wire.texts import distinct, texts

KIND = Kind("Thing", {1: ("one", (BYTES,)), 2: ("two", (VARINT,)), 3: ("three", (FIXED64,))})
MANY = 100  # messages: enough to be read in lockstep

contents = st.one_of(
    st.tuples(st.sampled_from([1, 7, 5000]), st.just(BYTES), st.binary(max_size=200)),
    st.tuples(st.sampled_from([2, 8]), st.just(VARINT), st.integers(0, 2**64 - 1).map(varint)),
    st.tuples(st.sampled_from([3, 9]), st.just(FIXED64), st.binary(min_size=8, max_size=8)),
    st.tuples(st.sampled_from([20, 1 << 20]), st.just(FIXED32), st.binary(min_size=4, max_size=4)),
)


def written(fields):
    return b"".join(
        varint(number << 3 | wire) + (varint(len(content)) if wire == BYTES else b"") + content
        for number, wire, content in fields
    )


def framed(messages):
    """Return a frame of messages, one after the other, and where they are."""
    ends = np.cumsum([len(message) for message in messages])
    return Frame(b"".join(messages)), Spans(np.append(0, ends[:-1]), ends)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(contents, max_size=4), min_size=1, max_size=4), st.sampled_from([1, MANY]))
def test_fields_are_found_alike_one_by_one_and_in_lockstep(some, times_over):
    messages = some * times_over
    frame, spans = framed([written(fields) for fields in messages])
    found = scan(frame, spans, KIND)
    for number, wire in {(number, wire) for fields in some for number, wire, _ in fields}:
        owner, every = found.every(number << 3 | wire)
        order = np.lexsort((every.start, owner))
        owner, every = owner[order], every.take(order)
        wanted = [
            (index, content)
            for index, fields in enumerate(messages)
            for field_number, _, content in fields
            if field_number == number
        ]
        stretches = zip(owner, every.start, every.end, strict=True)
        assert [(index, frame.raw[start:end]) for index, start, end in stretches] == wanted
        last = found.last(number << 3 | wire)
        assert {int(index): frame.raw[last.start[index] : last.end[index]] for index in owner} == dict(wanted)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_varints_are_read_as_they_were_written(numbers):
    letters = [varint(number) for number in numbers]
    frame, spans = framed(letters)
    value, width = frame.varints(spans.start)
    assert value.tolist() == numbers
    assert width.tolist() == [len(each) for each in letters]


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=20), st.sampled_from([1, 300]))
def test_equal_stretches_have_one_number_and_others_another(words, times_over):
    words = words * times_over
    frame, spans = framed(words)
    number, first = distinct(frame, spans)
    in_order = list(dict.fromkeys(words))
    assert [in_order[code] for code in number] == words
    assert [words[index] for index in first] == in_order


DAMAGED = {
    "runs over the end of its message": field(1, b"abc")[:-1],
    r"field number 0 and wire type 2": b"\x02\x00",
    r"field number 1 and wire type 3": b"\x0b\x00",
    r"wire type 7": b"\x0f",
    "goes on and on; at most 10 bytes": b"\x10" + b"\xff" * 11,
    r"field 2 \(two\) at byte \d+ is length-delimited; allowed is varint": field(2, b"x"),
    "runs over": b"\x0a" + varint((1 << 64) - 1),
    "runs over the end": b"\x19abc",
}


@pytest.mark.parametrize("message", DAMAGED)
@pytest.mark.parametrize("before", [0, MANY])
def test_damage_is_named_wherever_it_is(message, before):
    whole = [field(1, b"")] * before
    frame, spans = framed([*whole[1:], DAMAGED[message]] if before else [DAMAGED[message]])
    with pytest.raises(BadFrame, match=message):
        scan(frame, spans, KIND)


def test_a_length_that_lies_takes_no_memory():
    frame = Frame(b"\x0a" + varint(1 << 39))
    tracemalloc.start()
    with pytest.raises(BadFrame):
        scan(frame, frame.whole, KIND)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_frame_that_is_too_large_is_refused():
    with pytest.raises(BadFrame, match=f"at most {FRAME_BYTES_MAX}"):
        Frame(bytes(FRAME_BYTES_MAX + 1))


def test_a_text_that_is_not_utf_8_is_named_with_its_place():
    frame, spans = framed([b"good", b"b\xffd"])
    with pytest.raises(BadFrame, match="a name at byte 4 is not UTF-8"):
        texts(frame, spans, "a name")


def test_what_comes_twice_where_one_is_allowed_is_refused():
    frame, spans = framed([field(1, b"a"), field(1, b"b") + field(1, b"c")])
    with pytest.raises(BadFrame, match="it comes a second time at byte 8"):
        scan(frame, spans, KIND).one(1 << 3 | BYTES, "it")


def test_a_single_message_is_read_field_by_field():
    frame = Frame(field(1, b"ab") + b"\x10\x05")
    assert list(each_field(frame, 0, frame.size, KIND)) == [(10, 2, 4), (16, 5, 6)]
