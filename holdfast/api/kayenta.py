"""Kayenta's remote judge: one look at the samples of both sides, judged by the classical judge.

It answers as Kayenta's NetflixACAJudge does (Apache-2.0, https://github.com/spinnaker/kayenta). What that passes over
in silence is refused here: a direction or a strategy that there is none of, a metric without samples, weights that do
not add up.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.classical import (
    Judgement,
    Label,
    Outcome,
    Samples,
    Score,
    Settings,
    Thresholds,
    classify,
    prepare,
    score,
)
from holdfast.api.kayenta_model import (
    AnalysisResult,
    Classification,
    GroupScore,
    JudgeRequest,
    JudgeResult,
    JudgeSettings,
    MetricConfig,
    MetricSetPair,
    ResultMetadata,
    SideMetadata,
    Stats,
    Summary,
    SummaryScore,
    Value,
)
from holdfast.errors import BadInput
from holdfast.located import join, quoted

Array = NDArray[np.float64]

JUDGE: Final = "holdfast-classical-v1"

COMPARED_MAX: Final = 1 << 28
"""Most pairs of samples, each of one side with each of the other, in all of a request: about half a minute of work."""

_CLASSIFICATIONS: Final[dict[Label, Classification]] = {
    Label.PASS: "Pass",
    Label.HIGH: "High",
    Label.LOW: "Low",
    Label.NODATA: "Nodata",
    Label.NODATA_FAIL: "NodataFailMetric",
    Label.ERROR: "Error",
}
_OUTCOMES: Final[dict[Outcome, Summary]] = {Outcome.PASS: "Pass", Outcome.MARGINAL: "Marginal", Outcome.FAIL: "Fail"}


@dataclass(frozen=True, slots=True)
class _Case:
    """A pair, and what its metric's configuration says."""

    pair: MetricSetPair
    config: MetricConfig
    settings: Settings

    @property
    def is_muted(self) -> bool:
        return self.config.analysis_configurations.canary.muted


def judge(request: JudgeRequest) -> JudgeResult:
    """Judge one look.

    Raises
    ------
    BadInput
        With everything about the request that does not fit together, one error a line.
    """
    cases = _cases(request)
    canary, control = ([getattr(each.pair.values, side) for each in cases] for side in ("experiment", "control"))
    found: list[Judgement] = []
    results: list[AnalysisResult] = []
    for case, own, other in zip(cases, canary, control, strict=True):
        # One at a time: pairs are of different lengths, and what is replaced must not be padding.
        judgement = classify(_row(own), _row(other), case.settings)
        found.append(judgement)
        results.append(_result(case, judgement))
    groups = sorted(
        {*request.canary_config.classifier.group_weights, *(name for each in cases for name in _groups(each))}
    )
    scored = _scored(request, cases, found, groups)
    return JudgeResult(
        judge_name=JUDGE,
        results=results,
        group_scores=[_group_score(name, float(value)) for name, value in zip(groups, scored.groups, strict=True)],
        score=_summary(scored, results),
    )


def _cases(request: JudgeRequest) -> list[_Case]:
    """Put pairs and configurations together; all that does not fit is one error."""
    errors: list[str] = []
    configs: dict[str, MetricConfig] = {}
    for index, each in enumerate(request.canary_config.metrics):
        if each.name in configs:
            path = f"{join('canaryConfig.metrics', index)}.name"
            errors.append(f"{path}: found {quoted(each.name)} again; allowed: each name once")
        configs.setdefault(each.name, each)
    cases: list[_Case] = []
    for index, pair in enumerate(request.metric_set_pair_list):
        config = configs.get(pair.name)
        if config is None:
            path = f"{join('metricSetPairList', index)}.name"
            errors.append(f"{path}: found {quoted(pair.name)}; allowed: a metric of canaryConfig")
        else:
            cases.append(_Case(pair, config, _settings(config, request.canary_config.judge.judge_configurations)))
    errors += [
        f"metricSetPairList: {quoted(name)} is missing; allowed: at least one pair for each metric"
        for name in configs.keys() - {each.name for each in request.metric_set_pair_list}
    ]
    if cases and all(each.is_muted for each in cases):
        errors.append("canaryConfig.metrics: all are muted; allowed: at least one that counts")
    compared = sum(len(each.values.control) * len(each.values.experiment) for each in request.metric_set_pair_list)
    if compared > COMPARED_MAX:
        errors.append(f"metricSetPairList: found {compared} pairs of samples; allowed: at most {COMPARED_MAX}")
    if request.score_thresholds.marginal > request.score_thresholds.passing:
        errors.append("scoreThresholds.marginal: allowed: at most scoreThresholds.pass")
    errors += _weight_errors(request, cases)
    if errors:
        raise BadInput("\n".join(sorted(errors)))
    return cases


def _weight_errors(request: JudgeRequest, cases: Iterable[_Case]) -> list[str]:
    weights = request.canary_config.classifier.group_weights
    total = sum(weights.values())
    is_open = bool({name for each in cases for name in each.config.groups} - weights.keys())
    if total > 100 + 1e-6 or (weights and not is_open and abs(total - 100) > 1e-6):
        allowed = "at most 100, the other groups sharing what is left" if is_open else "100 in sum"
        return [f"canaryConfig.classifier.groupWeights: found {total:g} in sum; allowed: {allowed}"]
    return []


