"""What was measured, as tables for a terminal and for Markdown, and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import machine, table
from benchmarks.quality.outcome import Cell
from benchmarks.quality.simulated import FALSE_ALARMS_BOUND, FALSE_ALARMS_MOST, Goal
from detectors.errors import BadInput

WIDTH_MAX: Final = 100

Section = Literal["simulated", "recorded"]


@dataclass(frozen=True, slots=True)
class Row:
    """Rollouts of one kind, and what each method made of them.

    `goal` is holdfast's. `block` [rollout] tells which recordings were cut out of the same data; None if none were.
    """

    kind: str
    is_bad: bool
    cells: dict[str, Cell]
    goal: Goal | None = None
    block: NDArray[np.intp] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All rows of one measurement, with the command that made them."""

    section: Section
    command: str
    seed: int
    setting: str
    rows: Sequence[Row]

    def text(self) -> str:
        """Lay everything out for a terminal."""
        parts = [fill(self.setting, WIDTH_MAX)]
        for title, header, rows in self._tables():
            parts += [title, *(table(*part) for part in folded(header, rows))]
        return "\n\n".join([*parts, machine("numpy", "scipy")])

    def markdown(self) -> str:
        """Lay everything out as Markdown, the command first."""
        parts = [f"```sh\n.venv/bin/{self.command}\n```", self.setting]
        for title, header, rows in self._tables():
            ruler = ["---"] * len(header)
            lines = ["| " + " | ".join(line) + " |" for line in (header, ruler, *rows)]
            parts += [title, "\n".join(lines)]
        return "\n\n".join([*parts, f"Measured with {machine('numpy', 'scipy')}."])

    def json(self) -> str:
        """Return all counts as one line of JSON."""
        rows = [
            {
                "kind": row.kind,
                "bad": row.is_bad,
                "goal": None if row.goal is None else {"share": row.goal.share, "delay": row.goal.delay},
                "blocks": None if row.block is None else int(row.block.max()) + 1,
                "methods": {name: cell.as_json() for name, cell in row.cells.items()},
            }
            for row in self.rows
        ]
        return json.dumps({"command": self.command, "seed": self.seed, "rows": rows})

    def _tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Return title, header and rows of each table."""
        tables = []
        for row in self.rows:
            if not row.is_bad:
                title = f"Stopped on evidence by each method: {row.kind}, {_rollouts(row)}."
                tables.append((title, *self._harmless(row)))
        bad = [row for row in self.rows if row.is_bad]
        if bad:
            tables.append((f"Bad, {_rollouts(*bad)} of each: caught / median delay in ticks.", *_bad(bad)))
            tables.append(("What became of the bad rollouts that holdfast judged.", *_ends(bad)))
        return tables

    def _harmless(self, row: Row) -> tuple[list[str], list[list[str]]]:
        header = ["method", "stopped", "95 % interval", "advanced", "no judgement", "goal"]
        if row.block is not None:
            header.insert(3, f"by {_blocks(row.block)}")
        rows = []
        for name, cell in row.cells.items():
            low, high = cell.interval()
            few = sum(cell.stopped) <= FALSE_ALARMS_MOST * cell.rollouts
            goal = ("reached" if high <= FALSE_ALARMS_BOUND else "open") if few else "MISSED"
            shares = [f"{count / cell.rollouts:.1%}" for count in (cell.advanced, cell.undecided)]
            stopped = f"{sum(cell.stopped) / cell.rollouts:.1%}"
            line = [name, stopped, f"{low:.1%} to {high:.1%}", *shares, goal if name == "holdfast" else "-"]
            if row.block is not None:
                low, high = cell.block_interval(row.block, self.seed)
                line.insert(3, f"{low:.1%} to {high:.1%}")
            rows.append(line)
        keep = slice(None) if self.section == "simulated" else slice(-1)
        return header[keep], [line[keep] for line in rows]


def _bad(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Set detection and delay of all methods side by side, holdfast's beside its goal."""
    methods = list(rows[0].cells)
    has_goals = any(row.goal for row in rows)
    header = ["change", *(["goal", "reached"] if has_goals else []), *methods]
    lines = []
    for row in rows:
        goal = ["-", "-"]
        if row.goal is not None:
            goal = [row.goal.text(), "yes" if row.goal.is_reached(row.cells["holdfast"]) else "NO"]
        cells = [_caught(row.cells[name]) for name in methods]
        lines.append([row.kind, *(goal if has_goals else []), *cells])
    return header, lines


def _caught(cell: Cell) -> str:
    median = "-" if cell.median is None else f"{cell.median:g}"
    return f"{cell.detected:.0%} / {median}"


def _ends(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Tell how bad rollouts ended: caught with Wilson's interval, before the onset, undecided, let go on."""
    header = ["change", "caught", "95 % interval", "too early", "no judgement", "advanced"]
    has_blocks = any(row.block is not None for row in rows)
    if has_blocks:
        header.insert(3, "by blocks")
    lines = []
    for row in rows:
        cell = row.cells["holdfast"]
        low, high = cell.detection_interval()
        shares = [f"{count / cell.rollouts:.0%}" for count in (cell.early, cell.undecided, cell.advanced)]
        line = [row.kind, f"{cell.detected:.0%}", f"{low:.1%} to {high:.1%}", *shares]
        if has_blocks:
            ends = None if row.block is None else cell.block_detection_interval(row.block, 1)
            line.insert(3, "-" if ends is None or row.block is None else f"{ends[0]:.1%} to {ends[1]:.1%}")
        lines.append(line)
    return header, lines


def _rollouts(*rows: Row) -> str:
    counts = sorted({cell.rollouts for row in rows for cell in row.cells.values()})
    return f"{counts[0]:,} rollouts" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} rollouts"


def _blocks(block: NDArray[np.intp]) -> str:
    count = int(block.max()) + 1
    return f"{count} block{'s' if count > 1 else ''}"


def folded(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[list[str], list[list[str]]]]:
    """Cut a table that is too wide into several, each with the first column.

    Examples
    --------
    >>> wide = folded(["a", "b" * 60, "c" * 60], [["1", "2", "3"]])
    >>> [part[1] for part in wide]
    [[['1', '2']], [['1', '3']]]
    """
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    parts: list[list[int]] = [[]]
    room = WIDTH_MAX - widths[0]
    for column in range(1, len(header)):
        if parts[-1] and room < widths[column] + 2:
            parts.append([])
            room = WIDTH_MAX - widths[0]
        parts[-1].append(column)
        room -= widths[column] + 2
    return [([header[0], *(header[c] for c in p)], [[r[0], *(r[c] for c in p)] for r in rows]) for p in parts]


def around(page: Path, section: str) -> tuple[str, str]:
    """Return what stands before and after the figures of a section on a Markdown page, markers included.

    Raises
    ------
    BadInput
        If the page cannot be read, or has no such markers.
    """
    begin, end = (f"<!-- {section}: {what} -->" for what in ("begin", "end"))
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{page}: cannot be read: {error.strerror or error}"
        raise BadInput(msg) from error
    before, found, rest = text.partition(begin)
    _, found_too, after = rest.partition(end)
    if not found or not found_too:
        msg = f"{page}: there must be {begin} with {end} after it, between which the figures go"
        raise BadInput(msg)
    return before + begin, end + after


def put_into(page: Path, section: str, text: str) -> None:
    """Replace what stands between the markers of a section."""
    before, after = around(page, section)
    page.write_text(f"{before}\n\n{text}\n\n{after}", encoding="utf-8")
