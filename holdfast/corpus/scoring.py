"""What a policy made of recordings, held against what is true of them. Pure: verdicts in, figures out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
from scipy.special import betaincinv

from rollouts.truth import Truth
from sinks.cloudevents import epoch_ms

CONFIDENCE: Final = 0.95

ACCUSING: Final = frozenset({"evidence", "objective", "traffic"})
"""Causes of a stop that say that something is wrong; the others say that nobody knows, and that time is up."""

Kind = Literal["caught", "missed", "false alarm", "advanced", "held"]


@dataclass(frozen=True, slots=True)
class Score:
    """What a policy made of one recording.

    Attributes
    ----------
    recording
        Its name.
    bad
        Whether the change did harm.
    kind
        Of a bad one: `caught`, by a stop at or after the onset that accuses (`ACCUSING`) a place that is hurt; else
        `missed`. Of a harmless one: `false alarm` if it was stopped, for whatever cause; `advanced`; or `held`, left
        to wait.
    action, time_ms
        Of the first halt or revert, else the last one; when it was decided, the end of its tick.
    cause
        Of that verdict.
    final
        The last action.
    expected
        Whether the last action is one that the truth expects.
    early
        Whether it was stopped before the onset, which is a false alarm on a bad recording too.
    delay_ticks, delay_s
        Of what was caught: ticks from the onset, the first bad tick counting as 1, and seconds from the onset.
    advanced_ms
        When the verdict became `advance` for good; None if it did not.
    why
        What became of it, in words.
    """

    recording: str
    bad: bool
    kind: Kind
    action: str
    time_ms: int
    cause: str
    final: str
    expected: bool
    early: bool
    delay_ticks: int | None
    delay_s: float | None
    advanced_ms: int | None
    why: str

    @property
    def on_evidence(self) -> bool:
        """Whether a harmless one was stopped on comparative evidence, the chance of which alpha bounds."""
        return self.kind == "false alarm" and self.cause == "evidence"


def score(recording: str, truth: Truth, onset_ms: int, tick_ms: int, verdicts: Sequence[Mapping[str, Any]]) -> Score:
    """Hold the verdicts on one recording against its truth.

    Parameters
    ----------
    recording
        Its name.
    truth
        What is known of it.
    onset_ms
        Since when there is harm, in epoch milliseconds.
    tick_ms
        Length of a tick.
    verdicts
        CloudEvents as `holdfast replay --json` prints them, at least one.
    """
    stops = [event for event in verdicts if event["data"]["action"] in ("halt", "revert")]
    decisive, final = (stops or verdicts[-1:])[0]["data"], verdicts[-1]["data"]["action"]
    time_ms = _time((stops or verdicts[-1:])[0])
    onset_tick = -(-onset_ms // tick_ms)
    early = bool(stops) and truth.bad and time_ms < onset_ms
    hurt = set(truth.colos)
    in_scope = not hurt or bool(hurt & set(decisive["scope"]["colos"]))
    accuses = decisive["cause"] in ACCUSING
    if truth.bad:
        caught = bool(stops) and not early and accuses and in_scope
        kind: Kind = "caught" if caught else "missed"
    else:
        caught = False
        kind = "false alarm" if stops else "advanced" if final == "advance" else "held"
    return Score(
        recording=recording,
        bad=truth.bad,
        kind=kind,
        action=decisive["action"],
        time_ms=time_ms,
        cause=decisive["cause"],
        final=final,
        expected=final in truth.expect,
        early=early,
        delay_ticks=time_ms // tick_ms - onset_tick + 1 if caught else None,
        delay_s=(time_ms - onset_ms) / 1000 if caught else None,
        advanced_ms=_advanced(verdicts),
        why=_why(decisive, bool(stops), early, in_scope, truth.bad),
    )


def _time(event: Mapping[str, Any]) -> int:
    return epoch_ms(datetime.fromisoformat(event["time"]))


def _advanced(verdicts: Sequence[Mapping[str, Any]]) -> int | None:
    """Return since when the last verdict and those before it in one go have been `advance`."""
    since = None
    for event in reversed(verdicts):
        if event["data"]["action"] != "advance":
            break
        since = _time(event)
    return since


def _why(decisive: Mapping[str, Any], stopped: bool, early: bool, in_scope: bool, bad: bool) -> str:
    action, cause, colos = decisive["action"], decisive["cause"], decisive["scope"]["colos"]
    if not stopped:
        return f"{action} ({cause})"
    text = f"{action} ({cause})"
    if decisive["scope"]["metrics"]:
        text += f", {', '.join(decisive['scope']['metrics'])}"
    if early:
        return f"{text}, before the onset"
    if bad and not in_scope and colos:
        return f"{text}, in {', '.join(colos[:5])}{' and more' if len(colos) > 5 else ''}, where nothing is hurt"
    return text


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many, with its exact interval (two-sided, Clopper-Pearson)."""

    count: int
    total: int
    low: float
    high: float

    @classmethod
    def of(cls, happened: Iterable[bool], confidence: float = CONFIDENCE) -> "Share":
        """Count what happened."""
        listed = list(happened)
        return cls(sum(listed), len(listed), *interval(sum(listed), len(listed), confidence))


