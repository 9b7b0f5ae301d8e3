"""The evidence of one stage: baselines and e-processes of all comparisons, at all levels, tick by tick."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors import baseline
from detectors.comparisons import Strand, Tests
from detectors.countmix import CountMix, rate_bound
from detectors.portfolio import Portfolio, is_long
from detectors.scales import scales
from detectors.scores import level_score, ratio_score
from detectors.sides import Sides, by_kind, means
from detectors.state import Stateful
from detectors.usual import parts_of
from detectors.weighing import both_ways, log_weighted, ratio_floor, shift
from detectors.windows import TICKS_MIN

Array = NDArray[np.float64]

_EVENTS_MIN: Final = 10.0
_TICKS_WITH_EVENTS_MIN: Final = 20
"""A ratio with fewer bad events, or bad ticks, in its past has no usable past; it is judged as counts."""

_PRECISION_SHARE: Final = 0.1
"""Part of the usual variance of a strand's colos below which a colo counts for no more in pools."""

_CUT_MAX: Final = 0.1
"""Share of ticks that may be cut before an effect is said to be more than it seems."""

_ALL: Final = slice(None)
_ROWS_AT_ONCE: Final = 256
_SICK_ALPHA: Final = 0.01
_SCORE_SHARE, _COUNT_SHARE = np.log(0.9), np.log(0.1)
_RECENT_DECAY: Final = 0.8
_PRIOR_TICKS: Final = 30.0


