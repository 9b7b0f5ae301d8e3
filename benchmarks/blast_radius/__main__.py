"""How far bad packages get: `python -m benchmarks.blast_radius`.

Every second package is bad. Each is released stage by stage by the real controller on what the real judge says, over a
simulated fleet, and the bad ones are pushed ungated as well. With `--page` the figures are written between the markers
of a Markdown page.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from benchmarks.blast_radius.fleet import STAGES, WHERE
from benchmarks.blast_radius.gated import ALARMS, Outcome, run
from benchmarks.measure import machine, table
from benchmarks.quality.report import around, put_into
from detectors.errors import BadInput
from holdfast.progress import Bars

SECTION: Final = "measured"
AT_SCALE: Final = "measured at scale"

Table = tuple[Sequence[str], list[list[str]]]


def measure(seed: int, rollouts: int, jobs: int, *, at_scale: bool = False) -> Iterator[Outcome]:
    """Release packages, in as many processes, and yield what became of each, in order."""
    # Spawned, as a fork of a process with threads may never come to itself.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool, Bars(rollouts) as bars:
        for outcome in pool.map(partial(run, seed, at_scale=at_scale), range(1, rollouts + 1)):
            bars.part(f"rollout {outcome.number}")
            yield outcome


def compared(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of the bad ones, under control and pushed ungated."""
    bad = [one for one in outcomes if one.is_bad]
    rows = [
        _row("under control", [one.reached for one in bad], [one.decided for one in bad], [one.restored for one in bad])
    ]
    for index, alarm in enumerate(ALARMS):
        noticed, undone = [one.noticed[index] for one in bad], [one.undone[index] for one in bad]
        # Everything at once is everywhere, whatever comes of it.
        rows.append(_row(f"ungated push, alarm at {alarm:g} x", [1.0] * len(bad), noticed, undone))
    header = [
        "bad packages",
        "fleet reached: median",
        "worst",
        "noticed",
        "first error to notice: median, s",
        "worst, s",
    ]
    return [*header, "first error to last host restored: median, s", "worst, s"], rows


def _row(name: str, reached: Sequence[float], noticed: Sequence[int | None], undone: Sequence[int | None]) -> list[str]:
    known = [second for second in noticed if second is not None]
    shares = [f"{statistics.median(reached):.1%}", f"{max(reached):.1%}"] if reached else ["-", "-"]
    return [name, *shares, f"{len(known)} of {len(noticed)}", *_spread(noticed), *_spread(undone)]


def _spread(seconds: Sequence[int | None]) -> list[str]:
    """Return the median and the worst; what never came is worse than anything."""
    ranked = sorted(float("inf") if second is None else second for second in seconds)
    if not ranked:
        return ["-", "-"]
    return [_never(statistics.median_high(ranked)), _never(ranked[-1])]


def _never(second: float) -> str:
    return "never" if second == float("inf") else f"{second:.0f}"


