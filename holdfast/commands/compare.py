"""`holdfast compare`: two policies on one corpus, or two saved runs, difference by difference."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from holdfast.commands.gate import AsJson, CacheFolder, Jobs, judged_corpus

if TYPE_CHECKING:
    from holdfast.corpus.comparing import Change, Comparison

DIFFERENT = 5
"""Exit status where the two are not the same."""

_LISTED_MAX = 8


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A policy.yaml, or what `holdfast replay --json` printed.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The other one, of the same kind.")],
    corpus: Annotated[
        Path | None, typer.Option(help="Folder of recordings that both policies judge; without it A and B are runs.")
    ] = None,
    jobs: Jobs = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compare two policies on a corpus, or two saved runs. Exit status: 0 the same, 5 different, 2 bad input."""
    from holdfast.corpus.comparing import compare as compared
    from holdfast.corpus.runs import load_run

    first, second = (load_run(a), load_run(b)) if corpus is None else _judged(corpus, a, b, jobs, cache)
    found = compared(first, second)
    if as_json:
        sys.stdout.write(msgspec.json.encode({"same": found.is_equal, "comparison": asdict(found)}).decode() + "\n")
    else:
        _show(Console(highlight=False, soft_wrap=True), found, (str(a), str(b)))
    if not found.is_equal:
        raise typer.Exit(DIFFERENT)


def _judged(corpus: Path, a: Path, b: Path, jobs: int | None, cache: Path | None) -> list[dict[str, dict[str, Any]]]:
    """Judge a corpus by both policies: outcomes by the name of the recording."""
    from holdfast.corpus.contenders import Contender

    _, judged = judged_corpus(corpus, [Contender.load(a), Contender.load(b)], jobs, cache)
    return [{each.score.recording: msgspec.json.decode(each.outcome.as_json()) for each in run} for run in judged]


def _show(console: Console, found: "Comparison", names: tuple[str, str]) -> None:
    total = found.same + len(found.differences)
    alike = sum(difference.is_of_figures for difference in found.differences)
    more = f"; of the others {alike} with the same decisions, and other figures alone" if alike else ""
    console.print(Text(f"A is {names[0]}, B is {names[1]}: {found.same} of {total} recordings came out the same{more}"))
    for difference in found.differences:
        console.print(Text(difference.recording, style="bold"))
        for change in difference.changes:
            console.print(Text(f"  {_changed(change)}"))
        for text in difference.verdicts:
            console.print(Text(f"  {text}", style="dim"))
    for name, only in (("A", found.only_a), ("B", found.only_b)):
        for recording in only:
            console.print(Text(f"{recording}: only in {name}", style="yellow"))


def _changed(change: "Change") -> str:
    text = f"{change.what}: {_said(change.a)} -> {_said(change.b)}"
    if change.by is None:
        return text
    unit = " s" if change.what == "time" else ""
    return f"{text} ({change.by:+,.4g}{unit})"


def _said(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {name}" for name, count in value.items()) or "none"
    if isinstance(value, list):
        listed = ", ".join(map(str, value[:_LISTED_MAX]))
        more = f" and {len(value) - _LISTED_MAX} more" if len(value) > _LISTED_MAX else ""
        return f"{listed}{more}" or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
