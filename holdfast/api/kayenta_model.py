"""What Kayenta asks a remote judge, and what it is answered.

The shapes are those of Kayenta (Apache-2.0, https://github.com/spinnaker/kayenta): RemoteJudgeRequest, and what it is
made of; CanaryJudgeResult, and what that is made of.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from detectors.policy import Direction, NonNegative, Percent
from detectors.policy import Fraction as Share

METRICS_MAX: Final = 2_000
"""Most pairs of one request."""

NotANumber = Literal["NaN", "Infinity", "-Infinity"]
"""How Jackson writes numbers that JSON does not have."""

Classification = Literal["Pass", "High", "Low", "Nodata", "NodataFailMetric", "Error"]
Summary = Literal["Pass", "Marginal", "Fail"]

Text = Annotated[str, Meta(max_length=1_000)]
Factor = Annotated[float, Meta(ge=0, le=1e300)]


class Outliers(Struct, frozen=True, kw_only=True):
    """What becomes of outliers."""

    strategy: Literal["none", "keep", "remove"] = "none"
    factor: Annotated[float, Meta(gt=0, le=1e300)] = field(name="outlierFactor", default=3.0)


class Effect(Struct, frozen=True, kw_only=True, rename="camel"):
    """From which effect sizes on a difference counts, and fails the whole."""

    measure: Literal["meanRatio", "cles"] = "meanRatio"
    allowed_increase: Factor | None = None
    allowed_decrease: Factor | None = None
    critical_increase: Factor | None = None
    critical_decrease: Factor | None = None


class Analysis(Struct, frozen=True, kw_only=True, rename="camel"):
    """How a metric is judged: what stands under `analysisConfigurations.canary`."""

    direction: Direction = "either"
    nan_strategy: Literal["none", "remove", "replace"] = "none"
    outliers: Outliers = Outliers()
    critical: bool = False
    must_have_data: bool = False
    muted: bool = False
    effect_size: Effect = Effect()


class Analyses(Struct, frozen=True, kw_only=True):
    """What stands under `analysisConfigurations`; `canary` is what the judge looks at."""

    canary: Analysis = Analysis()


class MetricConfig(Struct, frozen=True, kw_only=True, rename="camel"):
    """A metric of the canary configuration; how it is queried is Kayenta's affair."""

    name: Annotated[Text, Meta(min_length=1)]
    groups: Annotated[list[Text], Meta(min_length=1, max_length=100)]
    analysis_configurations: Analyses = Analyses()


class Classifier(Struct, frozen=True, kw_only=True, rename="camel"):
    """Weights of groups in percent; groups without one share what is left."""

    group_weights: Annotated[dict[Text, Percent], Meta(max_length=1_000)] = {}


class JudgeSettings(Struct, frozen=True, kw_only=True, rename="camel"):
    """What may be set under `judge.judgeConfigurations`; Kayenta's own judge has these fixed."""

    tolerance: NonNegative = 0.25
    conf_level: Share = 0.98
    classifier: Literal["MannWhitneyClassifier", "MeanInequalityClassifier"] = "MannWhitneyClassifier"


class JudgeConfig(Struct, frozen=True, kw_only=True, rename="camel"):
    """Which judge is asked for; by whatever name, it is this one that answers."""

    judge_configurations: JudgeSettings = JudgeSettings()


class CanaryConfig(Struct, frozen=True, kw_only=True):
    """Kayenta's canary configuration, what a judge needs of it."""

    metrics: Annotated[list[MetricConfig], Meta(min_length=1, max_length=METRICS_MAX)]
    classifier: Classifier = Classifier()
    judge: JudgeConfig = JudgeConfig()


class ScoreThresholds(Struct, frozen=True, kw_only=True):
    """From which scores on the canary passes, and is marginal."""

    passing: Percent = field(name="pass")
    marginal: Percent


Value = float | NotANumber | None


class Values(Struct, frozen=True, kw_only=True):
    """Samples of both sides; what is not a number is missing."""

    control: list[Value]
    experiment: list[Value]


class MetricSetPair(Struct, frozen=True, kw_only=True):
    """The samples of one metric, or of one set of its tags."""

    name: Text
    id: Text
    values: Values
    tags: Annotated[dict[Text, Text], Meta(max_length=100)] = {}


class JudgeRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """What Kayenta asks its remote judge. Further keys, of which Kayenta sends many, are passed over."""

    canary_config: CanaryConfig
    score_thresholds: ScoreThresholds
    metric_set_pair_list: Annotated[list[MetricSetPair], Meta(min_length=1, max_length=METRICS_MAX)]


class Stats(Struct, frozen=True, kw_only=True):
    """One side after what is missing or outlying was dealt with; all 0 if nothing is left, as Kayenta has it."""

    count: int
    mean: float
    min: float
    max: float
    std: float


class SideMetadata(Struct, frozen=True, kw_only=True):
    """What is told of one side."""

    stats: Stats


class ResultMetadata(Struct, frozen=True, kw_only=True):
    """Mean of the canary over that of the control; null where there is none."""

    ratio: float | None


class AnalysisResult(Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one metric: Kayenta's CanaryAnalysisResult."""

    name: str
    id: str
    tags: dict[str, str]
    classification: Classification
    classification_reason: str
    groups: list[str]
    experiment_metadata: SideMetadata
    control_metadata: SideMetadata
    result_metadata: ResultMetadata
    critical: bool
    muted: bool


class GroupScore(Struct, frozen=True, kw_only=True, rename="camel"):
    """Share of a group's judged metrics that pass, in percent."""

    name: str
    score: float
    classification: str
    classification_reason: str


class SummaryScore(Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole in one number and one word."""

    score: float
    classification: Summary
    classification_reason: str


class JudgeResult(Struct, frozen=True, kw_only=True, rename="camel"):
    """What Kayenta is answered: its CanaryJudgeResult."""

    judge_name: str
    results: list[AnalysisResult]
    group_scores: list[GroupScore]
    score: SummaryScore
