"""The demo: a harmless and a bad rollout on a simulated fleet, judged before your eyes."""

import math
import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from detectors.policy import Policy, duration_ms
from holdfast.documents import load_policy, load_rollout, load_truth
from holdfast.replaying import Outcome, replay_recording
from holdfast.reviewing.replayed import review_of
from holdfast.terminal import STYLES, Scale, View, named, watch
from rollouts.truth import Truth
from sinks.cloudevents import epoch_ms
from sinks.store import DEFAULT_FOLDER, Store
from streams.fleet import Fleet, write
from streams.replay import Progress, moment

HARMLESS: Final = "bot-features-0311"
BAD: Final = "bot-features-0312"

SPEED: Final = 300.0
"""How much faster than real time event time runs where somebody watches."""

SPEED_IN_DOUBT: Final = 0.2
"""How much slower where evidence speaks against a rollout: that is what people came to see."""

SPEED_AFTER_STOP: Final = 4.0
"""How much faster once a rollout is stopped: what follows is only the rest of the recording."""

STOP_PAUSE_S: Final = 1.5
"""How long the view stands still at a stop, so that its reason can be read."""

LAG_S_MAX: Final = 0.2
"""How much of a delay is caught up with; more would make the view jump."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A demo rollout: what is true of it, what it came to, and how long that took apart from showing it."""

    path: Path
    truth: Truth
    policy: Policy
    outcome: Outcome
    seconds: float

    @property
    def is_stopped(self) -> bool:
        """Whether it was halted or reverted."""
        return self.outcome.action in ("halt", "revert")

    @property
    def ticks_hurt(self) -> int | None:
        """Ticks with bad samples until the stop; None if it was not stopped, or nothing was bad by then."""
        if self.truth.onset is None or not self.is_stopped:
            return None
        stopped = epoch_ms(datetime.fromisoformat(self.outcome.time))
        ticks = math.ceil((stopped - epoch_ms(self.truth.onset)) / duration_ms(self.policy.tick))
        return ticks if ticks > 0 else None

    @property
    def colos(self) -> tuple[list[str], list[str]]:
        """The colos that the decisive verdict names, and those that the last one does."""
        events = self.outcome.verdicts
        decisive = next((event for event in events if event["time"] == self.outcome.time), events[-1])
        return decisive["data"]["scope"]["colos"], events[-1]["data"]["scope"]["colos"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the summary. A command is never wrapped, so that it can be copied."""

    text: str | Text = ""
    indent: int = 0
    style: str = ""
    is_command: bool = False

    def show(self, console: Console) -> None:
        """Print it, wrapped to the width of a terminal, and in one piece elsewhere."""
        text = Text(self.text, self.style) if isinstance(self.text, str) else self.text
        if not text:
            console.print()
        elif self.is_command or not console.is_terminal:
            console.print(Text(" " * self.indent) + text, soft_wrap=True)
        else:
            console.print(Padding(text, (0, 0, 0, self.indent), expand=False))


class Pace:
    """Slows a replay down to what eyes can follow; event time then runs `speed` times as fast as a clock.

    Parameters
    ----------
    speed
        None does not slow anything down.
    """

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._due_s = 0.0
        self._before: Progress | None = None

    def wait(self, progress: Progress) -> None:
        """Sleep until the next tick is due."""
        if self._speed is None:
            return
        now = time.perf_counter()
        before, self._before = self._before, progress
        if before is None or before.rollout != progress.rollout:
            self._due_s = now
            return
        step_s = (progress.time_ms - before.time_ms) / 1_000 / (self._speed * _tempo(progress))
        if _is_stopped(progress) and not _is_stopped(before):
            step_s += STOP_PAUSE_S
        self._due_s = max(self._due_s, now - LAG_S_MAX) + step_s
        time.sleep(max(0.0, self._due_s - now))


def _is_stopped(progress: Progress) -> bool:
    return progress.verdict is not None and progress.verdict.action in ("halt", "revert")


def _tempo(progress: Progress) -> float:
    if _is_stopped(progress):
        return SPEED_AFTER_STOP
    return SPEED_IN_DOUBT if max(progress.log_e.values(), default=0.0) > 0 else 1.0


def run(
    folder: Path,
    seed: int,
    *,
    speed: float | None = SPEED,
    console: Console | None = None,
) -> int:
    """Simulate, judge and sum up.

    Parameters
    ----------
    folder
        Where the recordings and the store go.
    seed
        Another seed is another fleet.
    speed
        How much faster than real time event time runs on a terminal; None is as fast as it goes, which is
        the speed elsewhere too.
    console
        Where it is shown; standard output if not given.

    Returns
    -------
    int
        0 if the bad rollout was stopped and the harmless one was not, else 1.
    """
    console = console or Console(highlight=False)
    harmless, bad = write_recordings(folder, seed, console)
    pace = Pace(speed if console.file.isatty() else None)
    with Store(folder) as store, watch(console, time.perf_counter) as view:
        judged = [judge(path, store, view, pace) for path in (harmless, bad)]
    review = review_of(bad, judged[1].outcome, folder / "incidents", folder)
    for line in summary(folder, judged[0], judged[1], review):
        line.show(console)
    return 1 if judged[0].is_stopped or judged[1].ticks_hurt is None else 0


def write_recordings(folder: Path, seed: int, console: Console) -> tuple[Path, Path]:
    """Simulate the harmless and the bad rollout, and return their folders."""
    fleets = {HARMLESS: Fleet(seed=2 * seed), BAD: Fleet(seed=2 * seed + 1, scenario="errors")}
    size = fleets[BAD]
    Line(
        f"Simulating {size.colos} colos of {size.hosts} hosts and two rollouts: "
        f"{HARMLESS} is harmless, {BAD} begins to hurt {size.hurt} colos."
    ).show(console)
    paths = [folder / "recordings" / name for name in fleets]
    for path in paths:
        write(fleets[path.name], path)
    return paths[0], paths[1]


def judge(path: Path, store: Store, view: View, pace: Pace) -> Judged:
    """Replay one recording for whoever watches."""
    policy = load_policy(path / "policy.yaml")
    stages = len(load_rollout(path / "rollout.yaml").stages)

    began = time.perf_counter()
    watched_s = 0.0

    def observe(progress: Progress) -> None:
        nonlocal watched_s
        now = time.perf_counter()
        view.update(progress, now - began - watched_s)
        pace.wait(progress)
        watched_s += time.perf_counter() - now

    view.begin(path.name, Scale.of(policy, stages))
    outcome = replay_recording(path, store=store, observer=observe)
    seconds = time.perf_counter() - began - watched_s
    view.end()
    return Judged(path, load_truth(path / "truth.yaml"), policy, outcome, seconds)


def summary(folder: Path, harmless: Judged, bad: Judged, review: Path | None) -> list[Line]:
    """Say what happened to both rollouts, how fast, where to go from here, and which incident it was."""
    samples = harmless.outcome.samples + bad.outcome.samples
    seconds = harmless.seconds + bad.seconds
    rate = samples / seconds / 1e6
    return [
        Line(),
        _told(harmless, "a harmless change"),
        *_harmless(harmless),
        Line(),
        _told(bad, f"errors tripled in {named(bad.truth.colos)}"),
        *_bad(bad),
        Line(),
        Line(f"{samples:,} samples judged and stored in {seconds:.1f} s: {rate:.2f} million a second."),
        Line(f"Recordings and store: {folder}"),
        Line(),
        *_next_steps(folder),
        *_incident(review),
    ]


def _incident(review: Path | None) -> list[Line]:
    """Link to the draft of the review of the incident that the bad rollout caused."""
    if review is None:
        return []
    said = Line(f"{BAD} caused the incident {review.stem}. The draft of its review:")
    return [Line(), said, Line(review.absolute().as_uri(), 2, "cyan", is_command=True)]


def _told(judged: Judged, what: str) -> Line:
    """Say what a rollout was, and what its decisive verdict."""
    outcome = judged.outcome
    action = (outcome.action, STYLES[outcome.action])
    return Line(Text.assemble((outcome.rollout, "bold"), f" ({what}): ", action, f" at {outcome.time}"))


def _harmless(judged: Judged) -> list[Line]:
    if judged.is_stopped:
        return [Line("This is a false alarm: nothing was wrong with it.", 2, "red"), *_reasons(judged)]
    if judged.outcome.action == "advance":
        return [Line("Every metric was shown to be healthy.", 2)]
    return [Line("It was never stopped, but the data did not suffice to let it advance.", 2)]


def _bad(judged: Judged) -> list[Line]:
    if not judged.is_stopped:
        return [Line("This is a miss: it should have been stopped.", 2, "red")]
    if judged.ticks_hurt is None:
        onset = f" began at {moment(epoch_ms(judged.truth.onset))}" if judged.truth.onset else " never began"
        return [Line(f"This is a false alarm: the harm{onset}.", 2, "red"), *_reasons(judged)]
    tick_s = duration_ms(judged.policy.tick) / 1_000
    first, last = judged.colos
    blamed = named(first) + (f" at first, and {named(last)} in the end" if last != first else "")
    ticks = f"{judged.ticks_hurt} ticks of {tick_s:g} s"
    return [Line(f"{ticks} after the first bad sample, blaming {blamed}.", 2), *_reasons(judged)]


def _reasons(judged: Judged) -> list[Line]:
    """Give the reason that is about a single colo, since it says most, else the first."""
    reasons = judged.outcome.reasons
    chosen = next((reason for reason in reasons if reason["colo"]), reasons[0] if reasons else None)
    return [Line(chosen["sentence"], 2)] if chosen else []


def _next_steps(folder: Path) -> list[Line]:
    recording = shlex.quote(str(folder / "recordings" / BAD))
    data = "" if folder == DEFAULT_FOLDER else f" --data {shlex.quote(str(folder))}"
    # As it was called: a newcomer's command may lie in a folder that is not on the PATH.
    command = "holdfast" if shutil.which("holdfast") else shlex.quote(sys.argv[0])
    query = "SELECT time, action, cause, colos FROM verdicts ORDER BY rollout, sequence"
    return [
        Line("Next:", 0, "bold"),
        Line(f"{command} replay {recording} --json{data}", 2, "cyan", is_command=True),
        Line(f'{command} query{data} "{query}"', 2, "cyan", is_command=True),
        Line(
            "A recording of your own is a folder like these: metrics.parquet with the columns time, metric, "
            "colo, value and one for every other label; rollout.yaml and policy.yaml, copied and adapted.",
            2,
        ),
    ]
