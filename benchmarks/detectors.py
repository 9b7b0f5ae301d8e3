"""What one tick of one comparison costs, beside what others use for the job: `python -m benchmarks.detectors`."""

import argparse
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray
from river.drift import PageHinkley
from scipy.stats import mannwhitneyu

from benchmarks.measure import against, best_seconds, machine, process_peak_mb, table, traced_peak_mb
from detectors.comparisons import Strand, arrange
from detectors.evidence import Evidence
from detectors.scoremix import ScoreMix
from detectors.sides import Sides

Array = NDArray[np.float64]

SEED: Final = 20
COMPARISONS: Final = 30_000
COLOS: Final = 300
HORIZON: Final = 100
"""Live ticks that the whole portfolio looks ahead; a long past is five times as long."""

GOAL_NS: Final = 25.0
WHOLE_GOAL_NS: Final = 100.0
DEVIATION: Final = 0.1
"""Standard deviation of the effect of one tick."""

SHIFT: Final = 0.3
WINDOW: Final = 60


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is run: ticks and repeats, and how many comparisons the slow ones get."""

    ticks: int
    repeats: int
    page_hinkley: int
    mann_whitney: int


SIZES: Final = {False: Sizes(240, 5, 300, 4), True: Sizes(60, 3, 100, 1)}


def effects(ticks: int, comparisons: int, shifted: float) -> Array:
    """Draw effects [tick, comparison]; the first part `shifted` of the comparisons is worse."""
    rng = np.random.default_rng(SEED)
    drawn = rng.normal(0.0, DEVIATION, (ticks, comparisons))
    drawn[:, : int(shifted * comparisons)] += SHIFT
    return drawn


def scoremix(drawn: Array) -> tuple[float, int]:
    """Follow all comparisons [tick, comparison], looking at each tick; return the largest look and how many count."""
    comparisons = drawn.shape[1]
    ones = np.ones(comparisons)
    mix = ScoreMix(360 * ones, DEVIATION**2 * ones, 200 * ones, 0.02 * ones, 5 * DEVIATION * ones)
    tolerance = 0.02 * ones
    top, evaluated = -np.inf, 0
    for effect in drawn:
        mix.update(effect, ones)
        looked = mix.log_e(tolerance, ones)
        top = max(top, float(looked.max()))
        evaluated += int(np.count_nonzero(looked > -np.inf))
    return top, evaluated


def begin(metrics: int, colos: int, past_ticks: int) -> Evidence:
    """Begin the whole portfolio on calm levels: metrics x colos, in six regions."""
    strand, colo = np.repeat(np.arange(metrics), colos), np.tile(np.arange(colos), metrics)
    strands = [Strand(metric, 0.0, False, True, False, 0.02, 0.0, "auto", 1 / metrics) for metric in range(metrics)]
    tests = arrange(strand, colo, colo % 6)
    return Evidence(strands, tests, levels(len(strand), past_ticks, SEED), np.zeros(len(strand)), 30, HORIZON)


def levels(comparisons: int, ticks: int, seed: int) -> Sides:
    """Draw levels of both sides [comparison, tick]."""
    drawn = np.random.default_rng(seed).normal(0.0, DEVIATION, (2, comparisons, ticks))
    np.exp(drawn, out=drawn)
    ones = np.ones((comparisons, ticks))
    return Sides(drawn[0], ones, drawn[1], ones)


def portfolio(evidence: Evidence, live: Sides) -> tuple[float, float]:
    """Follow all comparisons, looking at each tick; return nanoseconds and bytes of state a comparison and tick."""
    exempt = np.zeros(len(evidence.strands), np.bool_)
    count, ticks = live.canary.shape
    each = [live.at(tick) for tick in range(ticks)]
    start = perf_counter()
    for sides in each:
        evidence.update(sides, False, exempt)
        evidence.log_e()
    elapsed = perf_counter() - start
    return 1e9 * elapsed / (count * ticks), len(pickle.dumps(evidence)) / count


def page_hinkley(drawn: Array) -> int:
    """Follow each comparison with a detector object of its own; return how many ever alarmed."""
    alarms = 0
    for series in drawn.T.tolist():
        detector = PageHinkley()
        alarmed = False
        for value in series:
            detector.update(value)  # type: ignore[no-untyped-call]
            alarmed |= detector.drift_detected
        alarms += alarmed
    return alarms


def mann_whitney(drawn: Array) -> int:
    """Compare a window of live ticks with one of the past at every tick; return how many ever alarmed."""
    alarms = 0
    for series in drawn.T:
        past, live = series[:WINDOW], series[WINDOW:]
        looks = [
            mannwhitneyu(live[max(0, tick - WINDOW) : tick], past, alternative="greater").pvalue
            for tick in range(1, len(live) + 1)
        ]
        alarms += min(looks) < 0.01
    return alarms


def _cost(run: Callable[[Array], object], drawn: Array, repeats: int, ticks: int) -> float:
    """Return the nanoseconds that one tick of one comparison takes."""
    return 1e9 * best_seconds(lambda: run(drawn), repeats) / float(ticks * drawn.shape[1])


def run(quick: bool) -> bool:
    """Measure and print; return whether the goal is kept."""
    sizes = SIZES[quick]
    calm, shifted = (effects(sizes.ticks, COMPARISONS, share) for share in (0.0, 0.1))
    costs = {
        "ScoreMix, update and gated look (A/A)": _cost(scoremix, calm, sizes.repeats, sizes.ticks),
        "ScoreMix, 10 % of the comparisons shifted": _cost(scoremix, shifted, sizes.repeats, sizes.ticks),
    }
    few = calm[:, : sizes.page_hinkley]
    costs["river PageHinkley, one object each"] = _cost(page_hinkley, few, 2, sizes.ticks)
    longer = effects(WINDOW + sizes.ticks, sizes.mann_whitney, 0.0)
    costs[f"scipy mannwhitneyu, windows of {WINDOW}"] = _cost(mann_whitney, longer, 1, sizes.ticks)
    whole = {}
    metrics = COMPARISONS // COLOS if not quick else 10
    for name, past_ticks in (("short", 240), ("long", 5 * HORIZON)):
        evidence = begin(metrics, COLOS, past_ticks)
        whole[name] = portfolio(evidence, levels(metrics * COLOS, min(sizes.ticks, HORIZON), SEED + 1))
        costs[f"the whole portfolio, {name} past"] = whole[name][0]
    peak = traced_peak_mb(lambda: scoremix(calm[:10]))
    base = next(iter(costs.values()))
    rows = [[name, f"{cost:,.1f}", f"{cost / base:,.1f}"] for name, cost in costs.items()]
    evaluated = [scoremix(drawn)[1] / drawn.size for drawn in (calm, shifted)]
    print(f"detectors: {COMPARISONS:,} comparisons x {sizes.ticks} ticks; the others on fewer, per comparison-tick")
    print(table(["", "ns", "ratio"], rows))
    print(f"Looks beyond the gate: {evaluated[0]:.1%} (A/A), {evaluated[1]:.1%} (shifted).")
    print(f"Memory of ScoreMix: {peak:.1f} MB at its peak; of the process: {process_peak_mb():.0f} MB.")
    for name, (cost, size) in whole.items():
        print(
            f"The whole portfolio on a {name} past takes {cost:.0f} ns; {against(cost, WHOLE_GOAL_NS, is_most=True)}; "
            f"{size:,.0f} bytes a comparison, pools and what it was begun with included."
        )
    worst = max(list(costs.values())[:2])
    print(f"ScoreMix takes {worst:.1f} ns; {against(worst, GOAL_NS, is_most=True)}.")
    print(machine("numpy", "scipy", "river"))
    return worst <= GOAL_NS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detectors", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer ticks and repeats")
    run(parser.parse_args().quick)


if __name__ == "__main__":
    main()
