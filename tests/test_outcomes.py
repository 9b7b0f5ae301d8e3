"""What the judge makes of small recordings: fail safe, whatever the data look like, and never a false step."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from holdfast.errors import BadInput
from holdfast.replaying import Outcome, in_words, replay_recording
from tests.test_cli import POLICY, ROLLOUT, START_MS, Small, milliseconds

Judge = Callable[..., Outcome]

REQUIRED: Final = POLICY.replace("breach: halt}", "breach: halt, required: true}")


def make_judge(folder: Path) -> Judge:
    """Return what writes a recording and judges it; what it prints must be possible to print."""
    count = 0

    def judged(small: Small, policy: str = POLICY, rollout: str = ROLLOUT, **more: Any) -> Outcome:
        nonlocal count
        count += 1
        outcome = replay_recording(small.write(folder / str(count), policy, rollout, **more))
        assert outcome.as_json()
        assert in_words(outcome)
        return outcome

    return judged


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return make_judge(tmp_path)


def said(outcome: Outcome) -> list[tuple[str, str]]:
    return [(verdict["data"]["action"], verdict["data"]["cause"]) for verdict in outcome.verdicts]


def last(outcome: Outcome) -> dict[str, Any]:
    data: dict[str, Any] = outcome.verdicts[-1]["data"]
    return data


def why(outcome: Outcome) -> dict[str, str]:
    """Return what the last verdict says of the metrics that could not be judged."""
    return {entry["metric"]: entry["why"] for entry in last(outcome)["abstained"]}


def blamed(outcome: Outcome) -> set[str]:
    return {reason["metric"] for reason in outcome.reasons}


def sample(table: pa.Table, **changed: Any) -> pa.Table:
    """Return the last row of a table, with some columns changed."""
    row = table.slice(len(table) - 1)
    for name, value in changed.items():
        at = table.schema.get_field_index(name)
        row = row.set_column(at, name, pa.array([value], table.schema.field(name).type))
    return row


# ---------------------------------------------------------------- data that say nothing


def test_what_says_nothing_is_counted_and_changes_nothing(judge: Judge) -> None:
    def spoilt(table: pa.Table) -> pa.Table:
        odd: list[dict[str, Any]] = [
            {"value": np.nan},
            {"value": None},
            {"value": np.inf},
            {"value": -np.inf},
            {"time": None},
        ]
        odd += [{"metric": ""}, {"colo": None}, {"metric": "other"}, {}]
        return pa.concat_tables([table, *(sample(table, **changed) for changed in odd)])

    plain, odd = judge(Small()), judge(Small(), change=spoilt)
    assert odd.dropped == {
        "duplicate": 1,
        "infinite": 2,
        "nan": 2,
        "no_metric_or_colo": 2,
        "no_time": 1,
        "not_judged": 1,
    }
    assert (odd.samples, plain.dropped) == (plain.samples + 9, {})
    assert odd.verdicts == plain.verdicts


def test_duplicates_out_of_order_change_nothing(judge: Judge) -> None:
    def doubled(table: pa.Table) -> pa.Table:
        order = np.random.default_rng(3).permutation(2 * len(table))
        return pa.concat_tables([table, table]).take(pa.array(order))

    plain, twice = judge(Small()), judge(Small(), change=doubled)
    assert twice.dropped == {"duplicate": plain.samples}
    assert twice.verdicts == plain.verdicts


def test_of_duplicates_the_larger_counts(judge: Judge) -> None:
    def doubled(table: pa.Table) -> pa.Table:
        small = table.set_column(
            table.schema.get_field_index("value"), "value", pa.array(table["value"].to_numpy() * 0.5)
        )
        return pa.concat_tables([small, table])

    assert judge(Small(), change=doubled).verdicts == judge(Small()).verdicts


def test_late_samples_are_dropped_and_counted(judge: Judge) -> None:
    def delayed(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table.slice(500), table.slice(0, 500)])

    outcome = judge(Small(hosts=40), change=delayed)
    assert outcome.dropped == {"late": 500}
    assert outcome.action == "advance"


def test_samples_of_a_clock_that_runs_ahead_are_set_aside(judge: Judge) -> None:
    ahead = START_MS + 5 * 3_600_000

    def shifted(table: pa.Table) -> pa.Table:
        time = table["time"].to_numpy().astype("datetime64[ms]").astype(np.int64)
        mine = (np.array(table["host"]) == "ams01-h7") & (time > START_MS)
        return table.set_column(table.schema.get_field_index("time"), "time", milliseconds(np.where(mine, ahead, time)))

    outcome = judge(Small(hosts=40), change=shifted)
    assert outcome.dropped == {"future": 180}
    assert outcome.ticks == 60
    assert outcome.action == "advance"


@pytest.mark.parametrize("tick", [-20, 0, 7])
def test_counters_that_begin_anew_are_no_harm(tick: int, judge: Judge) -> None:
    """As deployments do: every canary restarts, and counts from zero."""
    small = Small()
    canary = np.array(small.labels["cohort"]) == "canary"
    for gains in small.gains.values():
        gains[small.pre + tick, canary] -= gains[: small.pre + tick, canary].sum(axis=0)
    assert judge(small).action == "advance"


@pytest.mark.parametrize(("metric", "back"), [("http_requests", 50.0), ("http_5xx", 10.0)])
def test_a_counter_that_once_runs_backwards_stops_nothing(metric: str, back: float, judge: Judge) -> None:
    small = Small()
    gains = small.gains[metric, ""]
    gains[small.pre + 7, 0] = -back
    assert judge(small).action in ("advance", "wait")


@pytest.mark.parametrize("value", [1e300, -1e300])
@pytest.mark.parametrize(("tick", "host"), [(-5, 0), (5, 0), (5, 1)])
def test_a_single_absurd_value_stops_nothing(value: float, tick: int, host: int, judge: Judge) -> None:
    small = Small()
    small.gauges["cpu"][small.pre + tick, host] = value
    assert not {("halt", "evidence"), ("revert", "evidence")} & set(said(judge(small)))


# ---------------------------------------------------------------- silence


def test_canaries_that_fall_silent_are_halted(judge: Judge) -> None:
    small = Small()
    small.missing |= small.since(3, cohort="canary")
    outcome = judge(small)
    assert (outcome.action, outcome.final_action) == ("halt", "halt")
    assert said(outcome)[-1] == ("halt", "evidence")
    assert blamed(outcome) == {"reporting_hosts"}
    assert outcome.time < "2026-03-12T11:22:30Z"


def test_canaries_that_never_report_after_the_start_are_halted(judge: Judge) -> None:
    small = Small()
    small.missing |= small.since(0, cohort="canary")
    outcome = judge(small)
    assert (outcome.action, blamed(outcome)) == ("halt", {"reporting_hosts"})


def test_silence_of_everybody_waits_and_then_halts(judge: Judge) -> None:
    small = Small(hosts=6)
    for host in (4, 5, 10, 11):
        small.labels["cohort"][host] = "bystander"
    small.missing |= small.since(3, cohort="canary") | small.since(3, cohort="control")
    outcome = judge(small)
    assert said(outcome) == [("wait", "baking"), ("wait", "data"), ("halt", "deadline")]
    assert {"errors", "cpu"} <= why(outcome).keys()


def test_a_recording_that_ends_where_the_rollout_starts_cannot_be_judged(judge: Judge) -> None:
    small = Small()
    small.missing |= small.since(0)
    with pytest.raises(BadInput, match=r"started: .* lies outside the recording"):
        judge(small)


@pytest.mark.parametrize("cohorts", [{"cohort": "canary"}, {"cohort": "control"}, {}])
def test_a_required_metric_that_stops_waits_and_then_halts(cohorts: dict[str, str], judge: Judge) -> None:
    small = Small()
    small.absent["cpu"] = small.since(3, **cohorts)
    outcome = judge(small, REQUIRED)
    assert said(outcome) == [("wait", "baking"), ("wait", "data"), ("halt", "deadline")]
    assert last(outcome)["reasons"] == []
    assert why(outcome).keys() == {"cpu"}
    assert why(outcome)["cpu"].startswith("no data on ")


def test_a_required_metric_that_stops_in_one_colo_does_not_advance(judge: Judge) -> None:
    small = Small()
    small.absent["cpu"] = small.since(3, cohort="canary", colo="ams01")
    outcome = judge(small, REQUIRED)
    assert "advance" not in dict(said(outcome))
    assert "cpu" in why(outcome)


def test_a_colo_that_is_silent_on_both_sides_is_no_breach(judge: Judge) -> None:
    small = Small(colos=("ams01", "fra02", "lhr03"))
    small.missing |= small.since(3, colo="ams01")
    assert ("halt", "evidence") not in said(judge(small))


def test_controls_that_fall_silent_let_nothing_advance(judge: Judge) -> None:
    small = Small()
    small.missing |= small.since(0, cohort="control")
    assert said(judge(small)) == [("wait", "baking"), ("wait", "data"), ("halt", "deadline")]


def test_a_gap_in_the_past_of_all_hosts_keeps_nothing_from_advancing(judge: Judge) -> None:
    small = Small()
    small.missing[small.pre - 35 : small.pre - 10] = True
    assert judge(small).action == "advance"


def test_a_metric_that_begins_after_the_start_is_not_judged_and_does_not_advance(judge: Judge) -> None:
    small = Small()
    small.absent["cpu"] = ~small.since(5)
    outcome = judge(small)
    assert said(outcome)[-1] == ("halt", "deadline")
    assert "no past of 30 ticks" in why(outcome)["cpu"]


# ---------------------------------------------------------------- harm


def test_a_control_that_is_sick_never_lets_advance(judge: Judge) -> None:
    small = Small(live=90)
    small.gauges["cpu"][small.since(3, cohort="control")] *= 2
    outcome = judge(small)
    assert "advance" not in dict(said(outcome))
    assert said(outcome)[-1] == ("halt", "deadline")
    assert "the control moved suddenly and alone" in why(outcome)["cpu"]


def test_errors_that_come_and_go_are_reverted_once(judge: Judge) -> None:
    small = Small(live=120)
    on = (np.arange(small.size[0]) - small.pre) // 15 % 2 == 0
    small.gains["http_5xx", ""][small.since(0, cohort="canary") & on[:, None]] *= 8
    outcome = judge(small)
    actions = [action for action, _ in said(outcome)]
    assert actions[0] == "wait"
    assert set(actions[1:]) == {"revert"}
    assert blamed(outcome) == {"errors"}


@pytest.mark.parametrize("is_there", [True, False], ids=["at zero", "not there"])
def test_errors_from_zero_are_reverted(is_there: bool, judge: Judge) -> None:
    small = Small()
    gains = small.gains["http_5xx", ""]
    gains[:] = 0
    gains[small.since(5, cohort="canary")] = 4
    if not is_there:
        small.absent["http_5xx"] = np.cumsum(gains, axis=0) == 0
    outcome = judge(small)
    assert (outcome.action, outcome.final_action, blamed(outcome)) == ("revert", "revert", {"errors"})
    assert "2026-03-12T11:21:00Z" < outcome.time <= "2026-03-12T11:21:40Z"


@pytest.mark.parametrize(("before", "of_control"), [(1.0, 0.0), (1.0, 0.001), (2.0, 0.2)])
def test_canaries_that_erred_a_little_before_may_not_fail_by_half(
    before: float, of_control: float, judge: Judge
) -> None:
    """The score of bad events saturates where nearly all of them are the canary's; half of its requests is harm."""
    small = Small(pre=120)
    usual = np.where(small.since(-120, cohort="canary"), before, of_control)
    small.gains["http_5xx", ""] = small.rng.poisson(usual).astype(np.float64)
    small.gains["http_5xx", ""][small.since(2, cohort="canary")] = 1_500
    outcome = judge(small)
    assert (outcome.action, blamed(outcome)) == ("revert", {"errors"})


