"""The control worker: one at a time controls all rollouts, others stand by.

Whoever has the one partition of the control topic takes over: it fences off whoever had it before, and reads what has
happened. An event is kept, in a transaction, before any effect of it is done, and an effect is done until it is kept
that it was. So a worker may be killed at any point: the next one does again what is not known to be done, and each
effect can be done twice. What is noted goes to the audit topic in the same way, beside everything else: no stage begins
before all notes of its rollout are there, and nothing else waits for them.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from confluent_kafka import KafkaException, Producer

from holdfast.control.announcing import announced, told
from holdfast.control.asking import ANSWERED, ASKED, NOTED, Answer, Submission, decode
from holdfast.control.board import Board
from holdfast.control.deployers import Deployer, NotDelivered
from holdfast.control.ears import Ears, input_of
from holdfast.control.glass import Glass
from holdfast.control.people_file import load_roster
from holdfast.control.refusals import Refusals, of_host
from holdfast.control.scribe import Noted, Scribe
from holdfast.control.watch import Watch
from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import change
from holdfast.live.clients import base
from holdfast.live.events import Event as Told
from holdfast.live.loop import Fenced, Hook, let_pass
from holdfast.live.partitioner import MURMUR2
from holdfast.live.settings import Settings
from holdfast.live.standing_by import LOOK_S, Candidate
from holdfast.wall import now
from rollouts.breakers import Limits, summary_of
from rollouts.context import Context
from rollouts.controlled import Announce, Deploy, Event, Note, Restore, State, Submitted, Tell, encode
from rollouts.controlled import decode as decode_history
from rollouts.controller import decide
from rollouts.folding import CONTROL, fold
from rollouts.inputs import Acted, Input, Trust
from rollouts.inventory import Inventory
from rollouts.plans import Plan, resolve
from rollouts.reports import Report, fleet_of, heard, lasting_problem
from rollouts.reports import decode as decode_report

log = logging.getLogger(__name__)

_ANSWER_S: Final = 30.0

Held = tuple[list[Event], State]


class Control:
    """Controls rollouts as long as it is the one that does.

    Parameters
    ----------
    settings
        Of the engine.
    deployer
        Makes what brings units to hosts, once this worker has taken over.
    fleet
        The inventory; None for the hosts that report.
    limits
        What is too much at once.
    hook
        Told each point that is passed; tests stop the process there.

    Raises
    ------
    BadInput
        If the people of the settings cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        deployer: Callable[[], Deployer],
        fleet: Inventory | None = None,
        limits: Limits | None = None,
        hook: Hook = let_pass,
    ) -> None:
        self._settings, self._make_deployer = settings, deployer
        self._fleet, self._limits, self._hook = fleet, limits or Limits(), hook
        self._who = None if settings.people is None else load_roster(settings)
        self._stopping = threading.Event()
        self._is_ready = False
        self.telemetry = Watch(settings)
        self._held: dict[str, Held] = {}
        self._reports: dict[str, Report] = {}

    @property
    def is_ready(self) -> bool:
        """Whether it is in charge and knows all rollouts, or stands by for whoever is."""
        return self._is_ready

    def stop(self) -> None:
        """End after what is at hand."""
        self._stopping.set()

    def run(self) -> None:
        """Stand by, and control while it is up to this worker.

        Raises
        ------
        Fenced
            If another worker has taken over meanwhile.
        """
        candidate = Candidate(self._settings, self._settings.topics.control, "control")
        try:
            while not self._stopping.is_set():
                candidate.poll(LOOK_S)
                self.telemetry.alive()
                self._is_ready = candidate.stands_by
                if candidate.is_in_charge:
                    self._lead(candidate)
        except KafkaException as error:
            message = f"control ends: {error.args[0].str()}"
            raise Fenced(message) from error
        finally:
            candidate.close()

    def _lead(self, candidate: Candidate) -> None:
        """Take over, and control until the partition is given to somebody else."""
        settings, names = self._settings, self._settings.topics
        self._producer = self._writer()
        self._producer.init_transactions(_ANSWER_S)
        self._deployer = self._make_deployer()
        asked, applied, ears = (
            Board(settings, names.control),
            Board(settings, names.applied),
            Ears(settings),
        )
        self._glass, self._scribe = Glass(settings, self._who), Scribe(settings, self._hook)
        self._held, self._reports, self._refusals = {}, {}, Refusals()
        waiting: dict[bytes, bytes] = {}
        try:
            for key, value in asked.load():
                self._read(key, value, waiting)
            wrong = self._hear(applied.load())
            log.info("control: in charge of %d rollouts", len(self._held))
            self._glass.start()
            self._scribe.start()
            ears.start()
            self.telemetry.takes_over(ears)
            self._is_ready = True
            while candidate.is_in_charge and not self._stopping.is_set():
                candidate.poll(0.0)
                self.telemetry.alive()
                for key, value in asked.poll(LOOK_S):
                    if key.startswith(ASKED):
                        self._read(key, value, waiting)
                if wrong := self._refusals.new([*wrong, *self._hear(applied.poll(0.0))]):
                    self._write({}, noted=wrong)
                wrong = []
                for key in [*waiting]:
                    self._answer(key, waiting.pop(key))
                told = ears.next()
                if told is not None:
                    self._listen(told)
                    ears.done()
                for name, (events, state) in sorted(self._held.items()):
                    if not state.is_ended or state.outbox:
                        is_news = state.judged is None and ears.has_judged(name, events[0].at)
                        self._go_on(name, Trust() if is_news else None)
                written = [noted for noted in self._refusals.waiting() if self._scribe.has_written(noted)]
                if written:
                    self._write({}, written=written)
                states = {name: state for name, (_, state) in self._held.items()}
                self.telemetry.look(states, self._reports, self._fleet, self._limits, now())
        finally:
            self._is_ready = False
            self.telemetry.stands_by()
            self._glass.close()
            self._scribe.close()
            ears.close()
            asked.close()
            applied.close()
            self._deployer.close()

    def _writer(self) -> Producer:
        ours = {
            "transactional.id": f"{self._settings.topics.control}-control",
            "transaction.timeout.ms": self._settings.transaction_ms,
            "partitioner": MURMUR2,
            "message.max.bytes": 8_000_000,
        }
        return Producer({**base(self._settings), **ours})

    def _read(self, key: bytes, value: bytes | None, waiting: dict[bytes, bytes]) -> None:
        if key.startswith(ASKED):
            if value is None:
                waiting.pop(key, None)
            else:
                waiting[key] = value
        elif key.startswith(NOTED):
            self._refusals.read(key, value)
        elif not key.startswith(ANSWERED) and value is not None:
            events = decode_history(value)
            state = fold(events)
            if state is not None:
                self._held[key.decode()] = (events, state)

    def _hear(self, records: Iterable[tuple[bytes, bytes | None]]) -> list[Noted]:
        """Take reports, and return what is wrong with some."""
        wrong: list[Noted] = []
        for key, value in records:
            host, at = key.decode(errors="replace"), now()
            try:
                if value is None:
                    self._reports.pop(host, None)
                    continue
                report = decode_report(value)
                problem = lasting_problem(self._reports.get(report.host), report)
                self._reports = heard(self._reports, report, at)
            except BadInput as error:
                wrong.append(of_host(host, "report refused", str(error), at))
            else:
                if problem is not None:
                    wrong.append(of_host(report.host, "package refused", problem, at))
        return wrong

    def _context(self) -> Context:
        fleet = self._fleet or (fleet_of(self._reports.values()) if self._reports else None)
        if fleet is None:
            message = "no host has reported yet, and no inventory is given"
            raise BadInput(message)
        others = [summary_of(state) for _, state in self._held.values()]
        at = now()
        return Context(
            now=at,
            reports=self._reports,
            fleet=fleet,
            others=others,
            limits=self._limits,
            overrides=self._glass.overrides(at),
            unknown=self._glass.unknown,
            is_audited=True,
            is_watched=True,
        )

    def _answer(self, key: bytes, value: bytes) -> None:
        """Do what was asked, and answer in the transaction that keeps what came of it."""
        name, rollout, what, by = key.removeprefix(ASKED), "", "what was asked is", CONTROL
        try:
            asked = decode(value)
            if isinstance(asked, Submission):
                rollout, what, by = asked.plan.rollout, "submission", asked.by
                self._submit(asked, name)
                return
            rollout, what, by = asked.rollout, asked.command.command, asked.command.by
            if asked.rollout in self._held:
                self._go_on(asked.rollout, asked.command, name)
                return
            refused = f"{asked.rollout}: not under control"
        except BadInput as error:
            refused = str(error)
        note = Note(id=f"asked/{name.decode(errors='replace')}", at=now(), what=f"{what} refused", by=by, why=refused)
        self._write({}, name, refused, self._refusals.new([Noted(rollout=rollout, note=note)]))

    def _submit(self, asked: Submission, name: bytes) -> None:
        plan, context = asked.plan, self._context()
        known: Mapping[str, Plan] = {each: state.resolved.plan for each, (_, state) in self._held.items()}
        resolved = resolve(plan, context.fleet, known)
        if plan.policy != asked.policy.policy:
            message = f"{plan.rollout}: policy: found {plan.policy!r}; the policy is {asked.policy.policy!r}"
            raise BadInput(message)
        before = self._held.get(plan.rollout)
        if before is not None and before[1].is_ended:
            message = f"{plan.rollout}: the rollout is {before[1].phase}; allowed: a plan by another name"
            raise BadInput(message)
        if before is not None:
            self._write({}, name, None)
            return
        first: list[Event] = [
            Submitted(at=context.now, by=asked.by, unit=asked.policy.unit, resolved=resolved, policy=asked.policy)
        ]
        state = fold(first)
        assert state is not None
        self._write({plan.rollout: (first, state)}, name, None)

    def _write(
        self,
        held: Mapping[str, Held],
        asked: bytes | None = None,
        refused: str | None = None,
        noted: Iterable[Noted] = (),
        written: Iterable[Noted] = (),
    ) -> None:
        """Keep histories and what was refused, and answer what was asked, in one transaction."""
        topic = self._settings.topics.control
        records = self._refusals.records(noted, written)
        self._producer.begin_transaction()
        for name, (events, _) in held.items():
            self._producer.produce(topic, key=name.encode(), value=encode(events))
        for key, value in records.items():
            self._producer.produce(topic, key=key, value=value)
        if asked is not None:
            self._producer.produce(topic, key=ASKED + asked, value=None)
            self._producer.produce(topic, key=ANSWERED + asked, value=msgspec.json.encode(Answer(refused=refused)))
        self._hook("produced")
        self._producer.commit_transaction(_ANSWER_S)
        self._held.update(held)
        for key, value in records.items():
            self._refusals.read(key, value)
        self._hook("kept")

    def _go_on(self, name: str, given: Input | None, asked: bytes | None = None) -> None:
        """Decide, keep what was decided, and do what is to be done."""
        events, state = self._held[name]
        made = decide(events, state, given, self._context())
        refused = next((one.why for one in made.notes if one.what.endswith("refused")), None)
        noted = self._refusals.new(Noted(rollout=name, note=note) for note in made.notes)
        if made.events != events or asked is not None or noted:
            self._write({name: (made.events, made.state)}, asked, refused, noted)
        done = self._performed(name)
        if done:
            self._go_on(name, Acted(effects=done))

    def _performed(self, name: str) -> list[str]:
        """Do what is to be done, in order, up to what cannot be done now; return what was.

        Notes are done beside it: what is to happen to hosts never waits for one of the same event.
        """
        done: list[str] = []
        is_stuck = False
        state = self._held[name][1]
        for effect in state.outbox:
            if isinstance(effect, Note):
                if not self._scribe.has_written(Noted(rollout=name, note=effect)):
                    continue
            elif is_stuck or not self._is_performed(state, effect):
                is_stuck = True
                continue
            done.append(effect.id)
            self._hook("done")
        return done

    def _is_performed(self, state: State, effect: Announce | Tell | Deploy | Restore) -> bool:
        try:
            return self._perform(state, effect)
        except BadInput as error:  # as when somebody else has told the end of the rollout
            what = f"{type(effect).__name__.lower()} refused"
            note = Note(id=f"{effect.id}/refused", at=now(), what=what, by=CONTROL, why=str(error))
            if noted := self._refusals.new([Noted(rollout=state.rollout, note=note)]):
                self._write({}, noted=noted)
            return False
        except (Unreachable, NotDelivered) as error:
            log.warning("%s: to be done again: %s", state.rollout, error)
            return False

    def _perform(self, state: State, effect: Announce | Tell | Deploy | Restore) -> bool:
        """Do an effect, and tell whether it is done: what takes its time is asked for again at the next look."""
        client, topic = base(self._settings), self._settings.topics.rollouts
        match effect:
            case Announce():
                change(client, topic, state.rollout, lambda before: announced(before, effect))
            case Tell():
                change(client, topic, state.rollout, lambda before: told(before, effect))
            case Deploy() if state.phase == "halted":
                self._deployer.hold(state.rollout)  # nobody gets any more of it while it is halted
                return False
            case Deploy() | Restore():
                kinds = {unit.unit: unit.kind for unit in state.resolved.plan.package}
                is_done = self._deployer.deliver(state.rollout, kinds, effect)
                self._write_down(self._deployer.notes())
                return is_done
        return True

    def _write_down(self, noted: Iterable[Noted]) -> None:
        """Keep what the deployer says: before it is kept that an action is done, so that none of it is lost."""
        new = self._refusals.new(noted, logging.DEBUG)  # whoever writes them logs them
        if new:
            self._write({}, noted=new)

    def _listen(self, told: Told) -> None:
        names = [told.rollout] if told.rollout is not None else [*self._held]
        for name in names:
            if name in self._held:
                self._go_on(name, input_of(told))
