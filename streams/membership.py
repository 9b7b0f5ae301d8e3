"""Who has which change: units, and the stage and control of each, resolved from the labels of their series."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.errors import BadInput
from streams.catalogue import Catalogue

Selector = dict[str, str | list[str]]

NOT_REACHED: Final = -1
"""Stage of a unit that no stage of the plan reaches."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a plan, in ticks. Tick k is the one that ends at k times the tick length.

    `started`: the first live tick, or None if the stage has not begun within the data. `deadline` and `bake`
    count from there; `settle` is the number of first live ticks whose comparisons are ignored.
    """

    name: str
    canary: Selector
    control: Selector | None
    started: int | None
    bake: int
    deadline: int | None
    settle: int


@dataclass(frozen=True, slots=True)
class Announced:
    """A rollout that was announced: its name, its stages, and the file that says so."""

    rollout: str
    stages: Sequence[Stage]
    place: str


def moving_labels(rollouts: Sequence[Announced]) -> list[str]:
    """Name the labels that selectors look at, and that a change itself may therefore change."""
    stages = [stage for rollout in rollouts for stage in rollout.stages]
    return sorted({label for stage in stages for label in (*stage.canary, *(stage.control or {}))})


@dataclass(frozen=True, slots=True)
class Units:
    """The units of a catalogue, in canonical order.

    `of_series` [series] is the unit of each series; `colo` [unit] and `name` [unit] name them.
    """

    of_series: NDArray[np.int32]
    colo: list[str]
    name: list[str]
    region: list[str]

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.colo)


def find_units(catalogue: Catalogue, unit_label: str, region_label: str) -> Units:
    """Group series into units: one colo and one value of the unit label.

    Series without the unit label (aggregated before they came here) form a unit with the series that share all
    their labels but metric and bucket.
    """
    ranks = {name: catalogue.ranks(name) for name in catalogue.labels}
    has_unit = catalogue.codes(unit_label) > 0
    keys = [catalogue.ranks("colo"), catalogue.ranks(unit_label)]
    rest = [name for name in catalogue.labels if name not in ("metric", "le", "colo", unit_label)]
    keys += [np.where(has_unit, 0, ranks[name]) for name in rest]
    _, first, inverse = np.unique(np.stack(keys), axis=1, return_index=True, return_inverse=True)
    text = {name: _texts(catalogue, name, first) for name in [*rest, "colo", unit_label]}
    names = [
        host or ",".join(f"{name}={text[name][i]}" for name in rest if text[name][i])
        for i, host in enumerate(text[unit_label])
    ]
    of_series = inverse.reshape(-1).astype(np.int32)
    # Series of a unit may differ in region, or lack it: the last in order counts, whichever came first.
    region = np.zeros(len(names), np.int64)
    np.maximum.at(region, of_series, catalogue.ranks(region_label))
    regions = sorted(catalogue.values(region_label))
    return Units(of_series, text["colo"], names, [regions[rank] for rank in region])


def _texts(catalogue: Catalogue, label: str, series: NDArray[np.intp]) -> list[str]:
    values = catalogue.values(label)
    return [values[code] for code in catalogue.codes(label)[series]]


@dataclass(frozen=True, slots=True)
class Membership:
    """The signature of each unit, as one rollout sees it.

    A signature is a unit's membership under every announced rollout: the first stage whose canary selector matches the
    unit, or `NOT_REACHED`, and for each stage whether the unit may serve as its control as long as the change has not
    reached it. So one aggregate serves all rollouts, and costs what distinct signatures there are.

    Attributes
    ----------
    signature
        [unit] Dense ids of the distinct signatures, the same for every rollout.
    signatures
        [signature] What each says about this rollout.
    others
        [signature, other] The stage of each other rollout, in the order in which they were announced.
    """

    signature: NDArray[np.int32]
    signatures: tuple[tuple[int, tuple[bool, ...]], ...]
    others: NDArray[np.int32]

    def canary(self, stage: int) -> NDArray[np.bool_]:
        """Tell for each signature [signature] whether it is the canary of `stage`."""
        return np.array([reached == stage for reached, _ in self.signatures])

    def controls(self, stage: int) -> NDArray[np.bool_]:
        """Tell for each signature [signature] whether it is the control of `stage`."""
        return np.array(
            [(reached > stage or reached == NOT_REACHED) and allowed[stage] for reached, allowed in self.signatures]
        )


@dataclass(frozen=True, slots=True)
class Sightings:
    """When each series [series] was first and last seen, in epoch milliseconds."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]