def test_canaries_that_always_erred_a_little_are_no_harm(judge: Judge) -> None:
    small = Small(pre=120)
    small.gains["http_5xx", ""] = np.where(small.since(-120, cohort="canary"), small.rng.poisson(1.0, small.size), 0.0)
    assert judge(small).action in ("advance", "wait") or said(judge(small))[-1] == ("halt", "deadline")


@pytest.mark.parametrize("level", [1e-300, 1e-20, 1e-9, 3e6, 1e100])
def test_a_gauge_is_judged_alike_at_every_level(level: float, judge: Judge) -> None:
    harmless, harmful = Small(), Small()
    harmful.gauges["cpu"][harmful.since(4, cohort="canary")] *= 2
    for small in (harmless, harmful):
        small.gauges["cpu"] *= level
    assert (judge(harmless).action, judge(harmful).action) == ("advance", "halt")


@pytest.mark.parametrize("level", [-5.0, 0.0, 5.0])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_gauge_may_be_negative_zero_or_constant(level: float, noise: float, judge: Judge) -> None:
    harmless, harmful = Small(live=90), Small(live=90)
    for small in (harmless, harmful):
        small.gauges["cpu"] = level + small.rng.normal(0.0, noise, small.size)
    harmful.gauges["cpu"][harmful.since(4, cohort="canary")] += 5
    assert judge(harmless).action in ("advance", "wait")
    assert judge(harmful).action == "halt"


