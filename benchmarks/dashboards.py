"""How long the queries of the dashboards take over many rows: `python -m benchmarks.dashboards`.

Rows are made inside the engine, of numbers and seeded hashes, in the shape of a fleet: rollouts of many metrics in 100
colos of six regions, beginning one after the other over a month. They go through the same tables and views as real
ones, in inserts of a million rows, some of them twice. Each query is asked as Grafana asks it, for a rollout in the
middle and the range of time that its dashboard begins with. Peak memory is told on Linux alone.
"""

import argparse
import importlib
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import in_own_process, machine, table
from dashboards.build import SQL
from dashboards.macros import ALL, Range, asked
from sinks.store import Store

SEED: Final = 5
ROLLOUTS: Final = 20
COLOS: Final = 100
REGIONS: Final = 6
PLACES: Final = 1 + REGIONS + COLOS
METRICS: Final = (
    "errors",
    "cpu",
    "memory",
    "latency_p99",
    "latency_p99",
    "latency_p99",
    "requests",
    "kv",
    "dns",
    "cache",
)
"""By strand: a histogram has three, one an edge. Beside these every rollout has `reporting_hosts`."""

STRANDS: Final = (*METRICS, "reporting_hosts")
TICK_MS: Final = 10_000
BEGIN_MS: Final = 1_772_323_200_000  # 2026-03-01T00:00:00Z
APART_MS: Final = 36 * 3_600_000
TICKS_MS: Final = BEGIN_MS + 8 * APART_MS
REPLAYS: Final = 20_000
TICKS: Final = 50_000
LETTERS: Final = 100_000
INSERT_ROWS: Final = 1_000_000
REPEATED: Final = 50
"""Every so many inserts one comes twice."""

RUNS: Final = 5
GOAL_MS: Final = 300.0
USUAL_MS: Final = 100.0

_STRAND: Final = f"{list(STRANDS)}[strand + 1] AS metric, if(metric = 'latency_p99', (strand - 2) / 10, 0) AS edge"
_ROLLOUT: Final = "concat('rollout-', leftPad(toString(rollout_number), 3, '0')) AS rollout"
_NAMED: Final = f"{_ROLLOUT}, concat('holdfast.evidence/', toString(rollout_number % 16)) AS source"
_BY_PLACE: Final = f"""
    multiIf(place_number = 0, 'fleet', place_number <= {REGIONS}, 'region', 'colo') AS level,
    multiIf(
        place_number = 0, '',
        place_number <= {REGIONS}, concat('region-', toString(place_number)),
        concat('colo-', leftPad(toString(place_number - {REGIONS}), 3, '0'))
    ) AS place
"""


def _random(salt: int) -> str:
    """Return a number between 0 and 1 that depends on the row and the seed alone."""
    return f"(sipHash64(number, {SEED}, {salt}) / 18446744073709551616)"


def _time(ms: str) -> str:
    return f"fromUnixTimestamp64Milli(toInt64({ms}), 'UTC')"


_TICK: Final = _time(f"{BEGIN_MS} + rollout_number * {APART_MS} + (tick + 1) * {TICK_MS}")


def evidence(first: int, rows: int, ticks: int) -> str:
    """Return the statement that puts rows of evidence in, from row `first` on; tick by tick, as a judge does."""
    each = len(STRANDS) * PLACES
    return f"""
        INSERT INTO holdfast.evidence
            (rollout, source, time, stage, metric, edge, level, place,
            effect, lower, upper, log_e, mde, information, version)
        WITH
            number % {each} AS row, intDiv(row, {PLACES}) AS strand, row % {PLACES} AS place_number,
            intDiv(number, {each}) % {ticks} AS tick, intDiv(number, {each * ticks}) AS rollout_number,
            rollout_number = 10 AND strand = 0 AND place_number % 20 = 0 AS is_hurt, 1 / sqrt(tick + 1) AS radius
        SELECT {_NAMED}, {_TICK} AS time, 'canary' AS stage, {_STRAND}, {_BY_PLACE},
            {_random(1)} / 10 + is_hurt * 0.3 AS effect, effect - radius AS lower, effect + radius AS upper,
            if(is_hurt, tick / 50, -2) + {_random(2)} AS log_e, 1.2 * radius AS mde, tick + 1.0 AS information,
            intDiv(tick, 64) AS version
        FROM numbers({first}, {rows})
    """


