"""A small fleet, a plan for it, and a world in which rollouts are controlled without Kafka."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from detectors.policy import Metric, Policy
from rollouts.breakers import Limits, Summary, summary_of
from rollouts.context import Context, Override
from rollouts.controlled import Before, Deploy, Effect, Event, Restore, State, Submitted
from rollouts.controller import Decision, decide
from rollouts.document import Unit
from rollouts.folding import fold
from rollouts.inputs import Acted, Input, Verdict
from rollouts.inventory import Host, Inventory, Reach
from rollouts.packages import digest_of
from rollouts.plans import Most, Plan, PlanStage, Seat, resolve
from rollouts.reports import Report, heard

BEGIN = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
POLICY = Policy(policy="edge", metrics=[Metric(name="busy", gauge="cpu", worse="increase", breach="halt")])
OLD, NEW = digest_of(b"old"), digest_of(b"new")
UNIT = Unit(unit="bots/features.bin", kind="data-file", digest=NEW)


def inventory(colos: int = 4, hosts: int = 5) -> Inventory:
    return Inventory(
        hosts=[
            Host(host=f"c{colo}-h{host}", colo=f"c{colo}", region=f"r{colo % 2}", labels={"tier": f"t{host % 2}"})
            for colo in range(colos)
            for host in range(hosts)
        ],
        segments={"even": {"tier": "t0"}},
    )


def stage(name: str, most: float = 1.0, **given: object) -> PlanStage:
    reach = Reach(**given)  # type: ignore[arg-type]
    return PlanStage(
        name=name, reach=reach, most=Most(fleet=most, region=1.0), bake="10m", deadline="1h", apply_within="5m"
    )


def plan(name: str = "bots", **given: object) -> Plan:
    stages = [
        stage("one", hosts={"host": "c0-h0"}),
        stage("colo", hosts={"host": "c*-h1"}),
        stage("half", hosts={"host": ["c*-h2", "c*-h3"]}),
    ]
    return Plan(**{"rollout": name, "package": [UNIT], "stages": stages, "policy": "edge", **given})  # type: ignore[arg-type]


class World:
    """Hosts that do what they are told when they are asked to, and a rollout that is controlled."""

    def __init__(self, given: Plan | None = None, fleet: Inventory | None = None) -> None:
        self.fleet = fleet or inventory()
        self.now = BEGIN
        self.units: dict[str, dict[str, str]] = {host.host: {UNIT.unit: OLD} for host in self.fleet.hosts}
        self.numbers: dict[str, int] = {}
        self.wanted: dict[str, tuple[int, dict[str, str | None]]] = {}
        self.reports: dict[str, Report] = {}
        self.sequence = 0
        self.effects: list[Effect] = []
        self.notes: list[str] = []
        self.overrides: list[Override] = []
        self.others: list[Summary] = []
        self.limits = Limits()
        for host in self.fleet.hosts:
            self.report(host.host)
        resolved = resolve(given or plan(), self.fleet, {})
        self.events: list[Event] = [Submitted(at=self.now, by="ann", unit="host", resolved=resolved, policy=POLICY)]
        found = fold(self.events)
        assert found is not None
        self.state: State = found

    @property
    def context(self) -> Context:
        return Context(
            now=self.now,
            reports=self.reports,
            fleet=self.fleet,
            others=[*self.others, summary_of(self.state)],
            overrides=self.overrides,
            limits=self.limits,
        )

    def phase(self) -> str:
        """Return the phase, which is another one after each step."""
        return self.state.phase

    def give(self, given: Input | None = None, minutes: float = 0) -> Decision:
        self.now += timedelta(minutes=minutes)
        made = decide(self.events, self.state, given, self.context)
        self.events, self.state = made.events, made.state
        self.notes.extend(note.why for note in made.notes)
        return made

    def perform(self) -> None:
        """Do all effects and say so."""
        done = [self.act(effect) for effect in self.state.outbox]
        self.give(Acted(effects=done))

    def act(self, effect: Effect) -> str:
        """Do an effect, which may have been done before."""
        self.effects.append(effect)
        if isinstance(effect, Deploy):
            units: dict[str, str | None] = {unit.unit: unit.digest for unit in effect.units}
            self._want(effect.number, [Before(units=units, seats=effect.seats)])
        if isinstance(effect, Restore):
            self._want(effect.number, effect.before)
        return effect.id

    def _want(self, number: int, groups: list[Before]) -> None:
        for group in groups:
            for seat in group.seats:
                if self.wanted.get(seat.host, (0, {}))[0] < number:
                    self.wanted[seat.host] = (number, group.units)

    def apply(self, host: str) -> None:
        """Have a host do what it was told, and report."""
        if host in self.wanted:
            number, units = self.wanted[host]
            self.numbers[host] = number
            kept = {**self.units[host], **units}
            self.units[host] = {unit: digest for unit, digest in kept.items() if digest is not None}
        self.report(host)

    def report(self, host: str) -> Report:
        self.sequence += 1
        one = next(each for each in self.fleet.hosts if each.host == host)
        numbers = {"bots": self.numbers[host]} if host in self.numbers else {}
        made = Report(
            host=host,
            colo=one.colo,
            region=one.region,
            sequence=self.sequence,
            at=self.now,
            units=self.units[host],
            numbers=numbers,
        )
        self.reports = heard(self.reports, made, self.now)
        return made

    def settle(self) -> None:
        """Do all there is to do, and have all hosts report, until nothing changes."""
        for _ in range(20):
            self.perform()
            for host in self.fleet.hosts:
                self.apply(host.host)
            self.give()
            if not self.state.outbox:
                return

    def verdict(self, sequence: int, action: str, stage: str, minutes: float = 0, **given: object) -> Decision:
        made = Verdict(sequence=sequence, action=action, stage=stage, **given)  # type: ignore[arg-type]
        return self.give(made, minutes)

    def changed(self) -> set[str]:
        return {host for host, units in self.units.items() if units.get(UNIT.unit) == NEW}

    def advance_to(self, name: str) -> None:
        """Let all stages before one pass."""
        sequence = 100
        self.give()
        self.settle()
        while self.state.current is None or self.state.name_of(self.state.current.stage) != name:
            assert self.state.current is not None
            sequence += 1
            self.verdict(sequence, "advance", self.state.name_of(self.state.current.stage), minutes=11)
            self.settle()


def override(kind: str, minutes: float = 60, **given: object) -> Override:
    given = {"id": f"{kind}-1", "kind": kind, "expires_at": BEGIN + timedelta(minutes=minutes), **given}
    return Override(**given)  # type: ignore[arg-type]


def seats(*hosts: str) -> list[Seat]:
    found = {host.host: host for host in inventory().hosts}
    return [Seat(host=name, colo=found[name].colo, region=found[name].region) for name in hosts]


def other(name: str, **given: object) -> Summary:
    empty = Summary(
        rollout=name,
        phase="baking",
        units=frozenset(),
        is_under_way=True,
        is_judge_lost=False,
        active=frozenset(),
        reverts=(),
        regions={},
    )
    return replace(empty, **given)
