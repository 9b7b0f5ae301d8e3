"""What the judge makes of histograms: slower bulks and slower tails, and what it says of both."""

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from tests.test_cli import POLICY, ROLLOUT, Small
from tests.test_outcomes import Judge, blamed, last, make_judge, said, why

Array = NDArray[np.float64]

LATENCY: Final = (
    POLICY
    + """\
  - {name: latency, histogram: http_seconds_bucket, quantile: 0.99, worse: increase,
     tolerate: {relative: 0.1}, breach: revert}
"""
)
EDGES: Final = ("0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
MEDIAN: Final = 0.06


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return make_judge(tmp_path)


def lasting(small: Small, slower: Array | float = 1.0, stuck: Array | float = 0.0, requests: float = 3_000.0) -> None:
    """Give a recording lognormal latencies, `slower` times as long, of which a part hangs for `stuck` [tick, host].

    With a third axis, [tick, host, edge], `slower` is about the events around each edge.
    """
    edges = np.array([float(edge) for edge in EDGES])
    scale = slower if np.ndim(slower) == 3 else np.broadcast_to(slower, small.size)[..., None]
    hangs = np.broadcast_to(stuck, small.size)[..., None]
    own = np.exp(small.rng.normal(0.0, 0.02, (*small.size, 1)))  # hosts are never quite alike
    within = norm.cdf(np.log(edges / (MEDIAN * scale * own)) / 0.9) * (1 - hangs)
    within[..., -1] = 1.0
    parts = np.diff(within, axis=-1, prepend=0.0)
    counts = np.cumsum(small.rng.poisson(requests * parts), axis=-1)
    for place, edge in enumerate(EDGES):
        small.gains["http_seconds_bucket", edge] = counts[..., place].astype(np.float64)


def harm(small: Small, value: float, usual: float = 1.0, **labels: str) -> Array:
    return np.where(small.since(4, cohort="canary", **labels), value, usual)


def latencies(reasons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [reason for reason in reasons if reason["metric"] == "latency"]


def test_equal_latencies_advance_and_the_quantile_is_told(judge: Judge) -> None:
    small = Small()
    lasting(small)
    outcome = judge(small, LATENCY)
    assert said(outcome)[-1] == ("advance", "evidence")
    (reason,) = latencies(outcome.reasons)
    low, high = reason["interval"]
    assert low < reason["effect"] < high < 0.1
    true = MEDIAN * np.exp(0.9 * norm.ppf(0.99))
    told = re.fullmatch(
        r"latency over all colos: p99 about ([\d.]+) s on the canary, where about ([\d.]+) s was to be expected from "
        r"its past and the control \(now about ([\d.]+) s\)\. .* More than the tolerated \+10\.0% is excluded\. .*",
        reason["sentence"],
    )
    assert told, reason["sentence"]
    assert [float(value) for value in told.groups()] == pytest.approx([true] * 3, rel=0.1)


def test_a_slowdown_is_told_as_one_of_the_quantile(judge: Judge) -> None:
    small = Small()
    lasting(small, harm(small, 1.5))
    outcome = judge(small, LATENCY)
    assert (outcome.action, blamed(outcome)) == ("revert", {"latency"})
    assert outcome.time <= "2026-03-12T11:21:40Z"
    for reason in latencies(outcome.reasons):
        # The first live ticks, which were as fast as ever, are in the sums.
        assert 0.1 < reason["effect"] < 0.6
        assert re.search(r": p\d+ about [\d.]+ s on the canary, where about", reason["sentence"])
        assert "Tolerated is +10.0%." in reason["sentence"]


def test_hangs_of_a_few_are_seen_in_the_tail(judge: Judge) -> None:
    small = Small()
    lasting(small, stuck=harm(small, 0.03, 0.0))
    outcome = judge(small, LATENCY)
    assert (outcome.action, blamed(outcome)) == ("revert", {"latency"})
    assert outcome.time <= "2026-03-12T11:22:00Z"
    assert any("p99 more than 10 s on the canary" in reason["sentence"] for reason in latencies(outcome.reasons))


def bulk_and_tail(small: Small, bulk: float, tail: float) -> Array:
    """Return how much slower the canary becomes below and above 0.2 s [tick, host, edge]."""
    factor = np.where(np.array([float(edge) for edge in EDGES]) < 0.2, bulk, tail)
    return np.where(small.since(4, cohort="canary")[..., None], factor, 1.0)


def test_a_bulk_that_slows_while_the_tail_does_not_is_harm(judge: Judge) -> None:
    small = Small()
    lasting(small, bulk_and_tail(small, 1.5, 1.0))
    outcome = judge(small, LATENCY)
    assert (outcome.action, blamed(outcome)) == ("revert", {"latency"})
    assert all(": p50 about" in reason["sentence"] for reason in latencies(outcome.reasons))


def test_a_bulk_that_gets_faster_lets_no_slow_tail_pass(judge: Judge) -> None:
    """Only the edges at the policy's own quantile show a histogram harmless."""
    small = Small(live=90)
    lasting(small, bulk_and_tail(small, 0.5, 1.12), requests=300.0)
    outcome = judge(small, LATENCY.replace("breach: revert}", "breach: revert, required: true}"))
    assert "advance" not in dict(said(outcome))
    assert why(outcome)["latency"] == "a degradation beyond the tolerance is not excluded yet"


def test_a_bulk_that_cannot_be_told_holds_nothing_up(judge: Judge) -> None:
    """The bulk is as much slower as is tolerated, so that it is never shown harmless; the policy asks for the tail."""
    small = Small(hosts=12)
    lasting(small, bulk_and_tail(small, 1.1, 1.0))
    assert said(judge(small, LATENCY))[-1] == ("advance", "evidence")


def test_histograms_whose_buckets_change_midway_are_named(judge: Judge) -> None:
    """The change brings other buckets: nothing of the canary's histograms can be compared."""
    small = Small()
    lasting(small)
    changed = small.since(0, cohort="canary")
    small.gains["http_seconds_bucket", "0.75"] = small.gains["http_seconds_bucket", "1"].copy()
    for edge, gone in (("0.5", changed), ("0.75", ~changed)):
        total = np.cumsum(small.gains["http_seconds_bucket", edge], axis=0)
        # Taking single buckets away is not what `absent` does, so their values go.
        small.gains.pop(("http_seconds_bucket", edge))
        small.gauges[f"http_seconds_bucket|{edge}"] = np.where(gone, np.nan, total)
    outcome = judge(small, LATENCY, change=with_buckets)
    assert "advance" not in dict(said(outcome))
    assert said(outcome)[-1] == ("halt", "deadline")
    assert outcome.dropped.keys() == {"incomplete_histogram"}
    assert (
        "100% of the canary's histograms were set aside, as some of their buckets were missing or changed midway"
        in why(outcome)["latency"]
    )


def with_buckets(table: Any) -> Any:
    """Turn gauges named `metric|edge` into buckets of that metric."""
    import pyarrow as pa

    names = np.array(table["metric"].to_pylist())
    split = np.char.partition(names, "|")
    le = np.where(split[:, 2] != "", split[:, 2], np.array(table["le"].to_pylist()))
    at = table.schema.get_field_index
    table = table.set_column(at("metric"), "metric", pa.array(split[:, 0]))
    return table.set_column(at("le"), "le", pa.array(le))


def test_the_smallest_visible_degradation_is_one_of_the_quantile(judge: Judge) -> None:
    small = Small(live=40)
    lasting(small, requests=60.0)
    outcome = judge(small, LATENCY, ROLLOUT)
    entry = {entry["metric"]: entry for entry in last(outcome)["abstained"]}["latency"]
    assert entry["why"] == "a degradation beyond the tolerance is not excluded yet"
    assert entry["minimum_detectable_effect"] > 0.1
