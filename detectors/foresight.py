"""Foresight: what a stage can be expected to show by a tick that has not come yet, if the change does nothing."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.countmix import log_e_within_after, rate_bound, smallest_visible
from detectors.evidence import Evidence
from detectors.sides import Sides

Array = NDArray[np.float64]

LEAST: Final = np.geomspace(0.001, 100.0, 237)
"""Degradations that are tried, in steps of 5 %: effects, from a thousandth to a hundredfold."""


class Foresight:
    """What the evidence of a stage will be worth after so many ticks, figured from the pre-period alone.

    Live ticks are taken to bring what those of the pre-period did on average, and no effect. Real ones bring an
    estimate that is off by its own noise, so half of the real stages take longer than is foreseen here.

    Parameters
    ----------
    evidence
        Of the stage, as it is before the first live tick.
    past
        [comparison, tick] The pre-period that it was fitted to.
    settle
        First live ticks that do not count.
    exempt
        [strand] For which they do.

    Attributes
    ----------
    pace
        [test] Share of ticks with data on both sides, since there was any; 0 where nothing can be judged.
    """

    def __init__(self, evidence: Evidence, past: Sides, settle: int, exempt: NDArray[np.bool_]) -> None:
        tests = evidence.tests
        self._evidence = evidence
        both = (past.canary_of > 0) & (past.control_of > 0) & evidence.usable[:, None]
        there = np.concatenate([both, tests.pools @ both.astype(np.float64) > 0])
        seen = there.sum(axis=1)
        since = there.shape[1] - there.argmax(axis=1)
        self.pace: Array = np.round(seen / since, 2)  # in hundredths, so that most tests share one
        self._late = np.where(exempt[tests.strand], 0, settle)
        before = Sides(*(np.where(evidence.is_sparse, array, 0.0) for array in evidence.past.arrays()))
        rate = np.maximum(
            rate_bound(before.control, before.control_of),
            np.where(before.canary_of > 0, rate_bound(before.canary, before.canary_of), 0.0),
        )
        traffic = before.canary_of / np.maximum(seen, 1)
        known = np.isfinite(rate)
        rate = np.where(known, rate, 0.0)
        allowed = rate + np.maximum(evidence.relative * rate, evidence.absolute)
        self._traffic = np.where(known, traffic, 0.0)
        self._allowed = allowed * self._traffic
        usual = np.divide(before.control, before.control_of, out=np.zeros_like(rate), where=before.control_of > 0)
        self._bad = usual * self._traffic

    def _information(self, ticks: int) -> Array:
        """Return what so many live ticks bring [test], in average ticks."""
        information: Array = np.maximum(ticks - self._late, 0) * self.pace
        return information

    def within(self, ticks: int, least: float = 0.0) -> Array:
        """Return the mirrored logarithms [strand] that are to be expected after so many live ticks.

        `least` is the smallest tolerance that is asked about, on the scale of the effects.
        """
        evidence = self._evidence
        fleet = evidence.tests.fleet()
        strand, information = evidence.tests.strand[fleet], self._information(ticks)[fleet]
        result = np.full(len(evidence.strands), -np.inf)
        for amount in np.unique(information[information > 0]):
            rows = strand[information == amount]
            result[rows] = evidence.log_e_within_after(float(amount), least)[rows]
        counted = evidence.is_sparse[fleet] & (information > 0)
        rows = fleet[counted]
        result[strand[counted]] = log_e_within_after(information[counted], self._bad[rows], self._allowed[rows])
        return result

    def excludable(self, ticks: int, threshold: float) -> Array:
        """Return the smallest effect [strand] that is excluded after so many ticks, infinite where none is.

        It is never below the tolerance, and not about what is judged by counting, where nothing else can be asked.
        """
        result = np.full(len(self._evidence.strands), np.inf)
        for least in LEAST[::-1]:
            result[self.within(ticks, float(least)) >= threshold] = least
        fleet = self._evidence.tests.fleet()
        result[self._evidence.tests.strand[fleet[self._evidence.is_sparse[fleet]]]] = np.inf
        return result

    def visible(self, alpha: float, ticks: int) -> Array:
        """Return the smallest degradation [test] that is called after so many ticks, on the scale of the effects.

        It is infinite where nothing is judged, or by counting alone.
        """
        evidence = self._evidence
        information = self._information(ticks)
        result = np.full(len(evidence.tests), np.inf)
        for amount in np.unique(information[information > 0]):
            rows = information == amount
            result[rows] = evidence.smallest_visible(alpha, float(amount))[rows]
        result[evidence.is_sparse] = np.inf
        return result

    def visible_rate(self, alpha: float, ticks: int) -> Array:
        """Return the smallest share of bad events [test] that is called after so many ticks, where they are counted.

        It is infinite where none would be, or nothing is counted.
        """
        evidence, tests = self._evidence, self._evidence.tests
        information = self._information(ticks)
        rows = np.flatnonzero(evidence.is_sparse & (information > 0) & (self._allowed > 0) & (tests.share > 0))
        weight = np.array([strand.weight for strand in evidence.strands])[tests.strand[rows]] * tests.share[rows]
        result = np.full(len(tests), np.inf)
        bad = smallest_visible(information[rows], self._allowed[rows], -np.log(alpha * weight))
        rate = bad / self._traffic[rows]
        result[rows] = np.where(rate <= 1, rate, np.inf)
        return result
