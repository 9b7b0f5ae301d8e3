"""Facts in which everything is as it should be, and what can be wrong with them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from detectors.policy import Metric, Policy, Ratio
from rollouts.announced import Announcement, announce
from rollouts.breakglass import fold
from rollouts.controlled import State
from rollouts.document import Rollout, Stage
from rollouts.drift import audit
from rollouts.drift_facts import (
    Facts,
    Finding,
    Judged,
    Log,
    Sent,
    Series,
    Verdicts,
    Watched,
)
from rollouts.reports import Report
from tests.overrides import WHO
from tests.overrides import Log as People
from tests.rollouts.fleet import NEW, UNIT
from tests.rollouts.test_controller import baking
from tests.test_certificate import made as certificate

NOW = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MINE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
ENGINE = certificate().certificate.engine
POLICY = Policy(
    policy="edge",
    metrics=[
        Metric(name="busy", gauge="cpu", worse="increase", breach="halt"),
        Metric(
            name="errors",
            ratio=Ratio(bad="bad", total="all"),
            select={"service": ["kv", "k?"]},
            worse="increase",
            breach="halt",
        ),
    ],
)
CPU = Series(metric="cpu")
ALL, BAD = (Series(metric=name, select=(("service", ("kv", "k?")),)) for name in ("all", "bad"))
ROLLOUT = Rollout(
    rollout="bots",
    started=NOW - 2 * HOUR,
    package=[UNIT],
    stages=[
        Stage(name="one", canary={"host": "c0-h0"}, bake="30m", deadline="3h"),
        Stage(name="rest", canary={"host": "*"}, bake="30m", deadline="3h"),
    ],
)


def watched(announcement: Announcement | None = None, **given: Any) -> Watched:
    return Watched(announcement=announcement or announce(ROLLOUT, POLICY, certificate()), policy=MINE, **given)


def report(host: str = "c0-h0", digest: str = NEW, at: datetime = NOW) -> Report:
    return Report(host=host, colo="c0", region="r0", sequence=1, at=at, units={UNIT.unit: digest})


def facts(**given: Any) -> Facts:
    """Give facts in which everything is as it should be, but for what is said."""
    fine: dict[str, Any] = {
        "rollouts": {"bots": watched()},
        "control": {},
        "reports": {"c0-h0": report()},
        "verdicts": Verdicts(
            policies={MINE: NOW - HOUR},
            newest={"bots": Judged(policy=MINE, engine=ENGINE, at=NOW - HOUR)},
            since=NOW - 14 * DAY,
        ),
        "sent": Sent(now=frozenset({CPU, ALL, BAD}), ever=frozenset(), since=NOW - HOUR),
        "log": Log(broken=None, drilled=NOW - DAY, overrides=fold(People().chain(), WHO)),
    }
    return Facts(**{**fine, **given})


def found(given: Facts, now: datetime = NOW) -> list[Finding]:
    return audit(given, now)


def only(given: Facts, now: datetime = NOW) -> Finding:
    (one,) = found(given, now)
    return one


def kinds(given: Facts, now: datetime = NOW) -> list[str]:
    return [f"{'' if one.known else 'unknown '}{one.kind}" for one in found(given, now)]


def rollout(**given: Any) -> dict[str, Watched]:
    return {"bots": watched(**given)}


def replaced(**given: Any) -> dict[str, Watched]:
    return {"bots": watched(announce(replace(ROLLOUT, **given), POLICY, certificate()))}


def under_control(phase: str = "baking", **given: Any) -> State:
    return replace(baking("one").state, phase=phase, at=NOW, **given)


def verdicts(last: datetime | None, since: datetime = NOW - 14 * DAY) -> Verdicts:
    return Verdicts(policies={} if last is None else {MINE: last}, newest={}, since=since)


def sent(*series: Series, **given: Any) -> Sent:
    return Sent(**{"now": frozenset(series), "ever": frozenset(), "since": NOW - HOUR, **given})
