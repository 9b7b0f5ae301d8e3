"""The functions over many series at once, each with data for the checks and what of them does not apply."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from detectors.baseline import Baseline, fit, shrink
from detectors.cases import Array, Arrays, FunctionCase
from detectors.classical import Label, Outcome, Settings, classify, score
from detectors.scores import level_score, ratio_score
from tests.detectors.stages import counts, levels

TICKS = 60

SWAP, SCALE, TOLERANCE, ONE_SAMPLE = (
    "check_swapped_cohorts_flip_the_results",
    "check_scaling_a_metric_keeps_the_results",
    "check_more_tolerance_finds_no_more",
    "check_one_sample_alone_is_not_found",
)
MEASURES = {TOLERANCE: "it measures, and finds nothing", ONE_SAMPLE: "it measures, and finds nothing"}
NO_UNIT = {SCALE: "events, and effects, have no unit"}


class OfRatios(FunctionCase):
    """Bad and all events of both sides [comparison, tick]."""

    def call(self) -> Arrays:
        return ratio_score(*self.given)

    def health(self) -> Array:
        return self.call()[1]

    def parts(self) -> list[tuple[Self, Any]]:
        columns = [np.s_[:, tick : tick + 1] for tick in range(TICKS)]
        return [*super().parts(), *((replace(self, given=tuple(a[c] for a in self.given)), c) for c in columns)]

    def swapped(self) -> Self:
        return replace(self, given=(*self.given[2:], *self.given[:2]))

    def silent(self) -> list[Self]:
        gone = [np.array(sides, np.float64)[:, None, None] for sides in ((0, 0, 1, 1), (1, 1, 0, 0), (0, 1, 0, 1))]
        return [replace(self, given=tuple(a * k for a, k in zip(self.given, sides, strict=True))) for sides in gone]


class OfLevels(FunctionCase):
    """Means of both sides [comparison, tick], which of them are logarithms, and scales [comparison]."""

    def call(self) -> Arrays:
        canary, control, is_log, scale = self.given
        return level_score(canary, control, is_log, scale)

    def health(self) -> Array:
        return self.call()[1]

    def parts(self) -> list[tuple[Self, Any]]:
        canary, control, *rest = self.given
        columns = [np.s_[:, tick : tick + 1] for tick in range(TICKS)]
        return [*super().parts(), *((replace(self, given=(canary[c], control[c], *rest)), c) for c in columns)]

    def swapped(self) -> Self:
        canary, control, *rest = self.given
        return replace(self, given=(control, canary, *rest))

    def scaled(self, factor: float) -> Self:
        canary, control, is_log, scale = self.given
        return replace(self, given=(factor * canary, factor * control, is_log, factor * scale))

    def silent(self) -> list[Self]:
        canary, control, *rest = self.given
        gone = np.full_like(canary, np.nan)
        return [replace(self, given=(*sides, *rest)) for sides in ((gone, control), (canary, gone), (gone, gone))]


class OfBaselines(FunctionCase):
    """Effects and information [comparison, tick], floors, which are bounded, and the metric [comparison]."""

    def baseline(self) -> Baseline:
        effect, information, floor, bounded, _ = self.given
        return fit(effect, information, floor, bounded)

    def call(self) -> Arrays:
        fitted = self.baseline()
        return tuple(getattr(fitted, one.name) for one in fields(Baseline))  # the offset is the first

    def health(self) -> Array:
        """Tell how long the past was, less what stands for none."""
        return self.baseline().ticks - 1e-6

    def swapped(self) -> Self:
        return replace(self, given=(-self.given[0], *self.given[1:]))

    def silent(self) -> list[Self]:
        effect, information, *rest = self.given
        return [replace(self, given=(one * effect, 0 * information, *rest)) for one in (0.0, 1.0)]


class OfShrunk(OfBaselines):
    def baseline(self) -> Baseline:
        return shrink(super().baseline(), self.given[4], 2)

    def parts(self) -> list[tuple[Self, Any]]:
        """Metrics are drawn together each by itself."""
        groups = [np.flatnonzero(self.given[4] == one) for one in range(2)]
        return [(replace(self, given=tuple(array[rows] for array in self.given)), rows) for rows in groups]


@dataclass(frozen=True)
class OfSamples(FunctionCase):
    """Samples of both sides [comparison, tick]."""

    calm: Arrays = ()
    missing: str = "remove"

    def judgement(self) -> Any:
        settings = Settings(tolerated_relative=self.tolerance, missing=self.missing)  # type: ignore[arg-type]
        return classify(self.given[0], self.given[1], settings)

    def call(self) -> Arrays:
        found = self.judgement()
        sign = (found.label == Label.HIGH).astype(float) - (found.label == Label.LOW)
        return sign, found.p_value, found.canary_count + found.control_count

    def health(self) -> Array:
        return np.where(self.judgement().label == Label.PASS, 1.0, 0.0)

    def swapped(self) -> Self:
        return replace(self, given=self.given[::-1])

    def scaled(self, factor: float) -> Self:
        return replace(self, given=tuple(factor * array for array in self.given))

    def silent(self) -> list[Self]:
        canary, control = self.calm
        gone = np.full_like(canary, np.nan)
        return [replace(self, given=sides) for sides in ((gone, control), (canary, gone), (gone, gone))]

    def burst(self, at: int, size: float) -> list[Self]:
        canary = self.calm[0].copy()
        canary[:, at] += size
        return [replace(self, given=(canary, self.calm[1]))]


class OfLabels(FunctionCase):
    """Labels and critical failures [comparison, tick], and the groups [comparison, group]."""

    def call(self) -> Arrays:
        labels, critical, groups = self.given
        found = score(labels.T, groups.T, np.full(groups.shape[1], np.nan), critical.T)
        return found.total, found.outcome, found.groups

    def health(self) -> Array:
        return np.where(self.call()[1] == Outcome.PASS, 1.0, 0.0)

    def parts(self) -> list[tuple[Self, Any]]:
        labels, critical, groups = self.given
        columns = [slice(tick, tick + 1) for tick in range(labels.shape[1])]
        return [(replace(self, given=(labels[:, tick], critical[:, tick], groups)), tick) for tick in columns]

    def permuted(self, order: Any) -> tuple[Self, Any]:
        return super().permuted(order)[0], slice(None)  # a score is one of all comparisons

    def silent(self) -> list[Self]:
        labels, *rest = self.given
        half = labels.copy()
        half[::2] = Label.NODATA
        return [replace(self, given=(one, *rest)) for one in (np.full_like(labels, Label.NODATA), half)]


def function_registry() -> dict[Callable[..., Any], dict[str, FunctionCase]]:
    """Return the cases by name of all functions that are checked."""
    rng = np.random.default_rng(9)
    drawn = levels(2, 12, TICKS)
    means = drawn.canary / drawn.canary_of, drawn.control / drawn.control_of
    means[0][1, 7] = means[1][2, 9] = np.nan
    is_log, scale = np.arange(12) % 2 == 0, np.linspace(0.5, 2.0, 12)
    effect = rng.normal(np.linspace(-0.1, 0.1, 12)[:, None], 0.05, (12, TICKS))
    information = rng.uniform(0.0, 2.0, (12, TICKS))
    information[:, ::9] = 0.0
    past = (effect, information, np.full(12, 1e-4), is_log, np.arange(12) // 6)
    calm = tuple(rng.normal(1.0, 0.1, (2, 4, TICKS)))
    hurt = (calm[0] * np.array([[1.5], [1.0], [0.6], [1.05]]), calm[1].copy())
    hurt[0][1, 3:9] = np.nan
    labels = np.where(rng.random((6, 20)) < 0.2, rng.integers(1, 6, (6, 20)), Label.PASS).astype(np.int8)
    labels[:, :3] = Label.PASS
    groups = np.arange(6)[:, None] // 2 == np.arange(3)
    weigh = MEASURES | NO_UNIT | {SWAP: "labels of harm in either direction count alike"}
    return {
        ratio_score: {"": OfRatios(counts(1, 3, TICKS).arrays(), skips=MEASURES | NO_UNIT)},
        level_score: {"": OfLevels((*means, is_log, scale), skips=MEASURES)},
        fit: {"": OfBaselines(past, skips=MEASURES | NO_UNIT)},
        shrink: {"": OfShrunk(past, skips=MEASURES | NO_UNIT)},
        classify: {mode: OfSamples(hurt, calm=calm, missing=mode) for mode in ("remove", "replace")},
        score: {"": OfLabels((labels, labels == Label.ERROR, groups), skips=weigh)},
    }
