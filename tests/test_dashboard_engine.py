"""The dashboard of the engine's health on today's engine: its answers, against the same worked out from the rows."""

from collections.abc import Iterator

import numpy as np
import pytest

from dashboards.macros import ALL
from tests.dashboard_rows import SHOWN, STAGES, START_MS, Reader, Row, bucket, filled, grouped, near, text, tick_rows


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with filled(tmp_path_factory.mktemp("dashboards") / "store") as opened:
        yield opened


def decided(rollouts: str | list[str] = ALL) -> list[Row]:
    rows = [row | {"lag": (row["decided"] - row["time"]) / 1000} for row in tick_rows() if row["decided"]]
    return [row for row in rows if rollouts == ALL or row["rollout"] in rollouts]


SOME = [ALL, ["bot-a", "bot-c"]]


def test_rollouts_of_the_engine_are_the_live_ones(reader: Reader) -> None:
    assert sorted(row["rollout"] for row in reader.ask("engine", "variable_rollout")) == sorted(STAGES)


@pytest.mark.parametrize("rollouts", SOME)
def test_the_lag_is_the_longest_of_each_rollout(rollouts: str | list[str], reader: Reader) -> None:
    expected = [
        {"bucket": when, "rollout": rollout, "seconds": near(max(row["lag"] for row in each))}
        for (when, rollout), each in grouped(decided(rollouts), "bucket", "rollout").items()
    ]
    assert reader.ask("engine", "lag", rollout=rollouts) == expected


@pytest.mark.parametrize("rollouts", SOME)
def test_the_latency_is_quantiles_over_all_ticks(rollouts: str | list[str], reader: Reader) -> None:
    expected = []
    for (when,), each in grouped(decided(rollouts), "bucket").items():
        lags = sorted(row["lag"] for row in each)
        row = {"p50": lags[int(0.5 * len(lags))], "p99": lags[int(0.99 * len(lags))], "longest": lags[-1]}
        expected.append({"bucket": when} | {name: near(value) for name, value in row.items()})
    assert reader.ask("engine", "latency", rollout=rollouts) == expected


@pytest.mark.parametrize("rollouts", SOME)
def test_samples_are_counted_a_second(rollouts: str | list[str], reader: Reader) -> None:
    expected = [
        {
            "bucket": when,
            "samples_per_second": near(sum(row["samples"] for row in each) / 60),
            "ticks_per_second": near(len(each) / 60),
        }
        for (when,), each in grouped(decided(rollouts), "bucket").items()
    ]
    assert reader.ask("engine", "samples", rollout=rollouts) == expected


def test_dropped_samples_are_counted_by_reason(reader: Reader) -> None:
    rows = [
        row | {"reason": reason, "number": number}
        for row in decided()
        for reason, number in zip(row["reasons"], row["dropped"], strict=True)
    ]
    expected = [
        {"bucket": when, "reason": reason, "per_second": near(sum(row["number"] for row in each) / 60)}
        for (when, reason), each in grouped(rows, "bucket", "reason").items()
    ]
    assert reader.ask("engine", "drops", rollout=ALL) == expected


def test_dead_letters_are_counted_by_topic_without_marks(reader: Reader) -> None:
    assert reader.ask("engine", "dead_letters", rollout=ALL) == [
        {"bucket": bucket(START_MS), "from_topic": "metrics", "letters": 2},
        {"bucket": bucket(START_MS + 60_000), "from_topic": "holdfast.cohort-ticks", "letters": 1},
        {"bucket": bucket(START_MS + 60_000), "from_topic": "metrics", "letters": 2},
    ]


def test_dead_letters_that_were_sent_again_are_not_open(reader: Reader) -> None:
    rows = reader.ask("engine", "open_letters", rollout=ALL)
    told = [(row["from_topic"], row["reason"], row["letters"], row["bytes_all"], row["newest_at"]) for row in rows]
    assert told == [
        ("holdfast.cohort-ticks", "no Arrow stream", 1, 108, "0:8"),
        ("metrics", "too new", 1, 103, "0:3"),
        ("metrics", "no Arrow stream", 2, 202, "0:2"),
    ]


def test_the_last_tick_of_each_rollout_tells_who_is_silent(reader: Reader) -> None:
    expected = []
    for rollout in ("bot-c", "bot-a", "bot-b"):
        rows = decided([rollout])
        last = max(rows, key=lambda row: row["time"])
        dropped, samples = (sum(np.sum(row[name]) for row in rows) for name in ("dropped", "samples"))
        told = {"rollout": rollout, "last_tick": text(last["time"]), "silent": (SHOWN.end_ms - last["time"]) // 1000}
        told |= {"last_lag": near(last["lag"]), "last_samples": last["samples"], "under_way": last["is_live"]}
        expected.append(told | {"dropped_share": near(dropped / (dropped + samples))})
    assert reader.ask("engine", "last_ticks", rollout=ALL) == expected
