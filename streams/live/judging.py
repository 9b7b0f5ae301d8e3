"""One rollout, judged live: frames of the journal in, verdicts out.

Everything here is a function of the journal: judging it again gives the same verdicts, bit for bit.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from detectors.policy import Policy
from detectors.verdict import Abstained, Scope, Verdict
from streams.cohorts import CohortTicks
from streams.journal import Journal
from streams.judge import Judge
from streams.live.assembly import Assembly
from streams.live.frames import Planned
from streams.live.turnstile import Part, Release, Turnstile
from streams.membership import Announced, Stage
from streams.plan import Plan
from streams.records import Sink


@dataclass(frozen=True, slots=True)
class Terms:
    """What an announcement comes to.

    Attributes
    ----------
    version
        Grows with each change of the announcement.
    stages
        In ticks; `started` is the tick that a start was announced for, None if it was not yet.
    finished
        The last tick that is judged; None while the rollout is under way.
    objection
        Why the policy may let no stage advance, None if it may.
    """

    rollout: str
    version: int
    policy: Policy
    policy_digest: str
    stages: tuple[Stage, ...]
    binding: bool
    tick_ms: int
    finished: int | None
    objection: str | None = None


Reader = Callable[[bytes], Terms]
"""Reads an announcement."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A judged or passed tick: its end, the verdict if it brought a new one, and what became of its samples.

    `is_live` tells whether a stage is under way; `is_last` that nothing more is judged of the rollout.
    """

    tick: int
    time_ms: int
    verdict: Verdict | None
    samples: int
    dropped: Counter[str]
    is_live: bool
    is_last: bool


class LiveJudge:
    """Judges one rollout from the journal's frames.

    Parameters
    ----------
    rollout
        Its name.
    read
        Reads its announcement.
    engine
        Named in verdicts.
    sink
        Takes the rows that judged ticks leave behind; None keeps nothing.
    """

    def __init__(self, rollout: str, read: Reader, engine: str, sink: Sink | None = None) -> None:
        self.rollout = rollout
        self._read = read
        self.engine = engine
        self._sink = sink
        self.turnstile = Turnstile()
        self.assembly = Assembly(rollout)
        self.announcement = b""
        self.terms: Terms | None = None
        self.judge: Judge | None = None
        self.journal: Journal | None = None
        self.others: dict[str, Planned] = {}  # the other rollouts that were ever announced beside this one
        self.starts: dict[int, int] = {}  # stage: the tick in which it starts
        self.late_starts: dict[int, int] = {}  # stage: the tick that its start was announced for, if that had passed
        self.is_finished = False
        self._offsets: dict[int, int] = {}  # of the first frame of each tick that may have to be read again
        self.last_verdict: tuple[int, Verdict] | None = None  # with the end of its tick

    def push(self, part: Part) -> Iterator[Decided]:
        """Take a frame, and yield what becomes of the ticks that it releases."""
        self.note(part)
        for release in self.turnstile.push(part):
            yield from self.take(release)
        if part.header.kind == "idle" and self.turnstile.has_nothing and self.turnstile.released is None:
            yield from self._without_data(part)

    def note(self, part: Part) -> None:
        """Remember where in the journal the frames of a tick begin."""
        if part.header.kind == "tick":
            self._offsets.setdefault(part.header.tick, part.offset)

    def begin(self, make: Callable[[Plan, Journal | None], Judge]) -> Judge:
        """Have the judge made."""
        plan = self.plan()
        self.journal = Journal(self._sink, plan) if self._sink is not None else None
        self.judge = make(plan, self.journal)
        return self.judge

    def needed_from(self) -> int | None:
        """Return the offset of the oldest frame that must be read again to go on from a snapshot; None for none."""
        if self.is_finished:
            return None
        if self.judge is not None:
            needed = self.judge.needs_from
            self._offsets = {tick: offset for tick, offset in self._offsets.items() if tick >= needed}
            self.turnstile.forget_before(needed)
        return min(self._offsets.values(), default=None)

    def forget(self) -> None:
        """Let go of everything but that the rollout has finished."""
        assert self.is_finished
        self.judge, self.journal, self.assembly = None, None, Assembly(self.rollout)
        self._offsets = {}

    def take(self, release: Release) -> Iterator[Decided]:
        """Judge a tick that every source partition has closed."""
        if self.is_finished:
            return
        changed = self._note_announcement(release)
        release = self._under_the_policy(release)
        ticks = self._prepared(release, is_changed=changed)
        if ticks is None or self.judge is None or self.terms is None:
            return
        trouble = self._trouble(release)
        verdict, is_live = None, False
        for judged in self.judge.push(ticks, {release.tick: trouble} if trouble else None):
            verdict, is_live = judged.verdict, True
        time_ms = release.tick * self.terms.tick_ms
        if verdict is not None:
            self.last_verdict = time_ms, verdict
            if self._sink is not None:
                self._sink.verdict(self.rollout, time_ms, verdict)
        finished = self.terms.finished
        self.is_finished = finished is not None and release.tick >= finished
        yield Decided(release.tick, time_ms, verdict, *self._accounted(release), is_live, self.is_finished)

    def _without_data(self, part: Part) -> Iterator[Decided]:
        """Say of a rollout that is over that nothing of it was ever seen; who is under way may yet be."""
        if self.is_finished:
            return
        raw = bytes(part.header.announcement)
        terms = self._read(raw)
        if terms.finished is None:
            return
        self.announcement, self.terms, self.is_finished = raw, terms, True
        why = "the rollout was over before the first tick that was summed up for it: none of it was judged"
        verdict = Verdict(
            sequence=1 if self.last_verdict is None else self.last_verdict[1].sequence + 1,
            action="wait",
            cause="data",
            stage=terms.stages[0].name,
            binding=terms.binding,
            scope=Scope(colos=[], metrics=[]),
            reasons=[],
            abstained=[
                Abstained(metric=metric.name, colo=None, minimum_detectable_effect=None, why=why)
                for metric in terms.policy.metrics
            ],
            policy=terms.policy_digest,
            engine=self.engine,
        )
        time_ms = terms.finished * terms.tick_ms
        self.last_verdict = time_ms, verdict
        if self._sink is not None:
            self._sink.verdict(self.rollout, time_ms, verdict)
        yield Decided(terms.finished, time_ms, verdict, 0, Counter(), is_live=False, is_last=True)

    def is_under_the_policy(self, part: Part) -> bool:
        """Tell whether a frame was made for the policy that is in force: the rows of another one are not its own."""
        raw = bytes(part.header.announcement)
        if raw == self.announcement:
            return True
        return self.terms is not None and self._read(raw).policy_digest == self.terms.policy_digest

    def _under_the_policy(self, release: Release) -> Release:
        """Leave out what was made for a policy that was replaced, and count its samples."""
        parts: list[Part] = []
        for part in release.parts:
            if self.is_under_the_policy(part):
                parts.append(part)
            else:
                self.turnstile.dropped["replaced_policy"] += part.header.samples
                self.turnstile.dropped.update(part.header.dropped)
        return Release(release.tick, tuple(parts))

    def _prepared(self, release: Release, *, is_changed: bool) -> CohortTicks | None:
        """Take note of what a tick's parts say about plans and rows, and put its sums together."""
        before = self.assembly.keys
        renamed = self.assembly.learn(release.parts) if release.parts else None
        if self.terms is None:
            return None
        if is_changed or before != self.assembly.keys or renamed:
            planned = {rollout.rollout: rollout for part in release.parts for rollout in part.header.planned}
            self.others.update({name: rollout for name, rollout in planned.items() if name != self.rollout})
            if self.judge is None:
                judge = self.begin(Judge)
                if self.last_verdict is not None:  # under a policy that was replaced
                    judge.number_after(self.last_verdict[1].sequence)
            else:
                self.judge.extend(self.plan(), renamed or {})
        return self.assembly.assemble(release.tick, release.parts)

    def _note_announcement(self, release: Release) -> bool:
        """Take the newest announcement of a tick's parts; starts that it brings take effect from here on."""
        newest, before = self.announcement, self.terms
        for raw in {bytes(part.header.announcement) for part in release.parts} - {self.announcement}:
            terms = self._read(raw)
            if self.terms is None or terms.version > self.terms.version:
                self.terms, newest = terms, raw
        if newest == self.announcement or self.terms is None:
            return False
        self.announcement = newest
        if before is not None and before.policy_digest != self.terms.policy_digest:
            self._begin_anew(release.tick)
        for index, stage in enumerate(self.terms.stages):
            begun = self.starts.get(index, release.tick) < release.tick
            if stage.started is not None and not begun:
                self.starts[index] = max(stage.started, release.tick)
                if stage.started < release.tick:
                    self.late_starts[index] = stage.started
        return True

    def _begin_anew(self, tick: int) -> None:
        """Forget what was seen under another policy: its rows are numbered otherwise, and its ticks may be longer."""
        if self.journal is not None:
            self.journal.flush()
        self.judge, self.journal, self.assembly = None, None, Assembly(self.rollout)
        self.others, self.starts, self.late_starts = {}, {}, {}
        self._offsets = {later: offset for later, offset in self._offsets.items() if later >= tick}

    def plan(self) -> Plan:
        """Return what the judge works from, as it is known now."""
        terms = self.terms
        assert terms is not None
        others = [
            Announced(
                name,
                [Stage(stage.name, {}, None, stage.started, 1, None, 0) for stage in self.others[name].stages],
                name,
            )
            for name in self.assembly.signatures.others
        ]
        return Plan(
            self.rollout,
            [replace(stage, started=self.starts.get(index)) for index, stage in enumerate(terms.stages)],
            self.assembly.signatures.membership(),
            terms.policy,
            terms.policy_digest,
            self.engine,
            terms.binding,
            terms.tick_ms,
            others,
            announced=dict(self.late_starts),
            objection=terms.objection,
        )

    def _trouble(self, release: Release) -> str:
        """Say why the data of a tick cannot be trusted, if that is so."""
        assert self.terms is not None
        disputed = [part.header for part in release.parts if part.header.is_disputed]
        if disputed:
            where = ", ".join(f"{header.topic}/{header.partition}" for header in disputed)
            return f"the clocks of half of the units disagree in {where}"
        policy = self.terms.policy
        twice = self.assembly.in_two(release.tick, release.parts, len(policy.metrics), policy.gap_ticks_max)
        if twice:
            named = ", ".join(twice[:5]) + (", …" if len(twice) > 5 else "")
            return (
                f"{named} came in more than one partition of topics that are declared to be keyed by colo: "
                "key them, or declare the topic keyed: false"
            )
        return ""

    def _accounted(self, release: Release) -> tuple[int, Counter[str]]:
        """Add up the samples of a tick and those that were dropped since the one before."""
        dropped = Counter(self.turnstile.dropped)
        self.turnstile.dropped.clear()
        for part in release.parts:
            dropped.update(part.header.dropped)
        return sum(part.header.samples for part in release.parts), dropped


def judge_again(parts: Sequence[Part], read: Reader, engine: str) -> list[tuple[int, Verdict]]:
    """Judge a rollout's journal once more, from its beginning: end of the tick (ms) and verdict of each."""
    if not parts:
        return []
    judge = LiveJudge(parts[0].header.rollout, read, engine)
    decided = [decided for part in parts for decided in judge.push(part)]
    return [(each.time_ms, each.verdict) for each in decided if each.verdict is not None]
