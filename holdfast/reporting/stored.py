"""Gathering what a report shows from a ClickHouse that has kept it, embedded or a server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from detectors.policy import Policy, duration_ms
from holdfast.errors import BadInput
from holdfast.live.store_owner import ask, is_answered
from holdfast.reporting.gathered import (
    EFFECTS,
    HEAT,
    HEAT_STEPS_MAX,
    SIDES,
    SILENT,
    SPANS,
    STEPS_MAX,
    WEIGHED,
    Gathered,
    Grid,
    Intake,
    Tables,
    begun,
)
from holdfast.reporting.weighing import weighed
from rollouts.document import Rollout
from rollouts.truth import Truth
from sinks.cloudevents import VerdictEvent, decode, epoch_ms
from sinks.store import Store, StoreBusy
from streams.plan import REPORTING

Answer = Callable[[str], pa.Table]
"""Answers a SELECT with an Arrow table; rows come deduplicated, whatever the query says."""

REPLAY: Final = "replay:"

_STEP: Final = "toInt64(intDiv(intDiv(toUnixTimestamp64Milli(time), {tick}) - {first}, {per})) AS step"
_FOUND: Final = "if(isNaN(evidence.log_e), -inf, evidence.log_e)"

_EFFECTS: Final = f"""
    SELECT stage, metric, edge, {_STEP},
        argMax(evidence.effect, time) AS effect, argMax(evidence.lower, time) AS lower,
        argMax(evidence.upper, time) AS upper, argMax(evidence.mde, time) AS mde, argMax(evidence.log_e, time) AS log_e, max({_FOUND}) AS log_e_max
    FROM evidence WHERE {{whose}} AND level = 'fleet'
    GROUP BY stage, metric, edge, step ORDER BY stage, metric, edge, step
"""

_SIDES: Final = f"""
    SELECT stage, metric, edge, step, sum(c) AS canary, sum(co) AS canary_of,
        ifNull(minOrNull(cv), nan) AS canary_min, ifNull(maxOrNull(cv), nan) AS canary_max,
        sum(k) AS control, sum(ko) AS control_of,
        ifNull(minOrNull(kv), nan) AS control_min, ifNull(maxOrNull(kv), nan) AS control_max,
        toInt64(count()) AS ticks, toInt64(countIf(isNull(cv) OR isNull(kv))) AS empty
    FROM (
        SELECT stage, metric, edge, {_STEP}, sum(top) AS c, sum(of) AS co,
            sumIf(of * other / other_of, of > 0 AND other_of > 0) AS k, sumIf(of, of > 0 AND other_of > 0) AS ko,
            if(co > 0, c / co, NULL) AS cv, if(ko > 0, k / ko, NULL) AS kv
        FROM (
            SELECT stage, metric, edge, time, colo,
                sumIf(bad + sum, cohort = 'canary') AS top, sumIf(total + units, cohort = 'canary') AS of,
                sumIf(bad + sum, cohort = 'control') AS other, sumIf(total + units, cohort = 'control') AS other_of
            FROM cohort_ticks WHERE {{whose}} AND metric = {{metric}}
            GROUP BY stage, metric, edge, time, colo
        )
        GROUP BY stage, metric, edge, time
    )
    GROUP BY stage, metric, edge, step ORDER BY stage, metric, edge, step
"""

_PARTS: Final = f"""
    SELECT metric, time, edge, if(evidence.level = 'stratum', 'colo', evidence.level) AS level, toInt64(count()) AS tests,
        groupArray({_FOUND}) AS all, arrayMax(all) AS top,
        if(top = -inf, -inf, top + log(arraySum(x -> exp(x - top), all))) AS log_e_sum
    FROM evidence WHERE {{whose}} AND metric = {{metric}}
    GROUP BY metric, time, edge, level ORDER BY metric, time, edge, level
"""

_HEAT: Final = f"""
    SELECT place AS colo, {_STEP}, max({_FOUND}) AS log_e,
        argMin(evidence.metric, (-{_FOUND}, time, evidence.metric)) AS metric
    FROM evidence WHERE {{whose}} AND level IN ('colo', 'stratum')
    GROUP BY colo, step ORDER BY colo, step
"""

_SILENT: Final = """
    SELECT colo, cohort, sum(bad) AS silent, sum(total) AS seen, max(bad) AS silent_max, max(total) AS units
    FROM cohort_ticks WHERE {whose} AND metric = {metric} GROUP BY colo, cohort ORDER BY colo, cohort
