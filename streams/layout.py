"""How the series of a catalogue are laid out as the rows of a matrix, and which of them add up to what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.errors import BadInput
from detectors.policy import Metric, Policy
from streams.catalogue import Catalogue
from streams.cohorts import RowKey, row_keys
from streams.membership import Membership, Units

GAUGE: Final = 0
CUMULATIVE: Final = 1
DELTA: Final = 2
UNUSED: Final = -1

_CODE_BITS: Final = 62
"""Bits in which a combination of labels is packed before it is numbered."""

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Part:
    """How one metric of the policy is summed.

    `fold` [unit-row, series-row] adds the series of a unit; None where each unit has a single series.
    `group` [row, unit-row] adds the units of a cohort. Its rows stand for `keys`. `total_rows` and `total_group`
    do the same for what ratios and histograms are shares of; at a bucket edge that is all events of the histograms
    that have this edge.
    """

    metric: int
    kind: str
    keys: tuple[RowKey, ...]
    rows: Rows
    fold: csr_array | None
    group: csr_array
    total_rows: Rows | None = None
    total_group: csr_array | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The matrix rows of a catalogue, in canonical order: gauges, cumulative counters, deltas.

    Attributes
    ----------
    row_of_series
        [series] Matrix row, or -1 if the policy does not judge the series, or -2 if it is part of a histogram that
        says nothing for want of a bucket.
    bounds
        Where gauges end, where cumulative counters end, and the number of rows.
    rate_rows
        Matrix rows whose sample times are needed, because a rate is increase over elapsed time.
    family
        [matrix row] Counters of one unit that live and die together: the buckets of a histogram, the codes of
        a counter, the bad and the total of a ratio.
    twin
        [matrix row] Series that are the same but for the labels a rollout's selectors look at, as when a change
        relabels its hosts.
    bundle
        [matrix row] The buckets of one histogram, which mean something only together; -1 for other rows.
    """

    row_of_series: NDArray[np.int32]
    bounds: tuple[int, int, int]
    rate_rows: Rows
    family: NDArray[np.int64]
    twin: NDArray[np.int64]
    bundle: NDArray[np.int64]
    parts: tuple[Part, ...]
    reporting: Part


def build(
    catalogue: Catalogue,
    units: Units,
    membership: Membership,
    policy: Policy,
    moving: Sequence[str],
    places: tuple[str, str] = ("policy.yaml", "metrics.parquet"),
    among: NDArray[np.bool_] | None = None,
) -> Layout:
    """Lay out the series of `catalogue` that `policy` judges.

    A recording has all series that its policy asks for, else it cannot be judged. Of a stream nobody knows what is
    still to come: there, what is missing has no rows, and what cannot be read is left out.

    Parameters
    ----------
    moving
        Labels that the rollout's selectors look at, and that the change itself may therefore change.
    places
        Names of the policy and of the samples, for error messages.
    among
        [series] The series that a stream has shown so far; None for a recording.

    Raises
    ------
    BadInput
        If a metric of the policy has no series in a recording, a histogram lacks what is needed to compare, or one
        series is used both as a gauge and as a counter.
    """
    kind, family_name = kinds_of(catalogue, policy, places[0], among)
    row_of_series = np.full(len(catalogue), -1, np.int32)
    if among is not None:
        broken = _broken_histograms(catalogue, policy, kind)
        row_of_series[broken] = -2
        kind[broken] = UNUSED
    used = np.flatnonzero(kind != UNUSED)
    ranks = [catalogue.ranks(name)[used] for name in catalogue.labels]
    series = used[np.argsort(packed([kind[used].astype(np.int64), *reversed(ranks)]), kind="stable")]
    row_of_series[series] = np.arange(len(series), dtype=np.int32)
    kinds = kind[series]
    bounds = (int((kinds == GAUGE).sum()), int((kinds != DELTA).sum()), len(series))
    unit = units.of_series[series]
    fixed = [name for name in catalogue.labels if name not in moving or name == "colo"]
    plan = _Plan(catalogue, units, membership, series, unit, places)
    parts = tuple(
        _part(plan, index, metric) for index, metric in enumerate(policy.metrics) if among is None or plan.has(metric)
    )
    buckets = [part.rows for part in parts if part.kind == "histogram"]
    apart = [catalogue.ranks(name)[series] for name in catalogue.labels if name != "le"]
    is_bucket = np.isin(np.arange(len(series)), np.concatenate([np.empty(0, np.intp), *buckets]))
    rates = [part.rows for part in parts if part.kind == "counter"]
    rate_rows = np.unique(np.concatenate(rates)) if rates else np.empty(0, np.intp)
    return Layout(
        row_of_series,
        bounds,
        rate_rows[rate_rows < bounds[1]],
        family_name[series] * len(units) + unit,
        _identify([catalogue.ranks(name)[series] for name in fixed], unit),
        np.where(is_bucket, _identify(apart, unit), -1),
        parts,
        _reporting(plan, len(policy.metrics), np.unique(unit) if among is not None else None),
    )


