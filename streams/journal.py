"""The journal: judged ticks as Arrow rows, for whoever keeps them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.comparisons import COLO, FLEET, REGION
from detectors.evidence import Evidence
from detectors.sides import Sides
from streams.pairing import Pairing
from streams.plan import Plan
from streams.records import COHORT_TICKS, EVIDENCE, TICKS, Sink

Array = NDArray[np.float64]

_LEVELS: Final = {FLEET: "fleet", REGION: "region", COLO: "colo"}
_TICKS_HELD: Final = 64
"""Ticks of evidence gathered before they are handed on as one table."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """A judged tick: its end, whether a stage was under way, samples in it, and those dropped since, by reason."""

    time_ms: int
    is_live: bool
    samples: int
    dropped: Mapping[str, int]


def tick_rows(rollout: str, ticked: Sequence[Ticked]) -> pa.Table:
    """Return the rows of `TICKS` of some ticks."""
    reasons = [sorted(reason for reason, count in each.dropped.items() if count) for each in ticked]
    columns = {
        "rollout": [rollout] * len(ticked),
        "time": [each.time_ms for each in ticked],
        "is_live": [each.is_live for each in ticked],
        "samples": [each.samples for each in ticked],
        "reasons": reasons,
        "dropped": [[each.dropped[reason] for reason in told] for each, told in zip(ticked, reasons, strict=True)],
    }
    return pa.table(columns, schema=TICKS)


class Journal:
    """Turns judged ticks into tables and hands them to a sink.

    Parameters
    ----------
    sink
        Takes the rows.
    plan
        The rollout that is judged.
    """

    def __init__(self, sink: Sink, plan: Plan) -> None:
        self._sink = sink
        self._plan = plan
        self._stage = ""
        self._pairing: Pairing | None = None
        self._ticks: list[int] = []
        self._columns: dict[str, list[Array]] = {}
        self._blocks: list[tuple[int, Sides, tuple[Array, Array]]] = []

    def begin(self, stage: str, pairing: Pairing) -> None:
        """Begin a stage."""
        self.flush()
        self._stage = stage
        self._pairing = pairing

    def tick(self, number: int, evidence: Evidence, log_e: Array) -> None:
        """Add the evidence of one tick, all tests of it."""
        effect, _ = evidence.portfolio.estimate()
        radius = evidence.portfolio.radius(self._plan.policy.alpha)
        values = {
            "effect": np.where(evidence.portfolio.mix.information > 0, effect, np.nan),
            "lower": effect - radius,
            "upper": effect + radius,
            "log_e": log_e,
            # What is judged by counting has no effect that it could be told for.
            "mde": np.where(evidence.is_sparse, np.nan, evidence.smallest_visible(self._plan.policy.alpha)),
            "information": evidence.portfolio.mix.information.copy(),
        }
        self.add(number, values)

    def add(self, number: int, values: Mapping[str, Array]) -> None:
        """Add the columns of one tick that hold numbers [test]: those from `effect` on in `EVIDENCE`."""
        self._ticks.append(number)
        for name, value in values.items():
            self._columns.setdefault(name, []).append(value)
        if len(self._ticks) >= _TICKS_HELD:
            self.flush()

    def flush(self) -> None:
        """Hand on what is held."""
        held, self._blocks = self._blocks, []
        for first, sides, squares in held:
            self._hand_on(first, sides, squares)
        if not self._ticks or self._pairing is None:
            return
        tests, pairing, count = self._pairing.tests, self._pairing, len(self._ticks)
        strands, metrics = pairing.strands, self._plan.metrics
        places = [
            ("", *pairing.regions, *pairing.colos)[self._place_code(level, place)]
            for level, place in zip(tests.level, tests.place, strict=True)
        ]
        levels = [_LEVELS[int(level)] for level in tests.level]
        for row, stratum in enumerate(pairing.stratum):
            if stratum:
                places[row], levels[row] = f"{places[row]} {stratum}", "stratum"
        columns = {
            **self._named(count, len(tests)),
            "metric": _tiled([metrics[strands[i].metric] for i in tests.strand], count),
            "edge": pa.array(np.tile([strands[i].edge for i in tests.strand], count)),
            "level": _tiled(levels, count),
            "place": _tiled(places, count),
            **{name: pa.array(np.concatenate(value)) for name, value in self._columns.items()},
        }
        self._sink.evidence(pa.table([columns[name] for name in EVIDENCE.names], schema=EVIDENCE))
        self._ticks, self._columns = [], {}

    def _place_code(self, level: int, place: int) -> int:
        assert self._pairing is not None
        offset = {FLEET: 0, REGION: 1, COLO: 1 + len(self._pairing.regions)}
        return offset[int(level)] + int(place)

    def _named(self, ticks: int, rows: int) -> dict[str, pa.Array]:
        """Return the columns that all rows share: rollout, stage and time of each tick."""
        times = np.repeat(np.array(self._ticks, np.int64) * self._plan.tick_ms, rows)
        return {
            "rollout": pa.repeat(pa.scalar(self._plan.rollout), ticks * rows),
            "stage": pa.repeat(pa.scalar(self._stage), ticks * rows),
            "time": pa.array(times).cast(pa.timestamp("ms", tz="UTC")),
        }

    def cohorts(self, first: int, sides: Sides, squares: tuple[Array, Array]) -> None:
        """Add the sums of a block of ticks, both sides of each comparison; rows are made of them when nobody waits."""
        self._blocks.append((first, sides, squares))
        if sum(sides.canary.shape[1] for _, sides, _ in self._blocks) >= _TICKS_HELD:
            held, self._blocks = self._blocks, []
            for block in held:
                self._hand_on(*block)

    def _hand_on(self, first: int, sides: Sides, squares: tuple[Array, Array]) -> None:
        """Hand on a block of ticks, both sides of each strand and colo, its strata taken together."""
        pairing, metrics = self._pairing, self._plan.metrics
        assert pairing is not None
        colo = pairing.by_colo()
        count, ticks = colo.shape[0], sides.canary.shape[1]
        row = np.zeros(count, np.intp)
        row[colo.nonzero()[0]] = colo.nonzero()[1]  # any of a colo's strata stands for it
        sides, squares = Sides(*(colo @ array for array in sides.arrays())), (colo @ squares[0], colo @ squares[1])
        strands = [pairing.strands[i] for i in pairing.tests.strand[row]]
        times = np.tile((first + np.arange(ticks)) * self._plan.tick_ms, count)
        is_ratio = np.repeat(pairing.is_ratio[row], ticks)
        for cohort, top, bottom, square in (
            ("canary", sides.canary, sides.canary_of, squares[0]),
            ("control", sides.control, sides.control_of, squares[1]),
        ):
            total, of = top.reshape(-1), bottom.reshape(-1)
            columns = {
                "rollout": pa.repeat(pa.scalar(self._plan.rollout), len(total)),
                "time": pa.array(times).cast(pa.timestamp("ms", tz="UTC")),
                "stage": pa.repeat(pa.scalar(self._stage), len(total)),
                "metric": _repeated([metrics[strand.metric] for strand in strands], ticks),
                "edge": pa.array(np.repeat([strand.edge for strand in strands], ticks)),
                "colo": _repeated([pairing.colos[i] for i in pairing.tests.place[row]], ticks),
                "cohort": pa.repeat(pa.scalar(cohort), len(total)),
                "units": pa.array(np.where(is_ratio, 0.0, of)),
                "sum": pa.array(np.where(is_ratio, 0.0, total)),
                "sum_squares": pa.array(square.reshape(-1)),
                "bad": pa.array(np.where(is_ratio, total, 0.0)),
                "total": pa.array(np.where(is_ratio, of, 0.0)),
            }
            self._sink.cohort_ticks(pa.table([columns[name] for name in COHORT_TICKS.names], schema=COHORT_TICKS))


def _tiled(names: list[str], times: int) -> pa.Array:
    """Return the names, `times` times over: one round per tick."""
    coded = pa.array(names).dictionary_encode()
    return coded.take(pa.array(np.tile(np.arange(len(names)), times))).cast(pa.string())


def _repeated(names: list[str], times: int) -> pa.Array:
    """Return each name `times` times: one run per comparison."""
    coded = pa.array(names).dictionary_encode()
    return coded.take(pa.array(np.repeat(np.arange(len(names)), times))).cast(pa.string())
