"""The Arrow schemas of what is put into the tables."""

from typing import Final

import pyarrow as pa

_TIME: Final = pa.timestamp("ms", tz="UTC")


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])


ROWS: Final = {
    "cohort_ticks": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("time", _TIME),
        ("stage", pa.string()),
        ("metric", pa.string()),
        ("edge", pa.float64()),
        ("colo", pa.string()),
        ("cohort", pa.string()),
        ("units", pa.float64()),
        ("sum", pa.float64()),
        ("sum_squares", pa.float64()),
        ("bad", pa.float64()),
        ("total", pa.float64()),
        ("version", pa.uint64()),
    ),
    "evidence": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("time", _TIME),
        ("stage", pa.string()),
        ("metric", pa.string()),
        ("edge", pa.float64()),
        ("level", pa.string()),
        ("place", pa.string()),
        ("effect", pa.float64()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("log_e", pa.float64()),
        ("mde", pa.float64()),
        ("information", pa.float64()),
        ("version", pa.uint64()),
    ),
    "verdicts": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("time", _TIME),
        ("sequence", pa.uint64()),
        ("id", pa.string()),
        ("action", pa.string()),
        ("cause", pa.string()),
        ("stage", pa.string()),
        ("binding", pa.bool_()),
        ("colos", pa.list_(pa.string())),
        ("metrics", pa.list_(pa.string())),
        ("policy", pa.string()),
        ("engine", pa.string()),
        ("body", pa.string()),
        ("version", pa.uint64()),
    ),
    "rollouts": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("started", _TIME),
        ("policy", pa.string()),
        ("mode", pa.string()),
        ("document", pa.string()),
        ("policy_document", pa.string()),
        ("policy_digest", pa.string()),
        ("recorded", _TIME),
        ("version", pa.uint64()),
    ),
    "rollout_events": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("number", pa.uint32()),
        ("event", pa.string()),
        ("stage", pa.string()),
        ("effective_at", _TIME),
        ("version", pa.uint64()),
    ),
    "ticks": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("time", _TIME),
        ("decided", _TIME),
        ("is_live", pa.bool_()),
        ("samples", pa.uint64()),
        ("reasons", pa.list_(pa.string())),
        ("dropped", pa.list_(pa.uint64())),
        ("version", pa.uint64()),
    ),
    "dead_letters": _schema(
        ("source", pa.string()),
        ("time", _TIME),
        ("from_topic", pa.string()),
        ("from_partition", pa.uint32()),
        ("from_offset", pa.uint64()),
        ("worker", pa.string()),
        ("reason", pa.string()),
        ("bytes", pa.uint64()),
        ("is_redriven", pa.bool_()),
        ("version", pa.uint64()),
    ),
    "truths": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("bad", pa.bool_()),
        ("expect", pa.list_(pa.string())),
        ("onset", _TIME),
        ("within_ticks", pa.uint32()),
        ("colos", pa.list_(pa.string())),
        ("metrics", pa.list_(pa.string())),
        ("version", pa.uint64()),
    ),
}
"""The columns of each table, in the order of the statements above (a test compares them with the engine)."""
