"""Gathering what a report shows from a ClickHouse that has kept it, embedded or a server."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from detectors.policy import Policy, duration_ms
from detectors.verdict import Action
from holdfast.errors import BadInput
from holdfast.live.stores import Where, reading
from holdfast.reporting import queries
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
from holdfast.reporting.queries import put, quoted
from holdfast.reporting.weighing import weighed
from rollouts.document import Rollout
from rollouts.truth import Truth
from sinks.cloudevents import VerdictEvent, decode, epoch_ms
from streams.plan import REPORTING

Answer = Callable[[str], pa.Table]
"""Answers a SELECT with an Arrow table; rows come deduplicated, whatever the query says."""

REPLAY: Final = "replay:"


@contextmanager
def asking(place: Where) -> Generator[Answer]:
    """Answer questions about a store: a server, or a folder, also one that another process owns.

    Raises
    ------
    BadInput
        If there is no such folder.
    StoreBusy
        If the folder is owned by a process that answers no questions, as a replay.
    """
    with reading(place) as found:
        yield lambda sql: _table(found.reads.read(sql, "Arrow"))


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
    whose = f"rollout = {quoted(rollout)} AND {_of(source)}"
    verdicts = _verdicts(answer, whose)
    document, policy = _documents(answer, whose, rollout)
    tables, weighs_exactly = _tables(answer, whose, policy)
    spans = None if tables is None else tables.spans
    return Gathered(
        "live rows of the store" if source == "live" else f"stored {source}",
        document,
        policy,
        _truth(answer, whose),
        verdicts,
        begun(document, verdicts, spans, duration_ms(policy.tick)) | _told(answer, whose),
        _intake(answer, whose),
        weighs_exactly,
        tables,
    )


def documents_of(
    answer: Answer, rollout: str, source: str | None = None
) -> tuple[Rollout, Policy, Truth | None, dict[str, datetime]]:
    """Return what is stored of a rollout's documents: plan, policy, truth, and the starts of stages that events told.

    Parameters and errors are those of `gather_stored`.
    """
    whose = f"rollout = {quoted(rollout)} AND {_of(_chosen(answer, rollout, source))}"
    document, policy = _documents(answer, whose, rollout)
    rows = _rows(answer, put(queries.STARTS, whose=whose))
    return document, policy, _truth(answer, whose), {_text(row["stage"]): row["at"] for row in rows}


def _of(source: str) -> str:
    return f"NOT startsWith(source, '{REPLAY}')" if source == "live" else f"source = {quoted(source)}"


def _rows(answer: Answer, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answer(sql).to_pylist()
    return rows


def _chosen(answer: Answer, rollout: str, source: str | None) -> str:
    found = _rows(answer, put(queries.SOURCES, rollout=quoted(rollout)))
    sources = [_text(row["source"]) for row in found]
    replays = [name for name in sources if name.startswith(REPLAY)]
    origins = (["live"] if len(replays) < len(sources) else []) + replays
    if not origins:
        names = [_text(row["rollout"]) for row in _rows(answer, queries.NAMES)]
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
    rows = _rows(answer, put(queries.VERDICTS, whose=whose))
    return tuple(decode(_text(row["body"]).encode()) for row in rows)


def _documents(answer: Answer, whose: str, rollout: str) -> tuple[Rollout, Policy]:
    (row,) = _rows(answer, put(queries.DOCUMENTS, whose=whose))
    try:
        return (
            msgspec.json.decode(_text(row["document"]), type=Rollout),
            msgspec.json.decode(_text(row["policy_document"]), type=Policy),
        )
    except msgspec.DecodeError as error:
        message = f"{rollout}: its documents in the store are not ones of this holdfast: {error}"
        raise BadInput(message) from error


def _truth(answer: Answer, whose: str) -> Truth | None:
    rows = _rows(answer, put(queries.TRUTHS, whose=whose))
    if not rows:
        return None
    row = rows[0]
    return Truth(
        bad=bool(row["bad"]),
        expect=msgspec.convert([_text(each) for each in row["expect"]], list[Action]),
        onset=row["onset"] if epoch_ms(row["onset"]) > 0 else None,
        colos=[_text(each) for each in row["colos"]],
        metrics=[_text(each) for each in row["metrics"]],
        within=row["within_ticks"] or None,
    )


def _told(answer: Answer, whose: str) -> dict[str, int]:
    """Return the starts of stages that events tell."""
    rows = _rows(answer, put(queries.STARTS, whose=whose))
    return {_text(row["stage"]): epoch_ms(row["at"]) for row in rows}


def _intake(answer: Answer, whose: str) -> Intake:
    (row,) = _rows(answer, put(queries.INTAKE, whose=whose))
    if not row["rows"]:
        return Intake(None, None, {})
    dropped = _rows(answer, put(queries.DROPPED, whose=whose))
    return Intake(row["ticks"], row["samples"], {_text(each["reason"]): each["count"] for each in dropped})


def _tables(answer: Answer, whose: str, policy: Policy) -> tuple[Tables | None, bool]:
    tick = duration_ms(policy.tick)
    spans = _shaped(answer(put(queries.SPANS, whose=whose, tick=tick)), SPANS)
    if not spans.num_rows:
        return None, True
    first, last = int(spans["first"].to_numpy().min()), int(spans["last"].to_numpy().max())
    grid, heat_grid = Grid.over(first, last, tick, STEPS_MAX), Grid.over(first, last, tick, HEAT_STEPS_MAX)
    metrics = [*(metric.name for metric in policy.metrics), REPORTING]
    steps: dict[str, object] = {"whose": whose, "tick": tick, "first": first, "per": grid.per}
    # One metric at a time: sums by colo and tick of all of them at once would not fit everywhere.
    sides = [answer(put(queries.SIDES, **steps, metric=quoted(metric))) for metric in metrics]
    parts = [answer(put(queries.PARTS, **steps, metric=quoted(metric))) for metric in metrics]
    tables = Tables(
        grid,
        heat_grid,
        _shaped(answer(put(queries.EFFECTS, **steps)), EFFECTS),
        pa.concat_tables([_shaped(each, SIDES) for each in sides]),
        pa.concat_tables([weighed(each, grid) for each in parts if each.num_rows] or [WEIGHED.empty_table()]),
        _shaped(answer(put(queries.HEAT, **steps | {"per": heat_grid.per})), HEAT),
        _shaped(answer(put(queries.SILENT, whose=whose, metric=quoted(REPORTING))), SILENT),
        spans,
    )
    edges = [len(np.unique(each["edge"].to_numpy())) for each in parts if each.num_rows]
    return tables, max(edges, default=1) == 1


def _shaped(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give an answer the types of a schema: ClickHouse's texts come as dictionaries or as bytes."""
    if not table.num_rows:
        return schema.empty_table()
    return pa.table([table[field.name].cast(field.type) for field in schema], schema=schema)
