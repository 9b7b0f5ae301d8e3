"""What stands against believing what was tuned, in plain words. Pure."""

from collections.abc import Iterator
from typing import Final

from holdfast.advice import percent
from holdfast.corpus.scoring import needed
from holdfast.tuning.figures import Figures
from holdfast.tuning.report import Tuned

FEW: Final = 5
"""Fewer recordings than this of a kind tell next to nothing of that kind."""


def warnings(current: Tuned, chosen: Tuned | None, limit: float) -> list[str]:
    """List what a reader of the figures has to know."""
    of_chosen = [] if chosen is None else [*_of_going_on(current, chosen), *_of_held_out(current, chosen)]
    return [*_of_size(current, limit), *of_chosen]


def of_layout(incidents: int, recordings: int) -> list[str]:
    """Tell whether folders put so many recordings together that next to nothing can be held out by itself."""
    if incidents >= min(FEW, recordings):
        return []
    count = "1 incident" if incidents == 1 else f"{incidents} incidents"
    said = (
        f"The {recordings} recordings count as {count}, since those in one folder, and those of the same samples, are "
        "held out together: put each incident into a folder of its own."
    )
    return [said]


def _of_size(current: Tuned, limit: float) -> Iterator[str]:
    """Tell whether the corpus is large enough for what is asked."""
    train, out = current.train, current.held_out
    harmless = train.harmless + (out.harmless if out else 0)
    enough = needed(limit) if limit > 0 else 0
    if harmless < enough:
        yield (
            f"{harmless} harmless recordings cannot show that at most {percent(limit)} are stopped: that takes "
            f"{enough:,} of which none is. Measure it by placebos too (holdfast calibrate)."
        )
    for name, part in (("that are learned from", train), ("that are held out", out)):
        if part is None:
            yield "Nothing is held out: how the policy does on incidents that it was not tuned on is not known."
        elif min(part.bad, part.harmless) < FEW:
            yield (
                f"Of the recordings {name} {part.bad} are bad and {part.harmless} harmless: too few to tell policies "
                "apart reliably."
            )


def _of_going_on(current: Tuned, chosen: Tuned) -> Iterator[str]:
    """Tell whether fewer harmless rollouts are let go on: tight tolerances take longer to be excluded."""
    pairs = [("what was learned from", current.train, chosen.train)]
    if current.held_out is not None and chosen.held_out is not None:
        pairs.append(("what was held out", current.held_out, chosen.held_out))
    fewer = [
        f"{after.advanced} instead of {before.advanced} of {after.harmless} on {part}"
        for part, before, after in pairs
        if after.advanced < before.advanced
    ]
    if fewer:
        yield (
            f"The chosen policy lets fewer harmless rollouts go on: {'; '.join(fewer)}. The others were still waiting "
            "when their recordings ended; a deadline would halt them."
        )


def _of_held_out(current: Tuned, chosen: Tuned) -> Iterator[str]:
    """Tell whether what was gained was gained on what was held out too."""
    before, after = current.held_out, chosen.held_out
    if before is None or after is None or chosen.number == current.number:
        return
    worse = [
        f"{what} {now} instead of {then}"
        for what, then, now in (
            ("false alarms", before.alarms, after.alarms),
            ("missed", before.missed, after.missed),
            ("mean delay", _seconds(before), _seconds(after)),
        )
        if _number(now) > _number(then)
    ]
    if worse:
        yield (
            f"On what was held out the chosen policy is worse than the policy as it is ({'; '.join(worse)}): it may be "
            "fitted to the recordings that it was chosen on."
        )
    if _share(after.alarms, after.harmless) > _share(chosen.train.alarms, chosen.train.harmless):
        yield (
            f"It stops {after.alarms} of {after.harmless} harmless recordings that were held out, and "
            f"{chosen.train.alarms} of the {chosen.train.harmless} that it was chosen on."
        )
    if _share(after.missed, after.bad) > chosen.train.missed_interval[1]:
        yield (
            f"It misses {after.missed} of {after.bad} that were held out, more than the {chosen.train.missed} of "
            f"{chosen.train.bad} that it was chosen on lead to expect."
        )


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0


def _seconds(found: Figures) -> str:
    return f"{found.delay_s or 0.0:.1f} s"


def _number(value: int | str) -> float:
    return float(value.removesuffix(" s")) if isinstance(value, str) else float(value)
