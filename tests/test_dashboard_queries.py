"""Every query of the dashboards on today's engine: what it answers, against the same worked out from the rows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from dashboards.build import SQL
from dashboards.macros import ALL, Range
from sinks.store import Store
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
    cohort_rows,
    event_rows,
    evidence_rows,
    fill,
    live,
    tick_rows,
    verdict_rows,
)

FILES = [(path.parent.name, path.stem) for path in sorted(SQL.rglob("*.sql"))]
CHOICES = [{"origin": ALL, "rollout": ALL}, {"origin": ["live", REPLAY], "rollout": ["bot-a", "bot-b"]}]
LATER = Range(START_MS + 86_400_000, START_MS + 90_000_000, 60)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("dashboards") / "store"
    with Store(folder) as store:
        fill(store)
        opened = Reader(folder)
        yield opened
        opened.close()


def text(ms: int, form: str = "ms") -> str:
    """Write a time as ClickHouse does."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{ms % 1000:03d}" if form == "ms" else "")


def bucket(ms: int, seconds: int = 60) -> str:
    return text(ms // (1000 * seconds) * 1000 * seconds, "s")


def chosen(rows: Iterable[Row], **wanted: object) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[object, ...], list[Row]]:
    """Group rows by columns; `bucket` is the minute of their time."""
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        whole = row | ({"bucket": bucket(row["time"])} if "time" in row else {})
        groups[tuple(whole[key] for key in keys)].append(row)
    return dict(sorted(groups.items(), key=lambda each: str(each[0])))


HURT = ("ams01", "fra01")
BOUNDS = {"effect": "effect", "low": "lower", "high": "upper"}


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9)


def shown_ms(row: Row) -> bool:
    return bool(SHOWN.start_ms <= row["time"] <= SHOWN.end_ms)


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


# ---------------------------------------------------------------- engine health


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
