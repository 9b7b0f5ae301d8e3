"""How often harmless rollouts are stopped, and how soon bad ones: holdfast beside what people use.

`python -m benchmarks.quality` judges simulated rollouts (`benchmarks.simulator`) by each method, looking at every
tick unless it says otherwise. The others see what is usual for them: the fleet's canary over its control, divided by
what that was in the pre-period, so that a lasting difference does not count against them.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from scipy.stats import t as student

from benchmarks.measure import machine, table
from benchmarks.simulator import COLOS, HARMLESS, LIVE, METRICS, PAST, RATIOS, Scenario, Simulated, simulate
from detectors.classical import Label, Settings, classify
from detectors.comparisons import Strand, arrange
from detectors.evidence import Evidence
from detectors.scoremix import EFFECT_TYPICAL, log_e
from detectors.sides import Sides

Array = NDArray[np.float64]

ALPHA: Final = 0.01
TOLERANCE: Final = 0.02
TICKS_LEAST: Final = 10
CLASSICAL_EVERY: Final = 10

SCENARIOS: Final = (
    HARMLESS,
    Scenario("errors +30 %", "ratio", 1.3),
    Scenario("errors x2", "ratio", 2.0),
    Scenario("errors +30 % from tick 60", "ratio", 1.3, onset=60),
    Scenario("errors x2 in 2 of 20 colos", "ratio", 2.0, colos=2),
    Scenario("level +10 %", "level", 1.1),
    Scenario("level +30 %", "level", 1.3),
)


def holdfast(rollout: Simulated) -> int | None:
    """Return the tick at which holdfast stops the rollout, or None."""
    strand = np.repeat(np.arange(METRICS), COLOS)
    colo = np.tile(np.arange(COLOS), METRICS)
    strands = [
        Strand(metric, 0.0, metric < RATIOS, True, False, TOLERANCE, 0.0, "auto", 1 / METRICS)
        for metric in range(METRICS)
    ]
    past = _cut(rollout.sides, 0, PAST)
    tests = arrange(strand, colo, colo // 5)
    evidence = Evidence(strands, tests, past, np.zeros(len(strand)), 30, LIVE)
    exempt = np.zeros(METRICS, np.bool_)
    for tick in range(LIVE):
        evidence.update(rollout.sides.at(PAST + tick), False, exempt)
        by_strand = evidence.strand_log_e(evidence.log_e()) - np.log(METRICS)
        if np.logaddexp.reduce(by_strand) >= -np.log(ALPHA):
            return tick
    return None


def _cut(sides: Sides, start: int, stop: int) -> Sides:
    return Sides(*(np.ascontiguousarray(array[:, start:stop]) for array in sides.arrays()))


def _fleet(rollout: Simulated) -> tuple[Array, Array]:
    """Return canary and control over the fleet, each by its own pre-period [metric, tick]."""
    sums = [array.reshape(METRICS, COLOS, -1).sum(axis=1) for array in rollout.sides.arrays()]
    values = [top / bottom for top, bottom in ((sums[0], sums[1]), (sums[2], sums[3]))]
    canary, control = (value / value[:, :PAST].mean(axis=1, keepdims=True) for value in values)
    return canary, control


def fixed(rollout: Simulated, limit: float) -> int | None:
    """Stop where a metric exceeds the control by a fixed factor in three ticks in a row, as Argo and Flagger do."""
    canary, control = (side[:, PAST:] for side in _fleet(rollout))
    above = canary > limit * control
    in_a_row: NDArray[np.bool_] = above[:, 2:] & above[:, 1:-1] & above[:, :-2]
    return _first(in_a_row, 2)


def welch(rollout: Simulated) -> int | None:
    """Stop where Welch's t-test of all live ticks says so, at alpha over the number of metrics."""
    canary, control = (side[:, PAST:] for side in _fleet(rollout))
    count = np.arange(1, LIVE + 1)
    means, squares = zip(
        *((np.cumsum(s, 1) / count, np.cumsum(s**2, 1) / count) for s in (canary, control)), strict=True
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = [
            np.maximum(square - mean**2, 1e-18) / (count - 1) for mean, square in zip(means, squares, strict=True)
        ]
        total = errors[0] + errors[1]
        freedom = total**2 * (count - 1) / (errors[0] ** 2 + errors[1] ** 2)
        found = student.sf((means[0] - means[1]) / np.sqrt(total), freedom) < ALPHA / METRICS
    return _first(found[:, TICKS_LEAST:], TICKS_LEAST)


def msprt(rollout: Simulated) -> int | None:
    """Stop where a mixture sequential test says so that takes ticks for independent, as experiment platforms do."""
    canary, control = _fleet(rollout)
    difference = np.log(canary / control)
    past, live = difference[:, :PAST], difference[:, PAST:]
    count = np.arange(1, LIVE + 1)
    variance = past.var(axis=1, keepdims=True) * (1 / count + 1 / PAST)
    effect = np.cumsum(live, axis=1) / count - past.mean(axis=1, keepdims=True) - TOLERANCE
    found = log_e(effect, variance, np.full_like(variance, 1e9), EFFECT_TYPICAL) >= np.log(METRICS / ALPHA)
    return _first(found[:, TICKS_LEAST:], TICKS_LEAST)


def classical(rollout: Simulated, looks: Sequence[int]) -> int | None:
    """Stop where the classical judge calls a metric high, at the given numbers of ticks."""
    canary, control = (side[:, PAST:] for side in _fleet(rollout))
    settings = Settings(direction="increase")
    for ticks in looks:
        if (classify(canary[:, :ticks], control[:, :ticks], settings).label == Label.HIGH).any():
            return ticks - 1
    return None


def _first(found: NDArray[np.bool_], offset: int) -> int | None:
    """Return the first tick at which any metric is found [metric, tick]."""
    ticks = np.flatnonzero(found.any(axis=0))
    return int(ticks[0]) + offset if len(ticks) else None


METHODS: Final[dict[str, Callable[[Simulated], int | None]]] = {
    "holdfast": holdfast,
    "classical judge, every 10th tick": lambda r: classical(r, range(CLASSICAL_EVERY, LIVE + 1, CLASSICAL_EVERY)),
    "classical judge, one look": lambda r: classical(r, [LIVE]),
    "above 1.10x three times": lambda r: fixed(r, 1.10),
    "above 1.25x three times": lambda r: fixed(r, 1.25),
    "Welch, every tick": welch,
    "mSPRT, independent ticks": msprt,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one scenario: how many were stopped, before the onset and after, and the delays in ticks."""

    rollouts: int
    early: int
    delays: list[int]

    def text(self, scenario: Scenario) -> str:
        """Show false alarms with their 95 % interval (Wilson), or detections and their median delay."""
        if scenario.kind == "none":
            stopped = self.early + len(self.delays)
            low, high = wilson(stopped, self.rollouts)
            return f"{stopped / self.rollouts:.1%} ({low:.1%} to {high:.1%})"
        median = f"{np.median(self.delays):.0f}" if self.delays else "-"
        return f"{len(self.delays) / self.rollouts:.0%} / {median}"


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z = 1.96
    share = count / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def _judge(task: tuple[Scenario, tuple[int, ...]]) -> list[int | None]:
    rollout = simulate(*task)
    return [method(rollout) for method in METHODS.values()]


def measure(harmless: int, bad: int, seed: int, console: Console) -> dict[str, dict[str, Cell]]:
    """Judge all scenarios by all methods: scenario to method to what came of it."""
    result: dict[str, dict[str, Cell]] = {}
    counts = {scenario.name: harmless if scenario.kind == "none" else bad for scenario in SCENARIOS}
    with ProcessPoolExecutor() as pool, Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("rollouts", total=sum(counts.values()))
        for number, scenario in enumerate(SCENARIOS):
            tasks = [(scenario, (seed, number, rollout)) for rollout in range(counts[scenario.name])]
            stops = []
            for stop in pool.map(_judge, tasks, chunksize=2):
                stops.append(stop)
                progress.advance(bar)
            result[scenario.name] = {
                name: _cell([stop[place] for stop in stops], scenario.onset) for place, name in enumerate(METHODS)
            }
    return result


def _cell(stops: list[int | None], onset: int) -> Cell:
    """Count an alarm at the first tick of the harm as a delay of 1 tick."""
    known = [stop for stop in stops if stop is not None]
    return Cell(len(stops), sum(stop < onset for stop in known), [stop - onset + 1 for stop in known if stop >= onset])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 harmless and 5 bad rollouts")
    parser.add_argument("--harmless", type=int, default=300, help="harmless rollouts")
    parser.add_argument("--bad", type=int, default=40, help="rollouts of each bad scenario")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    sizes = (20, 5) if given.quick else (given.harmless, given.bad)
    result = measure(sizes[0], sizes[1], given.seed, Console(stderr=True))
    if given.json:
        cells = {
            name: {method: {"rollouts": c.rollouts, "early": c.early, "delays": c.delays} for method, c in row.items()}
            for name, row in result.items()
        }
        print(json.dumps({"seed": given.seed, "scenarios": cells}))
        return
    print(
        f"{sizes[0]} harmless rollouts and {sizes[1]} of each bad kind, {COLOS} colos x {METRICS} metrics x {LIVE} "
        f"ticks, alpha {ALPHA:.0%}, seed {given.seed}.\nHarmless: share that is stopped, with its 95 % interval. "
        "Others: share that is caught / median delay in ticks, the first bad tick being 1."
    )
    names = list(METHODS)
    rows = [[scenario.name, *(result[scenario.name][name].text(scenario) for name in names)] for scenario in SCENARIOS]
    transposed = [list(row) for row in zip(*([["", *names], *rows]), strict=True)]
    print(table(transposed[0], transposed[1:]))
    print(machine("numpy", "scipy"))


if __name__ == "__main__":
    main()
