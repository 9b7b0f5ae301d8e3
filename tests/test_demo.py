"""The demo and its views: what people see, on terminals of several sizes and in a pipe."""

import io
import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from detectors.policy import Metric, Policy
from detectors.verdict import Abstained, Action, Cause, Reason, Samples, Scope, Verdict
from holdfast import demo
from holdfast.commands.demo import SEED
from holdfast.replaying import Outcome
from holdfast.terminal import LiveView, PlainView, Scale, Seen, named, panel, said, screen, watch
from sinks.cloudevents import epoch_ms, verdict_event
from streams.replay import Progress

NAMES = ["errors", "cpu", "memory", "latency_p99", "requests"]
SCALE = Scale.of(Policy(policy="p", metrics=[Metric(name=n, gauge=n, worse="increase", breach="halt") for n in NAMES]))
SENTENCE = (
    "errors in ams01: 0.44 % on the canary, where 0.2 % was to be expected from its past and the control "
    "(now 0.23 %). That is +120.8%, between +36.2% and +258.1% at every look; tolerated: +10.0%. Seen on "
    "90,066 canary and 349,477 control events in 20 ticks."
)


def verdict(action: Action = "revert", cause: Cause = "evidence", sequence: int = 2) -> Verdict:
    reason = Reason(
        metric="errors",
        colo="ams01",
        effect=1.2,
        interval=(0.36, 2.58),
        e_value=1e6,
        samples=Samples(canary=90_066, control=349_477),
        sentence=SENTENCE,
    )
    stopped = action in ("halt", "revert")
    return Verdict(
        sequence=sequence,
        action=action,
        cause=cause,
        stage="canary",
        binding=True,
        scope=Scope(colos=["ams01", "fra01"], metrics=["errors"] if stopped else NAMES),
        reasons=[reason] * 3 if stopped else [],
        abstained=[]
        if stopped
        else [Abstained(metric="cpu", colo=None, minimum_detectable_effect=None, why="it is too noisy")],
        policy="sha256:00000000",
        engine="holdfast/0",
    )


def progress(ticks: int = 20, now: Verdict | None = None, errors: float = math.log(1e4)) -> Progress:
    log_e = dict.fromkeys([*NAMES, "reporting_hosts"], -math.inf) | {"errors": errors, "cpu": -0.5}
    return Progress(
        rollout="bot-features-0312",
        time_ms=1_773_314_400_000 + ticks * 10_000,
        ticks=ticks,
        ticks_total=240,
        samples=612_304,
        samples_total=1_277_000,
        log_e=log_e,
        verdict=now,
    )


def terminal(width: int, height: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, legacy_windows=False)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def drawn(width: int, height: int, now: Verdict | None) -> list[str]:
    """Draw a judged rollout below a finished one, without styles."""
    console = Console(file=io.StringIO(), width=width, height=height)
    done, seen = Seen("bot-features-0311", SCALE), Seen("bot-features-0312", SCALE)
    done.take(progress(240, verdict("advance")), 1.0)
    seen.take(progress(20, now), 0.5)
    console.print(screen(console, [done], seen))
    return text_of(console).splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
@pytest.mark.parametrize("now", [None, verdict("wait", "insufficient"), verdict()])
def test_the_view_fits_a_terminal(width: int, height: int, now: Verdict | None) -> None:
    lines = drawn(width, height, now)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert {len(line) for line in lines[1:]} == {width}


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_the_view_says_what_happens(width: int, height: int) -> None:
    lines = drawn(width, height, verdict())
    text = "\n".join(lines)
    assert "bot-features-0311  advance (every metric was shown to be healthy) at 12:00:00Z" in lines[0]
    assert "bot-features-0312" in lines[1]
    assert "2026-03-12 11:23:20Z" in text
    assert "612,304 samples  1.22 M/s" in text
    assert "tick  20 of 240" in text
    assert "REVERT since 11:23:20Z  errors in ams01, fra01" in text
    errors = next(line for line in lines if "errors  " in line)
    assert errors.split()[-3:-1] == ["10,000", "600"]
    together = next(line for line in lines if "all together" in line)
    assert together.split()[-3:-1] == ["1,667", "100"]


