"""The dashboard of detection quality on today's engine: verdicts against what is known to be true."""

from collections.abc import Iterator

import numpy as np
import pytest

from dashboards.macros import ALL
from tests.dashboard_rows import COLOS, LABELLED, REPLAY, SHOWN, START_MS, Reader, Row, at, filled

TICK_MS = 5_000  # of the policy of the labelled replays; live ticks are twice as long
OUTCOMES = {
    "passed": "passed",
    "held": "passed",
    "false": "false alarm",
    "deadline": "false alarm",
    "caught": "caught",
    "late": "late",
    "early": "false alarm",
    "missed": "missed",
    "elsewhere": "caught",
    "unjudged": "unjudged",
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with filled(tmp_path_factory.mktemp("dashboards") / "store") as opened:
        yield opened


def ask(reader: Reader, file: str, origin: str | list[str] = ALL) -> list[Row]:
    return reader.ask("quality", file, origin=origin)


def test_origins_are_those_with_a_truth(reader: Reader) -> None:
    expected = ["live", *sorted(f"replay:{name}" for name in LABELLED)]
    assert [row["origin"] for row in ask(reader, "variable_origin")] == expected


def test_rollouts_are_counted_by_outcome_the_worst_first(reader: Reader) -> None:
    found = {row["outcome"]: row["rollouts"] for row in ask(reader, "outcomes")}
    assert list(found) == ["false alarm", "missed", "late", "caught", "passed", "unjudged"]
    assert found == {"false alarm": 3, "missed": 1, "late": 1, "caught": 3, "passed": 2, "unjudged": 1}


@pytest.mark.parametrize("name", LABELLED)
def test_each_outcome_is_what_the_truth_makes_of_the_verdicts(name: str, reader: Reader) -> None:
    assert ask(reader, "outcomes", [f"replay:{name}"]) == [{"outcome": OUTCOMES[name], "rollouts": 1}]


def test_a_replay_without_a_truth_is_not_judged_by_that_of_the_live_rollout(reader: Reader) -> None:
    assert ask(reader, "outcomes", [REPLAY]) == []
    assert ask(reader, "outcomes", ["live"]) == [{"outcome": "caught", "rollouts": 1}]


def test_rates_tell_live_rollouts_from_replays_and_evidence_from_other_causes(reader: Reader) -> None:
    live, replay = ask(reader, "rates")
    assert (live["kind"], live["harmless"], live["harmful"], live["false_alarm_share"]) == ("live", 0, 1, None)
    assert replay == {
        "kind": "replay",
        "harmless": 4,
        "false_alarms": 2,
        "false_alarm_share": 0.5,
        "by_evidence_share": 0.25,
        "alpha_mean": pytest.approx(0.01),
        "harmful": 5,
        "missed_ones": 1,
        "missed_share": pytest.approx(0.2),
        "late_ones": 1,
        "misplaced": 1,
    }


def test_outcomes_stand_at_the_first_stop_or_else_the_last_verdict(reader: Reader) -> None:
    shown = sorted((row["bucket"], row["outcome"], row["rollouts"]) for row in ask(reader, "over_time"))
    counted: dict[tuple[int, str], int] = {}
    for name, (truth, verdicts) in LABELLED.items():
        stops = [tick for tick, action, _, _ in verdicts if action in ("halt", "revert")]
        when = at((stops or [verdicts[-1][0]])[0]) if verdicts else truth["onset"]
        key = (when // 60_000 * 60_000, OUTCOMES[name])
        counted[key] = counted.get(key, 0) + 1
    key = (at(30) // 60_000 * 60_000, "caught")  # the live one
    counted[key] = counted.get(key, 0) + 1
    times = {when: f"2026-03-12 11:{20 + (when - START_MS) // 60_000:02d}:00" for when, _ in counted}
    assert shown == sorted((times[when], outcome, number) for (when, outcome), number in counted.items())


def test_delays_are_in_ticks_of_the_policy(reader: Reader) -> None:
    # caught 7 and late 9 ticks of 10 s after the onset, which are 14 and 18 of the policy's; the live one 6 of its own.
    assert [row["delay_ticks"] for row in ask(reader, "delays")] == [6, 14, 18]


def test_a_stop_before_the_onset_has_no_delay(reader: Reader) -> None:
    assert ask(reader, "delays", ["replay:early"]) == []


def test_harmful_rollouts_are_counted_by_the_metric_that_was_hurt(reader: Reader) -> None:
    (row,) = ask(reader, "by_metric")
    counts = [row[name] for name in ("harmful", "stopped_right", "missed_ones", "too_early")]
    assert (row["metric"], counts) == ("errors", [6, 4, 1, 1])
    delays = sorted([60.0, 70.0, 90.0])
    assert (row["delay_p50"], row["delay_p90"]) == (delays[1], delays[2])
    assert np.median(delays) == row["delay_p50"]


def test_false_alarms_are_counted_by_cause(reader: Reader) -> None:
    assert ask(reader, "causes") == [{"cause": "evidence", "false_alarms": 2}, {"cause": "deadline", "false_alarms": 1}]


def test_what_went_wrong_is_listed_the_worst_first(reader: Reader) -> None:
    rows = ask(reader, "wrong")
    assert {row["rollout"] for row in rows} == {
        "false",
        "deadline",
        "early",
        "missed",
        "late",
        "elsewhere",
        "held",
        "unjudged",
    }
    assert [row["outcome"] for row in rows[:5]] == ["false alarm"] * 3 + ["missed", "late"]
    by_name = {row["rollout"]: row for row in rows}
    late = by_name["late"]
    assert (late["ended"], late["ticks_after_onset"], late["due_within"]) == ("revert", 18, 3)
    assert (late["expected"], late["truth"], late["hurt"], late["blamed"]) == (
        "revert or halt",
        "harmful",
        "ams01",
        "ams01",
    )
    assert by_name["elsewhere"]["harm_began"] is None
    assert (by_name["elsewhere"]["hurt"], by_name["elsewhere"]["blamed"]) == ("syd01", "ams01")
    assert (by_name["unjudged"]["ended"], by_name["unjudged"]["ticks_after_onset"]) == ("", None)
    assert by_name["held"]["blamed"] == ""


def test_what_came_out_right_is_not_listed(reader: Reader) -> None:
    assert ask(reader, "wrong", ["replay:passed", "replay:caught", "live"]) == []


def test_the_rows_of_these_tests_lie_in_the_range_that_is_shown() -> None:
    assert all(at(tick) < SHOWN.end_ms for _, verdicts in LABELLED.values() for tick, *_ in verdicts)
    assert len(COLOS) == 5
