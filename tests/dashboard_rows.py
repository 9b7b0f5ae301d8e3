"""A small fleet in the store, for the tests of the dashboards: every row of it twice, and replays beside live rows.

Live: `bot-a` was reverted in its second stage, `bot-b` bakes on, `bot-c` advanced and is finished. Replays: one of a
recording of `bot-a`, with rows at the same times, and labelled ones that came out in every way there is.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import chdb.session
import numpy as np
import pyarrow as pa
import pytest

from dashboards.build import query
from dashboards.macros import ALL, Range, asked
from sinks.live_rows import LiveRows
from sinks.schema import ROWS
from sinks.store import Store

Row = dict[str, Any]

START_MS: Final = 1_773_314_400_000  # 2026-03-12T11:20:00Z
TICK_MS: Final = 10_000
TICKS: Final = 36
COLOS: Final = ("ams01", "fra01", "lhr01", "sin01", "syd01")
REPLAY: Final = "replay:rec-1"
SHOWN: Final = Range(START_MS, START_MS + 3_600_000, 60)
METRICS: Final = (("errors", 0.0), ("cpu", 0.0), ("wait", 0.1), ("wait", 0.5), ("reporting_hosts", 0.0))
WEIGHTS: Final = {"errors": 2.0, "cpu": 1.0, "wait": 0.5}
STAGES: Final = {"bot-a": ("canary", "europe"), "bot-b": ("canary",), "bot-c": ("canary",)}
SECOND_STAGE_TICK: Final = 18


def live(rollout: str) -> str:
    """Name the source of a live rollout's evidence: partitions differ by rollout."""
    return f"holdfast.evidence/{ord(rollout[-1])}"


def policy(alpha: float = 0.01, tick: str = "10s") -> str:
    metrics = [{"name": name, "weight": weight} for name, weight in WEIGHTS.items()]
    return json.dumps({"policy": "edge", "tick": tick, "alpha": alpha, "judge": "sequential", "metrics": metrics})


def at(tick: int) -> int:
    """Return the end of a tick in epoch milliseconds."""
    return START_MS + TICK_MS * (tick + 1)


def stage_of(rollout: str, tick: int) -> str:
    stages = STAGES[rollout]
    return stages[-1] if tick >= SECOND_STAGE_TICK else stages[0]


def evidence_rows() -> list[Row]:
    generator = np.random.default_rng(11)
    places = [("fleet", ""), ("region", "eu"), ("region", "apac"), *(("colo", colo) for colo in COLOS)]
    rows: list[Row] = []
    for rollout, source in ((name, live(name)) for name in STAGES):
        rows += _evidence(generator, rollout, source, places)
    return rows + _evidence(generator, "bot-a", REPLAY, places)