def _settings(config: MetricConfig, judged_by: JudgeSettings) -> Settings:
    given = config.analysis_configurations.canary
    is_mean = judged_by.classifier == "MeanInequalityClassifier"
    return Settings(
        direction=given.direction,
        missing="replace" if given.nan_strategy == "replace" else "remove",
        outliers="remove" if given.outliers.strategy == "remove" else "keep",
        outlier_factor=given.outliers.factor,
        tolerance=judged_by.tolerance,
        confidence=judged_by.conf_level,
        effect_size="cles" if given.effect_size.measure == "cles" else "mean_ratio",
        allowed_increase=given.effect_size.allowed_increase,
        allowed_decrease=given.effect_size.allowed_decrease,
        critical_increase=given.effect_size.critical_increase,
        critical_decrease=given.effect_size.critical_decrease,
        critical=given.critical,
        required=given.must_have_data,
        test="mean_inequality" if is_mean else "mann_whitney",
    )


def _row(values: list[Value]) -> Array:
    """Lay samples out as the judge takes them: one comparison, NaN where there is none."""
    return np.array([[np.nan if value is None else float(value) for value in values]], np.float64).reshape(1, -1)


def _groups(case: _Case) -> list[str]:
    """Name the groups that a metric counts in."""
    return [] if case.is_muted else case.config.groups


def _scored(request: JudgeRequest, cases: list[_Case], found: list[Judgement], groups: list[str]) -> Score:
    """Weigh what is not muted."""
    heard = [(case, one) for case, one in zip(cases, found, strict=True) if not case.is_muted]
    members = np.array([[name in case.config.groups for case, _ in heard] for name in groups], np.bool_)
    weights = request.canary_config.classifier.group_weights
    return score(
        np.array([int(one.label[0]) for _, one in heard], np.int8),
        members.reshape(len(groups), len(heard)),
        np.array([weights.get(name, np.nan) for name in groups], np.float64),
        np.array([bool(one.critical[0]) for _, one in heard], np.bool_),
        Thresholds(passing=request.score_thresholds.passing, marginal=request.score_thresholds.marginal),
    )


def _result(case: _Case, found: Judgement) -> AnalysisResult:
    label = Label(int(found.label[0]))
    ratio = float(found.ratio[0])
    return AnalysisResult(
        name=case.pair.name,
        id=case.pair.id,
        tags=case.pair.tags,
        classification=_CLASSIFICATIONS[label],
        classification_reason=_reason(case, label, ratio, is_critical=bool(found.critical[0])),
        groups=case.config.groups,
        experiment_metadata=SideMetadata(stats=_stats(case.pair.values.experiment, case.settings)),
        control_metadata=SideMetadata(stats=_stats(case.pair.values.control, case.settings)),
        result_metadata=ResultMetadata(ratio=ratio if np.isfinite(ratio) else None),
        critical=bool(found.critical[0]),
        muted=case.is_muted,
    )


def _reason(case: _Case, label: Label, ratio: float, *, is_critical: bool) -> str:
    """Say in a sentence why a metric was classified as it was; nothing about one that passed."""
    grave = ", which fails the whole" if is_critical else ""
    mean = f", its mean is {ratio:.4g} times the control's" if np.isfinite(ratio) else ""
    match label:
        case Label.PASS:
            return ""
        case Label.HIGH | Label.LOW:
            side = "above" if label is Label.HIGH else "below"
            return f"{case.pair.name}: the canary is {side} the control{mean}{grave}"
        case Label.NODATA | Label.NODATA_FAIL:
            return f"{case.pair.name}: a side has no samples{grave}"
        case _:
            return f"{case.pair.name}: the samples cannot be compared: infinite ones, or one against one{grave}"


def _stats(values: list[Value], settings: Settings) -> Stats:
    """Describe a side as it was compared."""
    factor = settings.outlier_factor if settings.outliers == "remove" else np.nan
    side: Samples = prepare(_row(values), np.array([settings.missing == "replace"]), np.array([factor]))
    kept = side.values[0, : int(side.count[0])]
    if len(kept) == 0 or not np.isfinite(kept).all():
        return Stats(count=len(kept), mean=0.0, min=0.0, max=0.0, std=0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        std = float(np.std(kept, ddof=1)) if len(kept) > 1 else 0.0
        mean = float(np.mean(kept))
    return Stats(
        count=len(kept),
        mean=mean if np.isfinite(mean) else 0.0,
        min=float(kept[0]),
        max=float(kept[-1]),
        std=std if np.isfinite(std) else 0.0,
    )


def _group_score(name: str, value: float) -> GroupScore:
    is_known = bool(np.isfinite(value))
    return GroupScore(
        name=name,
        score=value if is_known else 0.0,
        classification="" if is_known else "Nodata",
        classification_reason="" if is_known else "no metric of the group could be judged",
    )


def _summary(scored: Score, results: list[AnalysisResult]) -> SummaryScore:
    total, reason = float(scored.total), ""
    if bool(scored.critical):
        told = next(each.classification_reason for each in results if each.critical and not each.muted)
        reason = f"a critical metric failed: {told}"
    elif bool(scored.nodata):
        reason = "at least half of the metrics could not be judged"
    outcome = Outcome(int(scored.outcome))
    return SummaryScore(score=total, classification=_OUTCOMES[outcome], classification_reason=reason)
