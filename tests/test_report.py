"""What a report says is what the replay saw and decided, whether it was watched or read from a store."""

import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from detectors.policy import duration_ms
from holdfast.documents import load_policy
from holdfast.errors import BadInput
from holdfast.live.store_owner import Owner
from holdfast.replaying import Outcome, replay_recording
from holdfast.reporting.build import report_data
from holdfast.reporting.data import ReportData
from holdfast.reporting.gathered import STEPS_MAX, Gathered, Grid
from holdfast.reporting.page import render
from holdfast.reporting.recorded import Gatherer, gather_recording
from holdfast.reporting.stored import Answer, asking, gather_stored
from holdfast.terminal import Scale
from sinks.cloudevents import epoch_ms
from sinks.store import Store
from streams.replay import Progress
from tests.report_cases import TWO_STAGES, erring, made
from tests.test_cli import POLICY, Small
from tests.test_overlap import CROSSING, fleet, written

HISTOGRAM: Final = """\
  - {name: slow, histogram: seconds_bucket, quantile: 0.9, worse: increase, breach: halt}
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return erring(tmp_path_factory.mktemp("report") / "erring", TWO_STAGES)


@pytest.fixture(scope="module")
def store(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has kept the recording."""
    folder = tmp_path_factory.mktemp("report") / "store"
    with Store(folder) as store:
        replay_recording(recording, store=store)
    return folder


@pytest.fixture(scope="module")
def gathered(recording: Path) -> Gathered:
    return gather_recording(recording)[1]


@pytest.fixture(scope="module")
def data(gathered: Gathered) -> ReportData:
    return report_data(gathered)


@pytest.fixture
def answer(store: Path) -> Iterator[Answer]:
    with asking(store) as answer:
        yield answer


