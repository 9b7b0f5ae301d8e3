"""Stops, rollouts and incidents to test with."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from detectors.verdict import Action, Cause, Reason, Samples, Scope, Verdict
from rollouts.incidents.attribution import Change, Start
from rollouts.incidents.folding import Incident, fold
from rollouts.incidents.history import Event, History, Impact, Opened, Severity
from rollouts.incidents.opening import Stop

NOON = datetime(2026, 3, 12, 12, tzinfo=UTC)
NAME = "inc-20260312-0a1b2c3d"


def at(minutes: float) -> datetime:
    """Give a time by minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def stop(
    rollout: str = "bot-features",
    verdict: str = "v1",
    minutes: float = 0.0,
    *,
    colos: Iterable[str] = ("ams01",),
    metrics: Iterable[str] = ("errors",),
    e_value: float = 1e6,
    action: Action = "revert",
    cause: Cause = "evidence",
    is_binding: bool = True,
    sentence: str = "errors in ams01 are 40 % above the control",
) -> Stop:
    """Give a verdict that stops a rollout."""
    reason = Reason(
        metric="errors",
        colo=None,
        effect=0.4,
        interval=(0.2, None),
        e_value=e_value,
        samples=Samples(canary=1e3, control=1e4),
        sentence=sentence,
    )
    said = Verdict(
        sequence=3,
        action=action,
        cause=cause,
        stage="first",
        binding=is_binding,
        scope=Scope(colos=[*colos], metrics=[*metrics]),
        reasons=[reason],
        abstained=[],
        policy="sha256:00",
        engine="0.1.0",
    )
    return Stop(rollout=rollout, verdict=verdict, at=at(minutes), said=said)


def change(
    rollout: str = "bot-features",
    minutes: Sequence[float] = (-10.0,),
    *,
    colos: Iterable[str] | None = ("ams01",),
    units: Iterable[str] = (),
    gone: float | None = None,
) -> Change:
    """Give a rollout whose stages began so many minutes after noon; by its name it is a drill."""
    return Change(
        rollout=rollout,
        units=frozenset(units),
        starts=[Start(stage=f"s{number}", at=at(each)) for number, each in enumerate(minutes)],
        colos=None if colos is None else frozenset(colos),
        gone=None if gone is None else at(gone),
        is_drill=rollout.startswith("drill-"),
    )


def opened(minutes: float = 0.0, severity: Severity = "major", *, colos: Iterable[str] = ()) -> Opened:
    """Give the beginning of an incident that somebody opened by hand."""
    return Opened(at=at(minutes), by="ada", title="errors", severity=severity, impact=Impact(colos=[*colos]))


def incident(*events: Event) -> Incident:
    """Give an incident that somebody opened at noon, and what happened then."""
    return fold(History(incident=NAME, events=[opened(), *events]))
