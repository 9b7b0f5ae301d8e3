"""The classical judge: one Mann-Whitney test per metric and a score over all of them, as Kayenta judges.

A policy chooses it with `judge: classical`, and holdfast is measured against it. Its confidence is that of one look
at independent samples: looked at again and again, or given autocorrelated ticks, it stops far more harmless rollouts.

First `classify` labels each comparison, then `score` weighs the labels by group into one outcome. Both are pure
and deterministic, and take many comparisons at once. `look.Panel` does both for the metrics of a policy, and
`decision.ClassicalDecision` makes actions of looks.

The method is that of Kayenta's NetflixACAJudge (Apache-2.0, https://github.com/spinnaker/kayenta), written anew.
Where it differs, it does so on purpose:

- it draws no random numbers: two constant sides differ by exactly what lies between them;
- it solves nothing by iteration to an absolute tolerance: intervals end exactly at pairwise differences, so
  multiplying a metric by a constant changes no label;
- missing data is never good news: replacing it with zero may convict but not acquit, a group without data has no
  score instead of a perfect one, and what could not be judged counts with what has no data.
"""

from detectors.classical.classify import Judgement, Label, classify
from detectors.classical.effect_size import common_language, mean_ratio, means
from detectors.classical.hodges_lehmann import Shift, location_shift
from detectors.classical.mann_whitney import p_value, u_statistic
from detectors.classical.preprocess import Samples, prepare
from detectors.classical.score import Outcome, Score, Thresholds, score
from detectors.classical.settings import Settings

__all__ = [
    "Judgement",
    "Label",
    "Outcome",
    "Samples",
    "Score",
    "Settings",
    "Shift",
    "Thresholds",
    "classify",
    "common_language",
    "location_shift",
    "mean_ratio",
    "means",
    "p_value",
    "prepare",
    "score",
    "u_statistic",
]
