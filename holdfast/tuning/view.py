"""A tuning for people: the front, the incidents that decide, what was chosen, and what speaks against believing it."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from holdfast.advice import percent, span
from holdfast.terminal import WIDTH_MAX
from holdfast.tuning.figures import Deciding, Figures
from holdfast.tuning.report import Change, Tuned, Tuning

NAMED_MAX: Final = 5
"""Recordings that are named for each step along the front; of more the number is given."""


def show(console: Console, found: Tuning) -> None:
    """Print a tuning, without blanks at the ends of lines."""
    width = min(console.width, WIDTH_MAX)
    parts = [_head(found), _front(found), *_decides(found), *_chosen(found), *_warnings(found)]
    with console.capture() as captured:
        for part in parts:
            console.print(part, width=width, highlight=False)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _head(found: Tuning) -> Text:
    train, out = found.current.train, found.current.held_out
    text = Text.assemble(
        (f"{found.tried} policies tried on {found.corpus}", "bold"),
        f", beginning with {found.policy} ({found.policy_digest[:15]}…), seed {found.seed}\n",
        f"Free: {', '.join(found.free)}. Learned from: {train.bad} bad and {train.harmless} harmless recordings",
    )
    if out is not None:
        text.append(f"; held out: {out.bad} and {out.harmless}")
    text.append(f". At most {percent(found.alarms_max)} of the harmless ones may be stopped.")
    if found.dropped:
        were = "1 policy was" if found.dropped == 1 else f"{found.dropped} policies were"
        text.append(f" {were} dropped early, for too many false alarms.")
    if not found.is_complete:
        text.append(" Time was up before all were tried.")
    return text.append("\n")


def _front(found: Tuning) -> RenderableType:
    """Show the policies that none beats, and the one that is."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("policy", no_wrap=True)
    for head in ("stopped", "missed", "let go on", "mean delay", "caught in"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("held out: the same")  # on as many lines as it takes: a cut figure is none
    rows = list(found.front)
    title = "What none of the others beats in false alarms, in what is missed, and in delay:"
    if found.chosen is not None and all(one.number != found.chosen.number for one in rows):
        rows.append(found.chosen)
        title = f"{title[:-1]}; and what was chosen, since more harmless ones are let go on:"
    if all(one.number != found.current.number for one in rows):
        rows.append(found.current)
    for one in rows:
        is_chosen = found.chosen is not None and one.number == found.chosen.number
        name = "as it is" if one.number == found.current.number else f"no. {one.number}"
        label = f"{name}, chosen" if is_chosen else name if one.within else f"{name}, beyond"
        table.add_row(Text(label, style="bold" if is_chosen else ""), *_figures(one.train), _held(one.held_out))
    whole = Table.grid()
    whole.add_row(Text(title + "\n"))
    whole.add_row(table)
    return Padding(whole, (0, 0, 1, 0))


def _figures(found: Figures) -> list[str]:
    caught = "" if found.delay_median_s is None else span(found.delay_median_s)
    return [*_counts(found), _mean(found), caught]


def _counts(found: Figures) -> list[str]:
    stopped, let_go_on = (f"{count}/{found.harmless}" for count in (found.alarms, found.advanced))
    return [stopped, f"{found.missed}/{found.bad}", let_go_on]


def _held(found: Figures | None) -> str:
    return "-" if found is None else ", ".join([*_counts(found), _mean(found)])


def _mean(found: Figures) -> str:
    return "-" if found.delay_s is None else span(found.delay_s)


def _decides(found: Tuning) -> list[RenderableType]:
    """Name the recordings that make the difference between neighbours on the front."""
    parts: list[RenderableType] = []
    for before, after in zip(found.front, found.front[1:], strict=False):
        names = [_name(found, one) for one in (before, after)]
        parts.append(Text(f"Between {names[0]} and {names[1]} decide:"))
        parts.append(_listed(after.deciding))
    return parts


def _name(found: Tuning, one: Tuned) -> str:
    return "the policy as it is" if one.number == found.current.number else f"no. {one.number}"


def _listed(deciding: Sequence[Deciding]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in deciding[:NAMED_MAX]:
        table.add_row("-", one.recording, f"{one.before} -> {one.after}")
    if len(deciding) > NAMED_MAX:
        table.add_row("-", f"and {len(deciding) - NAMED_MAX} more", "")
    if not deciding:
        table.add_row("-", "none: they do the same", "")
    return Padding(table, (0, 0, 1, 0))


def _chosen(found: Tuning) -> list[RenderableType]:
    chosen = found.chosen
    if chosen is None:
        return [Text("None keeps within the limit: nothing is chosen.\n", style="red")]
    if chosen.number == found.current.number:
        return [Text("Nothing that was tried is better than the policy as it is.\n")]
    table = Table.grid(padding=(0, 1, 0, 0))
    for change in chosen.changes:
        table.add_row("-", f"{change.path}: {value(change.before)} -> {value(change.after)}")
    if chosen.bake != 1.0:
        table.add_row("-", f"bake of the rollout x {chosen.bake:g} (rollout.yaml says how long; a policy does not)")
    parts: list[RenderableType] = [
        Text.assemble((f"Chosen: no. {chosen.number}", "bold"), ", on what was learned from alone"),
        Padding(table, (0, 0, 1, 0)),
        Text("What it does otherwise than the policy as it is:"),
        _listed(found.gained),
    ]
    if found.held_out:
        parts += [Text("The same on what was held out:"), _listed(found.gained_held_out)]
    return [*parts, Text(intervals(chosen) + "\n")]


def intervals(chosen: Tuned) -> str:
    """Say what the counts of a policy are worth."""
    parts: list[str] = []
    for name, found in (("what was learned from", chosen.train), ("what was held out", chosen.held_out)):
        if found is None:
            continue
        alarms, missed = (
            f"{percent(low)} to {percent(high)}" for low, high in (found.alarms_interval, found.missed_interval)
        )
        parts.append(
            f"on {name} {found.alarms} of {found.harmless} harmless stopped ({alarms}) and {found.missed} of "
            f"{found.bad} bad missed ({missed})"
        )
    return f"95 % intervals: {'; '.join(parts)}."


def value(one: float | str | None) -> str:
    """Write a value of a policy."""
    if one is None:
        return "(not given)"
    return one if isinstance(one, str) else f"{one:g}"


def _warnings(found: Tuning) -> list[RenderableType]:
    table = Table.grid(padding=(0, 1, 0, 0))
    for text in (*found.warnings, *found.findings):
        table.add_row(Text("-", style="yellow"), text)
    return [table] if found.warnings or found.findings else []


def comment(found: Tuning) -> list[str]:
    """Say at the head of the policy why it is as it is: one paragraph for each item."""
    chosen = found.chosen
    assert chosen is not None
    before = found.current
    if chosen.number == before.number:
        head = f"holdfast tune found nothing better than this policy ({found.policy_digest[:15]}…)"
    else:
        head = f"holdfast tune chose these values over those of {found.policy_digest[:15]}…"
    lines = [
        f"{head}: {found.tried} policies tried on {found.corpus} ({found.corpus_digest[:15]}…), seed {found.seed}.",
        *(f" - {_changed(change)}" for change in chosen.changes),
        f"Learned from: {_in_words(before.train, chosen.train)}.",
    ]
    if before.held_out is not None and chosen.held_out is not None:
        lines.append(f"Held out: {_in_words(before.held_out, chosen.held_out)}.")
    lines.append(intervals(chosen))
    if found.gained:
        decided = "; ".join(f"{one.recording}: {one.before} -> {one.after}" for one in found.gained[:NAMED_MAX])
        lines.append(f"What decided: {decided}.")
    if chosen.bake != 1.0:
        lines.append(f"This goes with a bake time {chosen.bake:g} times as long as the rollouts of the corpus have.")
    return [*lines, *(f"Beware: {text}" for text in found.warnings)]


def _changed(change: Change) -> str:
    return f"{change.path}: was {value(change.before)}"


def _in_words(before: Figures, after: Figures) -> str:
    return (
        f"{after.alarms} of {after.harmless} harmless stopped (before: {before.alarms}) and {after.advanced} let go on "
        f"({before.advanced}), {after.missed} of {after.bad} bad missed ({before.missed}), mean delay {_mean(after)} "
        f"({_mean(before)})"
    )
