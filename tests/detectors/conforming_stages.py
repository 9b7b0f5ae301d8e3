"""The detectors of whole stages, each with data for the checks."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from detectors.cases import Array, Arrays, DetectorCase
from detectors.classical.decision import ClassicalDecision
from detectors.classical.look import Panel
from detectors.comparisons import Strand
from detectors.decision import Decision, Rules, Tick
from detectors.evidence import Evidence
from detectors.policy import Metric, Policy
from detectors.sides import Sides
from detectors.state import Stateful
from tests.detectors.conforming_series import LIVE, at
from tests.detectors.stages import DEVIATION, LEVEL, arranged, counts, levels, stacked


@dataclass(frozen=True)
class OfEvidence(DetectorCase):
    """Both sides [comparison, tick] of some strands in four colos; `given` ends with the units' deviations."""

    strands: tuple[Strand, ...] = (LEVEL,)

    def begin(self) -> Evidence:
        *past, deviation = self.given
        up, down = self.tolerance, self.tolerance / (1 + self.tolerance)  # equally far on the log scale
        wider: dict[str, Any] = (
            {"relative": up, "up": True} if self.sign > 0 else {"relative": down, "up": False, "down": True}
        )
        strands = [replace(strand, **wider) for strand in self.strands]
        return Evidence(strands, arranged(len(strands), 4), Sides(*past), deviation, 30, LIVE)

    def step(self, detector: Evidence, tick: Arrays, age: int) -> tuple[Array, Array]:
        exempt = np.arange(len(self.strands)) >= min(1, len(self.strands) - 1)  # all but the first of several
        detector.update(Sides(*tick), age <= 2, exempt)
        return detector.log_e(), detector.log_e_within()

    def told(self, detector: Evidence) -> Arrays:
        told = *detector.tolerance(), detector.smallest_visible(0.01), detector.is_control_sick(), detector.is_cut()
        return *told, *detector.live.arrays(), *detector.portfolio.estimate(), np.array([detector.ticks_live])

    def order(self) -> Any:
        return (4 * np.arange(len(self.strands))[:, None] + np.array([2, 0, 3, 1])).ravel()

    def swapped(self) -> Self:
        (a, b, c, d, deviation), (e, f, g, h) = self.given, self.live
        return replace(self, given=(c, d, a, b, deviation), live=(g, h, e, f), sign=-self.sign)

    def scaled(self, factor: float) -> Self:
        (a, b, c, d, deviation), (e, f, g, h) = self.given, self.live
        given = (factor * a, b, factor * c, d, factor * deviation)
        return replace(self, given=given, live=(factor * e, f, factor * g, h))

    def silent(self) -> list[Self]:
        gone = [np.array(sides, np.float64)[:, None, None] for sides in ((0, 0, 1, 1), (1, 1, 0, 0), (0, 0, 0, 0))]
        lives = [tuple(array * keep for array, keep in zip(self.calm, sides, strict=True)) for sides in gone]
        cases = [replace(self, live=live) for live in lives]
        if any(strand.is_ratio for strand in self.strands):
            return cases  # without a past ratios are still known from the live counts
        return [*cases, replace(self, given=(*(0 * past for past in self.given[:4]), self.given[4]), live=self.calm)]

    def burst(self, at: int, size: float) -> list[Self]:
        canary, canary_of, control, control_of = (array.copy() for array in self.calm)
        for place, strand in enumerate(self.strands):
            row = 4 * place
            if strand.is_ratio:
                canary_of[row, at] *= min(size, 1_000.0)
                canary[row, at] = canary_of[row, at]
            else:
                canary[row, at] += canary_of[row, at] * (np.exp(size) if size < 30 else size)
        return [replace(self, live=(canary, canary_of, control, control_of))]


def stage(strands: tuple[Strand, ...], past: int, *, less: float = 0.0) -> dict[str, Any]:
    """Draw a stage: a comparison of each strand is hurt, another gets better, a third is silent for some ticks."""
    ticks = past + LIVE
    shares = {0: 0.0, 1: 0.01, 2: 0.0}
    drawn = stacked(
        *(
            counts(i + 1, 4, ticks, share=shares[i]) if s.is_ratio else levels(i + 1, 4, ticks)
            for i, s in enumerate(strands)
        )
    )
    drawn.canary[:] -= less * drawn.canary_of
    drawn.control[:] -= less * drawn.control_of
    calm = tuple(array[:, past:].copy() for array in drawn.arrays())
    for place, strand in enumerate(strands):
        row, late = 4 * place, slice(past + 10, None)
        drawn.canary[row, late] += (0.02 if strand.is_ratio else 0.5) * drawn.canary_of[row, late]
        drawn.canary[row + 1, late] *= 0.7
        for array in drawn.arrays():
            array[row + 2, past + 5 : past + 9] = 0.0
    given = (*(array[:, :past].copy() for array in drawn.arrays()), np.full(4 * len(strands), DEVIATION))
    live = tuple(array[:, past:].copy() for array in drawn.arrays())
    return {"given": given, "live": live, "calm": calm, "strands": strands}


