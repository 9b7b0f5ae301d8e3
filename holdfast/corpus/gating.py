"""Whether a policy may take the place of another one, by what both made of a corpus. Pure.

Four things fail a gate: an incident is missed, it is caught late, a recording ends in another action than is right,
and more harmless recordings are stopped on evidence than alpha allows. Against another policy the first three fail
only where that one did better; without one the truth alone is the yardstick.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from holdfast.advice import listed
from holdfast.corpus.scoring import CONFIDENCE, Score, Sums, lower_bound, needed, sums, upper_bound
from rollouts.truth import Truth

Rule = Literal["missed", "late", "action", "false-alarms", "unproven"]

MARGIN_TICKS: Final = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a gate fails: by which rule, on which recording (None for the corpus as a whole), and in words."""

    rule: Rule
    recording: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One recording: how both policies score, what fails, and what else a reader should know."""

    recording: str
    new: Score
    old: Score | None
    failures: tuple[Failure, ...]
    note: str | None


@dataclass(frozen=True, slots=True)
class Alarms:
    """Harmless recordings that were stopped on comparative evidence, and what so many recordings can show.

    Attributes
    ----------
    count, total
        How many of how many.
    low, high
        What the share of such stops is at least, and at most: each with the confidence of `scoring.CONFIDENCE`
        (one-sided, Clopper-Pearson).
    alpha
        What the policy allows.
    needed
        How many harmless recordings without one alarm it takes to show that the share is at most alpha.
    """

    count: int
    total: int
    low: float
    high: float
    alpha: float
    needed: int


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate came to.

    Attributes
    ----------
    rows
        Every recording, in the order of the corpus.
    failures
        All of them, those of the corpus as a whole last; none if the gate is passed.
    alarms
        What is known of the rate of false alarms.
    new, old
        Sums of both policies; of the old one None if there is none.
    warnings
        What the corpus cannot show.
    """

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    alarms: Alarms
    new: Sums
    old: Sums | None
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class Rules:
    """What a gate asks for.

    Attributes
    ----------
    alpha
        The new policy's.
    tick_ms
        Length of the ticks that the margin counts.
    margin_ticks
        By how much later than the old policy an incident may be caught.
    strict
        Whether it must be shown that the rate of false alarms is at most alpha, instead of not shown to be more; and
        that there is an incident to be caught at all.
    """

    alpha: float
    tick_ms: int
    margin_ticks: int = MARGIN_TICKS
    strict: bool = False


def gate(rules: Rules, truths: Sequence[Truth], new: Sequence[Score], old: Sequence[Score] | None) -> Gate:
    """Hold what a policy made of a corpus against another policy, or against the truth alone.

    Parameters
    ----------
    rules
        What is asked for.
    truths
        [recording] What is known.
    new
        [recording] The policy that is to pass.
    old
        [recording] The policy that it is to replace, or None.
    """
    before: Sequence[Score | None] = old if old is not None else [None] * len(new)
    rows = [_row(rules, truth, one, other) for truth, one, other in zip(truths, new, before, strict=True)]
    alarms = _alarms(rules.alpha, new)
    failures = [failure for row in rows for failure in row.failures]
    whole, warnings = _as_a_whole(rules, alarms, sum(each.bad for each in new))
    warnings = (*warnings, *_left_waiting(rows))
    return Gate(tuple(rows), (*failures, *whole), alarms, sums(new), None if old is None else sums(old), warnings)


def _left_waiting(rows: Sequence[Row]) -> list[str]:
    """Tell which harmless recordings no longer advance: no rule fails them, as a deadline alone would halt them."""
    names = [row.recording for row in rows if row.old and (row.old.kind, row.new.kind) == ("advanced", "held")]
    went = sum(row.old is not None and row.old.kind == "advanced" for row in rows)
    if not names:
        return []
    said = f"{len(names)} of {went} harmless recordings that the other policy lets go on are left to wait by this one"
    return [f"{said}: {listed(names)}; a deadline would halt them"]


