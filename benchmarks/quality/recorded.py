"""Recordings: every one below a folder, replayed by holdfast as shipped and judged by the others on the same sums."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from benchmarks.quality.blocks import Prints, of_recording
from benchmarks.quality.outcome import Outcome
from benchmarks.quality.rivals import Cohorts, judge, relative
from detectors.errors import BadInput
from detectors.sides import Sides
from holdfast.documents import load_truth
from holdfast.recording.folder import load_setting
from holdfast.replaying import replay_recording
from sinks.cloudevents import epoch_ms
from streams.cohorts import merge
from streams.fleet import Fleet, Scenario, write
from streams.pairing import pair
from streams.recording import MetricsFile
from streams.replay import Setting, blocks, prepare
from streams.scan import scan

_STOPS: Final = ("halt", "revert")
_COLOS: Final = 4
_SIZE: Final = 1.5
_SIZES: Final = {"errors": f" x{_SIZE}", "latency": f" x{_SIZE}", "cpu": f" x{_SIZE}", "silent": ""}
_FLEETS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one recording: its kind, the first bad live tick (0 if harmless), and each method's outcome."""

    kind: str
    onset: int
    is_bad: bool
    outcomes: dict[str, Outcome]
    prints: Prints


def find(folder: Path) -> list[Path]:
    """Find the recordings below a folder, or the folder itself if it is one, in order of their paths.

    Raises
    ------
    BadInput
        If there is none, or one whose truth is not known.
    """
    found = sorted(file.parent for file in folder.rglob("metrics.parquet"))
    if not found:
        msg = f"{folder}: no recording is there or below; one is a folder with metrics.parquet and its documents"
        raise BadInput(msg)
    unknown = [str(path) for path in found if not (path / "truth.yaml").is_file()]
    if unknown:
        msg = f"{unknown[0]}: no truth.yaml; whether it was stopped rightly can only be told with one (bad, onset)"
        raise BadInput(msg)
    return found


def judge_recording(task: tuple[str, Path]) -> Recorded:
    """Judge a recording by all methods; `task` names its kind and its folder."""
    kind, path = task
    setting = load_setting(path)
    truth = load_truth(path / "truth.yaml")
    started = next(stage.started for stage in setting.stages if stage.started is not None)
    onset = 0
    if truth.onset is not None:
        onset = -(-epoch_ms(truth.onset) // setting.tick_ms) - started
    verdicts = replay_recording(path, check=True).verdicts
    own = read_verdicts(verdicts, setting.tick_ms, started)
    others = judge(cohorts(path / "metrics.parquet", setting, started))
    label = f"{kind}: {'bad' if truth.bad else 'harmless'}"
    return Recorded(label, onset, truth.bad, {"holdfast": own, **others}, of_recording(path))


def read_verdicts(verdicts: Iterable[dict[str, Any]], tick_ms: int, started: int) -> Outcome:
    """Read from verdicts, as CloudEvents, when a rollout was stopped, and for which cause."""
    stopped = halted = None
    action = ""
    for verdict in verdicts:
        action = verdict["data"]["action"]
        if action in _STOPS:
            tick = epoch_ms(datetime.fromisoformat(verdict["time"])) // tick_ms - started
            if verdict["data"]["cause"] == "evidence":
                stopped = tick if stopped is None else stopped
            elif halted is None and stopped is None:
                halted = tick
    return Outcome(stopped, halted, action == "advance")


def cohorts(metrics: Path, setting: Setting, started: int) -> Cohorts:
    """Return the sums that holdfast judges in the first stage, added up over the fleet, as the others look at them.

    `reporting_hosts` is left out: it is holdfast's own. Of a histogram they get the shares beyond the same edges.
    """
    file = MetricsFile(metrics)
    found = scan(file, setting.policy.lateness_ticks * setting.tick_ms)
    aggregate, plan = prepare(setting, found, str(metrics))
    whole = merge(list(blocks(file, found, aggregate)))
    past = started - whole.first
    values = whole.values
    learned = values[:, :, max(0, past - setting.policy.pre_period.ticks_max) : past]
    pairing = pair(whole.keys, learned, setting.policy, plan.membership, 0, len(setting.stages))
    tests = pairing.tests
    rows = [test for test in tests.fleet() if pairing.strands[tests.strand[test]].metric < len(setting.policy.metrics)]
    sides = Sides(*(array[rows] for array in pairing.sides(values).pooled(tests).arrays()))
    strands = [pairing.strands[tests.strand[row]] for row in rows]
    canary, control = (
        relative(np.divide(top, of, out=np.full_like(top, np.nan), where=of > 0), past)
        for top, of in ((sides.canary, sides.canary_of), (sides.control, sides.control_of))
    )
    up, down = (np.array([getattr(strand, name) for strand in strands]) for name in ("up", "down"))
    return Cohorts(canary, control, past, up, down)


def fleets(count: int, seed: int) -> list[tuple[str, Fleet]]:
    """List fleets to be simulated, with their kinds: `count` harmless ones and as many of each scenario.

    Their hosts scrape, miss scrapes, restart and fall silent, as simulated cohorts do not.
    """
    kinds: list[Scenario | None] = [None, *get_args(Scenario)]
    names = ["harmless fleet" if kind is None else f"fleet, {kind}{_SIZES[kind]}" for kind in kinds]
    return [
        # Seeds differ between scenarios: equal ones would have equal noise, and not be independent.
        (name, Fleet(seed=start * _FLEETS_MAX + number, colos=_COLOS, scenario=kind, size=_SIZE, hurt=_COLOS))
        for start, (name, kind) in enumerate(zip(names, kinds, strict=True), seed * len(kinds))
        for number in range(count)
    ]


def judge_fleet(task: tuple[str, Fleet]) -> Recorded:
    """Write a simulated fleet as a recording, and judge it."""
    kind, fleet = task
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet"
        write(fleet, path)
        return replace(judge_recording((kind, path)), kind=kind)
