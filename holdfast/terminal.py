"""Watching a judge at work: a live panel on a terminal, plain lines everywhere else.

Both take the same calls: `begin` when a recording is opened, `update` after every judged tick, `end` when all
is judged. Neither sleeps nor reads a clock that it was not given.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from detectors.policy import Policy
from detectors.verdict import Verdict
from streams.plan import REPORTING
from streams.replay import Progress, moment

STYLES: Final = {"advance": "green", "wait": "yellow", "halt": "red", "revert": "bold red"}
"""How each action looks."""

FRAMES_PER_SECOND: Final = 15.0
WIDTH_MAX: Final = 120
REASONS_MAX: Final = 4
PANEL_LINES: Final = 9
"""Lines of a panel besides its metrics and reasons."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What evidence is held against: each metric's share of alpha, and alpha itself."""

    alpha: float
    share: Mapping[str, float]

    @classmethod
    def of(cls, policy: Policy, stages: int = 1) -> Self:
        """Return the scale of a policy, for a rollout of so many stages."""
        weights = {**{metric.name: metric.weight for metric in policy.metrics}, REPORTING: 1.0}
        total = sum(weights.values()) * stages
        return cls(policy.alpha, {name: weight / total for name, weight in weights.items()})

    def alone(self, metric: str) -> float:
        """Return the e-value at which a metric stops the rollout even if all others are silent."""
        return 1 / (self.alpha * self.share[metric])

    def together(self, log_e: Mapping[str, float]) -> float:
        """Return the logarithm of the evidence of all metrics, which stops the rollout at 1 / alpha."""
        parts = [value + math.log(self.share[name]) for name, value in log_e.items()]
        top = max(parts, default=-math.inf)
        if not math.isfinite(top):
            return top
        return top + math.log(sum(math.exp(part - top) for part in parts))


class View(Protocol):
    """Somebody watches."""

    def begin(self, name: str, scale: Scale) -> None:
        """Show that a recording has been opened."""

    def update(self, progress: Progress, elapsed_s: float) -> None:
        """Show what a judged tick brought, after so many seconds of work on this recording."""

    def end(self) -> None:
        """Show what the recording came to."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was found."""


def watch(console: Console, clock: Callable[[], float]) -> View:
    """Return a view that fits the console: live on a terminal, else plain lines.

    Parameters
    ----------
    console
        Where to show it.
    clock
        Seconds from any beginning, so as not to draw too often.
    """
    on_terminal = console.file.isatty() and console.is_terminal and not console.is_dumb_terminal
    return LiveView(console, clock) if on_terminal else PlainView(console)


@dataclass(slots=True)
class Seen:
    """A rollout as the view has seen it.

    `since_ms` is the event time since which its action holds, `rate` is in samples per second.
    """

    name: str
    scale: Scale
    progress: Progress | None = None
    since_ms: int = 0
    rate: float = 0.0

    def take(self, progress: Progress, elapsed_s: float) -> bool:
        """Take the newest progress, and tell whether it brought a new verdict."""
        before = self.progress.verdict if self.progress else None
        is_new = progress.verdict is not None and (before is None or before.sequence != progress.verdict.sequence)
        if progress.verdict and (before is None or before.action != progress.verdict.action):
            self.since_ms = progress.time_ms
        self.progress = progress
        if elapsed_s > 0:
            self.rate = progress.samples / elapsed_s
        return is_new