def cohorts(first: int, rows: int, ticks: int) -> str:
    """Return the statement that puts cohort ticks in, from row `first` on."""
    each = len(STRANDS) * COLOS * 2
    return f"""
        INSERT INTO holdfast.cohort_ticks
            (rollout, source, time, stage, metric, edge, colo, cohort, units, sum, sum_squares, bad, total, version)
        WITH
            number % {each} AS row, intDiv(row, {COLOS * 2}) AS strand, intDiv(row, 2) % {COLOS} AS colo_number,
            row % 2 AS is_control, intDiv(number, {each}) % {ticks} AS tick,
            intDiv(number, {each * ticks}) AS rollout_number, if(is_control, 80, 20) AS hosts,
            metric IN ('cpu', 'memory', 'requests', 'kv') AS is_level
        SELECT {_NAMED}, {_TICK} AS time, 'canary' AS stage, {_STRAND},
            concat('colo-', leftPad(toString(colo_number + 1), 3, '0')) AS colo,
            if(is_control, 'control', 'canary') AS cohort,
            is_level * hosts AS units, units * (0.5 + {_random(3)} / 10) AS sum, sum * sum / greatest(units, 1),
            (NOT is_level) * floor({_random(4)} * 20) AS bad,
            (NOT is_level) * if(metric = 'reporting_hosts', hosts, 5000 + floor({_random(5)} * 2000)) AS total,
            intDiv(tick, 64) AS version
        FROM numbers({first}, {rows})
    """


_REASON: Final = json.dumps(
    {
        "metric": "errors",
        "colo": "ams01",
        "effect": 0.5,
        "interval": [0.1, None],
        "e_value": 1e4,
        "samples": {"canary": 1e5, "control": 4e5},
        "sentence": "errors in ams01: 0.15 % on the canary, where 0.061 % was to be expected. That is +146 %.",
    }
)
_ABSTAINED: Final = json.dumps({"metric": "cpu", "colo": None, "minimum_detectable_effect": 0.2, "why": "too noisy"})
_BODY: Final = f'{{"data": {{"reasons": [{", ".join([_REASON] * 4)}], "abstained": [{_ABSTAINED}]}}}}'
_SAID: Final = f"['ams01', 'fra01'], ['errors'], 'sha256:1', 'holdfast', '{_BODY}', number"
_POLICY: Final = json.dumps(
    {
        "policy": "edge",
        "tick": "10s",
        "alpha": 0.01,
        "judge": "sequential",
        "metrics": [{"name": name, "weight": 1.0} for name in dict.fromkeys(METRICS)],
    }
)
_ACTIONS: Final = "['wait', 'wait', 'advance', 'halt', 'revert']"


