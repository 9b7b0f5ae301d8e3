"""A check for people: a table of what can be seen of each metric, and what follows from it."""

from itertools import groupby
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from holdfast.advice import by_when, listed, percent, span, ticks
from holdfast.report import Check, MetricCheck, Seen
from holdfast.terminal import STYLES, WIDTH_MAX

_NAMES_FROM: Final = 100
"""Columns of a terminal from which on the table names colos."""

_ALARMING: Final = ("not-comparable", "no-data", "short-past")


def show(console: Console, check: Check) -> None:
    """Print a check, without blanks at the ends of lines."""
    width = min(console.width, WIDTH_MAX)
    with console.capture() as captured:
        for part in (_head(check), _table(check, width), *_notes(check), _outcome(check)):
            console.print(part, width=width, highlight=False)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _head(check: Check) -> Text:
    past, deadline = check.past, check.deadline_ticks
    text = Text.assemble((f"{check.rollout}, stage {check.stage}", "bold"), f", by policy {check.policy}\n")
    starts = f"The stage starts at {check.started}" if check.started else "When the stage starts is not said; it"
    end = f"its deadline is after {ticks(check, deadline)}" if deadline else "it has no deadline"
    text.append(f"{starts}{' and' if check.started else ''} bakes for {ticks(check, check.bake_ticks)}; {end}.\n")
    return text.append(f"Its past: {ticks(check, past.ticks)}, from {past.first} to {past.last}.\n")


def _table(check: Check, width: int) -> RenderableType:
    """Show for each metric what is tolerated, what will be seen, and when the tolerance will be excluded."""
    is_wide = width >= _NAMES_FROM
    table = Table(box=None, pad_edge=False, padding=(0, 2 if is_wide else 1, 0, 0), header_style="dim")
    table.add_column("metric", no_wrap=True, overflow="ellipsis", max_width=width // 5)
    table.add_column("tolerated", no_wrap=True, overflow="ellipsis")
    for head in ("fleet", "best colo", "worst colo"):
        table.add_column(head, justify="right", no_wrap=True, overflow="ellipsis", max_width=width // 6)
    table.add_column("excluded", no_wrap=True, overflow="ellipsis")
    for metric in check.metrics:
        colos = (_in_colo(metric, seen, is_named=is_wide) for seen in (metric.best_colo, metric.worst_colo))
        fleet = _smallest(metric, metric.smallest_visible)
        allowed = metric.tolerated.replace(".0%", "%").replace(" in absolute terms", " more")
        table.add_row(Text(metric.metric), Text(allowed), fleet, *colos, _excluded(check, metric))
    title = Text(
        f"The smallest degradation that is called by {by_when(check)}, and when more than the tolerated is excluded "
        "if the change does nothing:\n"
    )
    past = [metric.metric for metric in check.metrics if metric.scale == "past"]
    parts: list[RenderableType] = [title, table]
    if past:
        parts.append(Text(f"\nThe figures of {listed(past)} are parts of their own past (see scale)."))
    return Padding(Group(*parts), (0, 0, 1, 0))


def _smallest(metric: MetricCheck, value: float | None) -> Text:
    if metric.judged == "not":
        return Text("not judged", style="red")
    if value is None:
        return Text("nothing", style="yellow")
    return Text(f"{percent(value)} bad" if metric.scale == "share" else percent(value))


def _in_colo(metric: MetricCheck, seen: Seen | None, *, is_named: bool) -> Text:
    if seen is None:
        return Text()
    text = _smallest(metric, seen.smallest)
    return text.append(f" {seen.colo}", style="dim") if is_named else text


def _excluded(check: Check, metric: MetricCheck) -> Text:
    if metric.judged == "not":
        return Text("never", style="red")
    if not metric.is_noisy and metric.ticks_to_exclude is not None:
        return Text(f"in {span(metric.ticks_to_exclude * check.tick_s)}", style="green")
    if metric.excludable is not None:
        return Text(f"no; {percent(metric.excludable)} is", style="yellow")
    return Text("no", style="yellow")


def _notes(check: Check) -> list[RenderableType]:
    """Put the findings into paragraphs; those of several noisy metrics become one."""
    notes: list[RenderableType] = []
    kinds = list(dict.fromkeys(one.kind for one in check.findings))
    ordered = sorted(check.findings, key=lambda one: kinds.index(one.kind))
    for kind, group in groupby(ordered, key=lambda one: one.kind):
        texts = [f"{one.metric}: {one.text}" if one.metric else one.text for one in group]
        if kind == "noisy" and len(texts) > 1:
            texts = [_noisy(check, [metric for metric in check.metrics if metric.is_noisy])]
        for text in texts:
            table = Table.grid(padding=(0, 1, 0, 0))
            table.add_row(Text("-", style="red" if kind in _ALARMING else "yellow"), Text(text))
            notes.append(table)
    return notes


def _noisy(check: Check, noisy: list[MetricCheck]) -> str:
    """Say of several noisy metrics at once what each finding says of one."""
    needed = [metric.ticks_to_exclude for metric in noisy if metric.ticks_to_exclude is not None]
    endless = len(noisy) - len(needed)
    few = f"{check.past.ticks:,} ticks of past tell too little of what is usual"
    if not needed:
        how = f"No stage is long enough for the tolerances: {few}"
    elif endless:
        how = (
            f"The tolerances would take {ticks(check, min(needed))} or more, and for {endless} of the metrics no stage "
            f"is long enough: {few}"
        )
    else:
        how = f"The tolerances would take about {ticks(check, max(needed))}"
    return (
        f"{listed([metric.metric for metric in noisy])} are too noisy: even if the change does nothing, more than the "
        f"tolerated is not excluded by {by_when(check)}. The last column says what is: tolerate that, or take more "
        f"hosts. {how}."
    )


def _outcome(check: Check) -> Text:
    """Say whether the cohorts are comparable, and what the stage comes to if the change does nothing."""
    expected, trial = check.expected, check.placebo
    text = Text("\n" if check.findings else "")
    if trial and check.is_comparable:
        text.append(
            f"Canary and control are comparable: the last {trial.ticks:,} ticks of the past, judged by the "
            f"{trial.ticks_before:,} before them, are no breach.\n"
        )
    if expected.action == "refused":
        return text.append("With this past the stage cannot begin: a replay refuses it.")
    text.append("If the change does nothing, the stage is expected to ")
    text.append(expected.action, style=STYLES[expected.action])
    if expected.ticks is None:
        return text.append(f" for good, held up by {listed(expected.held_by)}.")
    text.append(f" after {ticks(check, expected.ticks)}")
    text.append(f", held up by {listed(expected.held_by)}" if expected.held_by else ", at the end of its bake time")
    return text.append(", unless it is stopped before by what the past shows." if trial and trial.metrics else ".")
