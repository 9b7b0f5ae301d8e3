from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.quality.__main__ import main, recorded
from benchmarks.quality.blocks import blocks, fingerprints
from benchmarks.quality.intervals import of_blocks, wilson
from benchmarks.quality.outcome import Outcome, gather
from benchmarks.quality.recorded import cohorts, find, fleets, judge_recording, read_verdicts
from benchmarks.quality.rivals import RIVALS
from detectors.errors import BadInput
from holdfast.recording.folder import load_setting
from streams.fleet import Fleet, write
from streams.fleet import Scenario as Scene

PAST_TICKS, LIVE_TICKS = 60, 60


# ---------------------------------------------------------------- intervals and blocks


def test_wilsons_interval_is_the_published_one() -> None:
    # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    for count, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson(count, total) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_no_alarm_at_all_is_not_empty() -> None:
    low, high = wilson(0, 300)
    assert low == 0
    assert 0.01 < high < 0.02


def test_blocks_of_one_give_about_wilsons_interval() -> None:
    happened = [i % 4 == 0 for i in range(200)]
    assert of_blocks(happened, np.arange(200), 1) == pytest.approx(wilson(50, 200), abs=0.02)


def test_copies_of_rollouts_make_nothing_surer() -> None:
    happened = [i % 4 == 0 for i in range(40)]
    once = of_blocks(happened, np.arange(40), 1)
    copies = of_blocks(happened * 9, np.tile(np.arange(40), 9), 1)
    assert copies == once
    low, high = wilson(90, 360)
    assert copies[0] < low
    assert high < copies[1]


def test_the_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    block = np.repeat(np.arange(40), 8)
    covered = plain = 0
    for trial in range(200):
        happened = rng.random(40)[block] < 0.3  # all of a block agree
        low, high = of_blocks(happened.tolist(), block, trial)
        covered += low <= 0.3 <= high
        low, high = wilson(int(happened.sum()), len(block))
        plain += low <= 0.3 <= high
    assert covered >= 180
    assert plain < 150


def test_few_blocks_are_worth_no_more_than_themselves() -> None:
    block = np.repeat([0, 1, 2], 100)
    assert of_blocks([i < 30 for i in range(300)], block, 1) == wilson(0.3, 3)


def walk(seed: int, length: int = 3000) -> NDArray[np.float64]:
    """Return a gauge of two decimals, as monitoring systems keep them."""
    return np.random.default_rng(seed).normal(0, 1, length).cumsum().round(2)


