"""One rollout in event time: the real controller and the real judge, over a simulated fleet."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.blast_radius.fleet import (
    NEW,
    OLD,
    PAST,
    POLICY,
    TICK_MS,
    TICK_S,
    UNIT,
    Harm,
    Traffic,
    Where,
    harm_at_scale,
    harm_of,
    inventory,
    plan,
)
from detectors.policy import duration_ms
from rollouts.blast import extent
from rollouts.breakers import summary_of
from rollouts.context import Context
from rollouts.controlled import Before, Deploy, Effect, Event, Restore, State, Submitted, Tell
from rollouts.controller import decide
from rollouts.folding import fold
from rollouts.inputs import Acted, Input, Verdict
from rollouts.inventory import Inventory
from rollouts.plans import Resolved, resolve
from rollouts.reports import Report, heard
from streams.judge import Judge
from streams.membership import NOT_REACHED, Membership, Stage
from streams.plan import Plan as Judging

AGENT_TICKS: Final = (1, 3)
"""Within how many ticks a host does what it is told."""

HALTED_TICKS: Final = 60
"""How long a halted rollout is looked at, in case it is taken back after all."""

TICKS_MAX: Final = 10_000
WATCHED_TICKS: Final = 720
"""How long an ungated push is looked at: two hours."""

ALARMS: Final = (2.0, 1.2)
"""By how much the fleet's share of errors has to grow to set off an alarm: a usual one, and one to be wished for."""

ALARM_TICKS: Final = 30