def test_equal_values_on_both_sides_advance(judge: Judge) -> None:
    small = Small()
    small.gauges["cpu"][:] = small.gauges["cpu"][:, :1]
    for gains in small.gains.values():
        gains[:] = gains[:, :1]
    assert judge(small).action == "advance"


def test_counters_that_never_move_show_no_health(judge: Judge) -> None:
    small = Small()
    for gains in small.gains.values():
        gains[:] = 0
    outcome = judge(small)
    assert said(outcome) == [("wait", "baking"), ("wait", "data"), ("halt", "deadline")]
    assert "errors" in why(outcome)


# ---------------------------------------------------------------- verdicts


def test_verdicts_are_numbered_and_named_without_repetition(judge: Judge) -> None:
    small = Small(colos=("ams01", "fra02", "lhr03"), live=90)
    small.gains["http_5xx", ""][small.since(5, cohort="canary", colo="ams01")] *= 20
    small.gains["http_5xx", ""][small.since(30, cohort="canary", colo="lhr03")] *= 20
    outcome = judge(small)
    data = [verdict["data"] for verdict in outcome.verdicts]
    assert [one["sequence"] for one in data] == list(range(1, len(data) + 1))
    assert len({verdict["id"] for verdict in outcome.verdicts}) == len(data)
    assert outcome.verdicts == sorted(outcome.verdicts, key=lambda verdict: verdict["time"])
    assert {one["action"] for one in data[1:]} == {"revert"}
    scopes = [set(one["scope"]["colos"]) for one in data[1:]]
    assert scopes[0] == {"ams01"}
    assert all(before <= after for before, after in pairwise(scopes))
    assert "fra02" not in scopes[-1]