def resolve(
    catalogue: Catalogue, units: Units, rollouts: Sequence[Announced], seen: Sightings, tick_ms: int
) -> list[Membership]:
    """Resolve the selectors of all announced rollouts to units, and return what each of them sees.

    A unit belongs where its labels put it once the stage has begun; this then holds for its past too, since a
    change often changes labels itself. A unit not heard of since belongs where its earlier labels put it.

    Raises
    ------
    BadInput
        If a selector matches nothing, or one unit is both canary and control at the same time.
    """
    problems: list[str] = []
    found = [_resolve(catalogue, units, rollout, seen, tick_ms, problems) for rollout in rollouts]
    if problems:
        raise BadInput("\n".join(problems))
    widths = [columns.shape[1] for columns in found]
    distinct, inverse = np.unique(np.concatenate(found, axis=1), axis=0, return_inverse=True)
    parts = np.split(distinct, np.cumsum(widths)[:-1], axis=1)
    reached = np.stack([part[:, 0] for part in parts], axis=1)
    signature = inverse.reshape(-1).astype(np.int32)
    return [
        Membership(
            signature,
            tuple((int(row[0]), tuple(bool(flag) for flag in row[1:])) for row in part),
            np.delete(reached, index, axis=1),
        )
        for index, part in enumerate(parts)
    ]


def _resolve(
    catalogue: Catalogue, units: Units, rollout: Announced, seen: Sightings, tick_ms: int, problems: list[str]
) -> NDArray[np.int32]:
    """Return each unit's stage, and whether it may be control of each: [unit, 1 + stage]. Note what is wrong."""
    stages = rollout.stages
    stage_of = np.full(len(units), NOT_REACHED, np.int32)
    control = np.ones((len(units), len(stages)), np.bool_)
    for index, stage in enumerate(stages):
        start = (stage.started - 1) * tick_ms if stage.started is not None else np.iinfo(np.int64).min
        current = seen.last > start
        silent = ~_any(units, current)
        current |= silent[units.of_series] & (seen.first <= seen.last)  # not what only has unusable samples
        by_canary = catalogue.matches(stage.canary) & current
        canary = _any(units, by_canary)
        where = f"{rollout.place}: stages[{index}]"
        if not canary.any():
            problems.append(
                f"{where}.canary: no series matches {stage.canary}; {_what_is_there(catalogue, stage.canary)}"
            )
        stage_of[canary & (stage_of == NOT_REACHED)] = index
        if stage.control is None:
            continue
        by_control = catalogue.matches(stage.control) & current
        control[:, index] = _any(units, by_control) & ~canary
        if not by_control.any():
            problems.append(
                f"{where}.control: no series matches {stage.control}; {_what_is_there(catalogue, stage.control)}"
            )
        both = _at_once(units, by_canary, by_control, seen, tick_ms)
        if both.any():
            named = ", ".join(units.name[i] for i in np.flatnonzero(both)[:3])
            problems.append(
                f"{where}: {int(both.sum())} unit(s) are canary and control at the same time ({named}); "
                "the two selectors must not overlap"
            )
    return np.concatenate([stage_of[:, None], control.astype(np.int32)], axis=1)


def _any(units: Units, series: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell for each unit [unit] whether any of its series is marked."""
    return np.bincount(units.of_series, series, len(units)) > 0


def _at_once(
    units: Units, canary: NDArray[np.bool_], control: NDArray[np.bool_], seen: Sightings, tick_ms: int
) -> NDArray[np.bool_]:
    """Find the units that answered to both selectors over the same time.

    A host that is relabelled in the middle of a stage passes from one to the other, and at a rollback it
    passes back: that is no overlap.
    """
    never = np.iinfo(np.int64).min // 2
    first = np.full(len(units), -never)
    last_canary, last_control = (np.full(len(units), never) for _ in range(2))
    np.minimum.at(first, units.of_series[canary], seen.first[canary])
    np.maximum.at(last_canary, units.of_series[canary], seen.last[canary])
    np.maximum.at(last_control, units.of_series[control], seen.last[control])
    is_both = _any(units, canary) & _any(units, control)
    passed = (last_control <= first + 2 * tick_ms) | (last_control > last_canary + 2 * tick_ms)
    return is_both & ~passed | _any(units, canary & control)


def _what_is_there(catalogue: Catalogue, selector: Selector) -> str:
    """Name values that the selector's labels have, for an error message."""
    parts = []
    for label in selector:
        names = sorted(name for name in catalogue.values(label) if name)
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        parts.append(f"`{label}` is one of: {shown}" if names else f"no series has a label `{label}`")
    return "; ".join(parts)