def _row(rules: Rules, truth: Truth, new: Score, old: Score | None) -> Row:
    failures: list[Failure] = []

    def fail(rule: Rule, text: str) -> None:
        failures.append(Failure(rule, new.recording, text))

    note = None
    if new.bad and new.kind == "missed":
        if old is None:
            fail("missed", f"missed: {new.why}")
        elif old.kind == "caught":
            fail("missed", f"missed: {new.why}; it was caught {delay_in_words(old)}")
        else:
            note = f"missed by both: {new.why}"
    elif new.bad:
        late = _late(rules, truth, new, old)
        if late:
            fail("late", late)
        elif old is not None:
            note = _moved(rules, new, old)
    elif old is not None and new.kind != old.kind:
        note = f"{result_in_words(new)}; was: {result_in_words(old)}"
    # How many harmless ones are stopped on evidence is a matter of their rate, and a missed one has been told of.
    if not new.expected and not new.on_evidence and new.kind != "missed" and (old is None or old.expected):
        right = " or ".join(truth.expect)
        fail("action", f"ends in {new.final} ({new.cause}); right is {right}{', in which it ended' if old else ''}")
    return Row(new.recording, new, old, tuple(failures), None if failures else note)


def _late(rules: Rules, truth: Truth, new: Score, old: Score | None) -> str | None:
    """Say that an incident is caught too late, if it is."""
    if old is None:
        assert new.delay_s is not None
        if truth.within is None or truth.onset is None or new.delay_s * 1_000 <= truth.within * rules.tick_ms:
            return None
        return f"caught {delay_in_words(new)}; due within {truth.within} ticks"
    if old.kind != "caught" or new.time_ms - old.time_ms <= rules.margin_ticks * rules.tick_ms:
        return None
    return (
        f"caught {delay_in_words(new)}, {_apart(rules, new.time_ms - old.time_ms)} later than before; allowed are "
        f"{rules.margin_ticks}"
    )


def _apart(rules: Rules, between_ms: int) -> str:
    """Write a time in ticks of the margin, which may be others than those that the policy counts its delay in."""
    ticks = between_ms / rules.tick_ms
    return f"{between_ms / 1_000:g} s ({ticks:g} tick{'' if ticks == 1 else 's'})"


def _moved(rules: Rules, new: Score, old: Score) -> str | None:
    """Say by how much another policy catches an incident sooner or later, if it does."""
    if old.kind != "caught":
        return f"caught {delay_in_words(new)}; was missed: {old.why}"
    moved_ms = new.time_ms - old.time_ms
    if not moved_ms:
        return None
    return f"{_apart(rules, abs(moved_ms))} {'later' if moved_ms > 0 else 'sooner'} than before"


def _alarms(alpha: float, new: Sequence[Score]) -> Alarms:
    harmless = [each for each in new if not each.bad]
    count, total = sum(each.on_evidence for each in harmless), len(harmless)
    return Alarms(count, total, lower_bound(count, total), upper_bound(count, total), alpha, needed(alpha))


def _as_a_whole(rules: Rules, alarms: Alarms, incidents: int) -> tuple[list[Failure], tuple[str, ...]]:
    """Judge the rate of false alarms, and whether there is anything in the corpus to be caught."""
    failures: list[Failure] = []
    warnings: list[str] = []
    told = f"{alarms.count} of {alarms.total} harmless recordings are stopped on evidence"
    sure = f"{CONFIDENCE:.0%} sure"
    if alarms.low > alarms.alpha:
        text = f"{told}: at least {alarms.low:.2%} ({sure}), and alpha is {alarms.alpha:.2%}"
        failures.append(Failure("false-alarms", None, text))
    elif alarms.high > alarms.alpha:
        shown = f"at most {alarms.high:.1%} is all that this shows ({sure})" if alarms.total else "this shows nothing"
        text = (
            f"{told}: {shown}, and alpha is {alarms.alpha:.2%}; it takes {alarms.needed:,} harmless recordings without "
            "an alarm to show that"
        )
        (failures.append(Failure("unproven", None, text)) if rules.strict else warnings.append(text))
    if not incidents:
        text = "no recording is one of a bad change: nothing is shown of what is caught"
        (failures.append(Failure("unproven", None, text)) if rules.strict else warnings.append(text))
    return failures, tuple(warnings)


def delay_in_words(score: Score) -> str:
    """Say how long after the onset an incident was caught."""
    assert score.delay_ticks is not None
    assert score.delay_s is not None
    return f"after {score.delay_ticks} tick{'' if score.delay_ticks == 1 else 's'} ({score.delay_s:g} s)"


def result_in_words(score: Score) -> str:
    """Say what became of a recording, in a few words."""
    if score.kind == "caught":
        return f"caught {delay_in_words(score)}"
    if score.kind == "advanced":
        return "advanced"
    return f"{score.kind}: {score.why}"
