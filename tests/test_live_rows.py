"""Rows of a live engine in the store, on the real engine: however often and however cut they come."""

import signal
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from detectors.errors import BadInput
from sinks import arrow_stream
from sinks.cloudevents import verdict_event
from sinks.live_rows import LiveRows, Place, rollout_rows, table_rows, verdict_rows
from sinks.store import Store, StoreError
from tests.replays import DOCUMENT, POLICY, START_MS, contents, count, evidence, python, ticks, verdict


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def stream(table: pa.Table) -> bytes:
    return arrow_stream.stream(table, "lz4")


def announced(offset: int, mode: str = "enforce") -> LiveRows:
    return rollout_rows(
        Place("holdfast.rollouts", 0, offset),
        rollout="bot-0312",
        started=datetime(2026, 3, 12, 11, 20, tzinfo=UTC),
        policy="edge-http",
        mode=mode,
        document=DOCUMENT,
        policy_document=POLICY,
        policy_digest="sha256:1",
        recorded=datetime(2026, 3, 12, 11, 30, tzinfo=UTC),
    )


def messages() -> list[LiveRows]:
    """A rollout's life, as it stands on the topics."""
    found = [announced(0), announced(1, "shadow")]
    found += [
        table_rows("evidence", stream(evidence(10, seed=seed).slice(seed * 2, 4)), Place("e", 0, seed))
        for seed in range(3)
    ]
    found += [table_rows("cohort_ticks", stream(ticks(10).slice(n * 3, 4)), Place("e", 0, 10 + n)) for n in range(3)]
    found += [
        verdict_rows(verdict_event("bot-0312", START_MS + 10_000 * n, verdict(n)), Place("v", 1, n))
        for n in range(1, 4)
    ]
    return found


def put(store: Store, batches: Sequence[Sequence[LiveRows]]) -> dict[str, pa.Table]:
    for batch in batches:
        store.append(batch)
    return contents(store)


def test_rows_bear_their_place(store: Store) -> None:
    store.append([table_rows("evidence", stream(evidence(2)), Place("holdfast.evidence", 3, 41))])
    assert store.query("SELECT DISTINCT source, version FROM evidence", "CSV") == b'"holdfast.evidence/3",41\n'


def test_batches_that_are_cut_otherwise_and_come_again_leave_the_same_rows(tmp_path: Path) -> None:
    taken = messages()
    with Store(tmp_path / "whole") as store:
        once = put(store, [taken])
    rng = np.random.default_rng(7)
    for attempt in range(3):
        # A restart begins again at a committed offset: some messages come twice, in batches cut otherwise.
        cuts = sorted(int(cut) for cut in rng.integers(0, len(taken) + 1, 4))
        pairs = zip([0, *cuts], [*cuts, len(taken)], strict=True)
        batches = [taken[max(0, begin - int(rng.integers(0, 4))) : end] for begin, end in pairs]
        with Store(tmp_path / f"cut-{attempt}") as store:
            assert put(store, batches) == once


def test_of_rows_with_the_same_key_the_later_message_counts_even_if_it_came_first(store: Store) -> None:
    earlier, later = evidence(1, seed=1), evidence(1, seed=2)
    store.append([table_rows("evidence", stream(later), Place("e", 0, 9))])
    store.append([table_rows("evidence", stream(earlier), Place("e", 0, 4))])
    assert store.arrow("SELECT effect FROM evidence")["effect"].to_pylist() == later["effect"].to_pylist()


def test_the_newest_announcement_of_a_rollout_is_the_one_that_is_kept(store: Store) -> None:
    put(store, [[announced(1, "shadow")], [announced(0)]])
    row = store.arrow("SELECT * FROM rollouts").to_pylist()[0]
    assert (row["mode"], row["version"]) == ("shadow", 1)
    assert row["recorded"] == datetime(2026, 3, 12, 11, 30, tzinfo=UTC)


def test_the_same_partition_and_a_replay_lie_beside_each_other(store: Store) -> None:
    store.append([table_rows("evidence", stream(evidence(3)), Place("e", 0, 1))])
    store.append([table_rows("evidence", stream(evidence(3)), Place("e", 1, 1))])
    assert count(store, "evidence") == 6


def test_rows_that_were_put_in_outlive_a_killed_process(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from sinks.store import Store
        from tests.test_live_rows import messages
        store = Store(Path(sys.argv[1]))
        store.append(messages())
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = python(code, tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with Store(tmp_path / "killed") as store:
        kept = contents(store)
    with Store(tmp_path / "whole") as store:
        assert put(store, [messages()]) == kept


def test_a_query_that_takes_too_long_is_given_up(store: Store) -> None:
    with pytest.raises(StoreError, match=r"(?i)timeout"):
        store.query("SELECT sum(sipHash64(number)) FROM system.numbers", "CSV", seconds_max=1)
    assert store.query("SELECT 1", "CSV") == b"1\n"


# ---------------------------------------------------------------- what is refused


def refusal(table: str | None, payload: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        table_rows(table, payload, Place("e", 0, 0))
    return str(caught.value)


def test_a_table_of_another_name_is_refused() -> None:
    assert "'verdicts'; allowed: cohort_ticks or evidence" in refusal("verdicts", stream(evidence()))
    assert "None" in refusal(None, stream(evidence()))


def test_columns_of_another_version_are_named() -> None:
    assert "other columns than those of this holdfast: mde" in refusal(
        "evidence", stream(evidence().drop_columns(["mde"]))
    )
    narrow = evidence().set_column(7, "effect", pa.array([0.0] * 3, pa.float32()))
    assert refusal("evidence", stream(narrow)).endswith(": effect")
    assert "edge" in refusal("evidence", stream(evidence().append_column("edge", pa.array([0.0] * 3))))


def test_bytes_that_are_no_arrow_stream_are_refused_wherever_they_break_off() -> None:
    whole = stream(evidence())
    for end in range(0, len(whole) - 8, 97):
        assert refusal("evidence", whole[:end])
    assert "not a readable Arrow stream" in refusal("evidence", b"no arrow at all")


def test_times_that_the_store_cannot_hold_are_refused() -> None:
    kind = evidence().schema.field("time").type
    far = evidence().set_column(1, "time", pa.array([0, 9_000_000_000_000_000, 1], kind))
    assert "a time that is absent, or not within the years" in refusal("evidence", stream(far))
    none = evidence().set_column(1, "time", pa.array([0, None, 1], kind))
    assert "a time that is absent" in refusal("evidence", stream(none))


def test_an_empty_table_is_no_error(store: Store) -> None:
    store.append([table_rows("evidence", stream(evidence(0)), Place("e", 0, 0))])
    assert count(store, "evidence") == 0


def test_a_verdict_keeps_its_whole_body(store: Store) -> None:
    event = verdict_event("bot-0312", START_MS, verdict(2))
    store.append([verdict_rows(event, Place("v", 0, 5))])
    row = store.arrow("SELECT * FROM verdicts").to_pylist()[0]
    assert msgspec.json.decode(row["body"], type=type(event)) == event
    assert row["time"] == datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
