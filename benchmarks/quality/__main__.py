"""Measure how often harmless rollouts are stopped, and how soon bad ones: `python -m benchmarks.quality`.

Simulated rollouts are judged, or recordings if some are named or to be made, by holdfast and by what people use.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from benchmarks.measure import cores
from benchmarks.quality.blocks import blocks
from benchmarks.quality.outcome import gather
from benchmarks.quality.picture import draw
from benchmarks.quality.recorded import Recorded, find, fleets, judge_fleet, judge_recording
from benchmarks.quality.report import Report, Row, around, put_into
from benchmarks.quality.rivals import ALPHA, TOLERANCE
from benchmarks.quality.simulated import BAKE, DEADLINE, judge_simulated, scenarios
from benchmarks.simulator import COLOS, LIVE, METRICS
from detectors.errors import BadInput

T = TypeVar("T")
R = TypeVar("R")

QUICK = (10, 2)
SIMULATED_TOGETHER = 10
BAD_INPUT = 2


def spread(work: Callable[[Sequence[T]], list[R]], tasks: Sequence[T], batch: int) -> list[R]:
    """Do tasks in batches on all cores, in order, with a bar on standard error if that is a terminal."""
    console = Console(stderr=True)
    batches = [tasks[start : start + batch] for start in range(0, len(tasks), batch)]
    with ProcessPoolExecutor(cores()) as pool, Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("rollouts", total=len(tasks))
        done: list[R] = []
        for some in pool.map(work, batches):
            done += some
            progress.advance(bar, len(some))
    return done


def _one_by_one(work: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
    return [work(task) for task in tasks]


def simulated(harmless: int, bad: int, seed: int, *, by_phi: bool) -> list[Row]:
    """Judge simulated rollouts of all kinds."""
    kinds = scenarios(by_phi=by_phi)
    counts = [harmless if scenario.kind == "none" else bad for scenario, _ in kinds]
    tasks = [
        (scenario, (seed, number, rollout))
        for number, ((scenario, _), count) in enumerate(zip(kinds, counts, strict=True))
        for rollout in range(count)
    ]
    outcomes = spread(judge_simulated, tasks, SIMULATED_TOGETHER)
    rows, start = [], 0
    for (scenario, goal), count in zip(kinds, counts, strict=True):
        own = outcomes[start : start + count]
        start += count
        cells = {name: gather([one[name] for one in own], [scenario.onset] * count) for name in own[0]}
        rows.append(Row(scenario.name, scenario.kind != "none", cells, goal))
    return rows


def recorded(judged: Iterable[Recorded]) -> list[Row]:
    """Gather recordings by kind; inside a kind those that share samples form a block."""
    kinds: dict[str, list[Recorded]] = {}
    for one in judged:
        kinds.setdefault(one.kind, []).append(one)
    rows = []
    for kind, group in kinds.items():
        onsets = [one.onset for one in group]
        cells = {name: gather([one.outcomes[name] for one in group], onsets) for name in group[0].outcomes}
        block = blocks([one.prints for one in group])
        rows.append(Row(kind, group[0].is_bad, cells, block=block if block.max() + 1 < len(group) else None))
    return rows


def measure(given: argparse.Namespace, command: str) -> Report:
    """Judge what was asked for."""
    if given.recordings or given.fleet:
        tasks = [(_name(folder), path) for folder in given.recordings for path in find(folder)]
        judged = spread(partial(_one_by_one, judge_recording), tasks, 1)
        judged += spread(partial(_one_by_one, judge_fleet), fleets(given.fleet, given.seed), 1)
        setting = (
            "Each recording is judged by its own policy. Where recordings share samples they form blocks, and the "
            "interval by blocks is the one to believe."
        )
        return Report("recorded", command, given.seed, setting, recorded(judged))
    harmless, bad = QUICK if given.quick else (given.harmless, given.bad)
    setting = (
        f"{COLOS} colos x {METRICS} metrics x {LIVE} live ticks, alpha {ALPHA:.0%}, tolerance {TOLERANCE:.0%}, bake "
        f"{BAKE} ticks, deadline {DEADLINE}, `advance: evidence`."
    )
    rows = simulated(harmless, bad, given.seed, by_phi=given.by_phi)
    return Report("simulated", command, given.seed, setting, rows)


def _name(folder: Path) -> str:
    return folder.resolve().name


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{text}: at least 1 is needed"
        raise argparse.ArgumentTypeError(msg)
    return number


def _seed(text: str) -> int:
    number = int(text)
    if number < 0:
        msg = f"{text}: a seed is 0 or more"
        raise argparse.ArgumentTypeError(msg)
    return number


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".svg", ".png"):
        msg = f"{text}: a picture ends in .svg or .png"
        raise argparse.ArgumentTypeError(msg)
    return path


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK[0]} harmless and {QUICK[1]} bad rollouts")
    parser.add_argument("--harmless", type=_count, default=300, help="harmless rollouts (300)")
    parser.add_argument("--bad", type=_count, default=40, help="rollouts of each bad kind (40)")
    parser.add_argument("--seed", type=_seed, default=1)
    parser.add_argument("--by-phi", action="store_true", help="levels also by their autocorrelation")
    parser.add_argument("--recordings", type=Path, nargs="+", default=[], metavar="FOLDER", help="judge these instead")
    parser.add_argument(
        "--fleet", type=_count, default=0, metavar="COUNT", help="simulate recordings and judge them instead"
    )
    out = parser.add_mutually_exclusive_group()
    out.add_argument("--json", action="store_true", help="print JSON instead of tables")
    out.add_argument("--markdown", action="store_true", help="print Markdown instead of tables")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="put the figures between the page's markers")
    parser.add_argument("--picture", type=_picture, metavar="FILE", help="draw false alarms against delay (svg or png)")
    return parser.parse_args(arguments)


def main() -> None:
    given = parse(sys.argv[1:])
    command = shlex.join(["python", "-m", "benchmarks.quality", *sys.argv[1:]])
    try:
        if given.page:  # before the work, which may take long
            around(given.page, "recorded" if given.recordings or given.fleet else "simulated")
        report = measure(given, command)
        print(report.json() if given.json else report.markdown() if given.markdown else report.text())
        if given.page:
            put_into(given.page, report.section, report.markdown())
        if given.picture:
            draw(report.rows, given.picture)
    except BadInput as error:
        print(error, file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None


if __name__ == "__main__":
    main()
