"""The steps of a drill: what was waited for, when it was there, and what became of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Name = Literal["harm", "verdict", "incident", "notification", "page", "review"]
NAMES: Final[tuple[Name, ...]] = ("harm", "verdict", "incident", "notification", "page", "review")
"""In the order in which they follow; the first one is what the others are reckoned from."""

WORDS: Final[dict[Name, str]] = {
    "harm": "first bad sample sent",
    "verdict": "verdict on the topic",
    "incident": "incident opened",
    "notification": "notification delivered",
    "page": "incident on the internal page",
    "review": "draft of the review written",
}


TAKES: Final[dict[Name, str]] = {
    "harm": "brokers that take samples",
    "verdict": "`holdfast run`, or `aggregate` and `judge`",
    "incident": "`holdfast respond`",
    "notification": "`holdfast respond` or `notify run`, and `holdfast notify undelivered` may say why",
    "page": "`holdfast status serve`",
}
"""What has to be there for a step to come."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step: when it was there, in epoch milliseconds; None if it did not come. `note` says what is to be known."""

    name: Name
    at_ms: int | None
    note: str = ""
    is_tried: bool = True


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What `holdfast drill --json` prints: seconds since the first bad sample by step, and what did not happen."""

    drill: str
    incident: str | None
    seconds: dict[str, float | None]
    notes: dict[str, str]
    failed: list[str]
    not_tried: list[str]


def rehearsed(drill: str, incident: str | None, steps: Sequence[Step]) -> Rehearsed:
    """Sum a drill up."""
    start = next((step.at_ms for step in steps if step.name == "harm"), None)
    seconds: dict[str, float | None] = {
        step.name: None if step.at_ms is None or start is None else round((step.at_ms - start) / 1_000, 3)
        for step in steps
    }
    return Rehearsed(
        drill,
        incident,
        seconds,
        {step.name: step.note for step in steps if step.note},
        [step.name for step in steps if step.is_tried and step.at_ms is None],
        [step.name for step in steps if not step.is_tried],
    )


def in_words(found: Rehearsed) -> str:
    """Say how it went, a line for each step."""
    lines = [f"{found.drill}: incident {found.incident or 'none'}"]
    for name in NAMES:
        if name not in found.seconds:
            continue
        seconds = found.seconds[name]
        if name in found.not_tried:
            said = "not tried"
        elif seconds is None:
            said = "did not happen"
        else:
            said = f"{seconds:6.1f} s"
        note = f"  {found.notes[name]}" if name in found.notes else ""
        lines.append(f"  {WORDS[name]:32} {said:>16}{note}".rstrip())
    lines.append("all steps that were tried happened" if not found.failed else f"failed: {', '.join(found.failed)}")
    return "\n".join(lines)
