"""How well it is estimated when harm began: `python -m benchmarks.onsets`.

Bad recordings of the library and simulated fleets are judged, several seeds of each; of those that were stopped the
estimate of the first stop is held against the truth.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.measure import machine
from detectors.policy import duration_ms
from detectors.verdict import Verdict
from holdfast.documents import load_policy, load_rollout, load_truth
from holdfast.progress import Bars
from holdfast.replaying import replay_recording
from holdfast.response.onsets import Wanted, began_of, chosen
from sinks.cloudevents import epoch_ms
from streams.fleet import Fleet, Scenario, write
from streams.incidents import find, make, names

_SIZES: Final[dict[Scenario, tuple[float, ...]]] = {
    "errors": (1.6, 3.0),
    "latency": (1.3, 3.0),
    "cpu": (1.3, 3.0),
    "silent": (3.0,),
}
FLEETS: Final = [
    (scenario, size, onset) for scenario, sizes in _SIZES.items() for size in sizes for onset in (0, 12, 60, 150)
]
"""Scenario, by what factor it is worse, and ticks from the stage's start to the harm."""


class Beside:
    """Keeps the evidence of a replay, and its verdicts."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.verdicts: list[tuple[int, Verdict]] = []

    def cohort_ticks(self, table: pa.Table) -> None:
        """See `streams.records.Sink`."""

    def evidence(self, table: pa.Table) -> None:
        """See `streams.records.Sink`."""
        self.tables.append(table)

    def ticks(self, table: pa.Table) -> None:
        """See `streams.records.Sink`."""

    def verdict(self, _rollout: str, time_ms: int, verdict: Verdict, /) -> None:
        """See `streams.records.Sink`."""
        self.verdicts.append((time_ms, verdict))


def error_of(folder: Path) -> float | None:
    """Judge a recording; return by how many ticks its onset is told too late, None if no evidence has stopped it."""
    beside = Beside()
    replay_recording(folder, beside=beside)
    stops = [(at, said) for at, said in beside.verdicts if said.action in ("halt", "revert")][:1]
    truth, plan = load_truth(folder / "truth.yaml"), load_rollout(folder / "rollout.yaml")
    if not stops or stops[0][1].cause != "evidence" or truth.onset is None:
        return None
    at_ms, said = stops[0]
    tick_ms, onset_ms = duration_ms(load_policy(folder / "policy.yaml").tick), epoch_ms(truth.onset)
    wanted = Wanted("", plan.rollout, said.stage, frozenset(said.scope.metrics), epoch_ms(plan.started), at_ms, tick_ms)
    began = began_of(wanted, chosen(pa.concat_tables(beside.tables), wanted))
    return None if began is None else (epoch_ms(began.at) - onset_ms) / tick_ms


def errors(seeds: int) -> Iterator[tuple[str, float | None]]:
    """Yield whether it is of the library or a fleet, and the error of each."""
    bad = [name for name in names() if find(name)[1]]
    with tempfile.TemporaryDirectory() as place, Bars((len(bad) + len(FLEETS)) * seeds) as bars:
        for seed in range(1, seeds + 1):
            for name in bad:
                bars.part(f"{name}, seed {seed}")
                make(name, Path(place) / name, seed, "small")
                yield "library", error_of(Path(place) / name)
            for number, (scenario, size, onset) in enumerate(FLEETS):
                bars.part(f"{scenario}, seed {seed}")
                folder = Path(place) / f"fleet-{number}-{seed}"
                write(
                    Fleet(seed=seed, colos=8, hosts=8, scenario=scenario, size=size, hurt=2, onset_ticks=onset), folder
                )
                yield "fleets", error_of(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onsets", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many of each")
    chosen_seeds = parser.parse_args().seeds
    found = list(errors(chosen_seeds))
    header = ("recordings", "stopped for evidence", "median error, ticks", "90 % within", "worst")
    print(f"| {' | '.join((*header, 'more than a tick too early'))} |")
    print(f"|{' --- |' * (len(header) + 1)}")
    for of in ("library", "fleets"):
        own = [error for name, error in found if name == of]
        known = np.array([error for error in own if error is not None])
        size = np.abs(known)
        print(
            f"| {of} | {len(known)} of {len(own)} | {np.median(size):.1f} | {np.percentile(size, 90):.1f} "
            f"| {size.max():.0f} | {(known < -1).mean():.0%} |"
        )
    print(f"\nMeasured with {machine('numpy', 'scipy')}.")


if __name__ == "__main__":
    main()