def prints(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the fingerprints of one series."""
    return fingerprints(np.zeros(len(values), np.intp), values)


def test_windows_that_overlap_share_fingerprints_and_others_none() -> None:
    whole = walk(1)
    windows = [whole[:900], whole[700:1600], whole[1600:2400], walk(2)]
    shared = [len(np.intersect1d(prints(a), prints(b))) for a, b in pairwise(windows)]
    assert shared[0] > 0
    assert shared[1:] == [0, 0]


def test_interleaving_series_changes_no_fingerprint() -> None:
    one, other = walk(1, 600), walk(2, 600)
    series = np.tile([0, 1], 600).astype(np.intp)
    both = fingerprints(series, np.stack([one, other], axis=1).reshape(-1))
    np.testing.assert_array_equal(both, np.union1d(prints(one), prints(other)))


def test_counts_of_rare_events_and_constants_have_no_fingerprint() -> None:
    rare = np.random.default_rng(1).poisson(0.5, 5000).cumsum().astype(np.float64)
    assert len(prints(rare)) == 0
    assert len(prints(np.ones(5000))) == 0
    assert len(prints(np.ones(3))) == 0


def test_a_chain_of_shared_pieces_is_one_block() -> None:
    parts = [np.array(p, np.uint64) for p in ([1], [2], [3], [3, 1], [])]
    assert blocks(parts).tolist() == [0, 1, 0, 0, 2]


# ---------------------------------------------------------------- recordings


def small(seed: int, scenario: Scene | None = None) -> Fleet:
    """Return a small fleet, in which the harm begins at the tenth live tick."""
    return Fleet(
        seed=seed,
        colos=2,
        hosts=6,
        pre_ticks=PAST_TICKS,
        live_ticks=LIVE_TICKS,
        scenario=scenario,
        size=5.0,
        hurt=2,
        onset_ticks=10,
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    write(small(1), folder / "harmless" / "one")
    write(small(2, "errors"), folder / "bad" / "one")
    return folder


def test_recordings_are_found_below_a_folder(recordings: Path) -> None:
    assert find(recordings) == [recordings / "bad" / "one", recordings / "harmless" / "one"]
    assert find(recordings / "bad" / "one") == [recordings / "bad" / "one"]


def test_a_folder_without_recordings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no recording is there or below"):
        find(tmp_path)


def test_a_recording_without_truth_is_an_error(tmp_path: Path) -> None:
    write(small(1), tmp_path / "one")
    (tmp_path / "one" / "truth.yaml").unlink()
    with pytest.raises(BadInput, match=r"one: no truth\.yaml"):
        find(tmp_path)


def test_the_others_see_the_harm_in_a_recording_from_its_onset_on(recordings: Path) -> None:
    path = recordings / "bad" / "one"
    setting = load_setting(path)
    started = setting.stages[0].started
    assert started is not None
    seen = cohorts(path / "metrics.parquet", setting, started)
    assert seen.past == PAST_TICKS
    assert seen.canary.shape == (7, PAST_TICKS + LIVE_TICKS)  # errors, cpu, memory, 3 edges, requests
    assert seen.down.tolist() == [False] * 6 + [True]
    ratio = seen.canary[0] / seen.control[0]
    assert np.nanmean(ratio[seen.past : seen.past + 10]) < 2 < np.nanmean(ratio[seen.past + 10 :])


def test_a_recording_is_judged_by_all_methods_with_delays_from_its_onset(recordings: Path) -> None:
    judged = judge_recording(("folder", recordings / "bad" / "one"))
    assert (judged.kind, judged.is_bad, judged.onset) == ("folder: bad", True, 10)
    assert set(judged.outcomes) == {"holdfast", *RIVALS}
    assert gather([judged.outcomes["holdfast"]], [judged.onset]).delays[0] < 20
    assert len(judged.prints) > 0


def test_recordings_that_share_samples_are_one_block(recordings: Path) -> None:
    harmless = judge_recording(("folder", recordings / "harmless" / "one"))
    (row,) = recorded([harmless, harmless])
    assert row.block is not None
    assert row.block.tolist() == [0, 0]
    rows = recorded([harmless, judge_recording(("folder", recordings / "bad" / "one"))])
    assert [(row.kind, row.is_bad, row.block) for row in rows] == [
        ("folder: harmless", False, None),
        ("folder: bad", True, None),
    ]


def verdict(action: str, cause: str, second: int) -> dict[str, object]:
    return {"time": f"1970-01-01T00:{second // 60:02d}:{second % 60:02d}Z", "data": {"action": action, "cause": cause}}


def test_verdicts_are_read_up_to_the_first_stop_and_its_cause() -> None:
    waits, stops = verdict("wait", "baking", 100), verdict("revert", "evidence", 250)
    late = verdict("halt", "deadline", 200)
    assert read_verdicts([waits, stops, verdict("revert", "evidence", 300)], 10_000, 10) == Outcome(15)
    assert read_verdicts([waits, late], 10_000, 10) == Outcome(None, 10)
    assert read_verdicts([waits, late, stops], 10_000, 10) == Outcome(15, 10)
    assert read_verdicts([waits, verdict("advance", "evidence", 200)], 10_000, 10) == Outcome(None, None, advances=True)


def test_recordings_are_measured_by_the_command(
    recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["quality", "--recordings", str(recordings), "--markdown"])
    main()
    assert f"| {recordings.name}: bad | 100% |" in capsys.readouterr().out


def test_simulated_fleets_share_no_seed_and_have_the_harm_that_their_kind_names() -> None:
    listed = fleets(3, 2)
    assert len({fleet.seed for _, fleet in listed} | {fleet.seed for _, fleet in fleets(3, 3)}) == 2 * len(listed)
    assert [name for name, _ in listed[::3]] == [
        "harmless fleet",
        "fleet, errors x1.5",
        "fleet, latency x1.5",
        "fleet, cpu x1.5",
        "fleet, silent",
    ]