"""

_SPANS: Final = """
    SELECT stage, toInt64(intDiv(toUnixTimestamp64Milli(min(time)), {tick})) AS first,
        toInt64(intDiv(toUnixTimestamp64Milli(max(time)), {tick})) AS last
    FROM evidence WHERE {whose} GROUP BY stage ORDER BY first, stage
"""


@contextmanager
def asking(folder: Path) -> Iterator[Answer]:
    """Answer questions about a store's folder, oneself or by asking the process that owns it.

    Raises
    ------
    BadInput
        If there is no such folder.
    StoreBusy
        If the folder is owned by a process that answers no questions, as a replay.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder: nothing is kept there yet; `holdfast replay RECORDING` keeps what it judges"
        raise BadInput(message)
    try:
        store = Store(folder)
    except StoreBusy:
        if not is_answered(folder):
            raise
        yield lambda sql: _table(ask(folder, sql, "Arrow"))
        return
    with store:
        yield store.arrow


def _table(answer: bytes) -> pa.Table:
    return pa.ipc.open_file(pa.py_buffer(answer)).read_all() if answer else pa.table({})


def gather_stored(answer: Answer, rollout: str, source: str | None = None) -> Gathered:
    """Gather what a report of a stored rollout shows.

    Parameters
    ----------
    answer
        Where to ask.
    rollout
        Its name.
    source
        `live`, or the source of a replay. By default the live rows, if there are any, else those of the only replay.

    Raises
    ------
    BadInput
        If nothing is stored of it, or of several replays none is named.
    """
    source = _chosen(answer, rollout, source)
    whose = f"rollout = {_quoted(rollout)} AND {_of(source)}"
    verdicts = _verdicts(answer, whose)
    document, policy = _documents(answer, whose, rollout)
    tables, weighs_exactly = _tables(answer, whose, policy)
    return Gathered(
        "live rows of the store" if source == "live" else f"stored {source}",
        document,
        policy,
        _truth(answer, rollout, source),
        verdicts,
        _started(answer, whose, document, policy, tables),
        _intake(answer, whose),
        weighs_exactly,
        tables,
    )


def _quoted(text: str) -> str:
    """Write a text so that nothing in it can be taken for SQL."""
    return f"unhex('{text.encode().hex()}')"


def _of(source: str) -> str:
    return f"NOT startsWith(source, '{REPLAY}')" if source == "live" else f"source = {_quoted(source)}"