def kinds_of(
    catalogue: Catalogue, policy: Policy, place: str, among: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Tell for each series [series] how it is read, and to which family of counters it belongs.

    Of a stream's series, `among` [series], those that are to be read in two ways are left out.

    Raises
    ------
    BadInput
        If a recording's series is to be read in two ways.
    """
    kind = np.full(len(catalogue), UNUSED, np.int8)
    clashing = np.zeros(len(catalogue), np.bool_)
    family = np.arange(len(catalogue.values("metric")), dtype=np.int64)[catalogue.codes("metric")]
    for metric in policy.metrics:
        counter = CUMULATIVE if metric.temporality == "cumulative" else DELTA
        for name, wanted in _sources(metric, counter):
            mask = series_of(catalogue, name, metric)
            if among is not None:
                mask &= among
            clash = mask & (kind != UNUSED) & (kind != wanted)
            clashing |= clash
            if clash.any() and among is None:
                msg = (
                    f"{place}: metrics: `{name}` is read both as a gauge and as a counter, or as both kinds of counter"
                )
                raise BadInput(msg)
            kind[mask] = wanted
        if metric.ratio:
            bad, total = (series_of(catalogue, name, metric) for name in (metric.ratio.bad, metric.ratio.total))
            if bad.any() and total.any():
                merged = min(family[bad].min(), family[total].min())
                family[np.isin(family, np.unique(np.concatenate([family[bad], family[total]])))] = merged
    kind[clashing] = UNUSED
    return kind, family


def _broken_histograms(catalogue: Catalogue, policy: Policy, kind: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Find buckets [series] that cannot be compared: no number, or of a histogram without the bucket of all events.

    Where no histogram of a metric has an edge to compare at, all of them are found.
    """
    broken = np.zeros(len(catalogue), np.bool_)
    texts = np.array([_edge(text) for text in catalogue.values("le")])
    for metric in policy.metrics:
        if not metric.histogram:
            continue
        mask = series_of(catalogue, metric.histogram, metric) & (kind != UNUSED)
        series = np.flatnonzero(mask)
        edges = texts[catalogue.codes("le")[series]]
        apart = _numbered([catalogue.ranks(label)[series] for label in catalogue.labels if label != "le"])
        lacking = np.isnan(edges) | np.isneginf(edges) | ~np.isin(apart, apart[np.isposinf(edges)])
        broken[series] = lacking | ~(np.isfinite(edges) & (edges > 0) & ~lacking).any()
    return broken


def _sources(metric: Metric, counter: int) -> list[tuple[str, int]]:
    if metric.ratio:
        return [(metric.ratio.bad, counter), (metric.ratio.total, counter)]
    if metric.gauge:
        return [(metric.gauge, GAUGE)]
    return [(metric.counter or metric.histogram or "", counter)]


def series_of(catalogue: Catalogue, name: str, metric: Metric) -> NDArray[np.bool_]:
    """Tell for each series [series] whether it bears this metric name and fits the metric's `select`."""
    names = catalogue.values("metric")
    code = names.index(name) if name in names else -1
    fits: NDArray[np.bool_] = (catalogue.codes("metric") == code) & catalogue.matches(metric.select)
    return fits


def _identify(ranks: list[NDArray[np.int64]], unit: NDArray[np.int32]) -> NDArray[np.int64]:
    """Give each distinct combination of labels within a unit a number: [label][row] to [row]."""
    return _numbered([*ranks, unit.astype(np.int64)])


def packed(keys: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Put keys of small numbers that are not negative [key][row] into one number each, in the same order [row].

    The first key counts most.
    """
    packed, size = keys[0], int(keys[0].max(initial=0)) + 1
    for key in keys[1:]:
        width = int(key.max(initial=0)) + 1
        if (size - 1).bit_length() + (width - 1).bit_length() > _CODE_BITS:
            packed = np.unique(packed, return_inverse=True)[1].astype(np.int64)
            size = int(packed.max(initial=0)) + 1
        packed = packed * width + key
        size *= width
    return packed


def _numbered(keys: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Give the distinct combinations of keys [key][row] numbers in their order [row]."""
    return np.unique(packed(keys), return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What every part needs: the matrix rows' series and units, and the cohort of each unit."""

    catalogue: Catalogue
    units: Units
    membership: Membership
    series: Rows
    unit: NDArray[np.int32]
    places: tuple[str, str]

    def rows(self, name: str, metric: Metric) -> Rows:
        return np.flatnonzero(series_of(self.catalogue, name, metric)[self.series])

    def has(self, metric: Metric) -> bool:
        """Tell whether there is anything to sum; a ratio may lack the bad events."""
        names = [metric.ratio.total] if metric.ratio else [name for name, _ in _sources(metric, CUMULATIVE)]
        return len(self.rows(names[0], metric)) > 0

    def groups(
        self, metric: int, unit: NDArray[np.int32], edge: NDArray[np.float64] | None = None
    ) -> tuple[tuple[RowKey, ...], csr_array]:
        """Group members [member] by edge, colo and signature: the keys, and the matrix that adds them."""
        (colos, colo), (regions, region) = _ranked(self.units.colo), _ranked(self.units.region)
        edges, place = np.unique(np.zeros(len(unit)) if edge is None else edge, return_inverse=True)
        signature = self.membership.signature[unit].astype(np.int64)
        whole = packed([place.astype(np.int64), colo[unit], region[unit], signature])
        _, first, row = np.unique(whole, return_index=True, return_inverse=True)
        who = unit[first]
        keys = row_keys(
            [metric] * len(first),
            edges[place[first]].tolist(),
            [colos[place] for place in colo[who].tolist()],
            [regions[place] for place in region[who].tolist()],
            signature[first].tolist(),
        )
        return keys, adding(row.astype(np.intp), len(keys))


def _ranked(names: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct names in order, and the rank of each name."""
    distinct = sorted(set(names))
    rank = {name: index for index, name in enumerate(distinct)}
    return distinct, np.array([rank[name] for name in names], np.int64)


def adding(row: NDArray[np.intp], rows: int) -> csr_array:
    """Return the matrix [row, member] that adds members to their rows, in the order in which they stand.

    A sparse product adds strictly one after the other, so that a member that is absent (zero) changes no
    bit; numpy's own sums add in pairs, and their result depends on how many members there are.
    """
    order = np.argsort(row, kind="stable")
    starts = np.searchsorted(row[order], np.arange(rows + 1))
    return csr_array((np.ones(len(row)), order, starts), shape=(rows, len(row)))


def _part(plan: _Plan, index: int, metric: Metric) -> Part:
    if metric.ratio:
        return _ratio(plan, index, metric)
    if metric.histogram:
        return _histogram(plan, index, metric)
    name = metric.gauge or metric.counter or ""
    rows = plan.rows(name, metric)
    if not len(rows):
        raise BadInput(_lacking(plan, index, metric, name))
    distinct, member = np.unique(plan.unit[rows], return_inverse=True)
    fold = None
    if len(distinct) < len(rows):
        fold = adding(member, len(distinct))
    else:
        rows = rows[np.argsort(plan.unit[rows], kind="stable")]
    keys, group = plan.groups(index, distinct)
    return Part(index, "gauge" if metric.gauge else "counter", keys, rows, fold, group)


def _ratio(plan: _Plan, index: int, metric: Metric) -> Part:
    assert metric.ratio is not None
    totals = plan.rows(metric.ratio.total, metric)
    if not len(totals):
        raise BadInput(_lacking(plan, index, metric, metric.ratio.total))
    keys, total_group = plan.groups(index, plan.unit[totals])
    bad = plan.rows(metric.ratio.bad, metric)
    # Bad events of a unit without a total have nothing to be a share of.
    bad = bad[np.isin(plan.unit[bad], plan.unit[totals])]
    names, group = plan.groups(index, plan.unit[bad])
    position = {key: row for row, key in enumerate(keys)}
    spread = adding(np.array([position[name] for name in names], np.intp), len(keys))
    return Part(index, "ratio", keys, bad, None, csr_array(spread @ group), totals, total_group)


def _histogram(plan: _Plan, index: int, metric: Metric) -> Part:
    name = metric.histogram or ""
    rows = plan.rows(name, metric)
    if not len(rows):
        raise BadInput(_lacking(plan, index, metric, name))
    texts = plan.catalogue.values("le")
    codes = plan.catalogue.codes("le")[plan.series[rows]]
    edges = np.array([_edge(text) for text in texts])[codes]
    if np.isnan(edges).any():
        wrong = texts[codes[np.isnan(edges)][0]]
        msg = f"{plan.places[1]}: `{name}` has a series with le={wrong!r}; allowed is a number or +Inf"
        raise BadInput(msg)
    if not (np.isfinite(edges) & (edges > 0)).any():
        msg = f"{plan.places[1]}: `{name}` has no bucket with an edge above 0 but le=+Inf; one is needed to compare"
        raise BadInput(msg)
    apart = [plan.catalogue.ranks(label)[plan.series[rows]] for label in plan.catalogue.labels if label != "le"]
    bundle = _identify(apart, plan.unit[rows])
    last = np.flatnonzero(np.isinf(edges))
    without = ~np.isin(bundle, bundle[last])
    if without.any():
        unit = plan.unit[rows[without]].min()
        msg = f"{plan.places[1]}: `{name}` of {plan.units.name[unit]} has no bucket le=+Inf, which holds all events"
        raise BadInput(msg)
    keys, group = plan.groups(index, plan.unit[rows], edges)
    whole = np.zeros(len(rows), np.intp)
    whole[bundle[last]] = np.arange(len(last))
    total = csr_array((group.data, whole[bundle[group.indices]], group.indptr), shape=(len(keys), len(last)))
    return Part(index, "histogram", keys, rows, None, group, rows[last], total)


def _edge(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _reporting(plan: _Plan, index: int, sending: NDArray[np.int32] | None) -> Part:
    """Lay out the implicit metric: units that should report, and those that do.

    `rows` are the units, all or those that send anything judged.
    """
    unit = np.arange(len(plan.units), dtype=np.int32) if sending is None else sending
    keys, group = plan.groups(index, unit)
    fold = adding(np.searchsorted(unit, plan.unit), len(unit))
    return Part(index, "reporting", keys, unit.astype(np.intp), fold, group)


def _lacking(plan: _Plan, index: int, metric: Metric, name: str) -> str:
    present = ", ".join(sorted(name for name in plan.catalogue.values("metric") if name)[:12])
    where = f"{plan.places[0]}: metrics[{index}] ({metric.name})"
    chosen = f" with labels {metric.select}" if metric.select else ""
    return f"{where}: the recording has no series `{name}`{chosen}; it has: {present}"
