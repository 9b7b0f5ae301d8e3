"""When harm began, out of rows of evidence as the judge sends them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from holdfast.response.onsets import Wanted, began_of, chosen
from streams.records import EVIDENCE

TICK_MS = 10_000
SINCE = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
SINCE_MS = round(SINCE.timestamp() * 1_000)
WANTED = Wanted("inc-20260312-0a1b2c3d", "bots", "canary", frozenset(["errors"]), SINCE_MS, SINCE_MS + 300_000, TICK_MS)


def evidence(shown, *, first: int = 1, log_e: float = 9.0, **names: object) -> pa.Table:
    """Give evidence of effects of single ticks, the first of which ends so many ticks after the stage's start."""
    count = len(shown)
    information = np.arange(1.0, count + 1)
    effect = np.cumsum(shown) / information
    columns: dict[str, object] = {
        "rollout": ["bots"] * count,
        "time": pa.array([SINCE_MS + TICK_MS * (first + tick) for tick in range(count)], EVIDENCE.field("time").type),
        **{
            name: [names.get(name, default)] * count
            for name, default in (
                ("stage", "canary"),
                ("metric", "errors"),
                ("edge", 0.0),
                ("level", "colo"),
                ("place", "ams01"),
            )
        },
        "effect": effect,
        "lower": effect,
        "upper": effect,
        "log_e": np.full(count, log_e),
        "mde": effect,
        "information": information,
    }
    return pa.table(columns, schema=EVIDENCE)


def after(ticks: int, quiet: int = 20) -> list[float]:
    """Give effects of harm that begins after so many quiet ticks."""
    return [0.1 * (-1) ** tick for tick in range(quiet)] + [2.0 + 0.1 * (-1) ** tick for tick in range(ticks)]


def began(*tables: pa.Table, wanted: Wanted = WANTED) -> tuple[datetime, str]:
    found = began_of(wanted, chosen(pa.concat_tables(tables), wanted))
    assert found is not None
    return found.at, found.why


def test_it_is_the_beginning_of_the_first_tick_that_shows_harm() -> None:
    at, why = began(evidence(after(5)))
    assert at == SINCE + timedelta(seconds=200)
    assert why == "from then on errors in ams01 was worse than before"


def test_the_comparison_with_the_largest_e_value_tells() -> None:
    other = evidence(after(15, 10), log_e=3.0, place="fra02")
    assert began(evidence(after(5)), other)[0] == SINCE + timedelta(seconds=200)
    assert began(evidence(after(5), log_e=1.0), other)[0] == SINCE + timedelta(seconds=100)


def test_the_fleet_has_no_name() -> None:
    assert began(evidence(after(5), level="fleet", place=""))[1].startswith(
        "from then on errors in the fleet as a whole"
    )


def test_what_is_of_another_stage_or_metric_or_came_later_tells_nothing() -> None:
    others = [
        evidence(after(15, 10), log_e=99.0, stage="region"),
        evidence(after(15, 10), log_e=99.0, metric="cpu"),
        evidence(after(5), first=40, log_e=99.0),
    ]
    assert began(evidence(after(5)), *others)[0] == SINCE + timedelta(seconds=200)


def test_a_verdict_that_names_no_metric_is_about_any() -> None:
    anything = replace(WANTED, metrics=frozenset())
    assert began(evidence(after(5), metric="cpu"), wanted=anything)[0] == SINCE + timedelta(seconds=200)


def test_harm_that_the_first_evidence_shows_began_with_the_stage() -> None:
    steady = [2.0 + 0.1 * (-1) ** tick for tick in range(12)]
    at, why = began(evidence(steady, first=7))  # ticks before that settled
    assert at == SINCE
    assert why == "since the stage began, errors in ams01 was worse than it should be"


def test_the_order_of_rows_and_ticks_that_came_twice_change_nothing() -> None:
    rows = evidence(after(5))
    mixed = rows.take(pa.array(np.random.default_rng(1).permutation(rows.num_rows)))
    assert began(mixed, rows) == began(rows)


def test_a_stage_that_was_begun_anew_is_told_from_there_on() -> None:
    at, _ = began(evidence(after(3, 7)), evidence(after(5, 10), first=11))
    assert at == SINCE + timedelta(seconds=200)


def test_it_is_never_later_than_the_verdict_and_never_before_the_stage() -> None:
    for seed in range(50):
        generator = np.random.default_rng(seed)
        shown = generator.normal(0.5, 1.0, int(generator.integers(1, 30)))
        found = began_of(WANTED, chosen(evidence(shown), WANTED))
        assert found is not None
        assert SINCE <= found.at < SINCE + timedelta(milliseconds=WANTED.at_ms - SINCE_MS)


@pytest.mark.parametrize("rows", [None, evidence([]), evidence([0.0, 0.0])])
def test_without_evidence_nothing_is_said(rows) -> None:
    assert began_of(WANTED, rows) is None