def _rows(answer: Answer, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answer(sql).to_pylist()
    return rows


def _chosen(answer: Answer, rollout: str, source: str | None) -> str:
    found = _rows(answer, f"SELECT DISTINCT source FROM rollouts WHERE rollout = {_quoted(rollout)} ORDER BY source")
    sources = [_text(row["source"]) for row in found]
    replays = [name for name in sources if name.startswith(REPLAY)]
    origins = (["live"] if len(replays) < len(sources) else []) + replays
    if not origins:
        names = [_text(row["rollout"]) for row in _rows(answer, "SELECT DISTINCT rollout FROM rollouts ORDER BY rollout")]
        known = f"stored are: {', '.join(names[:20])}{' and more' if names[20:] else ''}" if names else "none is stored"
        message = f"{rollout}: no folder of a recording, and no rollout of that name is in the store; {known}"
        raise BadInput(message)
    if source is not None and source not in origins:
        message = f"{rollout}: --source: found {source!r}; allowed: {', '.join(origins)}"
        raise BadInput(message)
    if source is None and origins[0] != "live" and len(origins) > 1:
        message = f"{rollout}: stored from several replays; name one with --source; allowed: {', '.join(origins)}"
        raise BadInput(message)
    return source or origins[0]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _verdicts(answer: Answer, whose: str) -> tuple[VerdictEvent, ...]:
    rows = _rows(answer, f"SELECT body FROM verdicts WHERE {whose} ORDER BY sequence, time")
    return tuple(decode(_text(row["body"]).encode()) for row in rows)


def _documents(answer: Answer, whose: str, rollout: str) -> tuple[Rollout, Policy]:
    (row,) = _rows(
        answer,
        f"SELECT document, policy_document FROM rollouts WHERE {whose} ORDER BY version DESC, source LIMIT 1",
    )
    try:
        return (
            msgspec.json.decode(_text(row["document"]), type=Rollout),
            msgspec.json.decode(_text(row["policy_document"]), type=Policy),
        )
    except msgspec.DecodeError as error:
        message = f"{rollout}: its documents in the store are not ones of this holdfast: {error}"
        raise BadInput(message) from error


def _truth(answer: Answer, rollout: str, source: str) -> Truth | None:
    rows = _rows(
        answer,
        "SELECT bad, expect, onset, within_ticks, colos, metrics FROM truths "
        f"WHERE rollout = {_quoted(rollout)} AND {_of(source)} ORDER BY version DESC LIMIT 1",
    )
    if not rows:
        return None
    row = {name: [_text(one) for one in value] if isinstance(value, list) else value for name, value in rows[0].items()}
    onset: datetime = row["onset"]
    return Truth(
        bad=bool(row["bad"]),
        expect=row["expect"],
        onset=onset if epoch_ms(onset) > 0 else None,
        colos=row["colos"],
        metrics=row["metrics"],
        within=row["within_ticks"] or None,
    )


def _started(answer: Answer, whose: str, document: Rollout, policy: Policy, tables: Tables | None) -> dict[str, int]:
    """Return when stages began: as told by events, else by the document, else by the first judged tick."""
    spans = SPANS.empty_table() if tables is None else tables.spans
    rows = _rows(
        answer,
        f"SELECT stage, max(effective_at) AS at FROM rollout_events WHERE {whose} AND event = 'started' "
        "AND stage != '' GROUP BY stage ORDER BY stage",
    )
    return begun(document, spans, duration_ms(policy.tick)) | {_text(row["stage"]): epoch_ms(row["at"]) for row in rows}


def _intake(answer: Answer, whose: str) -> Intake:
    (row,) = _rows(
        answer,
        "SELECT toInt64(countIf(is_live)) AS ticks, toInt64(sum(samples)) AS samples, toInt64(count()) AS rows, "
        f"sumMap(reasons, dropped) AS lost FROM ticks WHERE {whose}",
    )
    if not row["rows"]:
        return Intake(None, None, {})
    reasons, counts = row["lost"].values() if isinstance(row["lost"], dict) else row["lost"]
    return Intake(
        row["ticks"], row["samples"], {_text(name): int(count) for name, count in zip(reasons, counts, strict=True)}
    )


def _tables(answer: Answer, whose: str, policy: Policy) -> tuple[Tables | None, bool]:
    tick = duration_ms(policy.tick)
    spans = _shaped(answer(_SPANS.format(whose=whose, tick=tick)), SPANS)
    if not spans.num_rows:
        return None, True
    first, last = int(spans["first"].to_numpy().min()), int(spans["last"].to_numpy().max())
    grid, heat_grid = Grid.over(first, last, tick, STEPS_MAX), Grid.over(first, last, tick, HEAT_STEPS_MAX)
    metrics = [*(metric.name for metric in policy.metrics), REPORTING]
    steps = {"whose": whose, "tick": tick, "first": first, "per": grid.per}
    # One metric at a time: sums by colo and tick of all of them at once would not fit everywhere.
    sides = [answer(_SIDES.format(**steps, metric=_quoted(metric))) for metric in metrics]
    parts = [answer(_PARTS.format(**steps, metric=_quoted(metric))) for metric in metrics]
    tables = Tables(
        grid,
        heat_grid,
        _shaped(answer(_EFFECTS.format(**steps)), EFFECTS),
        pa.concat_tables([_shaped(each, SIDES) for each in sides]),
        pa.concat_tables([weighed(each, grid) for each in parts if each.num_rows] or [WEIGHED.empty_table()]),
        _shaped(answer(_HEAT.format(**{**steps, "per": heat_grid.per})), HEAT),
        _shaped(answer(_SILENT.format(whose=whose, metric=_quoted(REPORTING))), SILENT),
        spans,
    )
    edges = [len(np.unique(each["edge"].to_numpy())) for each in parts if each.num_rows]
    return tables, max(edges, default=1) == 1


def _shaped(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give an answer the types of a schema: ClickHouse's texts come as dictionaries or as bytes."""
    if not table.num_rows:
        return schema.empty_table()
    return pa.table([table[field.name].cast(field.type) for field in schema], schema=schema)
