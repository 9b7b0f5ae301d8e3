"""The journal: judged ticks as Arrow rows, for whoever keeps them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array

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


class _Named:
    """The columns that are the same at every tick of a stage; of a large fleet they take longer than all the others."""

    def __init__(self, plan: Plan, pairing: Pairing) -> None:
        self._plan = plan
        self._pairing = pairing

    @cached_property
    def evidence(self) -> dict[str, pa.Array]:
        """Columns [test] of `EVIDENCE`."""
        pairing = self._pairing
        tests = pairing.tests
        strand, levels, places = tests.strand.tolist(), tests.level.tolist(), tests.place.tolist()
        level = [_LEVELS[number] for number in levels]
        named: dict[int, Sequence[str]] = {FLEET: ("",), REGION: pairing.regions, COLO: pairing.colos}
        place = [named[number][index] for number, index in zip(levels, places, strict=True)]
        for row, stratum in enumerate(pairing.stratum):
            if stratum:
                place[row], level[row] = f"{place[row]} {stratum}", "stratum"
        return self._strands(strand) | {"level": pa.array(level, pa.string()), "place": pa.array(place, pa.string())}

    @cached_property
    def cohort_ticks(self) -> dict[str, pa.Array]:
        """Columns [strand and colo] of `COHORT_TICKS`."""
        pairing = self._pairing
        colos = pairing.colos
        return self._strands(pairing.tests.strand[self.row].tolist()) | {
            "colo": pa.array([colos[index] for index in pairing.tests.place[self.row].tolist()], pa.string())
        }

    @cached_property
    def by_colo(self) -> csr_array:
        """See `Pairing.by_colo`."""
        return self._pairing.by_colo()

    @cached_property
    def row(self) -> NDArray[np.intp]:
        """A comparison of each strand and colo: any of a colo's strata stands for it."""
        found = np.zeros(self.by_colo.shape[0], np.intp)
        found[self.by_colo.nonzero()[0]] = self.by_colo.nonzero()[1]
        return found

    def _strands(self, strand: Sequence[int]) -> dict[str, pa.Array]:
        strands = self._pairing.strands
        metric = [self._plan.metrics[each.metric] for each in strands]
        edge = [each.edge for each in strands]
        return {
            "metric": pa.array([metric[index] for index in strand], pa.string()),
            "edge": pa.array([edge[index] for index in strand], pa.float64()),
        }


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
        self._named: _Named | None = None
        self._ticks: list[int] = []
        self._columns: dict[str, list[Array]] = {}
        self._blocks: list[tuple[int, Sides, tuple[Array, Array]]] = []

    @property
    def rows(self) -> int:
        """About how many rows are held; those of the sums are two for each comparison."""
        tests = 0 if self._pairing is None else len(self._pairing.tests)
        return len(self._ticks) * tests + sum(2 * sides.canary.size for _, sides, _ in self._blocks)

    def begin(self, stage: str, pairing: Pairing) -> None:
        """Begin a stage."""
        self.flush()
        self._stage = stage
        self._pairing = pairing
        self._named = _Named(self._plan, pairing)

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
        if not self._ticks or self._named is None:
            return
        count, named = len(self._ticks), self._named.evidence
        rows = len(named["metric"])
        times = np.repeat(np.array(self._ticks, np.int64) * self._plan.tick_ms, rows)
        columns = {
            **self._shared(count * rows, times),
            **{name: pa.concat_arrays([column] * count) for name, column in named.items()},
            **{name: pa.array(np.concatenate(value)) for name, value in self._columns.items()},
        }
        self._sink.evidence(pa.table([columns[name] for name in EVIDENCE.names], schema=EVIDENCE))
        self._ticks, self._columns = [], {}

    def _shared(self, rows: int, times: NDArray[np.int64]) -> dict[str, pa.Array]:
        """Return the columns that all rows share, and the end of each one's tick."""
        return {
            "rollout": pa.repeat(pa.scalar(self._plan.rollout), rows),
            "stage": pa.repeat(pa.scalar(self._stage), rows),
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
        named, pairing = self._named, self._pairing
        assert named is not None
        assert pairing is not None
        colo, ticks = named.by_colo, sides.canary.shape[1]
        count = colo.shape[0]
        sides, squares = Sides(*(colo @ array for array in sides.arrays())), (colo @ squares[0], colo @ squares[1])
        is_ratio = np.repeat(pairing.is_ratio[named.row], ticks)
        run = pa.array(np.repeat(np.arange(count), ticks))  # the ticks of a comparison stand one after the other
        columns = {
            **self._shared(count * ticks, np.tile((first + np.arange(ticks)) * self._plan.tick_ms, count)),
            **{name: column.take(run) if ticks > 1 else column for name, column in named.cohort_ticks.items()},
        }
        for cohort, top, bottom, square in (
            ("canary", sides.canary, sides.canary_of, squares[0]),
            ("control", sides.control, sides.control_of, squares[1]),
        ):
            total, of = top.reshape(-1), bottom.reshape(-1)
            columns |= {
                "cohort": pa.repeat(pa.scalar(cohort), len(total)),
                "units": pa.array(np.where(is_ratio, 0.0, of)),
                "sum": pa.array(np.where(is_ratio, 0.0, total)),
                "sum_squares": pa.array(square.reshape(-1)),
                "bad": pa.array(np.where(is_ratio, total, 0.0)),
                "total": pa.array(np.where(is_ratio, of, 0.0)),
            }
            self._sink.cohort_ticks(pa.table([columns[name] for name in COHORT_TICKS.names], schema=COHORT_TICKS))