@pytest.mark.parametrize(("mode", "binding"), [("enforce", True), ("shadow", False)])
def test_a_shadow_binds_nobody(mode: str, binding: bool, judge: Judge) -> None:
    outcome = judge(Small(), rollout=f"{ROLLOUT}mode: {mode}\n")
    assert {verdict["data"]["binding"] for verdict in outcome.verdicts} == {binding}


def test_a_unit_without_a_colo_is_in_no_scope(judge: Judge) -> None:
    small = Small()
    small.labels["colo"][0] = ""
    outcome = judge(small)
    assert outcome.dropped == {"no_metric_or_colo": 360}
    assert {colo for verdict in outcome.verdicts for colo in verdict["data"]["scope"]["colos"]} <= {"ams01", "fra02"}


@pytest.mark.parametrize("colo", ["münchen 1", "東京", "a\nb", "a'b\"c\\", "x" * 300, "*"])
def test_colos_bear_any_name(colo: str, judge: Judge) -> None:
    small = Small(colos=(colo, "fra02"))
    small.gains["http_5xx", ""][small.since(5, cohort="canary", colo=colo)] *= 30
    outcome = judge(small)
    assert (outcome.action, last(outcome)["scope"]["colos"]) == ("revert", [colo])


@pytest.mark.parametrize(
    ("started", "tick_s", "bake", "first"),
    [
        ("11:20:00Z", 10, "5m", "11:20:00Z"),
        ("11:20:07.123Z", 10, "5m", "11:20:10Z"),
        ("13:20:01+02:00", 10, "5m", "11:20:10Z"),
        ("11:20:01Z", 1, "30s", "11:20:01Z"),
        ("11:20:01Z", 300, "150m", "11:25:00Z"),
    ],
)
def test_a_stage_advances_at_the_end_of_its_bake_and_not_before(
    started: str, tick_s: int, bake: str, first: str, judge: Judge
) -> None:
    rollout = ROLLOUT.replace("11:20:01Z", started).replace("bake: 5m, deadline: 8m", f"bake: {bake}")
    outcome = judge(Small(tick_s=tick_s), POLICY + f"tick: {tick_s}s\n", rollout)
    assert said(outcome)[0] == ("wait", "baking")
    assert said(outcome)[-1] == ("advance", "evidence")
    assert outcome.verdicts[0]["time"] == f"2026-03-12T{first}"
    baked = np.datetime64(outcome.time[:-1], "s") - np.datetime64(f"2026-03-12T{first[:-1]}", "s")
    assert baked / np.timedelta64(tick_s, "s") == 29  # and the tick that ends at `first` is the 30th