def few() -> list[str]:
    """Return the statements that fill the smaller tables: live rollouts, labelled replays, ticks and dead letters."""
    started = f"{BEGIN_MS} + rollout_number * {APART_MS}"
    replay = (
        "concat('rec-', toString(replay_number % 500)) AS rollout, "
        "concat('replay:rec-', toString(replay_number)) AS source"
    )
    verdicts = (
        "INSERT INTO holdfast.verdicts (rollout, source, time, sequence, id, action, cause, stage, binding, "
        "colos, metrics, policy, engine, body, version)"
    )
    rollouts = (
        "INSERT INTO holdfast.rollouts (rollout, source, started, policy, mode, document, policy_document, "
        "policy_digest, recorded, version)"
    )
    began, stages = _time(str(BEGIN_MS)), '{"stages": [{}, {}]}'
    plan = f"{began}, 'edge', 'enforce', '{stages}', '{_POLICY}', 'sha256:1', {began}"
    return [
        f"""{verdicts} WITH intDiv(number, 50) AS rollout_number, number % 50 AS place
            SELECT {_ROLLOUT}, concat('holdfast.verdicts/', toString(rollout_number % 16)),
                {_time(f"{started} + (1 + place) * 400000")}, place + 1, hex(number),
                {_ACTIONS}[1 + intDiv(place, 10)], 'evidence', 'canary', 1, {_SAID}
            FROM numbers({50 * ROLLOUTS})""",
        f"""{verdicts} WITH intDiv(number, 5) AS replay_number, number % 5 AS place
            SELECT {replay}, {_time(f"{BEGIN_MS} + replay_number * 60000 + place * 600000")}, place + 1, hex(number),
                {_ACTIONS}[1 + intDiv(place * (1 + replay_number % 3), 3)], 'evidence', 'canary', 1, {_SAID}
            FROM numbers({5 * REPLAYS})""",
        f"""{rollouts} WITH number AS rollout_number SELECT {_ROLLOUT}, 'holdfast.rollouts/0', {plan}, number
            FROM numbers({ROLLOUTS})""",
        f"{rollouts} WITH number AS replay_number SELECT {replay}, {plan}, 0 FROM numbers({REPLAYS})",
        f"""INSERT INTO holdfast.rollout_events (rollout, source, number, event, stage, effective_at, version)
            WITH intDiv(number, 2) AS rollout_number, number % 2 AS is_end
            SELECT {_ROLLOUT}, 'holdfast.rollouts/0', is_end,
                if(is_end, 'finished', 'started'), if(is_end, '', 'canary'),
                {_time(f"{started} + is_end * 86400000")}, number
            FROM numbers({ROLLOUTS})""",
        f"""INSERT INTO holdfast.truths WITH number AS replay_number
            SELECT {replay}, number % 3 != 0, ['revert', 'halt'], {_time(f"{BEGIN_MS} + number * 60000 + 900000")}, 30,
                ['ams01'], ['errors'], number
            FROM numbers({REPLAYS})""",
        f"""INSERT INTO holdfast.ticks WITH number % {ROLLOUTS} AS rollout_number
            SELECT {_NAMED}, {_time(f"{TICKS_MS} + intDiv(number, {ROLLOUTS}) * {TICK_MS}")} AS time,
                time + toIntervalMillisecond(30000 + toInt64({_random(6)} * 2000)), 1, 400000, ['late', 'future'],
                [toUInt64({_random(7)} * 50), toUInt64({_random(8)} * 2)], number
            FROM numbers({ROLLOUTS * TICKS})""",
        f"""INSERT INTO holdfast.dead_letters
            SELECT 'holdfast.dead-letters/0', {_time(f"{BEGIN_MS} + number * 20000")}, 'metrics', number % 8, number,
                'aggregate-1', ['no readable Arrow stream', 'an unknown content type'][1 + number % 2], 4096, 0, number
            FROM numbers({LETTERS})""",
    ]


@dataclass(frozen=True, slots=True)
class Timed:
    """How long a query took, in the middle of its runs, what it read and how many rows came back."""

    name: str
    median_ms: float
    processor_ms: float
    read: int
    rows: int