def test_a_larger_terminal_shows_more_reasons() -> None:
    small, large = ("\n".join(drawn(80, height, verdict())) for height in (24, 40))
    assert small.count("errors in ams01: 0.44 %") == 1
    assert large.count("errors in ams01: 0.44 %") == 3


def test_a_wait_says_what_it_waits_for() -> None:
    text = "\n".join(drawn(80, 24, verdict("wait", "insufficient")))
    assert "WAIT since 11:23:20Z  insufficient" in text
    assert "cpu: it is too noisy." in text


def test_an_action_holds_since_it_was_first_taken() -> None:
    seen = Seen("a", SCALE)
    assert seen.take(progress(20, verdict()), 1.0)
    assert not seen.take(progress(21, verdict()), 1.0)
    assert seen.take(progress(22, verdict(sequence=3)), 1.0)
    assert seen.since_ms == progress(20).time_ms


def test_a_very_small_terminal_breaks_nothing() -> None:
    assert max(map(len, drawn(30, 8, verdict()))) <= 30


def test_a_recording_that_is_not_yet_judged_has_a_panel() -> None:
    console = Console(file=io.StringIO(), width=80, height=24)
    console.print(panel(console, Seen("a", SCALE), 80, 24))
    assert "reading the recording" in text_of(console)


def test_bars_are_drawn_in_ascii_where_nothing_else_can_be() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    console = Console(file=file, width=80, height=24)
    seen = Seen("a", SCALE)
    seen.take(progress(20, verdict()), 1.0)
    console.print(screen(console, [], seen))


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = terminal(80, 24)
    seen = Seen("a", SCALE)
    seen.take(progress(20, verdict()), 1.0)
    console.print(screen(console, [], seen))
    assert "\x1b[3" not in text_of(console)
    assert "\x1b[1;3" not in text_of(console)


def test_the_live_view_draws_no_more_often_than_eyes_see() -> None:
    now, console = [0.0], terminal(80, 24)
    with LiveView(console, lambda: now[0]) as view:
        view.begin("a", SCALE)
        start = len(text_of(console))
        view.update(progress(1), 1.0)
        assert len(text_of(console)) == start
        now[0] += 1.0
        view.update(progress(2), 1.0)
        drew = len(text_of(console))
        assert drew > start
        view.update(progress(3, verdict()), 1.0)  # a verdict is shown at once
        assert len(text_of(console)) > drew
        view.end()
    assert text_of(console).endswith("\x1b[?25h")  # the cursor is back


def test_a_pipe_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    console = Console(file=io.StringIO(), width=80)
    view = watch(console, lambda: 0.0)
    assert isinstance(view, PlainView)
    with view:
        view.begin("a", SCALE)
        view.update(progress(1, verdict("wait", "baking", 1)), 1.0)
        view.update(progress(2, verdict("wait", "baking", 1)), 1.0)
        view.update(progress(20, verdict()), 1.0)
        view.end()
    assert text_of(console).splitlines() == [
        "a: judging",
        "a: 2026-03-12T11:20:10Z tick 1 of 240: wait (baking)",
        "a: 2026-03-12T11:23:20Z tick 20 of 240: revert (errors in ams01, fra01)",
        *[f"    {SENTENCE}"] * 3,
        "a: 20 ticks and 612,304 samples judged",
    ]
    assert not set(text_of(console)) & {"\x1b", "\r", "\b"}


