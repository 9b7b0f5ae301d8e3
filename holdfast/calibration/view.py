"""A calibration for people: how often it was a false alarm, what is seen, and what might be changed."""

from collections.abc import Mapping

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from holdfast.advice import listed, percent, span
from holdfast.calibration.report import Advanced, Calibration, Effect, Held, Rate
from holdfast.located import join
from holdfast.terminal import WIDTH_MAX


def show(console: Console, found: Calibration) -> None:
    """Print a calibration, without blanks at the ends of lines."""
    width = min(console.width, WIDTH_MAX)
    parts: list[RenderableType] = [_head(found), *_alarms(found)]
    if found.effects:
        parts.append(_effects(found, width))
    if len(found.pasts) > 1:
        parts.append(_pasts(found))
    parts += _suggestions(found)
    with console.capture() as captured:
        for part in parts:
            console.print(part, width=width, highlight=False)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _head(found: Calibration) -> Text:
    text = Text.assemble(
        (f"{found.placebos} placebos of {found.rollout}", "bold"),
        f", by policy {found.policy} ({found.policy_digest[:15]}…), seed {found.seed}\n",
    )
    for used in found.histories:
        where = f" ({used.until})" if used.until else ""
        text.append(f"{used.history}: {used.ticks:,} ticks, {used.first} to {used.last}{where}\n")
    past, live = (span(ticks * found.tick_s) for ticks in (found.past_ticks, found.live_ticks))
    text.append(f"Each is judged for {live}, on a past of {past} or more.")
    if found.assigned_groups:
        text.append(f" In each, one of {found.assigned_groups} random groups of hosts is the canary.")
    if found.overlap:
        text.append(f" Up to {percent(found.overlap)} of what is judged is judged twice.")
    worth = "1 shares" if found.independent == 1 else f"{found.independent} share"
    return text.append(f" Of them {worth} no data with each other, pasts included: these count as trials.\n")


def _alarms(found: Calibration) -> list[RenderableType]:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row("stopped on evidence", _rate(found.on_evidence), _limit(found))
    table.add_row("stopped for whatever cause", _rate(found.stopped), _named(found.causes))
    table.add_row("let go on", f"{found.advanced.count} of {found.advanced.total}", _when(found, found.advanced))
    left = sum(found.waiting.values())
    if left:
        table.add_row("left to wait", f"{left} of {found.placebos}", _named(found.waiting))
    parts: list[RenderableType] = [table, _words(found)]
    if found.metrics:
        colos = ", ".join(f"{name} {count}" for name, count in list(found.colos.items())[:5])
        more = f" and {len(found.colos) - 5} more" if len(found.colos) > 5 else ""
        parts.append(Text(f"The evidence was in {_named(found.metrics)}; colos: {colos}{more}.\n"))
    return parts


def _rate(rate: Rate) -> str:
    return f"{rate.count} of {rate.total}: {percent(rate.share)}"


def _interval(ends: tuple[float, float]) -> str:
    return f"{percent(ends[0])} to {percent(ends[1])}"


def _limit(found: Calibration) -> str:
    return f"95 %: {_interval(found.on_evidence.interval)}; alpha is {percent(found.alpha)}"


def _words(found: Calibration) -> Text:
    """Say what the interval shows, and what it would take to show more."""
    low, high = found.on_evidence.interval
    if low > found.alpha:
        verdict = f"More than alpha are stopped though nothing changed: {percent(low)} or more."
    elif high <= found.alpha:
        verdict = "At most alpha are stopped: this history shows it."
    else:
        verdict = (
            f"Whether at most alpha are stopped is not shown by so few: that takes {found.independent_needed:,} "
            "independent ones without a stop."
        )
    loose = _interval(found.on_evidence.interval_if_independent)
    return Text(f"\n{verdict} Were all placebos independent, which they are not, it would be {loose}.\n")


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _when(found: Calibration, advanced: Advanced) -> str:
    if advanced.ticks_median is None or advanced.ticks_most is None:
        return ""
    half, most = (span(ticks * found.tick_s) for ticks in (advanced.ticks_median, advanced.ticks_most))
    return f"half of them by {half}, nine in ten by {most}"


