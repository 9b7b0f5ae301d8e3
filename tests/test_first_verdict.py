"""What the first verdict of a stage says at once, and what the evidence says of what could be seen at every tick."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.verdict import Verdict
from holdfast.recording.folder import load_documents
from holdfast.recording.samples import samples_of
from holdfast.replaying import Outcome, replay_recording
from holdfast.setting import setting_of
from streams.replay import replay
from tests.test_check import Written, checked, make_written, noisy, of
from tests.test_cli import ROLLOUT, Small


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return make_written(tmp_path)


def first(outcome: Outcome) -> dict[str, Any]:
    return {entry["metric"]: entry for entry in outcome.verdicts[0]["data"]["abstained"]}


def test_the_first_verdict_names_what_is_too_noisy_and_what_will_be_seen(written: Written) -> None:
    path = written(noisy(spread=1.0))
    outcome, check = replay_recording(path), checked(path)
    assert outcome.verdicts[0]["data"]["cause"] == "baking"
    assert first(outcome).keys() == {"cpu"}
    assert first(outcome)["cpu"]["why"].startswith("too noisy: even without any effect more than the tolerated +20.0%")
    assert "by the deadline (tick 48)" in first(outcome)["cpu"]["why"]
    assert first(outcome)["cpu"]["minimum_detectable_effect"] == of(check, "cpu").smallest_visible


def test_what_the_first_verdict_foresees_is_what_the_deadline_shows(written: Written) -> None:
    outcome = replay_recording(written(noisy(spread=1.0, hosts=6)))
    last = {entry["metric"]: entry for entry in outcome.verdicts[-1]["data"]["abstained"]}
    assert outcome.final_action == "advance"
    assert last.keys() >= first(outcome).keys() == {"cpu"}
    foreseen, seen = (entries["cpu"]["minimum_detectable_effect"] for entries in (first(outcome), last))
    assert foreseen == pytest.approx(seen, rel=1e-6)


def test_the_first_verdict_of_a_quiet_stage_abstains_from_nothing(written: Written) -> None:
    assert first(replay_recording(written(Small()))) == {}


def test_every_verdict_says_that_the_control_was_never_comparable(written: Written) -> None:
    small = Small(pre=200)
    small.gauges["cpu"][small.since(-40, cohort="canary", colo="fra02")] *= 3
    outcome = replay_recording(written(small))
    for verdict in outcome.verdicts:
        (why,) = [entry["why"] for entry in verdict["data"]["abstained"] if entry["metric"] == "cpu"]
        assert "not comparable: the last 48 ticks before the start" in why
        assert "a breach in fra02" in why


class Kept:
    """A sink that keeps the evidence."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []

    def ticks(self, table: pa.Table) -> None:
        pass

    def cohort_ticks(self, table: pa.Table) -> None:
        pass

    def evidence(self, table: pa.Table) -> None:
        self.tables.append(table)

    def verdict(self, rollout: str, time_ms: int, verdict: Verdict) -> None:
        pass


def test_the_evidence_has_what_could_be_seen_at_every_tick(written: Written) -> None:
    path = written(Small())
    rollouts, policy, _ = load_documents(path, None, check=False)
    kept = Kept()
    replay(samples_of(path), setting_of(path / "rollout.yaml", rollouts, path, policy), sink=kept)
    rows = pa.concat_tables(kept.tables).to_pylist()
    visible = {
        metric: [row["mde"] for row in rows if (row["metric"], row["level"]) == (metric, "fleet")]
        for metric in ("cpu", "errors", "reporting_hosts")
    }
    assert {len(values) for values in visible.values()} == {60}
    assert all(before > after > 0 for before, after in pairwise(visible["cpu"]))
    assert np.isnan(visible["reporting_hosts"]).all()
    check = checked(path)
    assert np.expm1(visible["cpu"][check.horizon_ticks - 1]) == pytest.approx(of(check, "cpu").smallest_visible)
    assert np.expm1(visible["errors"][check.horizon_ticks - 1]) == pytest.approx(
        of(check, "errors").smallest_visible, rel=0.05
    )


def test_without_a_deadline_it_is_twice_the_bake_time(written: Written) -> None:
    outcome = replay_recording(written(noisy(spread=1.0), rollout=ROLLOUT.replace(", deadline: 8m", "")))
    assert "by twice the bake time (tick 60)" in first(outcome)["cpu"]["why"]
