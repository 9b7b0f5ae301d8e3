"""The rows that a judged tick leaves behind: what sinks receive, as Arrow tables with these schemas."""

from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from detectors.verdict import Verdict

_TIME: Final = pa.timestamp("ms", tz="UTC")

COHORT_TICKS: Final = pa.schema(
    [
        ("rollout", pa.string()),
        ("time", _TIME),  # end of the tick
        ("stage", pa.string()),
        ("metric", pa.string()),
        ("edge", pa.float64()),  # histogram bucket edge; 0 for every other kind
        ("colo", pa.string()),
        ("cohort", pa.string()),  # canary or control
        ("units", pa.float64()),  # units with a value in this tick
        ("sum", pa.float64()),  # gauges and rates: sum over units
        ("sum_squares", pa.float64()),
        ("bad", pa.float64()),  # ratios: events; histograms: events slower than the edge
        ("total", pa.float64()),
    ]
)
"""One row per side of each strand and colo, and tick: the mergeable sums that the judge worked on."""

EVIDENCE: Final = pa.schema(
    [
        ("rollout", pa.string()),
        ("time", _TIME),
        ("stage", pa.string()),
        ("metric", pa.string()),
        ("edge", pa.float64()),
        ("level", pa.string()),  # fleet, region, colo, or stratum of a colo that other rollouts divide
        ("place", pa.string()),  # name of the region, colo or stratum; empty for the fleet
        ("effect", pa.float64()),  # log ratio, or units of the metric's scale; positive is an increase
        ("lower", pa.float64()),  # anytime-valid interval of the effect
        ("upper", pa.float64()),
        ("log_e", pa.float64()),  # natural logarithm of the e-value against the tolerated degradation
        ("mde", pa.float64()),  # smallest degradation that could be seen by now; NaN where bad events are counted
        ("information", pa.float64()),  # in units of one average tick of the pre-period
    ]
)
"""One row per comparison and live tick."""


TICKS: Final = pa.schema(
    [
        ("rollout", pa.string()),
        ("time", _TIME),  # end of the tick
        ("is_live", pa.bool_()),  # whether a stage was under way
        ("samples", pa.uint64()),  # that are in the tick
        ("reasons", pa.list_(pa.string())),  # why samples were dropped since the tick before
        ("dropped", pa.list_(pa.uint64())),  # how many, by reason
    ]
)
"""One row per judged tick: what came. When it was decided is not in it, since what is judged again must be the same."""


class Sink(Protocol):
    """Where a replay or a worker puts what it saw and decided."""

    def cohort_ticks(self, table: pa.Table) -> None:
        """Take rows of `COHORT_TICKS`."""

    def evidence(self, table: pa.Table) -> None:
        """Take rows of `EVIDENCE`."""

    def ticks(self, table: pa.Table) -> None:
        """Take rows of `TICKS`."""

    def verdict(self, rollout: str, time_ms: int, verdict: Verdict) -> None:
        """Take one verdict, decided on everything up to `time_ms` (end of the tick, epoch milliseconds)."""


@dataclass(frozen=True, slots=True)
class Both:
    """Two sinks that take the same, one after the other."""

    one: Sink
    other: Sink

    def cohort_ticks(self, table: pa.Table) -> None:
        """Hand on rows of `COHORT_TICKS`."""
        self.one.cohort_ticks(table)
        self.other.cohort_ticks(table)

    def evidence(self, table: pa.Table) -> None:
        """Hand on rows of `EVIDENCE`."""
        self.one.evidence(table)
        self.other.evidence(table)

    def ticks(self, table: pa.Table) -> None:
        """Hand on rows of `TICKS`."""
        self.one.ticks(table)
        self.other.ticks(table)

    def verdict(self, rollout: str, time_ms: int, verdict: Verdict) -> None:
        """Hand on one verdict."""
        self.one.verdict(rollout, time_ms, verdict)
        self.other.verdict(rollout, time_ms, verdict)