def _effects(found: Calibration, width: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("metric", no_wrap=True, overflow="ellipsis", max_width=width // 4)
    table.add_column("tolerated", no_wrap=True)
    for head in ("foreseen", "half caught", "90 % caught"):
        table.add_column(head, justify="right", no_wrap=True)
    for effect in found.effects:
        table.add_row(
            Text(effect.metric),
            Text(effect.tolerated.replace(".0%", "%")),
            *(_size(effect, value) for value in (effect.foreseen, effect.caught_half, effect.caught_most)),
        )
    tried = found.effects[0].tried
    title = (
        f"The smallest degradation that is caught by the end, put into all canaries of {tried} placebos from the start "
        "on; and what their past leads to expect:"
    )
    return Padding(_under(title, table), (0, 0, 1, 0))


def _size(effect: Effect, value: float | None) -> Text:
    if value is None:
        return Text("nothing", style="yellow")
    return Text(f"{percent(value)} less" if effect.direction == "decrease" else percent(value))


def _under(title: str, table: Table) -> RenderableType:
    whole = Table.grid()
    whole.add_row(Text(title + "\n"))
    whole.add_row(table)
    return whole


def _pasts(found: Calibration) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("ticks of past", "on evidence", "stopped", "let go on", "half of them by"):
        table.add_column(head, justify="right", no_wrap=True)
    for past in found.pasts:
        half = past.advanced.ticks_median
        by = "" if half is None else span(half * found.tick_s)
        advanced = f"{past.advanced.count}"
        table.add_row(f"{past.ticks:,}", f"{past.on_evidence} of {past.total}", f"{past.stopped}", advanced, by)
    return Padding(_under("The same placebos, if the policy learns from less:", table), (0, 0, 1, 0))


def _suggestions(found: Calibration) -> list[RenderableType]:
    parts = _held(found)
    if found.suggested is None:
        return [*parts, Text("Nothing is suggested.")] if found.pasts else []
    table = Table.grid(padding=(0, 1, 0, 0))
    for one in found.suggestions:
        before = "(not given)" if one.before is None else f"{one.before:g}"
        text = Text.assemble((f"{written(one.path)}: {before} -> {one.after:g}", "bold"))
        if one.metric:
            text.append(f" ({one.metric})")
        table.add_row("-", text.append(f": {one.why}."))
    after, stopped = found.suggested.on_evidence, found.suggested.stopped
    end = (
        f"\nWith all of this {after.count} of {after.total} are stopped on evidence, {stopped.count} for whatever "
        f"cause, and {found.suggested.advanced.count} are let go on. It was chosen on these very placebos, so it "
        "flatters: try it on another history, and on bad rollouts (holdfast tune, holdfast gate)."
    )
    return [*parts, _under("What might be changed:", table), Text(end)]


def _held(found: Calibration) -> list[RenderableType]:
    """Name the metrics that no tolerance mends, and say what might."""
    if not found.held:
        return []
    table = Table.grid(padding=(0, 1, 0, 0))
    alike: dict[str, list[str]] = {}
    for one in found.held:
        alike.setdefault(_of_held(found, one), []).append(one.metric)
    for text, metrics in alike.items():
        table.add_row("-", f"{', '.join(metrics)}: {text}")
    kinds = {one.why for one in found.held}
    said: list[str] = []
    if kinds & {"noise", "alarms"}:
        longer = "in a longer stage or " if any(one.needed_ticks is not None for one in found.held) else ""
        said.append(
            "A tolerance that accepts a doubling (or, where a decrease is worse, a halving) promises nothing, so none "
            f"is suggested for these. Judge such a metric {longer}on more hosts, or leave it out."
        )
    if kinds & {"unlike", "alarms"}:
        said.append("Choose a control of the same service, size and traffic as the canary.")
    if found.exposure is not None:
        went, stopped = found.exposure.advanced, found.exposure.on_evidence
        said.append(
            f"With advance: exposure, which asks for no evidence of health, {went.count} of {went.total} would be let "
            f"go on, and {stopped.count} stopped on evidence."
        )
    return [_under("What no tolerance mends:", table), Padding(Text("\n" + " ".join(said)), (0, 0, 1, 0))]


def _of_held(found: Calibration, one: Held) -> str:
    count = f"{one.placebos} of {one.total} placebos"
    if one.why == "alarms":
        return f"stopped {count} on evidence, and still stops some however much is tolerated within reason"
    if one.why == "unlike":
        return f"in {count} canary and control go apart by themselves, so that nothing can be said of a change"
    if one.why == "data":
        return f"in {count} too few ticks have data of both canary and control"
    size = "" if one.excludable is None else f" (more than {percent(one.excludable)} could be excluded)"
    time = ", nor ever" if one.needed_ticks is None else f", but after about {span(one.needed_ticks * found.tick_s)}"
    return f"in {count} its health is not shown by the end{time}{size}"


def written(path: list[str | int]) -> str:
    """Write the path of a value as errors do."""
    whole = ""
    for key in path:
        whole = join(whole, key)
    return whole


def comment(found: Calibration) -> list[str]:
    """Say at the head of a policy why it was changed: one paragraph for each item."""
    names = [used.history for used in found.histories]
    did = "changed" if found.suggestions else "found nothing to change in"
    head = (
        f"holdfast calibrate {did} this policy by {found.placebos} placebos of {found.rollout} in {listed(names)} "
        f"({found.independent} of them independent), with seed {found.seed}. It was {found.policy_digest[:15]}…"
    )
    lines = [head]
    lines += [
        f" - {written(one.path)}{f' ({one.metric})' if one.metric else ''}: "
        f"{'not given' if one.before is None else f'was {one.before:g}'}; {one.why}"
        for one in found.suggestions
    ]
    if found.held:
        held = listed([one.metric for one in found.held])
        lines.append(f"Placebos are held up or stopped by what no tolerance mends: {held}.")
    if found.suggested is not None:
        before, after = found.on_evidence, found.suggested.on_evidence
        lines.append(
            f"Stopped on evidence: {before.count} of {before.total} before, {after.count} with these values, which "
            f"were chosen on the same placebos; 95 % interval {_interval(after.interval)}."
        )
    return lines
