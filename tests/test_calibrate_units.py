"""The parts of a calibration: exact intervals, independent placebos, effects that are put in, and thresholds."""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from detectors.policy import Policy
from holdfast.calibration.binomial import Span, clopper_pearson, independent, of_dependent, quiet_trials_needed
from holdfast.calibration.crew import Crew
from holdfast.calibration.deciding import decide
from holdfast.calibration.effects import reached, threshold
from holdfast.calibration.foreseeing import Foreseen, foresee
from holdfast.calibration.history import History, canary_rows, read_history
from holdfast.calibration.injecting import inject, share_beyond
from holdfast.calibration.placebos import Judged, Placebo, judge_placebo, overlap, past_of, schedule, window
from holdfast.calibration.report import Advanced, Held, PastLength
from holdfast.calibration.suggesting import Found, accused, excludable, further, lowered, of_pasts, raises, scaled
from holdfast.calibration.working import as_judged
from holdfast.documents import load_policy
from holdfast.errors import BadInput
from holdfast.replaying import replay_recording
from streams.histograms import Tail
from tests.test_cli import POLICY, ROLLOUT, Small

SHORT: Final = ROLLOUT.replace("bake: 5m, deadline: 8m", "bake: 2m, deadline: 4m")
QUIET: Final = Judged(action="advance", cause="evidence", tick=None, advanced=10, metrics=[], colos=[])


def history_of(folder: Path, small: Small, *, seed: int | None = None, policy: str = POLICY) -> History:
    path = small.write(folder / "history", policy, SHORT)
    return read_history(path, load_policy(path / "policy.yaml"), path / "policy.yaml", seed=seed)


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # The first two from Clopper and Pearson's own charts as tabulated in Fleiss, Statistical methods for rates and
    # proportions; the third from Brown, Cai and DasGupta 2001.
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0), (1, 20, 0.0013, 0.2487)],
)
def test_the_interval_of_a_share_is_clopper_and_pearsons(count: int, total: int, low: float, high: float) -> None:
    assert clopper_pearson(count, total) == pytest.approx((low, high), abs=5e-5)


def test_without_a_trial_nothing_is_known() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_a_count_beyond_the_total_is_no_share() -> None:
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(3, 2)


def test_spans_that_only_touch_are_independent() -> None:
    assert independent([Span(0, 10), Span(10, 20), Span(20, 30)]) == 3


def test_no_choice_of_spans_without_overlap_is_larger() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        spans = [Span(first, first + length) for first, length in rng.integers(1, 12, (9, 2)).tolist()]
        best = 0
        for chosen in range(1 << len(spans)):
            kept = sorted(
                (span for place, span in enumerate(spans) if chosen >> place & 1), key=lambda span: span.first
            )
            apart = all(a.stop <= b.first for a, b in pairwise(kept))
            best = max(best, len(kept) if apart else 0)
        assert independent(spans) == best


def test_placebos_that_share_all_their_data_are_worth_one() -> None:
    assert of_dependent(0, [Span(0, 10)] * 50) == clopper_pearson(0, 1)


@pytest.mark.parametrize("share", [0.2, 0.05, 0.01, 0.001])
def test_as_many_quiet_trials_as_are_needed_show_the_share(share: float) -> None:
    needed = quiet_trials_needed(share)
    assert clopper_pearson(0, needed)[1] <= share < clopper_pearson(0, needed - 1)[1]


# ---------------------------------------------------------------- histories and placebos


def test_only_what_lies_before_the_first_change_is_used(tmp_path: Path) -> None:
    history = history_of(tmp_path, Small(pre=60, live=60))
    assert (history.ticks.ticks, history.groups) == (60, 0)
    assert "bot-0312 starts then" in history.until


def test_a_placebo_comes_to_what_a_replay_of_the_same_samples_comes_to(tmp_path: Path) -> None:
    small = Small(pre=150, live=40, seed=4)
    small.gains["http_5xx", ""][small.since(-50, cohort="canary")] *= 6
    history = history_of(tmp_path, small)
    for back in (52, 30):
        placebo = Placebo(0, history.stop - back)
        started = f"2026-03-12T{11 + (20 * 60 - back * 10) // 3600:02d}:{(20 * 60 - back * 10) % 3600 // 60:02d}"
        rollout = SHORT.replace("2026-03-12T11:20", started).replace(":01Z", f":{-back * 10 % 60 + 1:02d}Z")
        until = partial(_until, tick=placebo.start + history.live_ticks - 1)
        path = small.write(tmp_path / f"{back}", POLICY, rollout, change=until)
        replayed, judged = replay_recording(path), judge_placebo(history, placebo)
        assert (judged.action, judged.cause) == (replayed.action, _cause(replayed.verdicts, replayed.action))