# ---------------------------------------------------------------- decisions


@dataclass(frozen=True)
class OfDecisions(DetectorCase):
    """What ticks show, [metric, tick], in the order of `Tick`; `given` is weight, whether to revert, and required."""

    advance: str = "evidence"

    def rules(self) -> Rules:
        weight, reverts, required = self.given
        breach = ["revert" if one else "halt" for one in reverts]
        return Rules(0.01, 10, 30, breach, weight, self.advance, required)

    def begin(self) -> Stateful:
        return Decision(self.rules())

    def step(self, detector: Any, tick: Arrays, age: int) -> tuple[Array, Array]:
        no_drop = np.zeros(len(self.given[0]), np.bool_)
        shown: Arrays = (*tick, no_drop)
        names = [field.name for field in fields(Tick)[1 : 1 + len(shown)]]
        given: dict[str, Any] = dict(zip(names, shown, strict=True))
        detector.step(Tick(age, **given))
        blamed = np.isin(np.arange(len(self.given[0])), detector.blamed)
        stopped = np.append(at(blamed), at(detector.action == "revert"))
        return stopped, at(np.array([detector.action == "advance"]))

    def order(self) -> Any:
        return np.array([1, 0, 2])  # the implicit metric stays the last

    def without(self, place: int, metrics: Any, value: Any) -> Self:
        """Return the calm case in which something [metric] is not known."""
        arrays = [array.copy() for array in self.calm]
        arrays[place][metrics] = value
        return replace(self, live=tuple(arrays))

    def silent(self) -> list[Self]:
        cases = [self.without(place, m, v) for m in (0, 1, 2, slice(None)) for place, v in ((3, 0.0), (4, False))]
        if self.advance == "exposure":
            return cases  # which asks for no evidence of health
        unseen = [array.copy() for array in self.calm]
        unseen[1][:] = unseen[2][:] = -np.inf
        return [*cases, replace(self, live=tuple(unseen))]


class OfClassicalDecisions(OfDecisions):
    """The same with looks at samples of both sides, which come after what `Tick` has.

    A look is given to the decision, as a tick is, by whoever keeps the samples; it is not the decision's own state.
    """

    def begin(self) -> Stateful:
        return ClassicalDecision(self.rules())

    def step(self, detector: Any, tick: Arrays, age: int) -> tuple[Array, Array]:
        metrics = [Metric(name=name, gauge=name, worse="increase", breach="halt") for name in ("a", "b")]
        panel = Panel.of(Policy(policy="p", metrics=metrics), [(self.tolerance, 0.0)] * 3)
        canary, control = (array[:, :age] for array in self.live[-2:])
        detector.look = panel.look(canary, control, age) if age >= 8 else None
        return super().step(detector, tick[:-2], age)

    def scaled(self, factor: float) -> Self:
        *shown, canary, control = self.live
        return replace(self, live=(*shown, factor * canary, factor * control))

    def silent(self) -> list[Self]:
        samples = [self.without(place, slice(None), np.nan) for place in (-2, -1)]
        return [*super().silent()[:8], *samples]

    def burst(self, at: int, size: float) -> list[Self]:
        return [self.without(-2, (slice(None), at), size)]


def ticks(*, samples: bool) -> dict[str, Any]:
    """Show a healthy stage, and one in which a metric lacks data at first and another is a breach in the end."""
    shape = (3, LIVE)
    no, yes = np.zeros(shape, np.bool_), np.ones(shape, np.bool_)
    calm: list[Any] = [
        np.full(shape, -np.inf),
        np.full(shape, 9.0),
        np.full(shape, 9.0),
        np.ones(shape),
        yes,
        no,
        no,
        no,
    ]
    live = [array.copy() for array in calm]
    live[0][1, 28:], live[3][0, :12], live[4][0, :8], live[5][1, 14] = 9.0, 0.5, False, True
    if samples:
        rng = np.random.default_rng(5)
        drawn = rng.normal(1.0, 0.05, (2, *shape))
        calm += list(drawn)
        live += [drawn[0] * np.array([[1.0], [1.5], [1.0]]), drawn[1]]
    given = (np.full(3, 1 / 3), np.array([False, True, False]), np.array([False, True, False]))
    return {"given": given, "live": tuple(live), "calm": tuple(calm)}