BEGIN: Final = datetime(2026, 3, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a rollout. Times are seconds: to its end since it was submitted, else since the first error.

    `bound` is the largest share of the fleet that the plan allows in the last stage that began. `noticed` and `undone`
    [alarm] are of an ungated push of the same package, for each of `ALARMS`; None where it was never noticed.
    """

    number: int
    is_bad: bool
    factor: float
    where: Where
    hurt_share: float
    delay_s: int
    from_share: float
    phase: str
    stage: str
    reached: float
    bound: float
    ended: int
    decided: int | None
    restored: int | None
    noticed: tuple[int | None, ...]
    undone: tuple[int | None, ...]

    @property
    def is_as_promised(self) -> bool:
        """Whether a harmless one is completed, and a bad one taken back within the bound of a judged stage."""
        if not self.is_bad:
            return self.phase == "completed"
        return self.phase == "reverted" and self.reached <= self.bound < 1.0


class Agents:
    """What the hosts have, and what they report of it."""

    def __init__(self, fleet: Inventory, rollout: str, rng: np.random.Generator) -> None:
        self.fleet, self._rollout, self._rng = fleet, rollout, rng
        self._index = {host.host: index for index, host in enumerate(fleet.hosts)}
        self.since = np.full(len(fleet.hosts), -1)  # the first tick with the change, [host]; -1 without it
        self._wanted: dict[str, tuple[int, str | None]] = {}
        self._due: dict[int, set[str]] = {}
        self._sequence = 1
        self.reports = {host.host: self._report(host.host, BEGIN, OLD, 0) for host in fleet.hosts}

    def _report(self, name: str, now: datetime, digest: str | None, number: int) -> Report:
        host = self.fleet.hosts[self._index[name]]
        return Report(
            host=name,
            colo=host.colo,
            region=host.region,
            sequence=self._sequence,
            at=now,
            units={} if digest is None else {UNIT.unit: digest},
            numbers={self._rollout: number} if number else {},
        )

    def tell(self, number: int, groups: list[Before], tick: int) -> None:
        """Tell hosts what to have; each takes a time of its own."""
        for group in groups:
            for seat in group.seats:
                if self._wanted.get(seat.host, (0, None))[0] < number:
                    self._wanted[seat.host] = (number, group.units[UNIT.unit])
                    due = tick + int(self._rng.integers(AGENT_TICKS[0], AGENT_TICKS[1] + 1))
                    self._due.setdefault(due, set()).add(seat.host)

    def act(self, tick: int, now: datetime) -> None:
        """Have the hosts whose time it is do what they were told last, at the end of a tick."""
        for name in sorted(self._due.pop(tick, ())):
            number, digest = self._wanted[name]
            at = self._index[name]
            if digest != NEW:
                self.since[at] = -1
            elif self.since[at] < 0:
                self.since[at] = tick + 1
            self._sequence += 1
            self.reports = heard(self.reports, self._report(name, now, digest, number), now)


class Run:
    """A rollout under control, from when it is submitted."""

    def __init__(self, resolved: Resolved, agents: Agents, signatures: int) -> None:
        self.agents = agents
        self.tick = PAST
        name = resolved.plan.rollout
        self._events: list[Event] = [Submitted(at=self.now, by="ann", unit="host", resolved=resolved, policy=POLICY)]
        found = fold(self._events)
        assert found is not None
        self.state: State = found
        stages = [
            Stage(
                one.name,
                {},
                None,
                None,
                *(duration_ms(text) // TICK_MS for text in (one.bake, one.deadline, one.settle)),
            )
            for one in resolved.plan.stages
        ]
        allowed = (True,) * len(stages)
        table = tuple((stage, allowed) for stage in (*range(signatures - 1), NOT_REACHED))
        membership = Membership(np.empty(0, np.int32), table, np.empty((signatures, 0), np.int32))
        self.judge = Judge(Judging(name, stages, membership, POLICY, "sha256:edge", "engine", True, TICK_MS))

    @property
    def now(self) -> datetime:
        """The end of the tick."""
        return BEGIN + timedelta(seconds=self.tick * TICK_S)

    @property
    def context(self) -> Context:
        """What is true now."""
        return Context(
            now=self.now, reports=self.agents.reports, fleet=self.agents.fleet, others=[summary_of(self.state)]
        )

    def give(self, given: Input | None = None) -> None:
        """Let the controller decide, and do what it wants done."""
        self._decide(given)
        while self.state.outbox:
            self._decide(Acted(effects=[self._do(effect) for effect in self.state.outbox]))

    def _decide(self, given: Input | None) -> None:
        made = decide(self._events, self.state, given, self.context)
        self._events, self.state = made.events, made.state

    def _do(self, effect: Effect) -> str:
        match effect:
            case Deploy():
                units: dict[str, str | None] = {unit.unit: unit.digest for unit in effect.units}
                self.agents.tell(effect.number, [Before(units=units, seats=effect.seats)], self.tick)
            case Restore():
                self.agents.tell(effect.number, effect.before, self.tick)
            case Tell() if effect.event == "started":
                before = self.judge.plan
                stages = [
                    replace(one, started=self.tick + 1) if one.name == effect.stage else one for one in before.stages
                ]
                self.judge.extend(replace(before, stages=stages))
            case _:
                pass
        return effect.id


def run(seed: int, number: int, *, at_scale: bool = False) -> Outcome:
    """Release one package stage by stage, and push it ungated as well: every second one is bad, at scale all are."""
    is_bad, fleet, chosen = at_scale or number % 2 == 1, inventory(), plan(f"r{seed}-{number}")
    rng = np.random.default_rng([seed, number])
    harm = harm_at_scale(rng, fleet.hosts) if at_scale else harm_of(rng, fleet.hosts, is_bad=is_bad)
    resolved = resolve(chosen, fleet, {})
    stage_of = {seat.host: index for index, seats in enumerate(resolved.stages) for seat in seats}
    signature = np.array([stage_of.get(host.host, len(resolved.stages)) for host in fleet.hosts])
    traffic = Traffic(fleet.hosts, signature, [seed, number, 1])
    one = Run(resolved, Agents(fleet, chosen.rollout, rng), len(resolved.stages) + 1)
    past, _ = traffic.ticks(1, np.ones((len(signature), PAST)))
    for _ in one.judge.push(past):
        pass
    first, decided, restored = _released(one, traffic, harm)
    seats = [seat for reached in one.state.reached for group in reached.before for seat in group.seats]
    last = one.state.reached[-1].stage
    noticed, undone = _pushed(signature, harm, seed, number) if is_bad else ((), ())
    return Outcome(
        number=number,
        is_bad=is_bad,
        factor=harm.factor,
        where=harm.where,
        hurt_share=float(harm.hurts.mean()),
        delay_s=harm.delay * TICK_S,
        from_share=harm.from_share,
        phase=one.state.phase,
        stage=one.state.name_of(last),
        reached=extent(seats, fleet).fleet,
        bound=chosen.stages[last].most.fleet if last < len(chosen.stages) else 1.0,
        ended=(one.tick - PAST) * TICK_S,
        decided=_seconds(first, decided),
        restored=_seconds(first, restored),
        noticed=noticed,
        undone=undone,
    )


def _released(run: Run, traffic: Traffic, harm: Harm) -> tuple[int | None, int | None, int | None]:
    """Go through a rollout, and return the first tick with an error of its, and when it was and is taken back.

    What the judge says of a tick reaches the controller at the end of the next one.
    """
    first: int | None = None
    decided: int | None = None
    latest, halted = None, 0
    run.give()
    while not run.state.is_ended and halted < HALTED_TICKS and run.tick < TICKS_MAX:
        run.tick += 1
        is_hurt = _hurt(run.agents.since, run.tick, harm)
        if first is None and is_hurt.any():
            first = run.tick
        drawn, _ = traffic.ticks(run.tick, np.where(is_hurt, harm.factor, 1.0)[:, None])
        if latest is not None and run.state.phase != "reverting":
            for judged in run.judge.push(latest):
                said = judged.verdict
                if said is not None:
                    scope = said.scope
                    run.give(
                        Verdict(
                            sequence=said.sequence,
                            action=said.action,
                            stage=said.stage,
                            colos=scope.colos or None,
                            metrics=scope.metrics,
                        )
                    )
        latest = drawn
        run.agents.act(run.tick, run.now)
        run.give()
        if decided is None and run.state.phase == "reverting":
            decided = run.tick
        halted = halted + 1 if run.state.phase == "halted" else 0
    is_back = decided is not None and not (run.agents.since >= 0).any()
    return first, decided, run.tick if is_back else None


def _hurt(since: NDArray[np.intp], tick: int, harm: Harm) -> NDArray[np.bool_]:
    has_it = since >= 0
    is_hurt: NDArray[np.bool_] = has_it & (tick >= since + harm.delay) & harm.hurts & (has_it.mean() >= harm.from_share)
    return is_hurt


def _pushed(
    signature: NDArray[np.intp], harm: Harm, seed: int, number: int
) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
    """Push the package everywhere at once, and return when each alarm notices, and when it is then undone everywhere.

    An alarm is a fixed threshold on the error share of the fleet, and whoever hears it undoes the push at once.
    """
    rng = np.random.default_rng([seed, number, 2])
    traffic = Traffic(inventory().hosts, signature, [seed, number, 1])
    low, high = AGENT_TICKS
    since = PAST + 1 + rng.integers(low, high + 1, len(signature))
    ticks = np.arange(PAST + 1, PAST + 1 + WATCHED_TICKS)
    is_hurt = (ticks >= since[:, None] + harm.delay) & harm.hurts[:, None]
    past = traffic.ticks(1, np.ones((len(signature), PAST)))[1]
    live = traffic.ticks(PAST + 1, np.where(is_hurt, harm.factor, 1.0))[1]
    window = np.ones(ALARM_TICKS)
    bad, total = (
        np.convolve(np.concatenate([before[-ALARM_TICKS + 1 :], row]), window, "valid")
        for before, row in zip(past, live, strict=True)
    )
    growth = bad / total / (past[0].sum() / past[1].sum())
    first = int(ticks[np.argmax(is_hurt.any(axis=0))])
    # An alarm before the first error is none that anybody could thank it for.
    alarms = [ticks[(growth > alarm) & (ticks >= first)] for alarm in ALARMS]
    noticed = [int(above[0]) if len(above) else None for above in alarms]
    last = int(rng.integers(low, high + 1, len(signature)).max())
    undone = [None if tick is None else tick + last for tick in noticed]
    return tuple(_seconds(first, tick) for tick in noticed), tuple(_seconds(first, tick) for tick in undone)


def _seconds(first: int | None, last: int | None) -> int | None:
    """Return the time from the beginning of one tick to the end of another."""
    return None if first is None or last is None else (last - first + 1) * TICK_S