def _until(table: pa.Table, tick: int) -> pa.Table:
    return table.filter(pc.less_equal(table["time"].cast("int64"), tick * 10_000))


def _cause(verdicts: list[dict[str, object]], action: str) -> object:
    return next(one["data"]["cause"] for one in verdicts if one["data"]["action"] == action)  # type: ignore[index]


@pytest.mark.parametrize("gain", [1.0, 4.0, 20.0])
def test_deciding_without_words_decides_what_the_judge_decides(tmp_path: Path, gain: float) -> None:
    small = Small(pre=150, live=1, seed=9)
    small.gains["http_5xx", ""][small.since(-30, cohort="canary")] *= gain
    history = history_of(tmp_path, small)
    placebo = Placebo(0, history.stop - history.live_ticks)
    decided = decide(history.planned(placebo.start, 0), window(history, placebo))
    assert as_judged(decided, placebo.start) == judge_placebo(history, placebo)


def test_placebos_do_not_overlap_unless_more_are_asked_for_than_fit(tmp_path: Path) -> None:
    history = history_of(tmp_path, Small(pre=240, live=1))
    fitting, many = (schedule([history], count, 1) for count in (None, 30))
    assert overlap([history], fitting) == 0
    assert overlap([history], many) > 0.5
    assert all(history.ticks.first + past_of(history) <= one.start for one in many)
    assert all(one.start + history.live_ticks <= history.stop for one in many)


def test_the_same_seed_pretends_the_same_starts(tmp_path: Path) -> None:
    history = history_of(tmp_path, Small(pre=240, live=1))
    assert schedule([history], 3, 7) == schedule([history], 3, 7)


def test_hosts_take_turns_as_the_canary_each_once(tmp_path: Path) -> None:
    history = history_of(tmp_path, Small(pre=120, live=1), seed=3)
    assert history.groups == 4
    start = history.ticks.first + 60
    units = [history.planned(start, group).membership for group in range(4)]
    counted = [np.bincount(one.canary(0)[one.signature].astype(int)).tolist() for one in units]
    assert counted == [[6, 2]] * 4  # one host in each of two colos
    assert np.all(sum(one.canary(0)[one.signature].astype(int) for one in units) == 1)


def test_hosts_cannot_take_turns_where_most_are_canaries(tmp_path: Path) -> None:
    small = Small(pre=120, live=1)
    small.labels["cohort"] = ["canary" if host % 4 else "control" for host in range(8)]
    with pytest.raises(BadInput, match="--assign"):
        history_of(tmp_path, small, seed=3)


# ---------------------------------------------------------------- effects


def test_an_effect_on_a_gauge_is_that_of_scaled_samples(tmp_path: Path) -> None:
    small = Small(pre=120, live=1, seed=2)
    plain = history_of(tmp_path / "plain", small)
    start = plain.stop - plain.live_ticks
    small.gauges["cpu"][small.since(start - plain.stop, cohort="canary")] *= 1.25
    scaled_ = history_of(tmp_path / "scaled", small)
    injected = inject(plain.ticks, plain.planned(start, 0), 1, 0.25, start)
    np.testing.assert_allclose(injected.values, scaled_.ticks.values)


def test_an_effect_on_a_ratio_scales_the_canarys_bad_events_alone(tmp_path: Path) -> None:
    history = history_of(tmp_path, Small(pre=120, live=1))
    start = history.stop - 20
    plan = history.planned(start, 0)
    injected = inject(history.ticks, plan, 0, 1.0, start).values
    rows = canary_rows(history.ticks.keys, plan, 0)
    others = np.setdiff1d(np.arange(injected.shape[1]), rows)
    np.testing.assert_array_equal(injected[1, rows, -20:], 2 * history.ticks.values[1, rows, -20:])
    np.testing.assert_array_equal(injected[:, others], history.ticks.values[:, others])
    np.testing.assert_array_equal(injected[:, :, :-20], history.ticks.values[:, :, :-20])


def test_the_share_beyond_a_value_is_the_inverse_of_the_quantile() -> None:
    tail = Tail(np.array([0.05, 0.1, 0.5, 1.0]), np.array([0.6, 0.2, 0.02, 0.001]), 10_000.0)
    for beyond in (0.8, 0.4, 0.1, 0.01, 0.002):
        assert share_beyond(tail, tail.quantile(beyond)) == pytest.approx(beyond)


