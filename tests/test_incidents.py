"""The library of incidents: is each the recording that it says it is, and does holdfast say what is right of it?"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import incidents as benchmark
from detectors.errors import BadInput
from detectors.policy import Policy
from holdfast.documents import load_policy, load_rollout, load_truth
from holdfast.replaying import Outcome, replay_recording
from streams.incidents import BY_NAME, HARMLESS, INCIDENTS, POLICY, Incident, find, make, names
from streams.incidents.making import TICK_S, recorded, sized
from streams.incidents.scenes import KIND_SHARES, KINDS, SERIES
from streams.simulation import Scrapes
from tests.test_cli import Command, make_command

ROOT = Path(__file__).resolve().parent.parent
STOPS = ("halt", "revert")
BAD = [incident.name for incident in INCIDENTS if incident.harm]
REQUESTS, ERRORS = slice(0, 3), slice(3, 6)
CPU, MEMORY = len(SERIES) - 2, len(SERIES) - 1


@cache
def scrapes_of(name: str, seed: int = 1) -> Scrapes:
    """Draw a small recording of an incident."""
    incident, is_bad = find(name)
    return recorded(sized(incident, "small"), is_bad, seed)[1]


def onset_of(name: str) -> int:
    """Return the first tick of the harm."""
    incident, _ = find(name)
    return incident.pre_ticks + incident.onset_ticks


def judged(name: str, folder: Path) -> Outcome:
    make(name, folder / name, 1, "small")
    return replay_recording(folder / name, check=True)


# ---------------------------------------------------------------- what holdfast says


@pytest.mark.parametrize("name", [incident.name for incident in INCIDENTS])
def test_every_incident_is_judged_as_its_truth_says(name: str, tmp_path: Path) -> None:
    incident, is_bad = find(name)
    outcome = judged(name, tmp_path)
    assert outcome.contradictions == []
    assert (outcome.action in STOPS) == is_bad
    if is_bad:
        assert {reason["metric"] for reason in outcome.reasons} & set(incident.metrics)
        policy = load_policy(tmp_path / name / "policy.yaml")
        assert [reason["sentence"] for reason in outcome.reasons if not says_why(reason, policy)] == []


def says_why(reason: Mapping[str, Any], policy: Policy) -> bool:
    """Tell whether a person who reads the reason of a stop sees something that is not tolerated."""
    tolerated = next(metric.tolerate for metric in policy.metrics if metric.name == reason["metric"])
    effect = math.inf if reason["effect"] is None else abs(math.log1p(reason["effect"]))
    return effect > math.log1p(tolerated.relative) or bool(re.search(r"decided(, with|: events)", reason["sentence"]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("name", names())
def test_every_recording_is_judged_as_its_truth_says_whatever_the_seed(name: str, seed: int, tmp_path: Path) -> None:
    incident, is_bad = find(name)
    one = benchmark.judge(name, seed, "usual", tmp_path)
    assert one.contradictions == []
    assert (one.action in STOPS) == is_bad
    assert not is_bad or set(one.metrics) & set(incident.metrics)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names() if name.endswith(HARMLESS)])
def test_no_small_harmless_twin_is_stopped(name: str, tmp_path: Path) -> None:
    assert judged(name, tmp_path).action not in STOPS


def test_of_two_overlapping_rollouts_the_harmless_one_is_not_stopped(tmp_path: Path) -> None:
    make("overlapping-rollouts", tmp_path / "r", 1, "small")
    outcome = replay_recording(tmp_path / "r", rollout="overlapping-rollouts-second")
    assert outcome.action not in STOPS


def test_the_harmless_one_of_two_overlapping_rollouts_lies_beside_the_bad_one(tmp_path: Path) -> None:
    for name in ("overlapping-rollouts", "overlapping-rollouts-harmless"):
        make(name, tmp_path / name, 1, "small")
    bad, harmless = (tmp_path / f"overlapping-rollouts{end}" / "metrics.parquet" for end in ("", HARMLESS))
    assert bad.read_bytes() == harmless.read_bytes()
    other = tmp_path / "overlapping-rollouts-harmless" / "rollouts" / "first.yaml"
    assert load_rollout(other).rollout == "overlapping-rollouts"


# ---------------------------------------------------------------- what the recordings are


@pytest.mark.parametrize("name", ["feature-file", "overlapping-rollouts"])
def test_the_same_name_and_seed_write_the_same_bytes(name: str, tmp_path: Path) -> None:
    for copy in ("a", "b"):
        make(name, tmp_path / copy, 3, "small")
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert Path("metrics.parquet") in files
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_another_seed_is_another_fleet() -> None:
    one, other = scrapes_of("global-flag", 1), scrapes_of("global-flag", 2)
    assert one.values.shape == other.values.shape
    assert not np.array_equal(one.values, other.values, equal_nan=True)


def test_each_incident_has_a_fleet_of_its_own() -> None:
    one, other = scrapes_of("global-flag-harmless"), scrapes_of("feature-file-harmless")
    assert not np.array_equal(one.values[:, :, CPU], other.values[:, :, CPU], equal_nan=True)


@pytest.mark.parametrize("name", [name for name in BAD if name != "overlapping-rollouts"])
def test_a_harmless_twin_differs_in_nothing_but_the_harm(name: str) -> None:
    bad, twin = scrapes_of(name), scrapes_of(name + HARMLESS)
    onset = onset_of(name)
    touched = bad.hosts.is_canary & bad.hosts.is_hurt
    np.testing.assert_array_equal(bad.values[:onset], twin.values[:onset])
    np.testing.assert_array_equal(bad.values[:, ~touched], twin.values[:, ~touched])
    assert not np.array_equal(bad.values[:, touched], twin.values[:, touched], equal_nan=True)
    np.testing.assert_array_equal(np.isnan(bad.values[..., CPU]), np.isnan(twin.values[..., CPU]))


def test_all_recordings_have_the_same_policy_byte_for_byte(tmp_path: Path) -> None:
    for name in ("prefixes-withdrawn", "someone-elses-outage"):
        make(name, tmp_path / name, 1, "small")
        assert (tmp_path / name / "policy.yaml").read_text(encoding="utf-8") == POLICY
    policy = load_policy(tmp_path / "prefixes-withdrawn" / "policy.yaml")
    assert {metric for one in INCIDENTS for metric in one.metrics} <= {metric.name for metric in policy.metrics}


def test_the_documents_are_those_of_the_contract(tmp_path: Path) -> None:
    make("feature-file", tmp_path / "feature-file", 1, "small")
    rollout = load_rollout(tmp_path / "feature-file" / "rollout.yaml")
    truth = load_truth(tmp_path / "feature-file" / "truth.yaml")
    assert (rollout.rollout, rollout.policy) == ("feature-file", "edge")
    assert (truth.bad, truth.expect, truth.metrics) == (True, ["revert"], ["errors_bots"])
    assert truth.onset is not None
    assert (truth.onset - rollout.started).total_seconds() == BY_NAME["feature-file"].onset_ticks * TICK_S
    times = pq.read_table(tmp_path / "feature-file" / "metrics.parquet", columns=["time"])["time"].to_pylist()
    assert times == sorted(times)
    assert times[0] < rollout.started < datetime(2025, 11, 18, 12, 0, tzinfo=UTC) < times[-1]


@pytest.mark.parametrize("name", names())
def test_a_usual_recording_has_no_more_than_two_million_samples(name: str) -> None:
    incident, _ = find(name)
    assert incident.colos * incident.hosts * (incident.pre_ticks + incident.live_ticks) * len(SERIES) <= 2_000_000


# ---------------------------------------------------------------- what happens in them


def rate(scrapes: Scrapes, kind: str, first: int, last: int, *, is_canary: bool) -> float:
    """Return the share of errors among requests of one kind, from tick `first` to `last`, at hurt or other hosts."""
    which = (scrapes.hosts.is_canary & scrapes.hosts.is_hurt) if is_canary else ~scrapes.hosts.is_canary
    gained = np.nan_to_num(scrapes.values[last][which]) - np.nan_to_num(scrapes.values[first][which])
    there = ~np.isnan(scrapes.values[[first, last]][:, which, CPU]).any(axis=0)
    at = KINDS.index(kind)
    return float(gained[there, ERRORS][:, at].sum() / gained[there, REQUESTS][:, at].sum())


def test_errors_of_the_feature_file_come_and_go_every_five_minutes() -> None:
    scrapes, onset = scrapes_of("feature-file"), onset_of("feature-file")
    bad, good = (rate(scrapes, "bots", onset + at, onset + at + 20, is_canary=True) for at in (5, 35))
    assert bad > 0.5
    assert good < 0.01
    assert rate(scrapes, "plain", onset + 5, onset + 25, is_canary=True) < 0.01
    assert rate(scrapes, "bots", onset + 5, onset + 25, is_canary=False) < 0.01


def test_the_flag_breaks_one_kind_of_traffic_from_the_first_tick_on() -> None:
    scrapes, onset = scrapes_of("global-flag"), onset_of("global-flag")
    assert rate(scrapes, "rules", onset, onset + 2, is_canary=True) > 0.9
    assert rate(scrapes, "bots", onset, onset + 2, is_canary=True) < 0.02


def test_withdrawn_prefixes_take_traffic_away_step_by_step_and_bring_no_error() -> None:
    bad, calm = scrapes_of("prefixes-withdrawn"), scrapes_of("prefixes-withdrawn-harmless")
    onset, hurt = onset_of("prefixes-withdrawn"), bad.hosts.is_hurt & bad.hosts.is_canary
    left = []
    for first in range(onset, onset + 300, 60):
        gained = [
            # Restarts reset counters, and a scrape that failed has no value.
            np.nansum(np.fmax(np.diff(one.values[first : first + 60, hurt][..., REQUESTS], axis=0), 0.0))
            for one in (bad, calm)
        ]
        left.append(gained[0] / gained[1])
    assert left == sorted(left, reverse=True)
    assert left[0] > 0.95
    assert left[-1] < 0.85
    assert rate(bad, "plain", onset + 150, onset + 200, is_canary=True) < 0.01


def test_the_leak_grows_steadily_and_slowly() -> None:
    bad, calm = (scrapes_of(name).values[..., MEMORY] for name in ("memory-leak", "memory-leak-harmless"))
    onset = onset_of("memory-leak")
    share = np.nanmean(bad - calm, axis=1) / np.nanmean(calm)
    hour = 3_600 // TICK_S
    assert np.all(np.nan_to_num(share[:onset]) == 0)
    canaries = scrapes_of("memory-leak").hosts.is_canary.mean()
    assert 0.15 < share[onset + hour] / canaries < 0.3


def test_the_tail_leaves_the_middle_alone() -> None:
    bad, calm = scrapes_of("regional-tail"), scrapes_of("regional-tail-harmless")
    touched = bad.hosts.is_canary & bad.hosts.is_hurt
    first = onset_of("regional-tail")
    limits = {limit: i for i, (_, _, limit) in enumerate(SERIES) if limit}

    def beyond(scrapes: Scrapes, limit: str) -> float:
        gained = np.nansum(np.diff(scrapes.values[first:, touched], axis=0), axis=(0, 1))
        return float(1 - gained[limits[limit]] / gained[limits["+Inf"]])

    assert beyond(bad, "0.5") > 1.5 * beyond(calm, "0.5")
    assert beyond(bad, "0.05") == pytest.approx(beyond(calm, "0.05"), rel=0.03)


def test_the_peak_comes_for_canary_and_control_alike() -> None:
    scrapes = scrapes_of("under-the-peak-harmless")
    for which in (scrapes.hosts.is_canary, ~scrapes.hosts.is_canary):
        busy = np.nanmean(scrapes.values[:, which, CPU], axis=1)
        assert busy[-30:].mean() > 1.3 * busy[:30].mean()


def test_somebody_elses_outage_hits_canary_and_control_alike() -> None:
    scrapes, onset = scrapes_of("someone-elses-outage"), onset_of("someone-elses-outage")
    canary = scrapes.hosts.is_canary
    shares = []
    for which in (canary, ~canary):
        gained = np.nansum(np.diff(scrapes.values[onset : onset + 100, which], axis=0), axis=(0, 1))
        shares.append(gained[ERRORS][KINDS.index("bots")] / gained[REQUESTS][KINDS.index("bots")])
    assert min(shares) > 0.1
    assert shares[0] == pytest.approx(shares[1], rel=0.2)


def test_kinds_of_traffic_have_their_shares() -> None:
    scrapes = scrapes_of("global-flag-harmless")
    gained = np.nansum(np.maximum(np.diff(scrapes.values[..., REQUESTS], axis=0), 0), axis=(0, 1))
    np.testing.assert_allclose(gained / gained.sum(), KIND_SHARES, atol=0.01)


# ---------------------------------------------------------------- the folder


def test_an_earlier_recording_is_replaced_and_something_else_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "overlapping-rollouts"
    make("overlapping-rollouts", place, 1, "small")
    before = (place / "metrics.parquet").read_bytes()
    make("overlapping-rollouts", place, 2, "small")
    assert (place / "metrics.parquet").read_bytes() != before
    (place / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match="there already, and no recording"):
        make("overlapping-rollouts", place, 1, "small")
    assert (place / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


def test_nothing_half_written_is_left_when_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("streams.incidents.making.write_samples", full)
    with pytest.raises(BadInput, match="global-flag: cannot be written: No space left on device"):
        make("global-flag", tmp_path / "global-flag", 1, "small")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- the command


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return make_command(capsys, monkeypatch)


def test_the_list_has_every_recording_once_and_says_what_is_right(command: Command) -> None:
    listed = command("incidents", "list")
    assert (listed.status, listed.err) == (0, "")
    assert [line.split()[0] for line in listed.out.splitlines()] == names()
    told = [json.loads(line) for line in command("incidents", "list", "--json").out.splitlines()]
    assert [one["name"] for one in told] == names()
    assert all(one["bad"] or one["expect"] == ["advance", "wait"] for one in told)


def test_recordings_are_made_by_name_and_named_when_done(command: Command, tmp_path: Path) -> None:
    done = command("incidents", "make", "global-flag", "--out", "here", "--size", "small")
    assert (done.status, done.out, done.err) == (0, "here/global-flag\n", "")
    assert (tmp_path / "here" / "global-flag" / "truth.yaml").exists()


def refused(command: Command, *words: str) -> str:
    done = command("incidents", "make", *words)
    assert (done.status, done.out, list(Path.cwd().iterdir())) == (2, "", [])
    return done.err


def test_unknown_names_are_told_at_once_with_what_there_is_and_nothing_is_made(command: Command) -> None:
    said = refused(command, "global-flag", "gobal-flag", "memory-leek")
    assert said.startswith("incidents make: there is no gobal-flag, memory-leek; there are: feature-file, ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("words", [(), ("global-flag", "--all")])
def test_one_must_say_which_ones(words: tuple[str, ...], command: Command) -> None:
    assert refused(command, *words).startswith("incidents make: which ones?")


@pytest.mark.parametrize("words", [("--seed", "-1"), ("--size", "huge")])
def test_options_that_cannot_be_are_refused(words: tuple[str, ...], command: Command) -> None:
    assert words[0] in refused(command, "global-flag", *words)


# ---------------------------------------------------------------- the pages and the benchmark


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda one: one.name)
def test_every_incident_has_a_page_with_its_source_and_what_holdfast_says(incident: Incident) -> None:
    text = (ROOT / "docs" / "incidents" / f"{incident.name}.md").read_text(encoding="utf-8")
    assert incident.real.source[1] in text
    for minutes in (incident.real.seen_minutes, incident.real.mitigated_minutes):
        assert minutes is None or f"{minutes} minutes" in " ".join(text.split())
    assert f"incidents/{incident.name}.md" in (ROOT / "docs" / "incidents.md").read_text(encoding="utf-8")
    said = re.search(rf"^{incident.name}: {incident.name}: (\w+) at ", text, re.MULTILINE)
    assert said is not None
    assert said[1] in ([incident.action] if incident.action else ["advance", "wait"])


def test_the_table_counts_what_was_caught_in_time_and_what_was_stopped_for_nothing() -> None:
    def one(name: str, action: str, delay: float | None, *contradictions: str) -> benchmark.Judged:
        return benchmark.Judged(name, 1, action, action, delay, [], list(contradictions))

    found = [
        one("global-flag", "revert", 3.0),
        one("global-flag", "revert", 5.0),
        one("global-flag", "revert", 90.0, "stopped 90 ticks after the onset; due within 8"),
        one("global-flag", "advance", None, "ended in advance"),
        one("global-flag-harmless", "wait", None),
        one("global-flag-harmless", "halt", None, "ended in halt"),
    ]
    assert benchmark.caught(found)[1] == [["global-flag", "2 of 4", "4", "5", "0.7", "0.8", "3", "25"]]
    assert benchmark.spared(found)[1] == [["global-flag-harmless", "1 of 2", "0", "1"]]