class Evidence(Stateful):
    """The e-processes of one stage.

    Parameters
    ----------
    strands
        What is compared.
    tests
        Where, and how comparisons pool.
    past
        [comparison, tick] The pre-period.
    deviation
        [comparison] Standard deviation of the canary's unit values in the pre-period (levels only).
    ticks_min
        Pre-period ticks that a comparison of levels must have.
    horizon
        Live ticks over which a late start of the harm is looked for.
    """

    _state = ("ticks_live", "_live", "_recent", "portfolio", "counts")

    def __init__(
        self,
        strands: Sequence[Strand],
        tests: Tests,
        past: Sides,
        deviation: Array,
        ticks_min: int,
        horizon: int,
    ) -> None:
        self.strands = strands
        self.tests = tests
        self._horizon = horizon
        of = tests.strand[: tests.comparisons]
        self._known_tolerance: tuple[Array, tuple[Array, Array]] | None = None
        self._is_ratio = np.array([s.is_ratio for s in strands])
        self._ratio = np.flatnonzero(self._is_ratio[of])
        self._kinds = by_kind(self._is_ratio[of], tests.comparisons)
        self._pieces = by_kind(
            self._is_ratio[of], _ROWS_AT_ONCE
        )  # what is in between then stays in the processor's cache
        self.past = self._paired(past).summed(tests)
        self.ticks_past = past.canary.shape[1]
        self.is_log, self.scale = scales(strands, of, past, deviation)
        self._fit(past, ticks_min)
        self.ticks_live = 0

    @property
    def live(self) -> Sides:
        """Both sides [test], added up over the live ticks."""
        return Sides(*self._live)

    def scores(self, sides: Sides) -> tuple[Array, Array]:
        """Return effect and information of each comparison [comparison, tick]."""
        effect, information = np.empty_like(sides.canary), np.empty_like(sides.canary)
        for is_ratio, rows in self._pieces if effect.shape[1] > 1 else self._kinds:
            if is_ratio:
                scored = ratio_score(*(array[rows] for array in sides.arrays()))
            else:
                scored = level_score(*means(sides, rows), self.is_log[rows], self.scale[rows])
            effect[rows], information[rows] = scored
        return effect, information

    def _fit(self, past: Sides, ticks_min: int) -> None:
        """Fit the baselines of the comparisons, then those of their pools, and start the e-processes."""
        tests, count = self.tests, self.tests.comparisons
        effect, information = self.scores(past)
        own = self._fit_comparisons(past, effect, information, ticks_min)
        self._tolerances()
        self._live = np.zeros((4, len(tests)))
        up, down = self.tolerance()
        tolerated = np.maximum(np.where(self._up, up, 0.0), np.where(self._down, down, 0.0))
        tolerated = np.where(np.isfinite(tolerated), tolerated, 1.0)
        self._tolerated, self._reach = tolerated[:count], own.reach()
        is_ratio = self._is_ratio[tests.strand]
        pooled, weight = np.empty((2, len(tests) - count, effect.shape[1]))
        for part in parts_of(tests, is_ratio):
            rows, pools = part.comparisons, part.tests[len(part.strand) :] - count
            residual = self._residuals(effect[rows], information[rows], rows)
            pooled[pools], weight[pools] = self._pool(*residual, rows, part.pool)
        whole = baseline.fit(pooled, weight, np.zeros(len(pooled)), is_ratio[count:])
        whole = baseline.raised(whole, own, tests.strand[count:], tests.strand[:count], len(self.strands))
        self._pool_unit, self._pool_offset = whole.unit, whole.offset
        own_past = self._residuals(effect, information, _ALL) if is_long(self.ticks_past, self._horizon) else None
        before = self._assembled((pooled, weight), own_past) if own_past else (None, None)
        self.portfolio = Portfolio(before[0], before[1], tests.strand, own, whole, tolerated, self._horizon)
        self._start_counts(is_ratio, information)

    def _assembled(self, pooled: tuple[Array, Array], own: tuple[Array, Array]) -> tuple[Array, Array]:
        """Put residuals and weights of comparisons and pools together: [comparison, …] and [pool, …] to [test, …]."""
        shape = (slice(None), None) if pooled[0].ndim == 2 else (slice(None),)
        residual = pooled[0] - self._pool_offset[shape]
        weight = np.minimum(pooled[1] / self._pool_unit[shape], baseline.INFORMATION_MAX)
        return np.concatenate([own[0], residual]), np.concatenate([own[1], weight])

    def _start_counts(self, is_ratio: NDArray[np.bool_], information: Array) -> None:
        """Start following ratios as counts, and tell which have no past that a score could be measured against.

        `information` [comparison, tick] is that of the pre-period, of ratios in events.
        """
        self._counted = rows = np.flatnonzero(is_ratio)
        raw = csr_array(self.tests.pool[rows]) @ information
        few = (raw.sum(axis=1) < _EVENTS_MIN) | ((raw > 0).sum(axis=1) < _TICKS_WITH_EVENTS_MIN)
        self.is_sparse: NDArray[np.bool_] = np.zeros(len(is_ratio), np.bool_)
        self.is_sparse[rows] = few | (self.past.control[rows] < _EVENTS_MIN)
        self.counts = CountMix(len(rows), self._horizon)
        self._recent = np.zeros((2, len(rows)))
        before = rate_bound(self.past.canary[rows], self.past.canary_of[rows])
        self._rate_before = np.where(self.past.canary_of[rows] > 0, before, 0.0)

    def _fit_comparisons(self, past: Sides, effect: Array, information: Array, ticks_min: int) -> baseline.Baseline:
        count, rows = self.tests.comparisons, self._ratio
        floor = np.zeros(count)
        floor[rows] = ratio_floor(information[rows])
        strand = self.tests.strand[:count]
        fitted = baseline.fit(effect, information, floor, self._is_ratio[strand])
        own = baseline.shrink(fitted, strand, len(self.strands))
        seen = (information > 0).sum(axis=1)
        self.usable = np.where(self._is_ratio[strand], seen > 0, seen >= ticks_min)
        self.usable[rows] |= (past.control_of[rows] > 0).any(axis=1)
        # Where there are few events a colo's own variance depends on how they happened to fall, as its offset does.
        # Weighted by it, colos whose canaries were spared in the past would count most, and then seem to get worse.
        members = np.maximum(np.bincount(strand, minlength=len(self.strands)), 1)
        excess = np.bincount(strand, own.variance - own.floor, len(self.strands)) / members
        variance = np.where(self._is_ratio[strand], own.floor + excess[strand], own.variance)
        # A level that never moved in its past seems to be known without noise; it must not outweigh all other colos.
        usual = np.bincount(strand, np.where(self.usable, variance, 0.0), len(self.strands)) / members
        variance = np.maximum(variance, _PRECISION_SHARE * usual[strand])
        self._precision = np.where(self.usable, 1.0 / variance, 0.0)
        self._pool_precision: Array = self.tests.pools @ self._precision
        self.offset, self.unit = own.offset, own.unit
        self._shrink(information)
        return own

    def _shrink(self, information: Array) -> None:
        """Draw the offsets of ratios with few events towards the offset of their strand's pool of all colos."""
        rows = self._ratio
        strand = self.tests.strand[rows]
        events = information[rows].sum(axis=1)
        total = np.bincount(strand, events, len(self.strands)).astype(np.float64)  # integers if there is nothing
        score = np.bincount(strand, self.offset[rows] * events, len(self.strands))
        typical = np.divide(score, total, out=np.zeros_like(total), where=total > 0)
        weight = events / (events + _EVENTS_MIN)
        self.offset[rows] = weight * self.offset[rows] + (1 - weight) * typical[strand]

    def _residuals(self, effect: Array, information: Array, own: "slice | NDArray[np.intp]") -> tuple[Array, Array]:
        """Return effects less their offsets, and information in average ticks [row, tick] of the comparisons `own`."""
        shape = (slice(None), None) if effect.ndim == 2 else (slice(None),)
        usable, unit = self.usable[own], self.unit[own]
        is_even = (unit == 1).all() and (information == 1).all()
        weight = information if is_even else np.minimum(information / unit[shape], baseline.INFORMATION_MAX)
        if not usable.all():
            weight = np.where(usable[shape], weight, 0.0)
        return effect - self.offset[own][shape], weight

    def _pool(
        self, residual: Array, weight: Array, own: "slice | NDArray[np.intp]", pool: csr_array
    ) -> tuple[Array, Array]:
        """Pool residuals after each has been measured against its own past: precision-weighted means [pool, …].

        `own` are the comparisons that the rows are of, which `pool` [pool, row] adds.
        """
        shape = (slice(None), None) if residual.ndim == 2 else (slice(None),)
        precision = self._precision[own][shape]
        if (weight == 1).all():  # as it is where levels have all their data
            clip = (self._tolerated[own] + self._reach[own])[shape]
            residual = np.clip(residual, -clip, clip)
            score = pool @ np.multiply(residual, precision, out=residual)
            each = self._pool_precision if own is _ALL else pool @ self._precision[own]
            total = np.broadcast_to(each[shape], score.shape)
            return np.divide(score, total, out=np.zeros_like(score), where=total > 0), total
        root = np.sqrt(np.maximum(weight, np.finfo(np.float64).tiny))
        clip = self._tolerated[own][shape] + self._reach[own][shape] / root
        residual = np.clip(residual, -clip, clip)
        total = pool @ (weight * precision)
        score = pool @ (residual * weight * precision)
        return np.divide(score, total, out=np.zeros_like(score), where=total > 0), total

    def _paired(self, sides: Sides) -> Sides:
        """Leave out of balanced pools what has one side alone."""
        return sides if self.tests.pool_control is None else sides.paired()

    def _tolerances(self) -> None:
        """Note relative and absolute tolerances [test], and what absolute ones of levels are relative to."""
        tests, strand = self.tests, self.tests.strand
        self.relative = np.array([s.relative for s in self.strands])[strand]
        self.absolute = np.array([s.absolute for s in self.strands])[strand]
        base = tests.pool @ (self.scale * self._precision)
        size = tests.pool @ self._precision
        self.test_scale = np.divide(base, size, out=np.ones(len(tests)), where=size > 0)
        logs = tests.pool @ self.is_log.astype(np.float64)
        self.test_is_log = logs > 0
        self._absolute_rows = np.flatnonzero(self.absolute > 0)
        self._tolerated_relative = both_ways(self.relative, self.test_is_log)
        self._up = np.array([s.up for s in self.strands])[strand]
        self._down = np.array([s.down for s in self.strands])[strand]
        self._log_ways = np.log(np.maximum(1, self._up.astype(int) + self._down))

    def tolerance(self) -> tuple[Array, Array]:
        """Return what is tolerated upwards and downwards [test], on the scale of the effects.

        What an absolute tolerance means relative to the control is known from the control itself: its rate
        so far, the pre-period counting as `_PRIOR_TICKS` ticks.
        """
        rows = self._absolute_rows
        if not len(rows):
            return self._tolerated_relative
        if self._known_tolerance is None or self._known_tolerance[0] is not self._live:
            self._known_tolerance = self._live, self._tolerance_now(rows)
        return self._known_tolerance[1]

    def _tolerance_now(self, rows: NDArray[np.intp]) -> tuple[Array, Array]:
        share = np.minimum(1.0, _PRIOR_TICKS / max(1, self.ticks_past))
        bad = share * self.past.control[rows] + self.live.control[rows]
        total = share * self.past.control_of[rows] + self.live.control_of[rows]
        rate = np.divide(bad, total, out=np.zeros_like(bad), where=total > 0)
        level = np.where(self._is_ratio[self.tests.strand[rows]], rate, self.test_scale[rows])
        ratio = np.divide(self.absolute[rows], level, out=np.full_like(level, np.inf), where=level > 0)
        sides = both_ways(np.maximum(self.relative[rows], ratio), self.test_is_log[rows])
        up, down = (side.copy() for side in self._tolerated_relative)
        up[rows], down[rows] = sides
        return up, down

    def update(self, sides: Sides, is_settling: bool, exempt: NDArray[np.bool_]) -> None:
        """Add one tick [comparison]; while settling only the `exempt` strands [strand] count."""
        count, tests = self.tests.comparisons, self.tests
        self.ticks_live += 1
        if is_settling:
            sides = sides.times(exempt[tests.strand[:count]].astype(np.float64))
        effect, information = self.scores(Sides(*(array[:, None] for array in sides.arrays())))
        own = self._residuals(effect[:, 0], information[:, 0], _ALL)
        residual, weight = self._assembled(self._pool(*own, _ALL, tests.pools), own)
        self.portfolio.update(residual, weight, *self.tolerance())
        total = self._paired(sides).pooled(tests)
        self._count(total)
        live = np.empty_like(self._live)  # another array, by which `tolerance` knows that it has changed
        for side, before, added in zip(live, self._live, total.arrays(), strict=True):
            np.add(before, added, out=side)
        self._live = live

    def _count(self, tick: Sides) -> None:
        """Follow the ratios as counts, against what the control and the canary's own past allow."""
        rows = self._counted
        if not len(rows):
            return
        canary, canary_of, control, control_of = (array[rows] for array in tick.arrays())
        bad = _RECENT_DECAY * self._recent[0] + control
        total = _RECENT_DECAY * self._recent[1] + control_of
        self._recent = np.stack([bad, total])
        past, live = self.past, self.live
        bound = rate_bound(
            past.control[rows] + live.control[rows] + control,
            past.control_of[rows] + live.control_of[rows] + control_of,
        )
        # A shock that hits the control too raises what is allowed at once, not only on average.
        recent = np.divide(2 * bad, total, out=np.zeros_like(bad), where=total > 0)
        rate = np.maximum(np.maximum(bound, recent), self._rate_before)
        with np.errstate(invalid="ignore"):
            allowed = (rate + np.maximum(self.relative[rows] * rate, self.absolute[rows])) * canary_of
        both = (canary_of > 0) & (control_of > 0)
        self.counts.update(canary, np.where(both, allowed, 0.0))

    def log_e(self) -> Array:
        """Return the logarithms of the e-values [test] against "no worse than tolerated"."""
        up, down = self.tolerance()
        value = np.full(len(self.tests), -np.inf)
        for tolerated, sign, wanted in ((up, 1.0, self._up), (down, -1.0, self._down)):
            if wanted.any():
                found = self.portfolio.log_e(tolerated, sign)
                rows = np.flatnonzero(wanted & (found != -np.inf))  # most have no evidence, which adds nothing
                value[rows] = np.logaddexp(value[rows], found[rows])
        rows = np.flatnonzero(value != -np.inf)
        value[rows] -= self._log_ways[rows]
        value[rows[self.portfolio.is_early(rows)]] = -np.inf
        rows = self._counted
        counts = self.counts.log_e()
        counts[(self.counts.ticks_worse < TICKS_MIN) | ~self._up[rows]] = -np.inf
        # A score says little of an explosion (it cannot exceed what the shares of traffic allow); a count does.
        both = np.logaddexp(value[rows] + _SCORE_SHARE, counts + _COUNT_SHARE)
        both = np.where(self._up[rows], both, value[rows])
        value[rows] = np.where(self.is_sparse[rows], counts, both)
        return value

    def log_e_within(self, least: float = 0.0) -> Array:
        """Return the mirrored logarithms [strand]: evidence that degradation beyond the tolerance is excluded.

        They are those over the fleet, in order of strand; a strand without a comparison has -inf.

        Parameters
        ----------
        least
            Smallest tolerance that is asked about, on the scale of the effects.
        """
        up, down = (np.maximum(side, least) for side in self.tolerance())
        fleet = self.tests.fleet()
        rise = np.where(self._up[fleet], self.portfolio.log_e_within(up, 1.0, fleet), np.inf)
        fall = np.where(self._down[fleet], self.portfolio.log_e_within(down, -1.0, fleet), np.inf)
        value = np.minimum(rise, fall)
        counts = np.full(len(self.tests), np.inf)
        counts[self._counted] = self.counts.log_e_within()
        result = np.full(len(self.strands), -np.inf)
        result[self.tests.strand[fleet]] = np.where(self.is_sparse[fleet], counts[fleet], value)
        return result

    def is_cut(self) -> NDArray[np.bool_]:
        """Tell for each test [test] whether so many ticks were cut that its effect is more than it seems."""
        effect, _ = self.portfolio.estimate()
        above, below = self.portfolio.cut()
        cut = np.where(effect > 0, above, below) > _CUT_MAX * self.portfolio.mix.observed
        return np.asarray(cut | (self.tests.pool @ cut[: self.tests.comparisons].astype(np.float64) > 0))

    def smallest_visible(self, alpha: float, ticks: float | None = None) -> Array:
        """Return the smallest degradation [test] that is called by now, or after so many average live `ticks`.

        It is on the scale of the effects.
        """
        weight = np.array([strand.weight for strand in self.strands])[self.tests.strand]
        needed = self.portfolio.radius(np.maximum(alpha * weight * self.tests.share, 1e-12), ticks)
        up, down = self.tolerance()
        return np.asarray(np.where(self._up, up, down) + needed)

    def log_e_within_after(self, ticks: float, least: float = 0.0) -> Array:
        """Return what `log_e_within` [strand] would be after so many average live ticks without any effect."""
        up, down = (np.maximum(side, least) for side in self.tolerance())
        tolerance = np.minimum(np.where(self._up, up, np.inf), np.where(self._down, down, np.inf))
        fleet = self.tests.fleet()
        result = np.full(len(self.strands), -np.inf)
        result[self.tests.strand[fleet]] = self.portfolio.log_e_within(tolerance, 1.0, fleet, ticks)
        return result

    def is_erratic(self) -> NDArray[np.bool_]:
        """Tell for each strand [strand] whether the long past says that its cohorts cannot be compared."""
        fleet = self.tests.fleet()
        result = np.zeros(len(self.strands), np.bool_)
        result[self.tests.strand[fleet]] = (self.portfolio.is_erratic() & ~self.is_sparse)[fleet]
        return result

    def is_control_sick(self) -> NDArray[np.bool_]:
        """Tell for each strand [strand] whether it is the control that got worse, and not the canary better.

        The canary looks better than the control by more than is tolerated, and the control has moved further
        from its own past than the canary has. Such a control says nothing about the change.
        """
        tests = self.tests.fleet()
        sick = np.zeros(len(self.strands), np.bool_)
        effect, radius = self.portfolio.interval(_SICK_ALPHA, tests)
        is_log, scale = self.test_is_log[tests], self.test_scale[tests]
        live, past = (Sides(*(array[tests] for array in of.arrays())) for of in (self.live, self.past))
        control = shift(live.control, live.control_of, past.control, past.control_of, is_log, scale)
        canary = shift(live.canary, live.canary_of, past.canary, past.canary_of, is_log, scale)
        up, down = (side[tests] for side in self.tolerance())
        for sign, worse, limit in ((1.0, self._up, up), (-1.0, self._down, down)):
            is_better = worse[tests] & ~self.is_sparse[tests] & (sign * effect + radius < -limit)
            sick[self.tests.strand[tests]] |= is_better & (sign * control > np.abs(canary))
        return sick

    def strand_log_e(self, log_e: Array) -> Array:
        """Average the e-values of each strand's tests over levels and places: [test] to [strand]."""
        return log_weighted(log_e, self.tests.share, self.tests.strand, len(self.strands))