@pytest.mark.parametrize("true", [0.001, 0.03, 0.2, 5.0])
@pytest.mark.parametrize("guess", [0.01, 0.1, 2.0])
def test_the_smallest_effect_is_found_within_a_tenth(true: float, guess: float) -> None:
    assert true <= threshold(lambda effect: effect >= true, guess, 16.0) <= true * 1.1


def test_an_effect_that_is_never_caught_is_infinite() -> None:
    assert threshold(lambda _: False, 0.1, 16.0) == math.inf


def test_what_most_placebos_reach_is_not_the_most_that_one_does() -> None:
    assert [reached([float(one) for one in range(1, 11)], share) for share in (0.5, 0.9)] == [5.0, 9.0]


# ---------------------------------------------------------------- suggestions


def alarm(*metrics: str) -> Judged:
    return Judged(action="halt", cause="evidence", tick=3, advanced=None, metrics=list(metrics), colos=["ams01"])


def test_a_tolerance_is_raised_until_its_placebos_are_quiet_and_no_further(tmp_path: Path) -> None:
    policy = _policy(tmp_path)

    def decide_(placebos: object, tried: Policy) -> list[Judged]:
        return [alarm("cpu") if tried.metrics[1].tolerate.relative < 0.3 else QUIET for _ in placebos]  # type: ignore[attr-defined]

    places = [Placebo(0, start) for start in range(5)]
    found = raises(policy, places, [alarm("cpu"), *[QUIET] * 4], decide_)
    assert scaled(policy, found.factors).metrics[1].tolerate.relative == 0.31
    assert set(found.factors) == {1}


def test_nothing_is_suggested_where_no_tolerance_helps(tmp_path: Path) -> None:
    policy = _policy(tmp_path)
    found = raises(policy, [Placebo(0, 0)], [alarm("cpu")], lambda places, _: [alarm("cpu")] * len(places))
    assert found.factors == {}


def test_a_tolerance_is_not_raised_until_it_promises_nothing(tmp_path: Path) -> None:
    policy = _policy(tmp_path)

    def decide_(placebos: object, tried: Policy) -> list[Judged]:
        return [alarm("cpu") if tried.metrics[1].tolerate.relative < 1.1 else QUIET for _ in placebos]  # type: ignore[attr-defined]

    found = raises(policy, [Placebo(0, 0)], [alarm("cpu")], decide_)
    assert found.factors == {}
    assert [(one.metric, one.why, one.placebos) for one in found.held.values()] == [("cpu", "alarms", 1)]


def foreseen(ticks: float = 10.0, excluded: float = math.inf, held: Literal["", "noise", "unlike"] = "") -> Foreseen:
    return Foreseen(tolerated="+20%", visible=0.1, ticks=ticks, excludable=excluded, needed=ticks, held=held)


STUCK: Final = Judged(action="halt", cause="deadline", tick=25, advanced=None, metrics=[], colos=[])


def test_a_tolerance_that_keeps_placebos_from_going_on_is_raised_to_what_can_be_excluded(tmp_path: Path) -> None:
    policy, found = _policy(tmp_path), Found()
    excludable(policy, [[foreseen(), foreseen(math.inf, 0.4, "noise")]] * 3, [STUCK] * 3, found)
    assert scaled(policy, found.factors).metrics[1].tolerate.relative == 0.4
    assert found.held == {}


def test_a_long_past_leads_to_expect_that_a_quiet_metric_lets_the_stage_go_on(tmp_path: Path) -> None:
    history = history_of(tmp_path, Small(pre=700, live=1))  # by so long a past no effect is excluded in a million ticks
    (_, cpu, _) = foresee(history, Placebo(0, history.ticks.first + 640))
    assert cpu.held == ""
    assert 1 <= cpu.ticks <= cpu.needed == 12  # the bake time


@pytest.mark.parametrize(("enough", "raised"), [(0.3, 0.4), (0.6, 0.62), (3.0, 0.98)])
def test_a_noisy_tolerance_is_raised_until_most_are_let_go_on_but_for_what_promises_nothing(
    enough: float, raised: float, tmp_path: Path
) -> None:
    policy, found = _policy(tmp_path), Found()

    def decide_(placebos: object, tried: Policy) -> list[Judged]:
        return [QUIET if tried.metrics[1].tolerate.relative >= enough else STUCK for _ in placebos]  # type: ignore[attr-defined]

    places = [Placebo(0, start) for start in range(3)]
    excludable(policy, [[foreseen(), foreseen(math.inf, 0.4, "noise")]] * 3, [STUCK] * 3, found)
    further(policy, places, [STUCK] * 3, decide_, found)
    assert scaled(policy, found.factors).metrics[1].tolerate.relative == raised