class PlainView:
    """One line for each verdict, for pipes and logs.

    Parameters
    ----------
    console
        Where the lines go; no control characters are among them.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: Seen | None = None

    def begin(self, name: str, scale: Scale) -> None:
        """Say what is judged now."""
        self._seen = Seen(name, scale)
        self._line(f"{name}: judging")

    def update(self, progress: Progress, elapsed_s: float) -> None:
        """Say so if there is a new verdict."""
        if self._seen and self._seen.take(progress, elapsed_s) and progress.verdict:
            place = f"{moment(progress.time_ms)} tick {progress.ticks} of {progress.ticks_total}"
            self._line(f"{self._seen.name}: {place}: {said(progress.verdict)}")
            if progress.verdict.action in ("halt", "revert"):
                for reason in progress.verdict.reasons[:REASONS_MAX]:
                    self._line(f"    {reason.sentence}")

    def end(self) -> None:
        """Say how much was judged."""
        if self._seen and self._seen.progress:
            progress = self._seen.progress
            self._line(f"{self._seen.name}: {progress.ticks} ticks and {progress.samples:,} samples judged")
        self._seen = None

    def _line(self, text: str) -> None:
        self._console.out(text, style=None, highlight=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveView:
    """A panel for the rollout that is judged now, and a line for each before it.

    Parameters
    ----------
    console
        A terminal.
    clock
        Seconds from any beginning, so as not to draw too often.
    """

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._done: list[Seen] = []
        self._now: Seen | None = None
        self._drawn = clock()
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def begin(self, name: str, scale: Scale) -> None:
        """Open a panel."""
        self._now = Seen(name, scale)
        self._draw()

    def update(self, progress: Progress, elapsed_s: float) -> None:
        """Draw, unless it was just done and there is nothing new to say."""
        if self._now is None:
            return
        is_new = self._now.take(progress, elapsed_s)
        if is_new or self._clock() - self._drawn >= 1 / FRAMES_PER_SECOND:
            self._draw()

    def end(self) -> None:
        """Fold the panel into a line."""
        if self._now is not None:
            self._done.append(self._now)
            self._now = None
            self._draw()

    def _draw(self) -> None:
        self._drawn = self._clock()
        self._live.update(screen(self._console, self._done, self._now), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def screen(console: Console, done: list[Seen], now: Seen | None) -> RenderableType:
    """Lay out finished rollouts and the one that is judged now, so that they fit the console."""
    width = min(console.width, WIDTH_MAX)
    lines: list[RenderableType] = [_finished(seen) for seen in done]
    if now is not None:
        lines.append(panel(console, now, width, console.height - len(done) - 1))
    return Group(*lines)


def panel(console: Console, seen: Seen, width: int, height: int) -> Panel:
    """Show a rollout in a panel of at most so many columns and lines."""
    body: RenderableType
    if seen.progress is None:
        body = Text("reading the recording", style="dim")
    else:
        free = height - PANEL_LINES - len(seen.progress.log_e)
        parts = [_clock_line(seen, seen.progress), _advance_of_time(seen.progress), Text()]
        parts += [_evidence(seen.scale, seen.progress.log_e, width - 4), Text()]
        body = Group(*parts, _verdict(console, seen, width - 4, free))
    style = STYLES[seen.progress.verdict.action] if seen.progress and seen.progress.verdict else "dim"
    return Panel(body, title=Text(seen.name, style="bold"), title_align="left", border_style=style, width=width)


def said(verdict: Verdict) -> str:
    """Say a verdict in one line: what, why, and where if not everywhere."""
    if verdict.cause != "evidence":
        return f"{verdict.action} ({verdict.cause})"
    if verdict.action == "advance":
        return f"{verdict.action} (every metric was shown to be healthy)"
    return f"{verdict.action} ({', '.join(verdict.scope.metrics)} in {named(verdict.scope.colos)})"


def named(places: list[str], most: int = 6) -> str:
    """Name some places, and count the rest."""
    rest = len(places) - most
    return ", ".join(places[:most]) + (f" and {rest} more" if rest > 0 else "")


def _finished(seen: Seen) -> RenderableType:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{seen.name}  ", style="bold")
    if seen.progress and seen.progress.verdict:
        verdict = seen.progress.verdict
        text.append(said(verdict), style=STYLES[verdict.action])
        text.append(f" at {moment(seen.since_ms)[11:]}")
    return Padding(text, (0, 1))


def _clock_line(seen: Seen, progress: Progress) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right")
    rate = f"  {seen.rate / 1e6:.2f} M/s" if seen.rate else ""
    grid.add_row(
        Text.assemble((moment(progress.time_ms)[:10], "dim"), " ", (moment(progress.time_ms)[11:], "bold")),
        Text.assemble(f"{progress.samples:,} samples", (rate, "cyan")),
    )
    return grid


def _advance_of_time(progress: Progress) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    total = max(progress.ticks_total, progress.ticks, 1)
    count = Text(f"tick {progress.ticks:>{len(str(total))}} of {total}")
    grid.add_row(count, ProgressBar(total, progress.ticks, complete_style="blue", finished_style="blue"))
    return grid


def _evidence(scale: Scale, log_e: Mapping[str, float], width: int) -> Table:
    """Show for each metric, and for all together, how near its evidence is to a stop."""
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", width=width)
    table.add_column("evidence against it", no_wrap=True, overflow="ellipsis", max_width=max(19, width // 3))
    table.add_column("", ratio=1)
    table.add_column("e-value", no_wrap=True, justify="right", min_width=7)
    table.add_column("stops at", no_wrap=True, justify="right", min_width=8)
    for name, value in log_e.items():
        table.add_row(Text(name), _bar(value, scale.alone(name)), shown(value), f"{scale.alone(name):,.0f}")
    value = scale.together(log_e)
    total = Text("all together", style="bold")
    table.add_row(total, _bar(value, 1 / scale.alpha), shown(value), f"{1 / scale.alpha:,.0f}")
    return table


def shown(log_e: float) -> str:
    """Write an e-value in at most seven characters.

    Examples
    --------
    >>> shown(-math.inf), shown(0.0), shown(math.log(345.6)), shown(1_000.0)
    ('0', '1.00', '346', '1e434')
    """
    tens = log_e / math.log(10)
    if tens < -2:
        return "0" if log_e == -math.inf else "<0.01"
    if tens >= 5:
        return f"1e{tens:.0f}"
    value = 10**tens
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _bar(log_e: float, stops_at: float) -> ProgressBar:
    """Draw evidence on a logarithmic scale, from "none" (an e-value of 1) to a stop."""
    full = math.log(stops_at)
    part = min(max(log_e / full, 0.0), 1.0) if math.isfinite(log_e) else 0.0
    colour = "green" if part < 0.5 else "yellow" if part < 1 else "red"
    return ProgressBar(1.0, part, complete_style=colour, finished_style="red")


def _verdict(console: Console, seen: Seen, width: int, lines: int) -> RenderableType:
    """Show the verdict in force, and as many of its reasons as fit into so many lines."""
    verdict = seen.progress.verdict if seen.progress else None
    if verdict is None:
        return Text("no verdict yet", style="dim")
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(verdict.action.upper(), style=STYLES[verdict.action])
    head.append(f" since {moment(seen.since_ms)[11:]}  ", style="dim")
    head.append(_because(verdict))
    parts: list[RenderableType] = [head]
    sentences = [reason.sentence for reason in verdict.reasons]
    sentences = sentences or [f"{one.metric}: {one.why}." for one in verdict.abstained]
    for sentence in sentences[:REASONS_MAX]:
        wrapped = Text(sentence).wrap(console, width)
        if len(wrapped) > lines:
            break
        lines -= len(wrapped)
        parts.append(Text(sentence))
    return Group(*parts)


def _because(verdict: Verdict) -> str:
    return said(verdict).removeprefix(verdict.action).strip(" ()") or verdict.cause
