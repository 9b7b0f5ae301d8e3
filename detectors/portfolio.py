"""Portfolio: the e-processes of all tests over their residuals, each kind for what it sees soonest."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.baseline import Baseline
from detectors.onset import Onset
from detectors.placebo import BASELINES, HORIZONS_LEAST, Placebo
from detectors.scoremix import ScoreMix
from detectors.state import Stateful
from detectors.windows import TICKS_MIN

Array = NDArray[np.float64]

_KNOWN_MIN: Final = 0.5
"""Share of the past in which a test must have had data to be measured against placebos in it."""

_ALL: Final = slice(None)
_MIX_SHARE, _ONSET_SHARE = np.log(0.7), np.log(0.3)


def is_long(ticks: int, horizon: int) -> bool:
    """Tell whether a past of so many ticks is long enough to measure so many live ticks against placebos in it."""
    return ticks >= max(HORIZONS_LEAST * horizon, 2 * max(BASELINES))


class Portfolio(Stateful):
    """The mixture since the start, detectors of late onsets, and, where the past is long enough, placebos in it.

    Parameters
    ----------
    residual, weight
        [test, tick] The pre-period, less each test's offset, and its information in average ticks; None if `is_long`
        says that it is too short to be looked at.
    strand
        [test] What is compared.
    own, whole
        Baselines of the comparisons, which come first among the tests, and of their pools.
    tolerated
        [test] The larger of what is tolerated upwards and downwards.
    horizon
        Live ticks over which a late start of the harm is looked for.
    """

    _state = ("mix", "onset", "placebo")

    def __init__(
        self,
        residual: Array | None,
        weight: Array | None,
        strand: NDArray[np.intp],
        own: Baseline,
        whole: Baseline,
        tolerated: Array,
        horizon: int,
    ) -> None:
        pools = len(own.ticks)
        self.mix = ScoreMix(
            np.concatenate([own.ticks, whole.ticks]),
            np.concatenate([own.variance, whole.variance]),
            np.concatenate([own.freedom, whole.freedom]),
            tolerated,
            np.concatenate([own.reach(), whole.reach()]),
        )
        self.onset = Onset(whole.phi, whole.innovation, np.sqrt(whole.variance / whole.ticks), horizon)
        self._pools = slice(pools, None)
        self.placebo: Placebo | None = None
        self.is_placed: NDArray[np.bool_] = np.zeros(len(strand), np.bool_)
        if residual is not None and weight is not None and is_long(residual.shape[1], horizon):
            self.placebo = Placebo(residual, weight, tolerated, strand, horizon, pools)
            self.is_placed = (weight > 0).mean(axis=1) >= _KNOWN_MIN

    def update(self, residual: Array, weight: Array, up: Array, down: Array) -> None:
        """Add one tick.

        Parameters
        ----------
        residual, weight
            [test] As in the pre-period; a weight of 0 says nothing.
        up, down
            [test] What is tolerated in both directions.
        """
        pools = self._pools
        self.mix.update(residual, weight)
        self.onset.update(residual[pools], weight[pools], up[pools], down[pools])
        if self.placebo:
            self.placebo.update(residual, weight, up, down)

    def log_e(self, tolerance: Array, sign: float) -> Array:
        """Return the logarithms of the e-values [test] against "at most `tolerance` worse" in one direction."""
        value = self.mix.log_e(tolerance, sign)
        pools = self._pools
        value[pools] = np.logaddexp(value[pools] + _MIX_SHARE, self.onset.log_e(up=sign > 0) + _ONSET_SHARE)
        return np.where(self.is_placed, self.placebo.log_e(tolerance, sign), value) if self.placebo else value

    def is_erratic(self) -> NDArray[np.bool_]:
        """Tell for each test [test] whether its past is so erratic that nothing can be said of it."""
        return self.is_placed & bool(self.placebo and self.placebo.is_erratic)

    def is_early(self, chosen: "slice | NDArray[np.intp]" = _ALL) -> NDArray[np.bool_]:
        """Tell for all tests, or some [chosen], whether too little is known yet, or one tick is too much of it."""
        mix = self.mix
        early: NDArray[np.bool_] = mix.observed[chosen] < TICKS_MIN
        early |= mix.information[chosen] < TICKS_MIN * mix.largest[chosen]
        return early

    def estimate(self) -> tuple[Array, Array]:
        """Return effect and variance of the estimates [test]; before any information the variance is infinite."""
        if self.placebo is None:
            return self.mix.estimate()
        pairs = zip(self.placebo.estimate(), self.mix.estimate(), strict=True)
        effect, variance = (np.where(self.is_placed, *pair) for pair in pairs)
        return effect, variance

    def late(self, sign: float) -> tuple[Array, NDArray[np.int64]]:
        """Return effects since harm most likely began, and for how many ticks [test]; 0 where none is followed.

        They tell of what began late, which `estimate` spreads over all live ticks. Being chosen, they have no bounds.
        """
        pools = self._pools
        effect, ticks = np.zeros(len(self.is_placed)), np.zeros(len(self.is_placed), np.int64)
        effect[pools], ticks[pools] = self.onset.late(up=sign > 0)
        if self.placebo:
            placed, (since, age) = self.is_placed[pools], self.placebo.late(up=sign > 0)
            effect[pools], ticks[pools] = np.where(placed, since, effect[pools]), np.where(placed, age, ticks[pools])
        return effect, ticks

    def radius(self, alpha: float | Array, ticks: float | None = None) -> Array:
        """Return the half-widths of the anytime-valid intervals [test], now or after so many average live ticks."""
        value = self.mix.radius(alpha, ticks)
        return np.where(self.is_placed, self.placebo.radius(alpha, ticks), value) if self.placebo else value

    def interval(self, alpha: float, chosen: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return `estimate` without its variance, and `radius`, of some tests [chosen]."""
        effect, radius = self.mix.interval(alpha, chosen)
        if self.placebo is None:
            return effect, radius
        placed, other = self.is_placed[chosen], (self.placebo.estimate()[0][chosen], self.placebo.radius(alpha)[chosen])
        return np.where(placed, other[0], effect), np.where(placed, other[1], radius)

    def log_e_within(
        self, tolerance: Array, sign: float, chosen: NDArray[np.intp], ticks: float | None = None
    ) -> Array:
        """Return the mirrored logarithms [chosen]: against "at least `tolerance` worse".

        They are those of now, or those after so many average `ticks` without any effect.
        """
        sides = [side for side in (self.mix, self.placebo) if side]
        if ticks is None:
            each = [side.log_e_within(tolerance, sign, chosen) for side in sides]
        else:
            each = [side.log_e_within_after(ticks, tolerance, chosen) for side in sides]
        return np.where(self.is_placed[chosen], each[-1], each[0])

    def cut(self) -> NDArray[np.int64]:
        """Return how many ticks of each test were cut [2, test], from above and from below."""
        return np.where(self.is_placed, self.placebo.cut, self.mix.cut) if self.placebo else self.mix.cut