def test_a_noisy_metric_that_holds_nothing_up_keeps_its_tolerance(tmp_path: Path) -> None:
    policy, found = _policy(tmp_path), Found()
    excludable(policy, [[foreseen(), foreseen(math.inf, 0.4)]] * 3, [STUCK] * 3, found)
    assert found == Found()


@pytest.mark.parametrize(("worse", "excluded"), [("increase", 1.1), ("either", 0.55), ("increase", math.inf)])
def test_what_takes_a_tolerance_that_promises_nothing_is_named_instead(
    worse: str, excluded: float, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("cpu, worse: increase", f"cpu, worse: {worse}"), encoding="utf-8")
    policy, found = load_policy(file), Found()
    excludable(policy, [[foreseen(), foreseen(40.0, excluded, "noise")]] * 3, [STUCK] * 3, found)
    lowered(policy, [], [Placebo(0, 0)], 12, lambda *_: [], lambda *_: [[foreseen(5.0)] * 3], found)
    assert set(found.factors) == {0}  # there was room in the other one
    known = excluded if math.isfinite(excluded) else None
    (held,) = found.held.values()
    assert held == Held(metric="cpu", why="noise", placebos=3, total=3, excludable=known, needed_ticks=40.0)


def test_no_tolerance_is_raised_where_canary_and_control_are_unlike(tmp_path: Path) -> None:
    policy, found = _policy(tmp_path), Found()
    excludable(policy, [[foreseen(), foreseen(math.inf, 0.4, "unlike")]] * 3, [STUCK] * 3, found)
    assert found.factors == {}
    assert [(one.metric, one.why) for one in found.held.values()] == [("cpu", "unlike")]


def test_a_tolerance_is_lowered_as_far_as_nothing_is_stopped_less_one_step(tmp_path: Path) -> None:
    policy, found = _policy(tmp_path), Found()
    places = [Placebo(0, start) for start in range(4)]

    def decide_(placebos: object, tried: Policy) -> list[Judged]:
        return [alarm("cpu") if tried.metrics[1].tolerate.relative < 0.09 else QUIET for _ in placebos]  # type: ignore[attr-defined]

    lowered(policy, places, places, 12, decide_, lambda some, _: [[foreseen()] * 3] * len(some), found)
    assert scaled(policy, found.factors).metrics[1].tolerate.relative == 0.14  # 0.2 x 0.7; 0.098 was the last quiet one


def test_a_tolerance_whose_health_is_shown_late_is_not_lowered(tmp_path: Path) -> None:
    policy, found = _policy(tmp_path), Found()
    places = [Placebo(0, 0)]
    lowered(policy, places, places, 12, lambda some, _: [QUIET] * len(some), lambda *_: [[foreseen(13.0)] * 3], found)
    assert found.factors == {}


def _policy(folder: Path) -> Policy:
    file = folder / "policy.yaml"
    file.write_text(POLICY, encoding="utf-8")
    return load_policy(file)


def test_a_longer_past_is_asked_for_where_shorter_ones_stop_more(tmp_path: Path) -> None:
    advanced = Advanced(count=1, total=9, ticks_median=1.0, ticks_most=1.0)
    pasts = [
        PastLength(ticks=ticks, on_evidence=count, stopped=count, advanced=advanced, total=9)
        for ticks, count in ((240, 0), (120, 0), (60, 2))
    ]
    (suggestion,) = of_pasts(_policy(tmp_path), pasts)
    assert (suggestion.path, suggestion.after) == (["pre_period", "ticks_min"], 120)


def test_only_stops_on_evidence_accuse() -> None:
    assert [accused(one) for one in (QUIET, alarm("cpu"), STUCK)] == [False, True, False]


# ---------------------------------------------------------------- work over processes


def doubled(shared: int, task: int) -> int:
    return shared * task


def test_any_number_of_processes_comes_to_the_same() -> None:
    results = []
    for jobs in (1, 2):
        with Crew(doubled, 3, jobs) as crew:
            results.append(crew.map(range(20)))
    assert results[0] == results[1] == [3 * task for task in range(20)]