class Fleet:
    """A store with many rows.

    Parameters
    ----------
    folder
        Where it lies; it is made and filled if it is not there.
    rows
        How many rows of evidence, and of cohort ticks, at least.
    """

    def __init__(self, folder: Path, rows: int = 0) -> None:
        is_new = not folder.exists()
        Store(folder).close()
        self.session: Any = importlib.import_module("chdb.session").Session(str(folder / "clickhouse"))
        self.ticks = max(1, -(-rows // (ROLLOUTS * len(STRANDS) * PLACES)))
        self.cohort_ticks = max(1, -(-rows // (ROLLOUTS * len(STRANDS) * COLOS * 2)))
        if is_new:
            self._fill_all()

    def _fill_all(self) -> None:
        self._fill(evidence, ROLLOUTS * len(STRANDS) * PLACES * self.ticks, self.ticks)
        self._fill(cohorts, ROLLOUTS * len(STRANDS) * COLOS * 2 * self.cohort_ticks, self.cohort_ticks)
        for statement in few():
            self.run(statement)
            self.run(statement)

    def run(self, sql: str, form: str = "JSONCompact") -> Any:
        """Run a statement."""
        return self.session.query(sql, form)

    def _fill(self, statement: Any, rows: int, ticks: int) -> None:
        for number, first in enumerate(range(0, rows, INSERT_ROWS)):
            for _ in range(1 + (number % REPEATED == 0)):
                self.run(statement(first, min(INSERT_ROWS, rows - first), ticks))

    def settle(self, seconds_max: float = 300.0) -> None:
        """Wait until the merges that the engine has begun are done."""
        until = time.monotonic() + seconds_max
        while time.monotonic() < until and self.run("SELECT count() FROM system.merges", "TSV").bytes() != b"0\n":
            time.sleep(1.0)

    def timed(self, file: Path) -> Timed:
        """Ask a query several times."""
        sql = self.asked(file)
        self.run(sql)
        seconds, processor, answer = [], [], None
        for _ in range(RUNS):
            start, start_processor = time.perf_counter(), time.process_time()
            answer = self.run(sql)
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - start_processor)
        assert answer is not None
        rows = len(self.run(sql, "TSV").bytes().splitlines())
        name = f"{file.parent.name}/{file.stem}"
        middle = 1e3 * statistics.median(seconds), 1e3 * statistics.median(processor)
        return Timed(name, *middle, answer.storage_rows_read(), rows)

    def asked(self, file: Path) -> str:
        """Return a query as the server would see it."""
        return asked(file.read_text(encoding="utf-8"), self._shown(file), self._variables(file))

    def _shown(self, file: Path) -> Range:
        """Return the range of time that a dashboard begins with, an interval being as wide as 1,000 points make it."""
        hours = {"fleet": 24, "rollout": 6, "engine": 6, "quality": 24 * 730}[file.parent.name]
        middle = BEGIN_MS + 10 * APART_MS
        end = middle + 6 * 3_600_000
        start = end - hours * 3_600_000
        points = 60 if file.stem in {"colo_heat", "over_time"} else 1_000
        return Range(start, end, max(1, (end - start) // 1000 // points))

    def _variables(self, file: Path) -> dict[str, str]:
        name = file.parent.name
        chosen = {"origin": "live", "rollout": "rollout-010", "stage": ALL, "metric": ALL}
        if name in {"quality", "engine"}:
            chosen |= {"origin": ALL, "rollout": ALL}
        return chosen | ({"metric": "errors"} if file.stem in {"levels", "effect"} else {})

    def sizes(self) -> list[list[str]]:
        """Return the rows and bytes on disk of each table, and its parts."""
        answer = self.run(
            "SELECT table, sum(rows), sum(bytes_on_disk), count() FROM system.parts "
            "WHERE active AND database = 'holdfast' GROUP BY table ORDER BY sum(bytes_on_disk) DESC",
            "TSV",
        )
        found = [line.split("\t") for line in answer.bytes().decode().splitlines()]
        return [
            [name, f"{int(rows):,}", f"{int(size) / 1e6:,.1f}", f"{int(size) / int(rows):.1f}", parts]
            for name, rows, size, parts in found
        ]


def _peak_mb(folder: Path, name: str) -> float:
    """Return how much a process of its own grew at most while it asked a query once, in megabytes."""
    return float(in_own_process("benchmarks.dashboards", "--folder", str(folder), "--alone", name)["peak_mb"])


def alone(folder: Path, name: str) -> None:
    """Ask one query once, and print how much this process grew."""
    fleet = Fleet(folder)
    fleet.run("SELECT 1")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # what the peak was until now does not count
    before = _status_mb("VmRSS")
    fleet.run(fleet.asked(SQL / f"{name}.sql"))
    print(json.dumps({"peak_mb": _status_mb("VmHWM") - before}))


def _status_mb(name: str) -> float:
    """Return a figure that Linux tells of this process, in megabytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))


def report(rows: int, folder: Path) -> None:
    """Fill a store if there is none, ask every query, and print."""
    fleet = Fleet(folder, rows)
    fleet.settle()
    timed = sorted((fleet.timed(file) for file in sorted(SQL.rglob("*.sql"))), key=lambda each: -each.median_ms)
    sizes = fleet.sizes()
    fleet.session.close()
    lines = [
        [
            each.name,
            f"{each.median_ms:.1f}",
            f"{each.processor_ms:.1f}",
            f"{_peak_mb(folder, each.name):.0f}",
            f"{each.read:,}",
            f"{each.rows:,}",
        ]
        for each in timed
    ]
    print(f"dashboards: {rows:,} rows of evidence and of cohort ticks at least; medians of {RUNS} runs, peak memory")
    print(table(["query", "ms", "CPU ms", "MB", "rows read", "rows"], lines))
    slow = [each.name for each in timed if each.median_ms > GOAL_MS]
    usual = sum(each.median_ms <= USUAL_MS for each in timed)
    kept = f"MISSED by {', '.join(slow)}" if slow else "kept"
    print(f"{usual} of {len(timed)} take at most {USUAL_MS:g} ms; goal: all at most {GOAL_MS:g}: {kept}.")
    print(table(["table", "rows", "MB on disk", "bytes a row", "parts"], sizes))
    print(machine("chdb"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboards", description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000_000, help="rows of evidence, and of cohort ticks")
    parser.add_argument("--folder", type=Path, help="where the store is kept for another time; nowhere otherwise")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        alone(arguments.folder, arguments.alone)
        return
    with tempfile.TemporaryDirectory() as temporary:
        report(arguments.rows, arguments.folder or Path(temporary) / "store")


if __name__ == "__main__":
    main()
