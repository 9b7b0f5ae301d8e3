"""`holdfast produce`: a recording or a simulated fleet, played into a metrics topic."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import msgspec
import typer

from detectors.policy import Policy, duration_ms
from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.live.settings import Settings, load_settings
from holdfast.progress import Bars
from holdfast.wall import now_ms
from rollouts.announced import Announcement, announce, same
from rollouts.document import Rollout
from sinks.cloudevents import epoch_ms
from streams.choices import FORMS, Form, Scenario

if TYPE_CHECKING:
    from holdfast.live.produce import Played
    from holdfast.produce import Frame
    from streams.recording import Samples, Source

MAX: Final = "max"
_FLEET: Final = "With --fleet: "


@dataclass(frozen=True, slots=True)
class Moved:
    """A recording, moved in time by whole ticks; playing begins at `origin_ms`, if not with its first sample."""

    metrics: "Source"
    by_ms: int
    origin_ms: int | None
    rollouts: list[Rollout]
    policy: Policy | None

    def samples(self) -> "Iterator[Samples]":
        """Read its samples."""
        from holdfast.produce import shifted

        return shifted(self.metrics.read(), self.by_ms)


def produce(
    recording: Annotated[Path, typer.Argument(help="A folder with metrics.parquet; with --fleet it is made.")],
    topic: Annotated[str | None, typer.Option(help="By default the first metrics topic of the settings.")] = None,
    speed: Annotated[str, typer.Option(help="Times as fast as it was, or `max`.")] = "1",
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMS)}.")] = "arrow",
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most samples in a frame.")] = 10_000,
    from_now: Annotated[bool, typer.Option("--from-now", help="Move its times: it begins now.")] = False,
    starts_in: Annotated[
        str | None,
        typer.Option(
            help="Move its times: the rollout starts so much later than now, as in 5m; its past is sent at once."
        ),
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Announce its rollouts first.")] = False,
    fleet: Annotated[bool, typer.Option("--fleet", help="Simulate a fleet, and write it to the folder first.")] = False,
    seed: Annotated[int | None, typer.Option(help=f"{_FLEET}the same seed is the same fleet; by default 1.")] = None,
    colos: Annotated[int | None, typer.Option(help=f"{_FLEET}locations; by default 20.")] = None,
    hosts: Annotated[int | None, typer.Option(help=f"{_FLEET}hosts in each; by default 10.")] = None,
    scenario: Annotated[
        str | None, typer.Option(help=f"{_FLEET}the harm, one of {', '.join(get_args(Scenario))}; by default none.")
    ] = None,
    config: Config = None,
) -> None:
    """Play a recording or a simulated fleet into a metrics topic: to try, to demonstrate, to load."""
    from holdfast.produce import frames_of
    from streams.fleet import Fleet, write

    settings, wanted, times = load_settings(config), _form(form), _speed(speed)
    simulated = {"seed": seed, "colos": colos, "hosts": hosts, "scenario": scenario}
    given: dict[str, Any] = {name: value for name, value in simulated.items() if value is not None}
    if fleet:
        chosen: dict[str, Any] = {"seed": 1, **given}
        write(Fleet(**chosen), recording)
    elif given:
        message = f"{', '.join(f'--{name}' for name in given)}: found without --fleet; a recording is played as it is"
        raise BadInput(message)
    moved = move(recording, from_now=from_now, starts_in=starts_in, submit=submit, now=now_ms())
    if submit:
        _submit(settings, moved)
    frames = frames_of(moved.samples(), wanted, rows_max=rows)
    played = _play(settings, topic or settings.metrics[0].topic, frames, times, moved)
    sys.stdout.write(in_words(topic or settings.metrics[0].topic, played))


def _form(text: str) -> Form:
    for form in FORMS:
        if form == text:
            return form
    message = f"--format: found {text!r}; allowed: {', '.join(FORMS)}"
    raise BadInput(message)


def _speed(text: str) -> float | None:
    """Read a speed; None is as fast as it goes."""
    if text == MAX:
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        message = f"--speed: found {text!r}; allowed: a number above 0, or {MAX}"
        raise BadInput(message)
    return speed


def move(path: Path, *, from_now: bool, starts_in: str | None, submit: bool, now: int) -> Moved:
    """Open a recording, and find out by how much to move it in time.

    Parameters
    ----------
    path
        Its folder.
    from_now
        Its first sample is to be from now.
    starts_in
        Its rollout is to start so much later than now; a duration.
    submit
        Whether its documents are needed in any case.
    now
        The time of day, in epoch milliseconds.

    Raises
    ------
    BadInput
        If it cannot be played so.
    """
    from holdfast.produce import first_ms, shift_of
    from holdfast.recording.folder import load_documents, require_folder
    from holdfast.recording.samples import samples_of

    if from_now and starts_in is not None:
        message = "--from-now and --starts-in: found both; allowed: one of them"
        raise BadInput(message)
    require_folder(path)
    metrics = samples_of(path)
    if not (from_now or submit or starts_in is not None):
        return Moved(metrics, 0, None, [], None)
    documents, policy, _ = load_documents(path, None, check=False)
    rollouts, tick_ms = list(documents.values()), duration_ms(policy.tick)
    by_ms, origin = 0, None
    if from_now:
        first = first_ms(metrics.read(columns=["time"]))
        by_ms = 0 if first is None else shift_of(first, now, tick_ms)
    if starts_in is not None:
        by_ms, origin = shift_of(epoch_ms(rollouts[0].started), now + _duration(starts_in), tick_ms), now
    return Moved(metrics, by_ms, origin, [moved_by(rollout, by_ms) for rollout in rollouts], policy)


def _duration(text: str) -> int:
    try:
        return duration_ms(text)
    except ValueError as error:
        message = f"--starts-in: {error}"
        raise BadInput(message) from error


def moved_by(rollout: Rollout, by_ms: int) -> Rollout:
    """Move the starts of a rollout and of its stages in time."""
    by = timedelta(milliseconds=by_ms)
    stages = [
        stage if stage.started is None else msgspec.structs.replace(stage, started=stage.started + by)
        for stage in rollout.stages
    ]
    return msgspec.structs.replace(rollout, started=rollout.started + by, stages=stages)


def _submit(settings: Settings, moved: Moved) -> None:
    from holdfast.live.announcing import change
    from holdfast.live.clients import base

    assert moved.policy is not None
    for rollout in moved.rollouts:
        make = partial(announced, rollout, moved.policy)
        made = change(base(settings), settings.topics.rollouts, rollout.rollout, make)
        sys.stdout.write(f"{rollout.rollout}: announced, version {made.version}, starts at {_started(rollout)}\n")
        sys.stdout.flush()


def announced(rollout: Rollout, policy: Policy, before: Announcement | None) -> Announcement:
    """Announce a rollout, unless it is announced already.

    Raises
    ------
    BadInput
        If another one is announced under its name.
    """
    if before is None:
        return announce(rollout, policy)
    if not same(before, rollout, policy):
        message = (
            f"{rollout.rollout}: announced already, with another plan, policy or time; allowed: the same, or another "
            "name (the rollout of a simulated fleet bears the name of its folder)"
        )
        raise BadInput(message)
    return before


def _started(rollout: Rollout) -> str:
    from streams.replay import moment

    return moment(epoch_ms(rollout.started))


def _play(settings: Settings, topic: str, frames: "Iterator[Frame]", speed: float | None, moved: Moved) -> "Played":
    from holdfast.live.clients import admin, producer
    from holdfast.live.produce import Pace, Player, require_topic

    require_topic(admin(settings), topic)
    with Bars(1) as bars:
        show = bars.part(Path(moved.metrics.name).parent.name)
        player = Player(
            producer(settings),
            topic,
            Pace(speed, moved.origin_ms),
            lambda played: show(played.samples, moved.metrics.rows),
        )
        return player.play(frames)


def in_words(topic: str, played: "Played") -> str:
    """Say what was sent, in a line."""
    a_second = played.samples / played.seconds if played.seconds else 0.0
    return (
        f"{topic}: {played.samples:,} samples in {played.frames:,} frames, {played.size / 1e6:,.1f} MB, "
        f"in {played.seconds:,.1f} s: {a_second:,.0f} samples a second\n"
    )
