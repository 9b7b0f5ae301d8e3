"""How soon incidents of the library are caught, and what becomes of harmless ones: `python -m benchmarks.incidents`.

Every recording is made and judged for several seeds, by the library's own policy. With `--page` the figures are written
between the markers of a Markdown page.
"""

import argparse
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from benchmarks.measure import machine, table
from benchmarks.quality.report import around, put_into
from detectors.errors import BadInput
from holdfast.documents import load_truth
from holdfast.progress import Bars
from holdfast.replaying import replay_recording
from streams.incidents import BY_NAME, Size, find, make, names
from streams.incidents.making import TICK_S

SECTION: Final = "measured"
STOPS: Final = ("halt", "revert")


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one recording: the first and last action, the delay of a stop in ticks, what speaks against it."""

    name: str
    seed: int
    action: str
    final_action: str
    delay: float | None
    metrics: list[str]
    contradictions: list[str]


def judge(name: str, seed: int, size: Size, folder: Path) -> Judged:
    """Make a recording and judge it."""
    make(name, folder / name, seed, size)
    outcome = replay_recording(folder / name, check=True)
    onset = load_truth(folder / name / "truth.yaml").onset
    delay = None
    if outcome.action in STOPS and onset is not None:
        delay = (datetime.fromisoformat(outcome.time) - onset).total_seconds() / TICK_S
    metrics = sorted({str(reason["metric"]) for reason in outcome.reasons})
    return Judged(name, seed, outcome.action, outcome.final_action, delay, metrics, outcome.contradictions)


def measure(chosen: Sequence[str], seeds: range, size: Size) -> Iterator[Judged]:
    """Judge every chosen recording for every seed."""
    with tempfile.TemporaryDirectory() as folder, Bars(len(chosen) * len(seeds)) as bars:
        for name in chosen:
            for seed in seeds:
                bars.part(f"{name}, seed {seed}")
                yield judge(name, seed, size, Path(folder))


def caught(judged: Sequence[Judged]) -> tuple[Sequence[str], list[list[str]]]:
    """Return the table of the bad ones."""
    rows = []
    for name in dict.fromkeys(one.name for one in judged if find(one.name)[1]):
        incident, own = BY_NAME[name], [one for one in judged if one.name == name]
        # A stop that names none of the hurt colos, or comes before the harm or too late, has not caught it.
        delays = [one.delay for one in own if one.delay is not None and not one.contradictions]
        real = incident.real
        rows.append(
            [
                name,
                f"{len(delays)} of {len(own)}",
                _ticks(statistics.median(delays)) if delays else "-",
                _ticks(max(delays)) if delays else "-",
                _minutes(statistics.median(delays)) if delays else "-",
                _minutes(max(delays)) if delays else "-",
                "-" if real.seen_minutes is None else f"{real.seen_minutes}",
                "-" if real.mitigated_minutes is None else f"{real.mitigated_minutes}",
            ]
        )
    header = ["incident", "caught", "median, ticks", "worst, ticks", "median, min", "worst, min", "real: seen, min"]
    return [*header, "real: mitigated, min"], rows


def spared(judged: Sequence[Judged]) -> tuple[Sequence[str], list[list[str]]]:
    """Return the table of the harmless ones."""
    rows = []
    for name in dict.fromkeys(one.name for one in judged if not find(one.name)[1]):
        own = [one for one in judged if one.name == name]
        ends = Counter(one.final_action for one in own)
        stopped = sum(one.action in STOPS for one in own)
        rows.append([name, f"{stopped} of {len(own)}", str(ends["advance"]), str(ends["wait"])])
    return ["recording", "stopped", "advanced", "waiting at the end"], rows


def _ticks(delay: float) -> str:
    return f"{delay:.0f}"


def _minutes(delay: float) -> str:
    return f"{delay * TICK_S / 60:.1f}"


def markdown(judged: Sequence[Judged], command: str) -> str:
    """Lay the figures out for the page."""
    parts = [f"```sh\n.venv/bin/{command}\n```"]
    for header, rows in (caught(judged), spared(judged)):
        ruler = ["---"] * len(header)
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in (header, ruler, *rows)))
    parts.append(f"Measured with {machine('numpy', 'scipy')}.")
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.incidents", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="recordings; all of them by default")
    parser.add_argument("--seeds", type=int, default=10, help="how many of each")
    parser.add_argument("--first-seed", type=int, default=1, help="the seed of the first; the others follow")
    parser.add_argument("--size", choices=("small", "usual"), default="usual")
    parser.add_argument("--page", type=Path, help="Markdown page that gets the figures")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each recording instead")
    chosen = parser.parse_args()
    if chosen.seeds < 1:
        parser.error("--seeds: must be 1 or more")
    if chosen.first_seed < 0:
        parser.error("--first-seed: must be 0 or more")
    try:
        for name in chosen.names:
            find(name)
        if chosen.page is not None:
            around(chosen.page, SECTION)
    except BadInput as error:
        parser.error(str(error))
    judged = []
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    for one in measure(chosen.names or names(), seeds, chosen.size):
        judged.append(one)
        if chosen.json:
            print(json.dumps(asdict(one)), flush=True)
    if not chosen.json:
        for header, rows in (caught(judged), spared(judged)):
            print(table(header, rows), end="\n\n")
        print(machine("numpy", "scipy"))
    if chosen.page is not None:
        first = "" if chosen.first_seed == 1 else f" --first-seed {chosen.first_seed}"
        options = first + ("" if chosen.size == "usual" else f" --size {chosen.size}")
        command = f"python -m benchmarks.incidents --seeds {chosen.seeds}{options} --page {chosen.page}"
        put_into(chosen.page, SECTION, markdown(judged, command))


if __name__ == "__main__":
    main()