def by_stage(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of where bad ones were stopped, by what they hurt."""
    rows = []
    bounds = {name: most for name, _, most, _ in STAGES}
    for stage in (*bounds, "rest"):
        own = [one for one in outcomes if one.is_bad and one.stage == stage]
        bound = bounds.get(stage)
        rows.append(
            [
                stage,
                f"{bound:.1%}" if bound is not None else "none",
                f"{max(one.reached for one in own):.1%}" if own else "-",
                *(str(sum(one.where == where for one in own)) for where in WHERE),
                str(len(own)),
            ]
        )
    return [
        "last stage that began",
        "plan's bound",
        "worst reached",
        *(f"hurts {where}" for where in WHERE),
        "all",
    ], rows


def beyond(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of those that hurt only at scale, by the last stage that began."""
    rows = []
    for stage, _, bound, _ in STAGES[1:]:
        own = [one for one in outcomes if one.stage == stage]
        if own:
            hurting = [one.from_share for one in own]
            rows.append(
                [
                    stage,
                    f"{min(hurting):.0%} to {max(hurting):.0%}",
                    f"{sum(one.is_as_promised for one in own)} of {len(own)}",
                    f"{bound:.1%}",
                    f"{max(one.reached for one in own):.1%}",
                    *_spread([one.decided for one in own]),
                    *_spread([one.restored for one in own]),
                ]
            )
    header = ["last stage that began", "hurts from", "taken back in bound", "plan's bound", "worst reached"]
    times = ["first error to notice: median, s", "worst, s", "first error to last host restored: median, s", "worst, s"]
    return [*header, *times], rows


def spared(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of the harmless ones."""
    good = [one for one in outcomes if not one.is_bad]
    done = [one.ended / 60 for one in good if one.phase == "completed"]
    times = [f"{statistics.median(done):.0f}", f"{max(done):.0f}"] if done else ["-", "-"]
    stopped = [sum(one.phase == phase for one in good) for phase in ("halted", "reverted")]
    row = [str(len(good)), str(len(done)), *(str(count) for count in stopped), *times]
    return ["harmless packages", "completed", "halted", "reverted", "to completion: median, min", "worst, min"], [row]


def verdict(outcomes: Sequence[Outcome]) -> str:
    """Say which rollouts did not end as promised."""
    broken = [one for one in outcomes if not one.is_as_promised]
    if not broken:
        return (
            "Every harmless one was completed; every bad one was taken back, and reached no more than its plan's bound."
            if not all(one.where == "at scale" for one in outcomes)
            else "Every one was taken back, and reached no more than its plan's bound."
        )
    told = [
        f"{one.number}, {_what(one)}: {one.phase}, last stage {one.stage}, {one.reached:.1%} of the fleet reached"
        for one in broken
    ]
    return f"Not as promised: {len(broken)} of {len(outcomes)}.\n\n" + "\n".join(f"- {line}" for line in told)


def _what(one: Outcome) -> str:
    if not one.is_bad:
        return "harmless"
    if one.where == "at scale":
        return f"errors x {one.factor:.2f} once {one.from_share:.0%} of the fleet have it"
    return f"errors x {one.factor:.2f} after {one.delay_s} s, {one.where} ({one.hurt_share:.0%} of the fleet)"


def tables(outcomes: Sequence[Outcome]) -> list[Table]:
    """Return the tables of what was measured."""
    if all(one.where == "at scale" for one in outcomes):
        return [beyond(outcomes)]
    return [compared(outcomes), by_stage(outcomes), spared(outcomes)]


def markdown(outcomes: Sequence[Outcome], command: str) -> str:
    """Lay the figures out for the page."""
    parts = [f"```sh\n.venv/bin/{command}\n```"]
    for header, rows in tables(outcomes):
        ruler = ["---"] * len(header)
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in (header, ruler, *rows)))
    parts.append(verdict(outcomes))
    parts.append(f"Measured with {machine('numpy', 'scipy')}.")
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blast_radius", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=200, help="how many; every second one is bad")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes; the figures do not depend on it")
    parser.add_argument("--at-scale", action="store_true", help="all are bad, and hurt only once many hosts have them")
    parser.add_argument("--page", type=Path, help="Markdown page that gets the figures")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each rollout instead")
    chosen = parser.parse_args()
    if chosen.rollouts < 1 or chosen.jobs < 1 or chosen.seed < 0:
        parser.error("--rollouts and --jobs must be 1 or more, --seed 0 or more")
    section = AT_SCALE if chosen.at_scale else SECTION
    try:
        if chosen.page is not None:
            around(chosen.page, section)
    except BadInput as error:
        parser.error(str(error))
    outcomes = []
    for one in measure(chosen.seed, chosen.rollouts, chosen.jobs, at_scale=chosen.at_scale):
        outcomes.append(one)
        if chosen.json:
            print(json.dumps(asdict(one)), flush=True)
    if not chosen.json:
        for header, rows in tables(outcomes):
            print(table(header, rows), end="\n\n")
        print(verdict(outcomes), end="\n\n")
        print(machine("numpy", "scipy"))
    if chosen.page is not None:
        seed = "" if chosen.seed == 1 else f" --seed {chosen.seed}"
        which = " --at-scale" if chosen.at_scale else ""
        command = f"python -m benchmarks.blast_radius --rollouts {chosen.rollouts}{which}{seed} --page {chosen.page}"
        put_into(chosen.page, section, markdown(outcomes, command))


if __name__ == "__main__":
    main()
