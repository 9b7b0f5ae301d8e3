"""How far a replay has come: a bar on a terminal, and nothing in a pipe."""

import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:  # a bar must not load what it shows
    from streams.replay import Observer
    from streams.replay import Progress as Come

_STEPS = 1_000
_ECHO_COLUMNS = 3  # ^C, and the cursor


class _Spaced(Progress):
    """Leaves room to the right for what a terminal echoes of Ctrl-C: in a new line, the bar would not be taken away."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is shown."""
        yield _Narrower(self.make_tasks_table(self.tasks))


class _Narrower:
    """What is shown, with some columns less than there are."""

    def __init__(self, inside: RenderableType) -> None:
        self._inside = inside

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._inside, options.update_width(max(1, options.max_width - _ECHO_COLUMNS)))


class _Shown:
    """A bar on standard error, from the beginning of the block to its end.

    `count` tells how much is done: a share, unless what is counted means something to a person.
    """

    def __init__(self, count: ProgressColumn | None = None) -> None:
        console = Console(stderr=True)
        self._bar = _Spaced(
            TextColumn("{task.description}"),
            BarColumn(),
            count or TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # What is printed goes above the bar, if it goes to the terminal; a file or a pipe gets it as it is.
            redirect_stdout=sys.stdout.isatty(),
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def drawing(self, name: str) -> "Drawing":
        """Return what is to be told how far the samples of a recording are drawn from their source."""
        return Drawing(self._bar, name)


class Drawing:
    """How far the samples of a source are drawn: a bar for each step, in place of what was shown before.

    Each small frame tells of itself, so what makes no difference to the eye is not passed on.
    """

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar, self._name = bar, name
        self._step = ""
        self._task: TaskID | None = None
        self._share = 0

    def told(self, step: str, done: int, total: int) -> None:
        """Show how much of a step is done."""
        if step != self._step:
            self.end()
            for task in self._bar.tasks:
                self._bar.update(task.id, visible=False)
            self._step, self._share = step, 0
            self._task = self._bar.add_task(f"{self._name}: {step}", total=_STEPS)
        share = min(_STEPS, done * _STEPS // max(1, total))
        if share > self._share and self._task is not None:
            self._share = share
            self._bar.update(self._task, completed=share)

    def end(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


class Draws(_Shown):
    """Bars on standard error for one recording that is drawn from a source."""


class Bars(_Shown):
    """A bar on standard error for one recording after the other."""

    def __init__(self, recordings: int) -> None:
        super().__init__()
        self._task = self._bar.add_task("recordings", total=recordings * _STEPS)
        self._recordings = recordings
        self._done = 0
        self._drawing: Drawing | None = None

    def begin(self, name: str) -> "Observer":
        """Turn to the next recording, and return what its replay reports to."""
        show = self.part(name)

        def observe(come: "Come") -> None:
            show(come.ticks, come.ticks_total)

        return observe

    def drawing(self, name: str) -> Drawing:
        """Return what is to be told how far a recording's samples are drawn, until its replay tells of itself."""
        self._drawing = super().drawing(name)
        return self._drawing

    def part(self, name: str) -> Callable[[int, int], None]:
        """Turn to the next recording, and return what is to be told how much of how much is done."""
        before = self._done * _STEPS
        self._done += 1
        self._bar.update(self._task, description=name, completed=before)

        def show(done: int, total: int) -> None:
            if self._drawing is not None:
                self._drawing.end()
                self._drawing = None
            self._bar.update(self._task, completed=before + done * _STEPS // max(1, total), visible=True)

        return show


class Steps(_Shown):
    """One bar on standard error for work that goes through steps, each with its own count."""

    def __init__(self) -> None:
        super().__init__(MofNCompleteColumn())
        self._doing: str | None = None
        self._task: TaskID | None = None
        self._done = 0

    def told(self, doing: str, done: int, total: int) -> None:
        """Show how much of a step is done; another step than before begins a bar of its own."""
        if doing != self._doing or self._task is None or done <= self._done:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(doing, total=total)
            self._doing = doing
        self._done = done
        self._bar.update(self._task, completed=done, total=total)
