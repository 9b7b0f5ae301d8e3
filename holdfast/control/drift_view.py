"""Findings as people read them, and as programs do."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollouts.drift import Standing, counts, standing
from rollouts.drift_facts import Finding

_PIPE_WIDTH: Final = 160
"""Columns of what is read in no terminal."""


class Report(Struct, frozen=True, kw_only=True):
    """What `holdfast audit drift --json` prints.

    `standing` is `none`, `found`, or `unknown` if nothing was found and something could not be told. `found` and
    `unknown` count by kind; all kinds are there.
    """

    at: str
    standing: Standing
    found: dict[str, int]
    unknown: dict[str, int]
    findings: list[Finding]


def report_of(findings: Sequence[Finding], at: str) -> Report:
    """Sum up what was found at a time."""
    return Report(
        at=at,
        standing=standing(findings),
        found={str(kind): count for kind, count in counts(findings, known=True).items()},
        unknown={str(kind): count for kind, count in counts(findings, known=False).items()},
        findings=list(findings),
    )


def show(console: Console, findings: Sequence[Finding]) -> None:
    """Print what was found, without blanks at the ends of lines."""
    if not console.is_terminal:
        console = Console(file=console.file, width=_PIPE_WIDTH)
    with console.capture() as captured:
        _print(console, findings)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _print(console: Console, findings: Sequence[Finding]) -> None:
    """Print a table of what was found, and below it of what cannot be told."""
    known = [one for one in findings if one.known]
    unknown = [one for one in findings if not one.known]
    for title, rows in (("drift", known), ("not known", unknown)):
        if not rows:
            continue
        table = Table(
            title=title,
            title_justify="left",
            title_style="bold",
            header_style="dim",
            box=None,
            pad_edge=False,
            padding=(0, 2, 0, 0),
        )
        for name in ("kind", "about", "what is found" if rows is known else "why"):
            table.add_column(name, overflow="fold")
        for one in rows:
            # What stands in names and reasons is text, and no markup.
            table.add_row(Text(one.kind), Text(one.subject or "all"), Text(one.sentence))
        console.print(table)
        console.print()
    console.print(_summary(len(known), len(unknown)), highlight=False)


def _summary(found: int, unknown: int) -> str:
    if not found and not unknown:
        return "no drift"
    said = f"{found} found" if found else "nothing found"
    return f"{said}, {unknown} not known" if unknown else said