def test_evidence_is_added_up_as_the_decision_does() -> None:
    assert SCALE.alone("errors") == pytest.approx(600)
    assert SCALE.together({"errors": math.log(600), "cpu": -math.inf}) == pytest.approx(math.log(100))
    assert SCALE.together({"errors": -math.inf}) == -math.inf
    assert SCALE.together({"errors": 2_000.0, "cpu": 2_000.0}) == pytest.approx(2_000 - math.log(3))


def test_a_long_list_of_places_is_cut() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"


@pytest.mark.parametrize(
    ("action", "cause", "text"),
    [
        ("revert", "evidence", "revert (errors in ams01, fra01)"),
        ("halt", "deadline", "halt (deadline)"),
        ("wait", "data", "wait (data)"),
    ],
)
def test_a_verdict_is_said_in_a_line(action: Action, cause: Cause, text: str) -> None:
    assert said(verdict(action, cause)) == text


def event(rollout: str, action: Action, sequence: int, time: str, colos: list[str]) -> dict[str, object]:
    said = msgspec.structs.replace(verdict(action, sequence=sequence), scope=Scope(colos=colos, metrics=["errors"]))
    made: dict[str, object] = msgspec.to_builtins(verdict_event(rollout, epoch_ms(datetime.fromisoformat(time)), said))
    return made


def outcome(path: Path, action: Action, time: str) -> Outcome:
    places: list[tuple[str, list[str]]] = [(time, ["ams01"]), ("2026-03-12T11:59:00Z", ["ams01", "fra01"])]
    events = [event(path.name, action, number, *place) for number, place in enumerate(places, start=1)]
    reasons = [{"colo": None, "sentence": "errors rose"}] if action != "advance" else []
    return Outcome(str(path), path.name, action, time, action, 240, 1_000, {}, reasons, events, [])


@pytest.mark.parametrize(
    ("harmless", "bad", "time", "status", "words"),
    [
        ("advance", "revert", "2026-03-12T11:23:20Z", 0, "blaming ams01 at first, and ams01, fra01 in the end."),
        ("wait", "halt", "2026-03-12T11:23:20Z", 0, "It was never stopped"),
        ("revert", "revert", "2026-03-12T11:23:20Z", 1, "false alarm: nothing was wrong"),
        ("advance", "advance", "2026-03-12T12:00:00Z", 1, "This is a miss"),
        ("advance", "revert", "2026-03-12T11:21:00Z", 1, "false alarm: the harm began at 2026-03-12T11:22:01Z"),
    ],
)
def test_the_demo_says_how_it_went(
    harmless: Action,
    bad: Action,
    time: str,
    status: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def replayed(path: Path, **_: object) -> Outcome:
        return outcome(path, harmless if path.name == demo.HARMLESS else bad, time)

    monkeypatch.setattr(demo, "replay_recording", replayed)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    console = Console(file=io.StringIO(), width=80)
    assert demo.run(tmp_path, SEED, console=console) == status
    text = text_of(console)
    assert words in text
    assert f" replay {tmp_path / 'recordings' / demo.BAD} --json" in text
    assert ("caused the incident inc-20260312-" in text) == (bad in ("halt", "revert"))
    assert "\x1b" not in text


def test_a_pace_follows_event_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    monkeypatch.setattr("holdfast.demo.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("holdfast.demo.time.sleep", sleep)
    pace = demo.Pace(100.0)
    for ticks in (1, 2):
        pace.wait(progress(ticks, errors=-1.0))
    pace.wait(progress(3))  # evidence against it
    for ticks in (4, 5):
        pace.wait(progress(ticks, verdict()))
    pace.wait(replace(progress(1), rollout="another"))
    assert slept == [0.1, 0.5, 1.525, 0.025]
    demo.Pace(None).wait(progress(9))
    assert len(slept) == 4


@pytest.mark.slow
def test_the_demo_stops_the_bad_rollout_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    console = Console(file=io.StringIO(), width=80)
    assert demo.run(tmp_path, SEED, console=console) == 0
    assert "after the first bad sample, blaming " in text_of(console)
