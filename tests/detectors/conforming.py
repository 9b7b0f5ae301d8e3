"""All that is checked: each detector and function with its cases, and what of the checks does not apply to them."""

from dataclasses import replace

from detectors.cases import DetectorCase
from detectors.classical.decision import ClassicalDecision
from detectors.countmix import CountMix
from detectors.decision import Decision
from detectors.departure import Levels
from detectors.drift import Drift
from detectors.evidence import Evidence
from detectors.objective import Objectives
from detectors.onset import Onset
from detectors.placebo import Placebo
from detectors.portfolio import Portfolio
from detectors.restarts import Restarts
from detectors.scoremix import ScoreMix
from detectors.state import Stateful
from detectors.traffic import Traffic
from tests.detectors.conforming_series import (
    LONG_PAST,
    OfCounts,
    OfObjectives,
    OfOnset,
    OfPlacebo,
    OfPortfolio,
    OfRestarts,
    OfScoreMix,
    events,
    residuals,
    values,
)
from tests.detectors.conforming_stages import OfClassicalDecisions, OfDecisions, OfEvidence, stage, ticks
from tests.detectors.conforming_watches import OfDrift, OfLevels, OfTraffic, moving, totals
from tests.detectors.stages import LEVEL, RATIO

MERGE, SWAP, SCALE, MISSING, SILENCE, TOLERANCE, ONE_TICK = (
    "check_merged_shards_equal_one_run",
    "check_swapped_cohorts_flip_the_sign",
    "check_scaling_a_metric_changes_nothing",
    "check_missing_data_is_not_healthy",
    "check_silence_adds_nothing_to_health",
    "check_more_tolerance_never_alarms_sooner",
    "check_one_tick_alone_is_no_alarm",
)
NO_UNIT = "effects have no unit"
NO_HEALTH = dict.fromkeys((MISSING, SILENCE), "it says nothing about health")
IN_ORDER = {MERGE: "what a tick adds depends on the ticks before it, so one owner sees them all"}


OWN_SCALE = "a difference is told in units of the canary's own past"
OF_RESIDUALS = IN_ORDER | {SCALE: NO_UNIT}
OF_COUNTS = {
    SWAP: "bad events are followed on the canary alone",
    SCALE: "events have no unit",
}
OF_OBJECTIVES = {
    SWAP: "they are about the canary alone",
    SCALE: "the limit is in the metric's unit",
}
OF_WATCHES = (
    IN_ORDER
    | NO_HEALTH
    | dict.fromkeys(
        (SWAP, SCALE, TOLERANCE, ONE_TICK),
        "it takes evidence away, or stops by a limit, and gives none; tests of its own hold it to what it may do",
    )
)
OF_DECISIONS = {
    MERGE: "what was stopped first stays so",
    SWAP: "which side is worse is the evidence's business",
    SCALE: NO_UNIT,
    TOLERANCE: "what is tolerated is the evidence's business",
    ONE_TICK: "it believes the evidence, which does not come from one tick",
}


def registry() -> dict[type[Stateful], dict[str, DetectorCase]]:
    """Return the cases by name of all detectors that are followed tick by tick."""
    short, long = residuals(1, 120), residuals(2, LONG_PAST)
    mixed = (LEVEL, RATIO, replace(RATIO, metric=2, absolute=0.00005))
    near_zero = OfEvidence(**stage((LEVEL,), 120, less=1.0), tolerance=0.5, skips=IN_ORDER | {SWAP: OWN_SCALE})
    return {
        ScoreMix: {"": OfScoreMix(**short, skips={SCALE: NO_UNIT})},
        Onset: {"": OfOnset(**short, skips=OF_RESIDUALS | NO_HEALTH)},
        Restarts: {"": OfRestarts(**long, skips=OF_RESIDUALS | NO_HEALTH)},
        Placebo: {"": OfPlacebo(**long, skips=OF_RESIDUALS)},
        Portfolio: {
            "short past": OfPortfolio(**short, skips=OF_RESIDUALS),
            "long past": OfPortfolio(**long, skips=OF_RESIDUALS),
        },
        CountMix: {"": OfCounts(**events(3), skips=IN_ORDER | OF_COUNTS)},
        Objectives: {"": OfObjectives(**values(4), skips=IN_ORDER | NO_HEALTH | OF_OBJECTIVES)},
        Evidence: {
            "levels": OfEvidence(**stage((LEVEL,), 120), skips=IN_ORDER),
            "levels near zero": near_zero,
            "levels, long past": OfEvidence(**stage((LEVEL,), LONG_PAST), skips=IN_ORDER),
            "levels and ratios": OfEvidence(**stage(mixed, 120), skips=IN_ORDER | OF_COUNTS),
        },
        Levels: {"": OfLevels(**moving(), skips=OF_WATCHES)},
        Drift: {"": OfDrift(**moving(), skips=OF_WATCHES)},
        Traffic: {"": OfTraffic(**totals(), skips=OF_WATCHES)},
        Decision: {
            mode: OfDecisions(**ticks(samples=False), skips=OF_DECISIONS, advance=mode)
            for mode in ("strict", "evidence", "exposure")
        },
        ClassicalDecision: {
            "": OfClassicalDecisions(**ticks(samples=True), skips={key: OF_DECISIONS[key] for key in (MERGE, SWAP)})
        },
    }