def interval(count: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact interval of a share: of independent trials it holds the truth at least as often as it says.

    References
    ----------
    C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 1934.

    Examples
    --------
    >>> [round(end, 4) for end in interval(0, 300)]
    [0.0, 0.0122]
    >>> interval(0, 0)
    (0.0, 1.0)
    """
    tail = (1 - confidence) / 2
    return lower_bound(count, total, 1 - tail), upper_bound(count, total, 1 - tail)


def lower_bound(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return what a share is at least, with this confidence (one-sided, Clopper-Pearson)."""
    return float(betaincinv(count, total - count + 1, 1 - confidence)) if count else 0.0


def upper_bound(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return what a share is at most, with this confidence (one-sided, Clopper-Pearson).

    Examples
    --------
    Ten harmless recordings without an alarm show little; 299 show that at most 1 % are stopped:

    >>> round(upper_bound(0, 10), 2), round(upper_bound(0, 299), 4)
    (0.26, 0.01)
    """
    return float(betaincinv(count + 1, total - count, confidence)) if count < total else 1.0


def needed(share: float, confidence: float = CONFIDENCE) -> int:
    """Return how many trials without a single event show that a share is at most `share`.

    Examples
    --------
    >>> needed(0.01)
    299
    """
    return int(np.ceil(np.log1p(-confidence) / np.log1p(-share)))


@dataclass(frozen=True, slots=True)
class Sums:
    """What a policy made of a corpus.

    Attributes
    ----------
    caught
        Bad recordings that were caught.
    early
        Bad recordings that were stopped before their onset.
    alarms
        Harmless recordings that were stopped on comparative evidence: what alpha bounds.
    others
        Harmless recordings that were stopped for another cause.
    advanced
        Harmless recordings that were let go on.
    delay_ticks, delay_s
        Median delays of what was caught; None if nothing was.
    delay_ticks_max
        The longest of these delays.
    """

    caught: Share
    early: Share
    alarms: Share
    others: Share
    advanced: Share
    delay_ticks: float | None
    delay_s: float | None
    delay_ticks_max: int | None


def sums(scores: Sequence[Score]) -> Sums:
    """Add up the scores of one policy."""
    bad, harmless = [each for each in scores if each.bad], [each for each in scores if not each.bad]
    ticks = [each.delay_ticks for each in bad if each.delay_ticks is not None]
    seconds = [each.delay_s for each in bad if each.delay_s is not None]
    return Sums(
        caught=Share.of(each.kind == "caught" for each in bad),
        early=Share.of(each.early for each in bad),
        alarms=Share.of(each.on_evidence for each in harmless),
        others=Share.of(each.kind == "false alarm" and not each.on_evidence for each in harmless),
        advanced=Share.of(each.kind == "advanced" for each in harmless),
        delay_ticks=float(np.median(ticks)) if ticks else None,
        delay_s=float(np.median(seconds)) if seconds else None,
        delay_ticks_max=max(ticks, default=None),
    )
