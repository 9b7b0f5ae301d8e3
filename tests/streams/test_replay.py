"""Whole replays of odd recordings: each ends in verdicts or in one clear error, and none of them in a hang."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import BadInput
from detectors.policy import Metric, Ratio
from detectors.verdict import Verdict
from streams.cohorts import CohortTicks
from streams.judge import Judge
from streams.membership import Stage
from streams.plan import Plan
from streams.recording import MetricsFile
from streams.replay import Result, Setting, replay
from tests.samples import TICK_MS, Row, find, gauge, in_order, policy, reduce, sample, series, stage, write

START = 41
TICKS = 70
COHORTS = Stage("canary", {"cohort": "canary"}, {"cohort": "control"}, START, bake=10, deadline=15, settle=0)
CPU = gauge("cpu")
ERRORS = Metric(name="errors", ratio=Ratio(bad="bad", total="all"), worse="increase", breach="revert")

SECONDS_MAX = 30


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    """Fail a test that hangs, instead of hanging with it."""

    def give_up(*_: object) -> None:
        pytest.fail(f"not done after {SECONDS_MAX} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS_MAX)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def fleet(metric: str = "cpu", ticks: int = TICKS, first: int = 1, *, cohort_of_h0: str = "canary") -> list[Row]:
    rng = np.random.default_rng(5)
    hosts = []
    for number in range(4):
        cohort = "control" if number else cohort_of_h0
        values = (1.0 + 0.01 * rng.normal(size=ticks)).tolist()
        hosts.append(series(metric, values, first=first, host=f"h{number}", cohort=cohort))
    return in_order(*hosts)


def replayed(folder: Path, rows: list[Row], *metrics: Metric, stages: tuple[Stage, ...] = (COHORTS,)) -> Result:
    setting = Setting("r", stages, policy(*metrics), "sha256:0", "engine", True, TICK_MS, "rollout.yaml", "policy.yaml")
    return replay(MetricsFile(write(folder, rows)), setting)


def last(result: Result) -> Verdict:
    return result.verdicts[-1][1]


def test_each_tick_from_the_start_on_is_judged(tmp_path: Path) -> None:
    result = replayed(tmp_path, fleet(), CPU)
    assert (result.ticks, result.samples, result.dropped) == (TICKS - START + 1, 4 * TICKS, {})


def test_start_outside_the_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        replayed(tmp_path, fleet(ticks=30), CPU)
    assert str(caught.value) == (
        "rollout.yaml: started: 1970-01-01T00:06:50Z lies outside the recording; "
        "the samples span 1970-01-01T00:00:07Z to 1970-01-01T00:04:57Z"
    )


def test_metric_that_the_recording_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        replayed(tmp_path, fleet(), CPU, gauge("mem"))
    assert str(caught.value) == "policy.yaml: metrics[1] (mem): the recording has no series `mem`; it has: cpu"


def test_rollout_that_starts_before_anything_judged_came_is_judged(tmp_path: Path) -> None:
    rows = in_order(fleet("fan"), fleet(first=START + 5, ticks=TICKS - START - 4))
    assert replayed(tmp_path, rows, CPU).ticks == TICKS - START - 4


def test_judge_begins_a_stage_that_started_before_its_first_tick() -> None:
    rows = fleet()
    started = Stage("canary", {"cohort": "canary"}, None, 1, bake=5, deadline=None, settle=0)
    sums = reduce(rows, CPU, stages=[started]).ticks
    plan = Plan("r", [started], find(rows).membership(started), policy(CPU), "", "", True, TICK_MS)
    late = CohortTicks(sums.first + 20, sums.keys, sums.values[:, :, 20:])
    assert [judged.tick for judged in Judge(plan).push(late)] == [*range(21, TICKS + 1)]


def test_fleet_that_falls_silent_is_no_good_news(tmp_path: Path) -> None:
    rows = in_order(fleet(ticks=START + 5), fleet("fan"))
    verdict = last(replayed(tmp_path, rows, CPU))
    assert (verdict.action, verdict.cause) == ("halt", "deadline")


def test_change_that_reaches_everyone_at_once_cannot_be_judged(tmp_path: Path) -> None:
    everyone = Stage("all", {"host": "*"}, None, START, bake=10, deadline=15, settle=0)
    with pytest.raises(BadInput, match="none is left as a control"):
        replayed(tmp_path, fleet(), CPU, stages=(everyone,))


def test_histogram_without_a_finite_edge_is_refused(tmp_path: Path) -> None:
    rows = [row._replace(labels=row.labels | {"le": "+Inf"}) for row in fleet("seconds")]
    latency = Metric(name="latency", histogram="seconds", quantile=0.9, worse="increase", breach="revert")
    with pytest.raises(BadInput):
        replayed(tmp_path, rows, latency)


def test_sample_without_a_colo_makes_no_colo(tmp_path: Path) -> None:
    nameless = sample(START + 2, "cpu", 1.0, host="h9", colo=None, cohort="canary")
    plain, odd = (replayed(tmp_path, rows, CPU) for rows in (fleet(), in_order(fleet(), [nameless])))
    assert odd.dropped == {"no_metric_or_colo": 1}
    assert odd.verdicts == plain.verdicts


def test_metric_without_a_name_makes_no_unit(tmp_path: Path) -> None:
    nameless = [sample(tick, None, 1.0, host="h9", cohort="canary") for tick in range(1, TICKS)]
    plain, odd = (replayed(tmp_path, rows, CPU) for rows in (fleet(), in_order(fleet(), nameless)))
    assert odd.verdicts == plain.verdicts


def test_errors_that_come_from_nothing_revert(tmp_path: Path) -> None:
    hosts = (f"h{number}" for number in range(4))
    totals = [
        series(
            "all",
            [1_000.0 * tick for tick in range(1, TICKS + 1)],
            host=host,
            cohort="control" if host != "h0" else "canary",
        )
        for host in hosts
    ]
    bad = series("bad", [50.0 * tick for tick in range(1, 25)], first=START + 3, host="h0", cohort="canary")
    verdict = last(replayed(tmp_path, in_order(*totals, bad), ERRORS))
    assert (verdict.action, verdict.cause, verdict.scope.metrics) == ("revert", "evidence", ["errors"])


def test_host_relabelled_by_the_change_itself_is_judged_on_its_own_past(tmp_path: Path) -> None:
    rows = [
        row._replace(labels=row.labels | {"cohort": "control"}) if row.time <= (START - 1) * TICK_MS else row
        for row in fleet()
    ]
    assert replayed(tmp_path, rows, CPU).verdicts == replayed(tmp_path, fleet(), CPU).verdicts


def test_second_stage_has_its_own_verdicts(tmp_path: Path) -> None:
    stages = (stage({"host": "h0"}, started=START), stage({"host": "h1"}, started=START + 15, name="more"))
    verdicts = [verdict for _, verdict in replayed(tmp_path, fleet(), CPU, stages=stages).verdicts]
    assert [verdict.stage for verdict in verdicts] == sorted(verdict.stage for verdict in verdicts)
    assert {verdict.stage for verdict in verdicts} == {"canary", "more"}
    assert [verdict.sequence for verdict in verdicts] == [*range(1, len(verdicts) + 1)]
