"""Rows for the store, as messages."""

import pyarrow as pa

from holdfast.live.clients import MESSAGE_BYTES_MAX
from holdfast.live.judging import Rows
from streams.records import EVIDENCE
from tests.replays import evidence


def test_rows_are_cut_into_messages_that_a_broker_takes_and_none_is_lost():
    rows = Rows()
    table = pa.concat_tables([evidence(ticks=500, seed=seed) for seed in range(100)]).select(EVIDENCE.names)
    rows.evidence(table)
    sent = list(rows.taken())
    assert len(sent) > 1
    assert all(kind == "evidence" and len(value) < MESSAGE_BYTES_MAX // 2 for kind, value in sent)
    assert pa.concat_tables([pa.ipc.open_stream(value).read_all() for _, value in sent]).equals(table)
    assert list(rows.taken()) == []