def _evidence(generator: np.random.Generator, rollout: str, source: str, places: list[tuple[str, str]]) -> list[Row]:
    rows = []
    for tick in range(TICKS):
        for metric, edge in METRICS:
            for level, place in places:
                effect, radius, log_e, mde = generator.normal(size=4) * (0.2, 0.1, 8.0, 0.1)
                values: Row = {"effect": effect, "lower": effect - abs(radius), "upper": effect + abs(radius)}
                values |= {"log_e": log_e, "mde": mde, "information": float(tick), "version": tick // 8}
                if tick == 0:  # before there are data
                    values |= {"effect": np.nan, "lower": -np.inf, "upper": np.inf, "log_e": -np.inf, "mde": np.inf}
                named = {"rollout": rollout, "source": source, "time": at(tick), "stage": stage_of(rollout, tick)}
                rows.append(named | {"metric": metric, "edge": edge, "level": level, "place": place} | values)
    return rows


def cohort_rows() -> list[Row]:
    generator = np.random.default_rng(12)
    rows: list[Row] = []
    for rollout, source in (*((name, live(name)) for name in STAGES), ("bot-a", REPLAY)):
        colos = COLOS if rollout != "bot-b" else COLOS[:2]
        for tick in range(TICKS):
            for metric, edge in METRICS:
                for colo in colos:
                    for cohort, units in (("canary", 2.0 + (tick >= SECOND_STAGE_TICK)), ("control", 8.0)):
                        values: Row = {"units": 0.0, "sum": 0.0, "sum_squares": 0.0, "bad": 0.0, "total": 0.0}
                        if metric == "cpu":
                            values |= {"units": units, "sum": float(generator.uniform(0.2, 0.8)) * units}
                        elif metric == "reporting_hosts":
                            values |= {"bad": 0.0, "total": units}
                        else:
                            total = float(generator.integers(500, 900))
                            values |= {"bad": float(generator.integers(0, 50)), "total": total}
                        named = {"rollout": rollout, "source": source, "time": at(tick), "metric": metric}
                        named |= {"stage": stage_of(rollout, tick), "edge": edge, "colo": colo, "cohort": cohort}
                        rows.append(named | values | {"version": tick // 8})
    return rows


def reason(metric: str, colo: str | None, e_value: float, upper: float | None = 0.9) -> Row:
    samples = {"canary": 1000.0, "control": 4000.0}
    sentence = f"{metric} in {colo or 'the fleet'} isn't what was to be expected"
    named: Row = {"metric": metric, "colo": colo, "effect": 0.5, "interval": [0.25, upper], "e_value": e_value}
    return named | {"samples": samples, "sentence": sentence, "scale": "relative"}


def verdict_row(rollout: str, source: str, sequence: int, tick: int, action: str, cause: str, **more: Any) -> Row:
    colos, metrics = more.get("colos", list(COLOS)), more.get("metrics", ["errors", "cpu"])
    data = {"reasons": more.get("reasons", []), "abstained": more.get("abstained", [])}
    return {
        "rollout": rollout,
        "source": source,
        "time": at(tick),
        "sequence": sequence,
        "id": f"{rollout}-{sequence}",
        "action": action,
        "cause": cause,
        "stage": more.get("stage", "canary"),
        "binding": more.get("binding", True),
        "colos": colos,
        "metrics": metrics,
        "policy": "sha256:1",
        "engine": "holdfast/0.1.0",
        "body": json.dumps({"data": data}),
        "version": 100 + sequence,
    }


STOP_REASONS: Final[list[Row]] = [
    reason("errors", None, 1e4),
    reason("errors", "fra01", 1e6, None),
    reason("errors", "ams01", 1e5),
]
ABSTAINED: Final[list[Row]] = [
    {"metric": "cpu", "colo": None, "minimum_detectable_effect": 0.25, "why": "too noisy"},
    {"metric": "wait", "colo": "syd01", "minimum_detectable_effect": None, "why": "no control"},
]


def verdict_rows() -> list[Row]:
    hurt = {"colos": ["ams01", "fra01"], "metrics": ["errors"], "stage": "europe"}
    rows = [
        verdict_row("bot-a", "holdfast.verdicts/1", 1, 0, "wait", "baking"),
        verdict_row("bot-a", "holdfast.verdicts/1", 2, 17, "advance", "evidence", reasons=[reason("cpu", None, 0.5)]),
        verdict_row("bot-a", "holdfast.verdicts/1", 3, 18, "wait", "baking", stage="europe"),
        verdict_row(
            "bot-a",
            "holdfast.verdicts/1",
            4,
            30,
            "revert",
            "evidence",
            reasons=STOP_REASONS,
            abstained=ABSTAINED,
            **hurt,
        ),
        verdict_row("bot-b", "holdfast.verdicts/2", 1, 3, "wait", "baking", binding=False),
        verdict_row("bot-c", "holdfast.verdicts/0", 1, 0, "wait", "baking"),
        verdict_row("bot-c", "holdfast.verdicts/0", 2, 20, "advance", "evidence"),
        verdict_row("bot-a", REPLAY, 1, 0, "wait", "baking"),
        verdict_row("bot-a", REPLAY, 2, 25, "halt", "evidence", colos=["sin01"], metrics=["cpu"]),
    ]
    for name, (_, verdicts) in LABELLED.items():
        for sequence, (tick, action, cause, colos) in enumerate(verdicts, start=1):
            rows.append(verdict_row(name, f"replay:{name}", sequence, tick, action, cause, colos=colos))
    return rows


def truth(bad: bool, onset_tick: int | None = None, within: int = 0, colos: tuple[str, ...] = ()) -> Row:
    expect = ["revert", "halt"] if bad else ["advance"]
    onset = 0 if onset_tick is None else at(onset_tick)
    return {
        "bad": bad, "expect": expect, "onset": onset, "within_ticks": within, "colos": list(colos),
        "metrics": ["errors"] if bad else [],
    }  # fmt: skip


_ALL, _HURT = list(COLOS), ["ams01"]
LABELLED: Final[dict[str, tuple[Row, list[tuple[int, str, str, list[str]]]]]] = {
    "passed": (truth(False), [(0, "wait", "baking", _ALL), (30, "advance", "evidence", _ALL)]),
    "held": (truth(False), [(0, "wait", "baking", _ALL)]),
    "false": (truth(False), [(0, "wait", "baking", _ALL), (9, "halt", "evidence", _HURT)]),
    "deadline": (truth(False), [(12, "halt", "deadline", _ALL)]),
    "caught": (truth(True, 5, 20, ("ams01",)), [(0, "wait", "baking", _ALL), (12, "revert", "evidence", _HURT)]),
    "late": (truth(True, 5, 3, ("ams01",)), [(14, "halt", "evidence", _HURT), (15, "revert", "evidence", _HURT)]),
    "early": (truth(True, 20, 10, ("ams01",)), [(11, "revert", "evidence", _HURT)]),
    "missed": (truth(True, 5, 10, ("ams01",)), [(0, "wait", "baking", _ALL), (33, "advance", "evidence", _ALL)]),
    "elsewhere": (truth(True, None, 0, ("syd01",)), [(8, "revert", "evidence", _HURT)]),
    "unjudged": (truth(True, 5), []),
}
"""By recording: what is true, and the verdicts (tick, action, cause, colos)."""


def truth_rows() -> list[Row]:
    rows = [{"rollout": name, "source": f"replay:{name}", "version": 1} | told for name, (told, _) in LABELLED.items()]
    rows.append({"rollout": "bot-a", "source": "live", "version": 2} | truth(True, 24, 30, ("ams01",)))
    # What was said before counts no more.
    rows.append({"rollout": "bot-a", "source": "live", "version": 1} | truth(False))
    return rows


def rollout_rows() -> list[Row]:
    rows = []
    for rollout, stages in STAGES.items():
        document = json.dumps({"rollout": rollout, "stages": [{"name": name} for name in stages]})
        rows.append(_rollout(rollout, "holdfast.rollouts/0", document, policy(), 5))
        # An older announcement with another policy, which must not count.
        rows.append(_rollout(rollout, "holdfast.rollouts/0", document, policy(0.5), 4))
    rows.append(_rollout("bot-a", REPLAY, json.dumps({"stages": [{}]}), policy(0.1), 0))
    one = json.dumps({"stages": [{}]})
    return rows + [_rollout(name, f"replay:{name}", one, policy(tick="5s"), 0) for name in LABELLED]


def _rollout(rollout: str, source: str, document: str, judged_by: str, version: int) -> Row:
    named = {"rollout": rollout, "source": source, "started": START_MS, "policy": "edge", "mode": "enforce"}
    named |= {"document": document, "policy_document": judged_by, "policy_digest": "sha256:1"}
    return named | {"recorded": START_MS, "version": version}


def event_rows() -> list[Row]:
    events = [
        ("bot-a", 0, "started", "canary", START_MS),
        ("bot-a", 1, "started", "europe", at(SECOND_STAGE_TICK - 1)),
        ("bot-c", 0, "started", "canary", START_MS),
        ("bot-c", 1, "finished", "", at(30)),
    ]
    keys = ("rollout", "number", "event", "stage", "effective_at")
    return [dict(zip(keys, each, strict=True)) | {"source": "holdfast.rollouts/0", "version": 5} for each in events]


def tick_rows() -> list[Row]:
    generator = np.random.default_rng(13)
    rows = []
    for rollout, source in (*((name, live(name)) for name in STAGES), ("bot-a", REPLAY)):
        for tick in range(TICKS if rollout != "bot-c" else 20):
            late, future = (int(number) for number in generator.integers(0, 9, 2))
            named = {"rollout": rollout, "source": source, "time": at(tick), "is_live": tick < 30}
            named["decided"] = 0 if source == REPLAY else at(tick) + int(generator.integers(30_000, 45_000))
            named |= {
                "samples": int(generator.integers(1000, 2000)),
                "reasons": ["late", "future"] if future else ["late"],
            }
            rows.append(named | {"dropped": [late, future] if future else [late], "version": tick})
    return rows


def letter_rows() -> list[Row]:
    letters = [
        (0, 3, 17, "no Arrow stream"),
        (40, 3, 18, "no Arrow stream"),
        (70, 1, 4, "no Arrow stream"),
        (75, 2, 9, "too new"),
    ]
    rows = []
    for offset, (second, partition, place, why) in enumerate(letters):
        rows.append(_letter(offset, START_MS + 1000 * second, "metrics", partition, place, why, False))
    rows.append(_letter(8, START_MS + 90_000, "holdfast.cohort-ticks", 0, 77, "no Arrow stream", False))
    # The mark that the second letter was sent again names its place on the topic of dead letters.
    rows.append(_letter(9, START_MS + 120_000, "holdfast.dead-letters", 0, 1, "sent again, for the 1. time", True))
    return rows


def _letter(offset: int, time: int, topic: str, partition: int, place: int, why: str, is_redriven: bool) -> Row:
    named = {"source": "holdfast.dead-letters/0", "time": time, "from_topic": topic, "from_partition": partition}
    named |= {"from_offset": place, "worker": f"aggregate-{partition}", "reason": why, "bytes": 100 + offset}
    return named | {"is_redriven": is_redriven, "version": offset}


TABLES: Final = {
    "evidence": evidence_rows,
    "cohort_ticks": cohort_rows,
    "verdicts": verdict_rows,
    "rollouts": rollout_rows,
    "rollout_events": event_rows,
    "ticks": tick_rows,
    "dead_letters": letter_rows,
    "truths": truth_rows,
}


def fill(store: Store) -> None:
    """Put all rows in, then once more in another order and cut otherwise."""
    tables = {name: pa.Table.from_pylist(rows(), schema=ROWS[name]) for name, rows in TABLES.items()}
    store.append([LiveRows(name, rows) for name, rows in tables.items()])
    generator = np.random.default_rng(14)
    for name, rows in tables.items():
        shuffled = rows.take(generator.permutation(rows.num_rows))
        for first in range(0, rows.num_rows, 1_000):
            store.append([LiveRows(name, shuffled.slice(first, 1_000))])


class Reader:
    """Asks as Grafana does: as a user who may only read, and with nothing deduplicated by itself."""

    def __init__(self, folder: Path) -> None:
        self._session: Any = chdb.session.Session(str(folder / "clickhouse"))
        self._session.query("SET readonly = 1")

    def ask(self, dashboard: str, file: str, shown: Range = SHOWN, **variables: str | list[str]) -> list[Row]:
        """Ask a query of a dashboard; times are text, and what is no number is None."""
        chosen = {"origin": "live", "rollout": "bot-a", "stage": ALL, "metric": ALL} | variables
        answer = self._session.query(asked(query(dashboard, file), shown, chosen), "JSONEachRow").bytes()
        return [json.loads(line) for line in answer.splitlines()]

    def close(self) -> None:
        self._session.close()


def text(ms: int, form: str = "ms") -> str:
    """Write a time as ClickHouse does."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{ms % 1000:03d}" if form == "ms" else "")


def bucket(ms: int, seconds: int = 60) -> str:
    return text(ms // (1000 * seconds) * 1000 * seconds, "s")


def chosen(rows: Iterable[Row], **wanted: object) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[object, ...], list[Row]]:
    """Group rows by columns; `bucket` is the minute of their time."""
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        whole = row | ({"bucket": bucket(row["time"])} if "time" in row else {})
        groups[tuple(whole[key] for key in keys)].append(row)
    return dict(sorted(groups.items(), key=lambda each: str(each[0])))


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9)


@contextmanager
def filled(folder: Path) -> Iterator[Reader]:
    """Make a store of all rows, and read from it."""
    with Store(folder) as store:
        fill(store)
        reader = Reader(folder)
        try:
            yield reader
        finally:
            reader.close()
