"""What two runs over the same recordings did differently: by two policies, or by two versions of the engine. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sinks.cloudevents import epoch_ms

_EFFECT_DIGITS: Final = 12
"""Digits beyond which numbers are taken for equal: those of another machine may differ in the last ones."""

_FIGURES_ALONE: Final = "the same decisions, with other figures or words"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different: what, and its value in either run. `by` is the difference, where there is one."""

    what: str
    a: Any
    b: Any
    by: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A recording that came out differently.

    Attributes
    ----------
    recording
        Its name, and that of the rollout if several of it were judged.
    changes
        What is different of the outcome: action, time (`by` in seconds), cause, scope, reasons, samples.
    verdicts
        What is different of the sequence of verdicts, in words; a verdict is named by its time and action.
    """

    recording: str
    changes: tuple[Change, ...]
    verdicts: tuple[str, ...] = ()

    @property
    def is_of_figures(self) -> bool:
        """Whether the same was decided at the same times and of the same places: other figures or words are all."""
        return all(change.what.startswith("reason ") for change in self.changes) and all(
            text.endswith(_FIGURES_ALONE) for text in self.verdicts
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs beside each other.

    Attributes
    ----------
    same
        How many recordings came out the same.
    differences
        Those that did not.
    only_a, only_b
        Recordings that are in one run alone.
    """

    same: int
    differences: tuple[Difference, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = field(default=())

    @property
    def is_equal(self) -> bool:
        """Whether nothing is different."""
        return not (self.differences or self.only_a or self.only_b)


Line = Mapping[str, Any]
"""An outcome as `holdfast replay --json` prints it."""


def compare(a: Mapping[str, Line], b: Mapping[str, Line]) -> Comparison:
    """Hold two runs beside each other.

    Parameters
    ----------
    a, b
        Outcomes by the name of their recordings. Names of policies and engines in them do not matter, nor do the ids
        of verdicts, which follow from them.
    """
    both = [name for name in a if name in b]
    found = [difference for name in both if (difference := _difference(name, a[name], b[name])) is not None]
    return Comparison(
        len(both) - len(found),
        tuple(found),
        tuple(name for name in a if name not in b),
        tuple(name for name in b if name not in a),
    )


def _difference(name: str, a: Line, b: Line) -> Difference | None:
    changes = [
        *_plain(a, b, "action", "final_action"),
        *_time(a, b),
        *_decisive(a, b),
        *_reasons(a["reasons"], b["reasons"]),
        *_plain(a, b, "ticks", "samples", "dropped"),
    ]
    verdicts = _verdicts(a["verdicts"], b["verdicts"])
    return Difference(name, tuple(changes), tuple(verdicts)) if changes or verdicts else None


def _plain(a: Line, b: Line, *keys: str) -> list[Change]:
    return [Change(key, a[key], b[key], _by(a[key], b[key])) for key in keys if a[key] != b[key]]


def _by(a: Any, b: Any) -> float | None:
    return b - a if isinstance(a, int | float) and isinstance(b, int | float) else None


def _time(a: Line, b: Line) -> list[Change]:
    if a["time"] == b["time"]:
        return []
    seconds = [epoch_ms(datetime.fromisoformat(line["time"])) / 1_000 for line in (a, b)]
    return [Change("time", a["time"], b["time"], seconds[1] - seconds[0])]


def _decisive(a: Line, b: Line) -> list[Change]:
    """Compare the verdicts that decided: their causes and scopes."""
    first, second = (_of(line) for line in (a, b))
    changes = [Change("cause", first["cause"], second["cause"])] if first["cause"] != second["cause"] else []
    for key in ("colos", "metrics"):
        before, after = first["scope"][key], second["scope"][key]
        if before != after:
            changes.append(Change(f"scope.{key}", before, after))
    return changes


def _of(line: Line) -> Mapping[str, Any]:
    """Return the verdict that an outcome's action and time are those of."""
    data: Mapping[str, Any] = next(
        event["data"]
        for event in line["verdicts"]
        if event["time"] == line["time"] and event["data"]["action"] == line["action"]
    )
    return data


def _reasons(a: Sequence[Line], b: Sequence[Line]) -> list[Change]:
    """Compare the evidence of the deciding verdicts, by metric and colo."""
    first, second = ({(each["metric"], each["colo"] or ""): each for each in reasons} for reasons in (a, b))
    changes: list[Change] = []
    for key in sorted({*first, *second}):
        where = f"reason {key[0]}{f' in {key[1]}' if key[1] else ''}"
        before, after = first.get(key), second.get(key)
        if before is None or after is None:
            changes.append(Change(where, None if before is None else "there", None if after is None else "there"))
            continue
        for number in ("effect", "e_value"):
            one, other = before[number], after[number]
            if _rounded(one) != _rounded(other):
                changes.append(Change(f"{where}: {number}", one, other, _by(one, other)))
    return changes


def _rounded(number: float | None) -> str | None:
    return None if number is None else f"{number:.{_EFFECT_DIGITS}g}"


def _verdicts(a: Sequence[Line], b: Sequence[Line]) -> list[str]:
    """Tell the first place where the sequences of verdicts part, and how long both are."""
    first, second = ([_told(event) for event in events] for events in (a, b))
    if first == second:
        unlike = [str(at + 1) for at, (one, other) in enumerate(zip(a, b, strict=True)) if _body(one) != _body(other)]
        return [f"verdicts {', '.join(unlike)}: {_FIGURES_ALONE}"] if unlike else []
    at = next((at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), None)
    if at is None:
        at = min(len(first), len(second))
    one, other = (said[at] if at < len(said) else "nothing more" for said in (first, second))
    told = [f"verdict {at + 1}: {one} -> {other}"]
    if len(first) != len(second):
        told.append(f"verdicts: {len(first)} -> {len(second)}")
    return told


def _body(event: Line) -> dict[str, Any]:
    """Return what a verdict says, but for the names of the policy and the engine that said it."""
    return {key: value for key, value in event["data"].items() if key not in ("policy", "engine")}


def _told(event: Line) -> str:
    data = event["data"]
    colos = data["scope"]["colos"] if data["action"] in ("halt", "revert") else []
    return f"{data['action']} ({data['cause']}) at {event['time']}, {data['stage']}" + (
        f", in {', '.join(colos)}" if colos else ""
    )