Seen = tuple[list[Progress], list[dict[str, Any]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def seen(recording: Path) -> Seen:
    """What a replay tells its observer and its sink: progress, rows of evidence and of cohort ticks."""
    progress: list[Progress] = []
    evidence: list[dict[str, Any]] = []
    ticks: list[dict[str, Any]] = []

    class Kept(Gatherer):
        def evidence(self, table: pa.Table) -> None:
            evidence.extend(table.to_pylist())

        def cohort_ticks(self, table: pa.Table) -> None:
            ticks.extend(table.to_pylist())

    replay_recording(recording, observer=progress.append, beside=Kept())
    return progress, evidence, ticks


@pytest.fixture(scope="module")
def outcome(recording: Path) -> Outcome:
    return replay_recording(recording, check=True)


def test_verdicts_are_those_of_the_replay(outcome: Outcome, data: ReportData) -> None:
    assert [(said.sequence, said.action, said.time_ms) for said in data.verdicts] == [
        (event["data"]["sequence"], event["data"]["action"], epoch_ms(datetime.fromisoformat(event["time"])))
        for event in outcome.verdicts
    ]
    assert (data.decisive.action, data.final.action) == (outcome.action, outcome.final_action)
    assert (data.quality.intake.ticks, data.quality.intake.samples) == (outcome.ticks, outcome.samples)


def test_a_verdict_holds_until_the_next_one(data: ReportData) -> None:
    assert [said.until_ms for said in data.verdicts[:-1]] == [said.time_ms for said in data.verdicts[1:]]
    assert data.verdicts[-1].until_ms == data.last_ms


def test_evidence_is_what_the_replay_decided_on(recording: Path, seen: Seen, data: ReportData) -> None:
    progress, _, _ = seen
    for view in data.metrics:
        np.testing.assert_array_equal(view.curves.log_e, [come.log_e[view.name] for come in progress])
    scale = Scale.of(load_policy(recording / "policy.yaml"), stages=2)
    np.testing.assert_allclose(data.total, [scale.together(come.log_e) for come in progress])


def test_all_evidence_reaches_its_threshold_at_the_tick_of_the_stop(data: ReportData) -> None:
    assert data.grid is not None
    over = np.flatnonzero(data.total >= -math.log(data.alpha))
    assert data.decisive.action == "revert"
    assert int(data.grid.time_ms(over[:1])[0]) == data.decisive.time_ms


def test_effects_are_those_of_the_whole_fleet(seen: Seen, data: ReportData) -> None:
    _, rows, _ = seen
    for view in data.metrics:
        own = [row for row in rows if row["metric"] == view.name and row["level"] == "fleet"]
        np.testing.assert_array_equal(view.curves.effect, [row["effect"] for row in own])
        np.testing.assert_array_equal(view.curves.lower, [row["lower"] for row in own])
        np.testing.assert_array_equal(view.curves.upper, [row["upper"] for row in own])


def test_the_control_counts_at_the_share_that_the_canary_has_of_each_colo(seen: Seen, data: ReportData) -> None:
    _, _, ticks = seen
    rows = [row for row in ticks if row["metric"] == "errors"]
    view = next(view for view in data.metrics if view.name == "errors")
    assert data.grid is not None
    for time, canary, control in zip(
        data.grid.time_ms(view.curves.step).tolist(), view.curves.canary, view.curves.control, strict=True
    ):
        now = [row for row in rows if epoch_ms(row["time"]) == time]
        sides = {(row["colo"], row["cohort"]): row for row in now}
        colos = sorted({row["colo"] for row in now})
        size = {colo: sides[colo, "canary"]["total"] for colo in colos}
        rate = {colo: sides[colo, "control"]["bad"] / sides[colo, "control"]["total"] for colo in colos}
        assert canary == pytest.approx(sum(sides[colo, "canary"]["bad"] for colo in colos) / sum(size.values()))
        assert control == pytest.approx(sum(size[colo] * rate[colo] for colo in colos) / sum(size.values()))


def test_a_cell_of_the_heat_map_is_the_greatest_e_value_of_its_colo(seen: Seen, data: ReportData) -> None:
    _, evidence, _ = seen
    rows = [row for row in evidence if row["level"] == "colo"]
    heat = data.heat
    assert heat is not None
    assert heat.colos[0] == "ams01"
    assert heat.metric[0] == "errors"
    for place, colo in enumerate(heat.colos):
        for step in range(heat.grid.steps):
            end = int(heat.grid.time_ms(np.array([step]))[0])
            within = range(end - (heat.grid.per - 1) * heat.grid.tick_ms, end + 1, heat.grid.tick_ms)
            own = [row["log_e"] for row in rows if row["place"] == colo and epoch_ms(row["time"]) in within]
            assert heat.log_e[place, step] == max(own)


def test_each_stage_has_its_span_and_its_curves(data: ReportData) -> None:
    assert [stage.name for stage in data.stages] == ["canary", "more"][: len(data.stages)]
    first = data.stages[0]
    assert first.started_ms == epoch_ms(datetime.fromisoformat("2026-03-12T11:20:01Z"))
    assert first.bake_ms == first.started_ms + 180_000


def test_two_stages_that_were_judged_are_told_apart(tmp_path: Path) -> None:
    found = report_data(gather_recording(Small().write(tmp_path / "r", rollout=TWO_STAGES))[1])
    assert [stage.name for stage in found.stages] == ["canary", "more"]
    assert found.stages[0].until_ms == found.stages[1].started_ms
    assert {int(stage) for view in found.metrics for stage in view.curves.stage} == {0, 1}
    assert ">more<" in render(found)


def test_metrics_that_say_most_come_first(data: ReportData) -> None:
    assert data.metrics[0].name == "errors"
    assert data.metrics[0].is_blamed
    assert {view.name for view in data.metrics} == {"errors", "cpu", "reporting_hosts"}


def test_what_is_tolerated_is_on_the_scale_of_the_effects(data: ReportData) -> None:
    errors = next(view for view in data.metrics if view.name == "errors")
    assert errors.scale == "relative"
    down, up = errors.tolerance
    assert down is None
    assert up == pytest.approx(math.log1p(0.5))


def test_the_truth_is_told_and_held_against_the_verdicts(outcome: Outcome, data: ReportData) -> None:
    assert data.truth is not None
    assert data.truth.bad
    assert list(data.contradictions) == outcome.contradictions


def test_ticks_without_data_are_counted(tmp_path: Path) -> None:
    small = Small()
    small.absent["cpu"] = small.since(10, cohort="canary") & ~small.since(30)
    found = report_data(gather_recording(small.write(tmp_path / "r"))[1])
    (gap,) = found.quality.gaps
    # A gauge holds its last value over a short gap.
    assert gap == ("cpu", 20 - load_policy(tmp_path / "r" / "policy.yaml").gap_ticks_max, 60)


def test_silent_hosts_are_named_with_their_cohort(tmp_path: Path) -> None:
    small = Small()
    small.missing = small.since(30, host="fra02-h0")
    found = report_data(gather_recording(small.write(tmp_path / "r"))[1]).quality
    assert [(each.colo, each.cohort, each.silent_max, each.units) for each in found.silent] == [
        ("fra02", "canary", 1, 1)
    ]
    assert found.silent[0].share == pytest.approx(0.5)
    assert found.silent_share == {"canary": pytest.approx(0.25), "control": 0.0}


def test_dropped_samples_are_told_by_reason(tmp_path: Path) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        values = table["value"].to_numpy().copy()
        values[5] = np.nan
        return table.set_column(table.column_names.index("value"), "value", pa.array(values))

    path = Small().write(tmp_path / "r", change=spoil)
    found = report_data(gather_recording(path)[1])
    assert found.quality.intake.dropped == replay_recording(path).dropped != {}


# ---------------------------------------------------------------- from a store


def sorted_rows(table: pa.Table, *, but: tuple[str, ...] = ()) -> pa.Table:
    keys = [name for name in ("stage", "metric", "edge", "colo", "cohort", "step") if name in table.column_names]
    return table.select([name for name in table.column_names if name not in but]).sort_by(
        [(key, "ascending") for key in keys if key not in but]
    )


def require_equal(one: Gathered, other: Gathered, but: tuple[str, ...] = ()) -> None:
    """Compare the tables of a replay with what a store says of it."""
    assert one.tables is not None
    assert other.tables is not None
    assert (one.tables.grid, one.tables.heat_grid) == (other.tables.grid, other.tables.heat_grid)
    for name in ("effects", "sides", "weighed", "heat", "silent", "spans"):
        if name in but:
            continue
        # Where nothing speaks against the change, no metric speaks most.
        left = sorted_rows(getattr(one.tables, name), but=("metric",) if name == "heat" else ())
        right = sorted_rows(getattr(other.tables, name), but=("metric",) if name == "heat" else ())
        assert left.schema == right.schema
        for column in left.column_names:
            values = left[column].to_numpy(), right[column].to_numpy()
            if values[0].dtype.kind == "f":
                np.testing.assert_allclose(*values, rtol=1e-12, err_msg=f"{name}.{column}")
            else:
                np.testing.assert_array_equal(*values, err_msg=f"{name}.{column}")


def test_a_store_says_what_the_replay_said(gathered: Gathered, answer: Answer) -> None:
    stored = gather_stored(answer, "bot-0312")
    assert stored.verdicts == gathered.verdicts
    assert stored.policy == gathered.policy
    assert stored.rollout == gathered.rollout
    assert stored.started_ms == gathered.started_ms
    assert stored.is_weighed_exactly
    require_equal(gathered, stored)


def test_steps_of_several_ticks_are_cut_alike(recording: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("recorded", "stored"):
        monkeypatch.setattr(f"holdfast.reporting.{module}.STEPS_MAX", 9)
        monkeypatch.setattr(f"holdfast.reporting.{module}.HEAT_STEPS_MAX", 4)
    _, replayed = gather_recording(recording)
    assert replayed.tables is not None
    assert (replayed.tables.grid.per, replayed.tables.heat_grid.per) == (7, 15)
    require_equal(replayed, gather_stored(answer, "bot-0312"))


def test_the_extremes_of_single_ticks_outlive_steps(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = report_data(gather_recording(recording)[1])
    monkeypatch.setattr("holdfast.reporting.recorded.STEPS_MAX", 9)
    coarse = report_data(gather_recording(recording)[1])
    for one, other in zip(fine.metrics, coarse.metrics, strict=True):
        assert one.name == other.name
        assert one.log_e_max == other.log_e_max
        assert np.nanmax(one.curves.canary_max) == np.nanmax(other.curves.canary_max)
        assert np.nanmin(one.curves.control_min) == np.nanmin(other.curves.control_min)


def test_edges_of_a_histogram_count_alike_if_only_the_store_is_asked(tmp_path: Path) -> None:
    small = Small(live=30)
    for edge, share in (("0.1", 0.5), ("0.5", 0.9), ("1", 0.99), ("+Inf", 1.0)):
        small.counter("seconds_bucket", 1_000 * share, edge)
    for lower, upper in (("0.1", "0.5"), ("0.5", "1"), ("1", "+Inf")):  # they are cumulative
        small.gains["seconds_bucket", upper] = np.maximum(
            small.gains["seconds_bucket", upper], small.gains["seconds_bucket", lower]
        )
    path = small.write(tmp_path / "r", policy=POLICY + HISTOGRAM)
    with Store(tmp_path / "store") as store:
        _, replayed = gather_recording(path, store=store)
        stored = gather_stored(store.arrow, "bot-0312")
    assert not stored.is_weighed_exactly
    require_equal(replayed, stored, but=("weighed",))
    weighed = [sorted_rows(each.tables.weighed)["log_e"].to_numpy() for each in (replayed, stored) if each.tables]
    both = np.isfinite(weighed[0])
    assert (np.isfinite(weighed[1]) == both).all()
    assert np.abs(weighed[0][both] - weighed[1][both]).max() <= math.log(2) + 1e-9
    assert "taken for equal" in render(report_data(stored))


def test_colos_that_other_rollouts_divide_are_weighed_as_the_judge_does(tmp_path: Path) -> None:
    path = written(fleet(1, **CROSSING), tmp_path / "r")
    with Store(tmp_path / "store") as store:
        _, replayed = gather_recording(path, store=store)
        require_equal(replayed, gather_stored(store.arrow, "bot-a"))
    assert any("bot-b" in colo for colo in report_data(replayed).heat.colos)  # type: ignore[union-attr]


def test_the_process_that_owns_the_store_is_asked(store: Path, recording: Path, tmp_path: Path) -> None:
    folder = tmp_path / "owned"
    with Store(folder) as owned:
        replay_recording(recording, store=owned)
        with Owner(owned, folder), asking(folder) as answer:
            assert len(gather_stored(answer, "bot-0312").verdicts) > 1


def test_of_several_replays_one_must_be_named(recording: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        for name in ("one", "two"):
            copied = tmp_path / f"copy-{name}"
            copied.mkdir()
            for file in recording.iterdir():
                (copied / file.name).symlink_to(file)
            replay_recording(copied, store=store)
        with pytest.raises(BadInput, match=r"name one with --source; allowed: replay:copy-one, replay:"):
            gather_stored(store.arrow, "bot-0312")
        assert gather_stored(store.arrow, "bot-0312", "replay:copy-two").origin == "stored replay:copy-two"
        with pytest.raises(BadInput, match=r"--source: found 'live'; allowed: replay:copy-one, replay:copy-two"):
            gather_stored(store.arrow, "bot-0312", "live")


def test_an_unknown_rollout_is_told_with_those_that_are_known(answer: Answer) -> None:
    with pytest.raises(BadInput, match=r"x' OR 1: no folder of a recording, .*; stored are: bot-0312"):
        gather_stored(answer, "x' OR 1")


def test_a_rollout_whose_evidence_is_gone_still_has_its_verdicts(answer: Answer) -> None:
    def forgetful(sql: str) -> pa.Table:
        found = answer(sql)
        return found.slice(0, 0) if "evidence" in sql or "cohort_ticks" in sql else found

    found = report_data(gather_stored(forgetful, "bot-0312"))
    assert found.decisive.action == "revert"
    page = render(found)
    assert "Of what the metrics showed, nothing is kept." in page
    assert "Ticks without data are not kept." in page


# ---------------------------------------------------------------- what it rests on


def test_without_a_verdict_there_is_nothing_to_report() -> None:
    found = made()
    with pytest.raises(BadInput, match="bot: no verdict was given yet"):
        report_data(Gathered(found.origin, found.rollout, found.policy, None, (), {}, found.intake, True, found.tables))


@pytest.mark.parametrize("ticks", [1, 239, 240, 241, 5_000])
def test_steps_cover_every_tick_once(ticks: int) -> None:
    grid = Grid.over(77, 77 + ticks - 1, 10_000, STEPS_MAX)
    step = grid.step_of(np.arange(77, 77 + ticks) * 10_000)
    assert grid.steps <= STEPS_MAX
    assert sorted(set(step.tolist())) == list(range(grid.steps))
    assert int(grid.time_ms(np.array([grid.steps - 1]))[0]) == (77 + ticks - 1) * 10_000


def test_the_length_of_a_tick_is_the_policys(data: ReportData, recording: Path) -> None:
    assert data.tick_ms == duration_ms(load_policy(recording / "policy.yaml").tick)
