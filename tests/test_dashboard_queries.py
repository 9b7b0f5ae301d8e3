"""Every query of the dashboards on today's engine: what it answers, against the same worked out from the rows.

Those of the dashboards of the engine's health and of detection quality have files of their own beside this.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from dashboards.build import SQL
from dashboards.macros import ALL, Range
from tests.dashboard_rows import (
    ABSTAINED,
    COLOS,
    LABELLED,
    REPLAY,
    SHOWN,
    STAGES,
    START_MS,
    STOP_REASONS,
    Reader,
    Row,
    at,
    bucket,
    chosen,
    cohort_rows,
    event_rows,
    evidence_rows,
    filled,
    grouped,
    live,
    near,
    text,
    verdict_rows,
)

FILES = [(path.parent.name, path.stem) for path in sorted(SQL.rglob("*.sql"))]
LATER = Range(START_MS + 86_400_000, START_MS + 90_000_000, 60)
HURT = ("ams01", "fra01")
BOUNDS = {"effect": "effect", "low": "lower", "high": "upper"}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with filled(tmp_path_factory.mktemp("dashboards") / "store") as opened:
        yield opened


def log10(row: Row) -> float:
    return float(row["log_e"] / np.log(10))


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize(("dashboard", "file"), [file for file in FILES if "variable" not in file[1]])
def test_nothing_is_shown_of_a_time_without_rows(dashboard: str, file: str, reader: Reader) -> None:
    lasting = {"actions", "active", "blast_radius", "timeline", "verdict", "evidence_thresholds", "abstained"}
    everything = {"origin": ALL, "rollout": ALL} if dashboard in {"quality", "engine"} else {}
    everything |= {"metric": "errors"} if file in {"levels", "effect"} else {}
    assert bool(reader.ask(dashboard, file, LATER, **everything)) == (file in lasting)


# ---------------------------------------------------------------- fleet overview


def test_origins_are_live_and_each_replay_with_a_verdict(reader: Reader) -> None:
    judged = sorted(f"replay:{name}" for name, (_, verdicts) in LABELLED.items() if verdicts)
    expected = ["live", *sorted([*judged, REPLAY])]
    assert [row["origin"] for row in reader.ask("fleet", "variable_origin")] == expected


def test_active_rollouts_are_counted_by_verdict_without_finished_ones_and_replays(reader: Reader) -> None:
    assert reader.ask("fleet", "actions") == [{"action": "revert", "rollouts": 1}, {"action": "wait", "rollouts": 1}]


def test_active_rollouts_are_listed_the_worst_first(reader: Reader) -> None:
    bot_a = {"rollout": "bot-a", "stage": "europe", "action": "revert", "cause": "evidence", "since": text(at(30))}
    bot_b = {"rollout": "bot-b", "stage": "canary", "action": "wait", "cause": "baking", "since": text(at(3))}
    assert reader.ask("fleet", "active") == [
        bot_a | {"mode": "enforce", "colos_hurt": "ams01, fra01", "metrics_blamed": "errors"},
        bot_b | {"mode": "shadow", "colos_hurt": "", "metrics_blamed": ""},
    ]


def test_the_blast_radius_is_shares_of_colos_and_units_reached_and_of_colos_hurt(reader: Reader) -> None:
    # Two units a colo in the first stage and three in the second of bot-a; each has eight controls.
    known = len(COLOS) * (2 + 3 + 8)
    expected = [
        {"rollout": "bot-a", "colos_reached": 1, "units_reached": near(5 * 5 / known), "colos_hurt": near(2 / 5)},
        {"rollout": "bot-b", "colos_reached": near(2 / 5), "units_reached": near(2 * 3 / known), "colos_hurt": 0},
    ]
    assert reader.ask("fleet", "blast_radius") == expected


def test_the_timeline_of_all_rollouts_begins_with_what_was_in_force(reader: Reader) -> None:
    shown = Range(at(10), SHOWN.end_ms, 60)
    in_force = [("bot-a", "wait"), ("bot-b", "wait"), ("bot-c", "wait")]
    later = [
        (17, "bot-a", "advance"),
        (18, "bot-a", "wait"),
        (20, "bot-c", "advance"),
        (30, "bot-a", "revert"),
        (30, "bot-c", "finished"),
    ]
    answer = reader.ask("fleet", "timeline", shown)
    assert sorted((row["rollout"], row["state"]) for row in answer[:3]) == in_force
    assert {row["shown"] for row in answer[:3]} == {text(at(10))}
    assert [(row["shown"], row["rollout"], row["state"]) for row in answer[3:]] == [
        (text(at(tick)), rollout, state) for tick, rollout, state in later
    ]


def test_new_verdicts_are_counted_by_action(reader: Reader) -> None:
    rows = [row for row in verdict_rows() if not row["source"].startswith("replay:")]
    expected = [
        {"bucket": when, "action": action, "verdicts": len(each)}
        for (when, action), each in grouped(rows, "bucket", "action").items()
    ]
    assert reader.ask("fleet", "verdicts") == expected


def test_stops_are_listed_with_their_first_reason(reader: Reader) -> None:
    (stop,) = reader.ask("fleet", "stops")
    assert (stop["rollout"], stop["time"], stop["action"]) == ("bot-a", text(at(30)), "revert")
    assert (stop["colos_hurt"], stop["why"]) == ("ams01, fra01", STOP_REASONS[0]["sentence"])
    (stop,) = reader.ask("fleet", "stops", origin=REPLAY)
    assert (stop["rollout"], stop["time"], stop["action"], stop["why"]) == ("bot-a", text(at(25)), "halt", "")


# ---------------------------------------------------------------- one rollout


def test_variables_of_a_rollout_are_its_own(reader: Reader) -> None:
    assert [row["rollout"] for row in reader.ask("rollout", "variable_rollout")] == ["bot-a", "bot-c", "bot-b"]
    assert [row["stage"] for row in reader.ask("rollout", "variable_stage")] == list(STAGES["bot-a"])
    expected = ["errors", "cpu", "wait", "reporting_hosts"]
    assert [row["metric"] for row in reader.ask("rollout", "variable_metric")] == expected


def test_stage_events_are_marked(reader: Reader) -> None:
    expected = [
        {"time": text(row["effective_at"]), "text": f"{row['stage']} started", "tags": "started"}
        for row in chosen(event_rows(), rollout="bot-a")
    ]
    assert reader.ask("rollout", "annotation_events") == expected
    end = reader.ask("rollout", "annotation_events", rollout="bot-c")[-1]
    assert end == {"time": text(at(30)), "text": "bot-c finished", "tags": "finished"}


@pytest.mark.parametrize(("origin", "action", "tick"), [("live", "revert", 30), (REPLAY, "halt", 25)])
def test_the_verdict_in_force_is_the_last_one_of_its_origin(
    origin: str, action: str, tick: int, reader: Reader
) -> None:
    (row,) = reader.ask("rollout", "verdict", origin=origin)
    assert (row["action"], row["since"]) == (action, text(at(tick)))


def test_the_timeline_of_a_rollout_begins_with_what_was_in_force(reader: Reader) -> None:
    shown = Range(at(17) + 1, at(25), 60)
    assert reader.ask("rollout", "timeline", shown) == [
        {"shown": text(at(17) + 1), "verdict": "advance", "cause": "evidence", "stage": "canary"},
        {"shown": text(at(18)), "verdict": "wait", "cause": "baking", "stage": "europe"},
    ]


@pytest.mark.parametrize("origin", ["live", REPLAY])
@pytest.mark.parametrize("metric", [ALL, ["errors", "wait"]])
@pytest.mark.parametrize("stage", [ALL, "europe"])
def test_evidence_is_the_greatest_of_the_fleet_by_metric(
    origin: str, metric: str | list[str], stage: str, reader: Reader
) -> None:
    source = live("bot-a") if origin == "live" else REPLAY
    rows = chosen(evidence_rows(), rollout="bot-a", source=source, level="fleet")
    rows = [row for row in rows if metric == ALL or row["metric"] in metric]
    rows = [row for row in rows if stage in (ALL, row["stage"])]
    expected = [
        {"bucket": when, "metric": name, "log10_e": near(max(-3.0, *map(log10, each)))}
        for (when, name), each in grouped(rows, "bucket", "metric").items()
    ]
    assert reader.ask("rollout", "evidence", origin=origin, metric=metric, stage=stage) == expected


@pytest.mark.parametrize(("origin", "alpha", "stages"), [("live", 0.01, 2), (REPLAY, 0.1, 1)])
def test_thresholds_are_those_of_the_policy_that_counts(origin: str, alpha: float, stages: int, reader: Reader) -> None:
    # The least weight is 0.5, of 4.5 with that of reporting_hosts; half of a metric's evidence is the fleet's.
    alone = np.log10(stages * (4.5 / 0.5) * 2 / alpha)
    expected = [
        {"bucket": text(end, "s"), "1 / alpha": near(-np.log10(alpha)), "stops by itself": near(alone)}
        for end in (SHOWN.start_ms, SHOWN.end_ms)
    ]
    assert reader.ask("rollout", "evidence_thresholds", origin=origin) == expected


@pytest.mark.parametrize("metric", [ALL, "errors"])
def test_the_heat_of_a_colo_is_its_worst_metric(metric: str, reader: Reader) -> None:
    rows = chosen(evidence_rows(), rollout="bot-a", source=live("bot-a"), level="colo")
    rows = [row for row in rows if metric in (ALL, row["metric"])]
    expected = [
        {"bucket": when, "colo": colo, "log10_e": near(max(0.0, *map(log10, each)))}
        for (when, colo), each in grouped(rows, "bucket", "place").items()
    ]
    assert reader.ask("rollout", "colo_heat", metric=metric) == expected


def test_colos_show_the_worst_comparison_of_the_last_minute(reader: Reader) -> None:
    rows = chosen(evidence_rows(), rollout="bot-a", source=live("bot-a"), level="colo")
    last = max(bucket(row["time"]) for row in rows)
    expected = []
    for (colo,), each in grouped((row for row in rows if bucket(row["time"]) == last), "place").items():
        worst = max(each, key=log10)
        row = {"colo": colo, "worst_metric": worst["metric"], "stage": "europe", "log10_e": near(log10(worst))}
        row |= {name: near(worst[column]) for name, column in BOUNDS.items()}
        expected.append((colo in HURT, log10(worst), row | {"is_hurt": int(colo in HURT)}))
    expected.sort(key=lambda each: each[:2], reverse=True)
    assert reader.ask("rollout", "colos") == [row for _, _, row in expected]


@pytest.mark.parametrize("metric", ["errors", "cpu", "wait", "reporting_hosts"])
@pytest.mark.parametrize("origin", ["live", REPLAY])
def test_levels_are_those_of_both_sides_over_all_colos(origin: str, metric: str, reader: Reader) -> None:
    source = live("bot-a") if origin == "live" else REPLAY
    fleet = chosen(evidence_rows(), rollout="bot-a", source=source, level="fleet", metric=metric)
    edge = max(fleet, key=log10)["edge"]
    rows = chosen(cohort_rows(), rollout="bot-a", source=source, metric=metric, edge=edge)
    over, of = ("sum", "units") if metric == "cpu" else ("bad", "total")
    expected = [
        {"bucket": when, "cohort": cohort, "level": near(sum(r[over] for r in each) / sum(r[of] for r in each))}
        for (when, cohort), each in grouped(rows, "bucket", "cohort").items()
    ]
    assert reader.ask("rollout", "levels", origin=origin, metric=metric) == expected


@pytest.mark.parametrize("metric", ["errors", "wait"])
def test_the_effect_is_the_last_of_each_interval_with_its_bounds(metric: str, reader: Reader) -> None:
    rows = chosen(evidence_rows(), rollout="bot-a", source=live("bot-a"), level="fleet", metric=metric)
    expected = []
    for (when,), each in grouped(rows, "bucket").items():
        now = max(each, key=lambda row: (row["time"], row["log_e"]))
        names = {"estimate": "effect", "low": "lower", "high": "upper", "visible": "mde"}
        expected.append({"bucket": when} | {name: near(now[column]) for name, column in names.items()})
    assert reader.ask("rollout", "effect", metric=metric) == expected


def test_an_effect_without_bounds_is_left_open(reader: Reader) -> None:
    first = Range(SHOWN.start_ms, at(0), 60)
    (row,) = reader.ask("rollout", "effect", first, metric="errors")
    assert row["bucket"] == bucket(at(0))
    evidence = reader.ask("rollout", "evidence", first, metric="errors")
    assert all(row["log10_e"] is not None for row in evidence)


def test_reasons_are_told_the_newest_first_and_the_fleet_before_the_colos(reader: Reader) -> None:
    rows = reader.ask("rollout", "reasons")
    told = [(row["time"], row["metric"], row["colo"], row["sentence"]) for row in rows]
    fleet, fra, ams = STOP_REASONS
    expected = [(text(at(30)), each["metric"], each["colo"] or "", each["sentence"]) for each in (fleet, fra, ams)]
    assert told[:3] == expected
    assert [row["time"] for row in rows[3:]] == [text(at(17))]
    figures = [rows[1][name] for name in ("effect", "low", "high", "e_value", "canary_samples", "control_samples")]
    assert figures == [0.5, 0.25, None, 1e6, 1000, 4000]
    assert len(reader.ask("rollout", "reasons", stage="canary")) == 1


def test_what_could_not_be_judged_is_of_the_newest_verdict_in_the_range(reader: Reader) -> None:
    expected = [
        {
            "metric": each["metric"],
            "colo": each["colo"] or "",
            "smallest_visible": each["minimum_detectable_effect"],
            "why": each["why"],
        }
        for each in ABSTAINED
    ]
    assert reader.ask("rollout", "abstained") == expected
    assert reader.ask("rollout", "abstained", Range(START_MS, at(20), 60)) == []
