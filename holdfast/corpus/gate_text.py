"""A gate for people: a table on a terminal, lines in a pipe, Markdown for a pull request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdfast.corpus.contenders import Contender
from holdfast.corpus.gating import Failure, Gate, Row, Rules, result_in_words
from holdfast.corpus.loading import Corpus
from holdfast.corpus.scoring import Share, Sums

_STYLES: Final = {"caught": "green", "advanced": "green", "held": "yellow", "missed": "red", "false alarm": "red"}


@dataclass(frozen=True, slots=True)
class Gated:
    """A gate, and what it was about."""

    corpus: Corpus
    contender: Contender
    against: Contender | None
    rules: Rules
    gate: Gate


def headline(gated: Gated) -> str:
    """Say in one line what was gated and how it ended."""
    against = f" against {gated.against.place}" if gated.against else ""
    failures = len(gated.gate.failures)
    ended = "passed" if gated.gate.passed else f"FAILED, for {failures} reason{'' if failures == 1 else 's'}"
    return f"{gated.contender.place}{against} on {gated.corpus.folder}: {ended}"


def lines(gated: Gated) -> Iterator[str]:
    """Write a gate line by line."""
    yield headline(gated)
    for failure in gated.gate.failures:
        yield f"  FAILS {_about(failure)}{failure.text}"
    for row in gated.gate.rows:
        yield f"  {row.recording}: {result_in_words(row.new)}" + (f"; note: {row.note}" if row.note else "")
    for name, new, old in figures(gated.gate):
        yield f"  {name}: {new}" + (f"; before: {old}" if old is not None else "")
    for text in (*gated.gate.warnings, *gated.corpus.findings):
        yield f"  note: {text}"


def show(console: Console, gated: Gated) -> None:
    """Print a gate on a terminal, the recordings that fail first."""
    gate = gated.gate
    console.print(Text(headline(gated), style="bold green" if gate.passed else "bold red"))
    console.print(_recordings(gate))
    console.print()
    console.print(_figures(gate))
    for failure in gate.failures:
        console.print(Text.assemble(("FAILS ", "bold red"), _about(failure), failure.text))
    for text in (*gate.warnings, *gated.corpus.findings):
        console.print(Text.assemble(("note  ", "yellow"), text))


def _recordings(gate: Gate) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    columns = ["recording", "", "this policy"] + (["the other policy"] if gate.old else []) + ["note"]
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in sorted(gate.rows, key=lambda each: not each.failures):
        cells = [Text(row.recording), Text("FAILS" if row.failures else "ok", "bold red" if row.failures else "dim")]
        cells += [Text(result_in_words(row.new), _STYLES[row.new.kind])]
        if row.old is not None:
            cells.append(Text(result_in_words(row.old), "dim"))
        table.add_row(*cells, Text(row.note or ""))
    return table


def _figures(gate: Gate) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ["", "this policy"] + (["the other policy"] if gate.old else []):
        table.add_column(name)
    for name, new, old in figures(gate):
        table.add_row(name, new, *([] if old is None else [old]))
    return table


def figures(gate: Gate) -> list[tuple[str, str, str | None]]:
    """List the sums of both policies, by name, in words."""
    new, old = _worded(gate.new), None if gate.old is None else _worded(gate.old)
    return [(name, text, None if old is None else old[name]) for name, text in new.items()]


def _worded(sums: Sums) -> dict[str, str]:
    delay = "-"
    if sums.delay_ticks is not None and sums.delay_s is not None:
        delay = f"{sums.delay_ticks:g} ticks ({sums.delay_s:g} s); the longest {sums.delay_ticks_max} ticks"
    return {
        "incidents caught": _share(sums.caught),
        "median delay": delay,
        "stopped before the onset": _share(sums.early),
        "harmless stopped on evidence": _share(sums.alarms),
        "harmless stopped otherwise": _share(sums.others),
        "harmless advanced": _share(sums.advanced),
    }


def _share(share: Share) -> str:
    if not share.total:
        return "none there"
    return f"{share.count} of {share.total} (95 %: {share.low:.1%} to {share.high:.1%})"


def _about(failure: Failure) -> str:
    return f"{failure.recording}: " if failure.recording is not None else ""


def markdown(gated: Gated) -> str:
    """Write a gate as Markdown, for a comment on a pull request."""
    gate = gated.gate
    parts = [f"### Gate {'passed' if gate.passed else 'failed'}: `{_code(gated.contender.policy.policy)}`", ""]
    if gate.failures:
        parts += _rows(
            ["recording", "why it fails"], [[_about(each)[:-2] or "all", each.text] for each in gate.failures]
        )
    old = ["the other policy"] if gate.old else []
    figured = [[name, new, *([] if before is None else [before])] for name, new, before in figures(gate)]
    parts += _rows(["", "this policy", *old], figured)
    parts += [f"> {_cell(text)}\n" for text in (*gate.warnings, *gated.corpus.findings)]
    parts += [f"<details><summary>{len(gate.rows)} recordings</summary>", ""]
    parts += _rows(["recording", "this policy", *old, "note"], [_cells(row) for row in gate.rows])
    parts += ["</details>", ""]
    against = f", against `{gated.against.digest}`" if gated.against else ""
    parts.append(f"Policy `{gated.contender.digest}`{against}, corpus `{gated.corpus.digest}`.")
    return "\n".join(parts) + "\n"


def _cells(row: Row) -> list[str]:
    old = [] if row.old is None else [result_in_words(row.old)]
    note = "; ".join(each.text for each in row.failures) or row.note or ""
    return [f"**{row.recording}**" if row.failures else row.recording, result_in_words(row.new), *old, note]


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_line(heads), _line(["---"] * len(heads)), *(_line(row) for row in rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    """Keep a text from ending its cell, or its line, or from beginning HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")
