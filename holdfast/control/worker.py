"""The control worker: one at a time controls all rollouts, others stand by.

Whoever has the one partition of the control topic takes over: it fences off whoever had it before, and reads what has
happened. An event is kept, in a transaction, before any effect of it is done, and an effect is done until it is kept
that it was. So a worker may be killed at any point: the next one does again what is not known to be done, and each
effect can be done twice.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from holdfast.control.asking import ANSWERED, ASKED, Answer, Submission, decode
from holdfast.control.board import Board
from holdfast.control.deployers import Deployer, NotDelivered
from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import change
from holdfast.live.clients import base, consumer
from holdfast.live.events import Event as Told
from holdfast.live.events import Fresh, Gap, Received, Stale, Untrusted
from holdfast.live.loop import Fenced, Hook, let_pass
from holdfast.live.partitioner import MURMUR2
from holdfast.live.settings import Settings
from holdfast.live.subscription import Subscription
from holdfast.wall import now_ms
from rollouts.announced import Announcement, announce, same, with_event
from rollouts.breakers import Limits, summary_of
from rollouts.context import Context
from rollouts.controlled import Announce, Deploy, Effect, Event, Note, Restore, State, Submitted, Tell, encode
from rollouts.controlled import decode as decode_history
from rollouts.controller import decide
from rollouts.folding import fold
from rollouts.inputs import Acted, Doubt, Input, Trust, Verdict
from rollouts.inventory import Inventory
from rollouts.plans import Plan, resolve
from rollouts.reports import Report, fleet_of, heard
from rollouts.reports import decode as decode_report

log = logging.getLogger(__name__)

_ANSWER_S: Final = 30.0
_LOOK_S: Final = 0.1

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
    stale_after
        How long the judge may be silent.
    hook
        Told each point that is passed; tests stop the process there.
    """

    def __init__(
        self,
        settings: Settings,
        deployer: Callable[[], Deployer],
        fleet: Inventory | None = None,
        limits: Limits | None = None,
        stale_after: str = "60s",
        hook: Hook = let_pass,
    ) -> None:
        self._settings, self._make_deployer = settings, deployer
        self._fleet, self._limits, self._stale_after, self._hook = fleet, limits or Limits(), stale_after, hook
        self._stopping = threading.Event()
        self._is_mine = False
        self._held: dict[str, Held] = {}
        self._reports: dict[str, Report] = {}

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
        topic = self._settings.topics.control
        group = f"{self._settings.prefix}-control"
        member: Consumer = consumer(self._settings, group, member=f"{self._settings.worker}-control")
        member.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        try:
            while not self._stopping.is_set():
                member.poll(_LOOK_S)
                if self._is_mine:
                    self._lead(member)
        except KafkaException as error:
            message = f"control ends: {error.args[0].str()}"
            raise Fenced(message) from error
        finally:
            member.close()

    def _assigned(self, member: Consumer, partitions: list[TopicPartition]) -> None:
        member.incremental_assign(partitions)
        member.pause(partitions)  # what is there is read apart from the group, all of it
        self._is_mine = self._is_mine or bool(partitions)

    def _revoked(self, member: Consumer, partitions: list[TopicPartition]) -> None:
        member.incremental_unassign(partitions)
        self._is_mine = self._is_mine and not partitions

    def _lead(self, member: Consumer) -> None:
        """Take over, and control until the partition is given to somebody else."""
        settings, names = self._settings, self._settings.topics
        self._producer = self._writer()
        self._producer.init_transactions(_ANSWER_S)
        self._deployer = self._make_deployer()
        asked, applied, ears = (
            Board(settings, names.control),
            Board(settings, names.applied),
            Ears(settings, self._stale_after),
        )
        self._held, self._reports = {}, {}
        waiting: dict[bytes, bytes] = {}
        try:
            for key, value in asked.load():
                self._read(key, value, waiting)
            self._hear(applied.load())
            log.info("control: in charge of %d rollouts", len(self._held))
            ears.start()
            while self._is_mine and not self._stopping.is_set():
                member.poll(0.0)
                for key, value in asked.poll(_LOOK_S):
                    if key.startswith(ASKED):
                        self._read(key, value, waiting)
                self._hear(applied.poll(0.0))
                for key in [*waiting]:
                    self._answer(key, waiting.pop(key))
                told = ears.next()
                if told is not None:
                    self._listen(told)
                    ears.done()
                for name, (_, state) in sorted(self._held.items()):
                    if not state.is_ended or state.outbox:
                        self._go_on(name, None)
        finally:
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
        elif not key.startswith(ANSWERED) and value is not None:
            events = decode_history(value)
            state = fold(events)
            if state is not None:
                self._held[key.decode()] = (events, state)

    def _hear(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in records:
            try:
                if value is None:
                    self._reports.pop(key.decode(), None)
                else:
                    self._reports = heard(self._reports, decode_report(value), _now())
            except BadInput as error:
                log.warning("report refused: %s", error)

    def _context(self) -> Context:
        fleet = self._fleet or (fleet_of(self._reports.values()) if self._reports else None)
        if fleet is None:
            message = "no host has reported yet, and no inventory is given"
            raise BadInput(message)
        others = [summary_of(state) for _, state in self._held.values()]
        return Context(now=_now(), reports=self._reports, fleet=fleet, others=others, limits=self._limits)

    def _answer(self, key: bytes, value: bytes) -> None:
        """Do what was asked, and answer in the transaction that keeps what came of it."""
        name = key.removeprefix(ASKED)
        try:
            asked = decode(value)
            if isinstance(asked, Submission):
                self._submit(asked, name)
                return
            is_known = asked.rollout in self._held
            refused = None if is_known else f"{asked.rollout}: not under control"
            if is_known:
                self._go_on(asked.rollout, asked.command, name)
        except BadInput as error:
            refused = str(error)
        if refused is not None:
            self._write({}, name, refused)

    def _submit(self, asked: Submission, name: bytes) -> None:
        plan, context = asked.plan, self._context()
        known: Mapping[str, Plan] = {each: state.resolved.plan for each, (_, state) in self._held.items()}
        resolved = resolve(plan, context.fleet, known)
        if plan.policy != asked.policy.policy:
            message = f"{plan.rollout}: policy: found {plan.policy!r}; the policy is {asked.policy.policy!r}"
            raise BadInput(message)
        if plan.rollout in self._held:
            self._write({}, name, None)
            return
        first: list[Event] = [
            Submitted(at=context.now, by=asked.by, unit=asked.policy.unit, resolved=resolved, policy=asked.policy)
        ]
        state = fold(first)
        assert state is not None
        self._write({plan.rollout: (first, state)}, name, None)

    def _write(self, held: Mapping[str, Held], asked: bytes | None = None, refused: str | None = None) -> None:
        """Keep histories, and answer what was asked, in one transaction."""
        topic = self._settings.topics.control
        self._producer.begin_transaction()
        for name, (events, _) in held.items():
            self._producer.produce(topic, key=name.encode(), value=encode(events))
        if asked is not None:
            self._producer.produce(topic, key=ASKED + asked, value=None)
            self._producer.produce(topic, key=ANSWERED + asked, value=msgspec.json.encode(Answer(refused=refused)))
        self._hook("produced")
        self._producer.commit_transaction(_ANSWER_S)
        self._held.update(held)
        self._hook("kept")

    def _go_on(self, name: str, given: Input | None, asked: bytes | None = None) -> None:
        """Decide, keep what was decided, and do what is to be done."""
        events, state = self._held[name]
        made = decide(events, state, given, self._context())
        for note in made.notes:
            log.warning("%s: %s: %s", name, note.what, note.why)
        refused = next((one.why for one in made.notes if one.what.endswith("refused")), None)
        if made.events != events or asked is not None:
            self._write({name: (made.events, made.state)}, asked, refused)
        done = self._performed(name)
        if done:
            self._go_on(name, Acted(effects=done))

    def _performed(self, name: str) -> list[str]:
        """Do what is to be done, in order, up to what cannot be done now; return what was."""
        done: list[str] = []
        for effect in self._held[name][1].outbox:
            try:
                self._perform(self._held[name][1], effect)
            except (BadInput, Unreachable, NotDelivered) as error:
                log.warning("%s: to be done again: %s", name, error)
                break
            done.append(effect.id)
            self._hook("done")
        return done

    def _perform(self, state: State, effect: Effect) -> None:
        client, topic = base(self._settings), self._settings.topics.rollouts
        match effect:
            case Announce():
                change(client, topic, state.rollout, lambda before: _announced(before, effect))
            case Tell():
                change(client, topic, state.rollout, lambda before: _told(before, effect))
            case Deploy() | Restore():
                kinds = {unit.unit: unit.kind for unit in state.resolved.plan.package}
                self._deployer.deliver(state.rollout, kinds, effect)
            case Note():
                log.info("%s: %s, by %s: %s", state.rollout, effect.what, effect.by, effect.why)

    def _listen(self, told: Told) -> None:
        names = [told.rollout] if told.rollout is not None else [*self._held]
        for name in names:
            if name in self._held:
                self._go_on(name, _input(told))


class Ears:
    """Hears verdicts in a thread of its own; each is dealt with before the next one is asked for."""

    def __init__(self, settings: Settings, stale_after: str) -> None:
        given: dict[str, object] = {key: value for key, value in settings.kafka.items() if key != "bootstrap.servers"}
        # A worker that comes back is known by its name, and one that was killed is not waited for long.
        given["group.instance.id"] = f"{settings.worker}-control-verdicts"
        given["session.timeout.ms"] = settings.session_ms
        given["heartbeat.interval.ms"] = max(100, settings.session_ms // 5)
        self._subscription = Subscription(
            str(base(settings)["bootstrap.servers"]),
            f"{settings.prefix}-control-verdicts",
            trusted_keys=settings.trusted_keys or None,
            stale_after=stale_after,
            topic=settings.topics.verdicts,
            settings=given,
        )
        self._heard: queue.Queue[Told | Exception] = queue.Queue(maxsize=1)
        self._dealt_with = threading.Semaphore(0)
        self._is_closed = False
        self._thread = threading.Thread(target=self._listen, name="holdfast-ears", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def next(self) -> Told | None:
        """Return what was heard, if anything was; raise what kept it from listening."""
        try:
            found = self._heard.get_nowait()
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def done(self) -> None:
        """Say that it was dealt with."""
        self._dealt_with.release()

    def close(self) -> None:
        """Stop listening; what was not dealt with comes again."""
        self._is_closed = True
        self._subscription.close()
        self._dealt_with.release()

    def _listen(self) -> None:
        try:
            for told in self._subscription:
                self._heard.put(told)
                self._dealt_with.acquire()
                if self._is_closed:
                    return
        except Exception as error:  # noqa: BLE001 - handed to whoever asks next, who ends the worker
            self._heard.put(error)


def _input(told: Told) -> Input:
    match told:
        case Received():
            return Verdict(
                sequence=told.sequence,
                action=told.action,
                stage=told.stage,
                binding=told.binding,
                colos=told.scope.colos or None,
                metrics=told.scope.metrics,
            )
        case Gap():
            why = f"verdicts {told.first} to {told.last} are missing"
            return Doubt(why=why, sequence=told.last, is_missing=True, in_force=told.in_force)
        case Untrusted():
            return Doubt(why=f"a message is not to be trusted: {told.reason}")
        case Stale():
            return Doubt(why="it says nothing new")
        case Fresh():
            return Trust(in_force=told.in_force)


def _announced(before: Announcement | None, effect: Announce) -> Announcement:
    if before is None:
        return announce(effect.rollout, effect.policy)
    if not same(before, effect.rollout, effect.policy):
        message = f"{effect.rollout.rollout}: somebody else has announced another rollout of that name"
        raise BadInput(message)
    return before


def _told(before: Announcement | None, effect: Tell) -> Announcement:
    if before is None:
        message = f"stage {effect.stage}: the rollout is no longer announced"
        raise BadInput(message)
    return with_event(before, effect.event, effect.stage, effect.at)


def _now() -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=now_ms())
