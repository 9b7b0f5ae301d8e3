"""Judge: cohort ticks in, verdicts out. One judge owns a rollout, so its sequence has one writer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from operator import lt
from typing import Final, Self

from detectors.errors import StateMismatch
from detectors.state import State, part
from detectors.verdict import Verdict
from streams.basis import basis_of, judged_rows
from streams.begun import Begun
from streams.cohorts import CohortTicks, RowKey
from streams.history import Alignment, History, emptied, with_signatures
from streams.journal import Journal
from streams.methods import Method, begin
from streams.plan import Plan
from streams.standing import VERSION, Said, StageStanding, Standing, checked, plan_digest, split, standing_of

LIVE_TICKS_MAX: Final = 4_320
"""Live ticks of a stage that are remembered, so that it can be judged anew with rows that come later."""

LIVE_VALUES_MAX: Final = 1 << 25
"""Numbers that these ticks may hold: 256 MiB."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One judged tick: the metrics' logarithmic e-values, and the verdict if the tick brought a new one."""

    tick: int
    log_e: dict[str, float]
    verdict: Verdict | None


@dataclass(slots=True)
class _Current:
    """The stage that is judged: since when, on which rows, and by what; see `streams.standing.StageStanding`."""

    method: Method
    index: int
    began: int
    past_first: int
    rows: Alignment
    basis: Callable[[], str]  # worked out when it is asked for, as a replay never does
    is_held: bool = True

    @property
    def is_stopped(self) -> bool:
        return self.method.begun.decision.action in ("halt", "revert")


class Judge:
    """Judges one rollout on its cohort ticks, in order.

    What is not known when a stage begins may come later: rows, signatures, other rollouts. The stage is then begun
    anew on the same past and judged again in silence, so that from then on it says what it would have said had all
    been known from the start. Which rows are known goes by blocks: those of a block are known from its first tick on.

    Parameters
    ----------
    plan
        The rollout, its policy and who belongs where.
    journal
        Takes the rows that judged ticks leave behind, or None to keep nothing.
    live_ticks_max
        Live ticks of a stage that are remembered to judge it anew. What comes up after so many is named as not judged.
    """

    def __init__(self, plan: Plan, journal: Journal | None = None, *, live_ticks_max: int = LIVE_TICKS_MAX) -> None:
        self.plan = plan
        self._journal = journal
        self._live_ticks_max = live_ticks_max
        self._history = History(plan.policy.pre_period.ticks_max)
        self._keys: tuple[RowKey, ...] = ()
        self._latest_keys: tuple[RowKey, ...] = ()
        self._trouble: dict[int, str] = {}
        self._current: _Current | None = None
        self._next_tick: int | None = None
        self._next_stage = 0
        self._said: Said | None = None
        self._sequence = 0
        self.metrics = plan.metrics

    @property
    def next_tick(self) -> int | None:
        """The tick that comes next; None before the first."""
        return self._next_tick

    @property
    def needs_from(self) -> int:
        """The first tick whose cohort ticks `resumed` must be given, to go on from a snapshot taken now."""
        wanted = [self._next_tick or 0]
        if self._current is not None:
            wanted.append(self._current.past_first)
        if self._history.first is not None:
            wanted.append(self._history.first)
        return min(wanted)

    def push(self, ticks: CohortTicks, trouble: Mapping[int, str] | None = None) -> Iterator[Judged]:
        """Judge consecutive ticks, and yield each that is live.

        Parameters
        ----------
        ticks
            The next ticks; rows that they lack are empty.
        trouble
            Ticks among them whose data cannot be trusted, each with a sentence that says why. They are taken for ticks
            in which nobody was heard, and as long as they last no metric has data.

        Raises
        ------
        ValueError
            If the ticks do not follow those before them, or the trouble is not with them.
        """
        if self._next_tick not in (None, ticks.first):
            msg = f"tick {self._next_tick} comes next, and here is {ticks.first}"
            raise ValueError(msg)
        at, stop = ticks.first, ticks.first + ticks.ticks
        if trouble:
            if not all(at <= tick < stop for tick in trouble):
                msg = f"trouble is told of the ticks {sorted(trouble)}, and here are {at} to {stop - 1}"
                raise ValueError(msg)
            ticks = emptied(ticks, trouble)
            self._trouble |= trouble
        if ticks.keys is not self._latest_keys and ticks.keys != self._latest_keys and self._learn(ticks.keys):
            self._grow()
        ticks = CohortTicks(ticks.first, self._latest_keys, ticks.values)
        while at < stop:
            start = self._start_of_next()
            end = stop if start is None or start >= stop else max(start, at)
            if end > at:
                piece = ticks.between(at, end)
                if self._current is not None:
                    yield from self._live(self._current, piece)
                self._next_tick = at = end
                self._remember(piece)
            # A stage may have begun before the first tick, or be called off by a stop just now.
            if start is not None and at >= start and self._start_of_next() == start:
                past_first = self._history.first
                self._begin(self._next_stage, at, at if past_first is None else past_first, self._keys)
                self._next_stage += 1

    def extend(self, plan: Plan, renamed: Mapping[int, int] | None = None) -> None:
        """Go on by a plan that knows more: other members, other rollouts, or when a stage starts.

        Parameters
        ----------
        plan
            The same rollout by the same policy; the stages that have begun are as they were.
        renamed
            Signatures that have other numbers in it, by the old ones; their order is the same.

        Raises
        ------
        ValueError
            If it is another rollout, or signatures change places.
        """
        if not plan.extends(self.plan, self._next_stage):
            msg = f"{plan.rollout}: a plan that extends another has the same policy, and the same stages begun"
            raise ValueError(msg)
        self.plan = plan
        if renamed:
            self._keys = self._latest_keys = with_signatures(self._keys, renamed)
            self._history.rename(renamed)
            if self._current is not None:
                self._current.rows = Alignment(with_signatures(self._current.rows.keys, renamed))
        if self._current is not None:
            self._current.method.begun.plan = plan
        self._grow()

    def _learn(self, keys: tuple[RowKey, ...]) -> bool:
        """Note which rows come from now on, and tell whether some of them are new."""
        more = set(keys).difference(self._keys)
        if more:
            is_all = not self._keys and all(map(lt, keys, keys[1:]))  # the first ones, in order as they are
            known = keys if is_all else tuple(sorted(more.union(self._keys)))
            self._keys = keys if keys == known else known
        # All ticks of the same rows hold the same tuple of them, which makes aligning cheap.
        self._latest_keys = self._keys if keys == self._keys else keys
        return bool(more)

    def _start_of_next(self) -> int | None:
        """Return when the next stage starts; after a stop there is no next one."""
        return self.plan.stages[self._next_stage].started if self._has_next() else None

    def _has_next(self) -> bool:
        is_stopped = self._current is not None and self._current.is_stopped
        return self._next_stage < len(self.plan.stages) and not is_stopped

    def _remember(self, piece: CohortTicks) -> None:
        """Keep the past that a later stage will need, and what it takes to begin this one anew."""
        current = self._current
        if current is not None and current.is_held:
            live = piece.first + piece.ticks - current.began
            most = min(self._live_ticks_max, LIVE_VALUES_MAX // (3 * max(1, len(current.rows.keys))))
            current.is_held = live <= most and not current.is_stopped
        is_held = current is not None and current.is_held
        if is_held or self._has_next():
            self._history.add(piece, current.past_first if current is not None and is_held else None)
        else:
            self._history.clear()
        if self._trouble:
            self._trouble = {tick: why for tick, why in self._trouble.items() if self._is_needed(tick)}

    def _is_needed(self, tick: int) -> bool:
        """Tell whether a tick may be looked at again: as a past, or to judge a stage anew."""
        current, first = self._current, self._history.first
        if current is not None and (current.is_held or tick < current.began) and tick >= current.past_first:
            return True
        kept = self._next_tick if first is None else first
        return kept is None or tick >= kept

    def _begin(
        self, index: int, began: int, past_first: int, keys: tuple[RowKey, ...], state: "State | None" = None
    ) -> None:
        """Begin a stage on what is remembered of its past, or go on with one."""
        method = begin(self.plan, index, keys, self._history.values(keys, began), state)
        begun = method.begun
        if self._next_tick not in (None, began):
            begun.late = 0  # a verdict has said so
        basis = cache(partial(basis_of, self.plan, index, keys, begun.first))
        self._current = _Current(method, index, began, past_first, Alignment(keys), basis)
        if self._journal:
            self._journal.begin(begun.stage.name, begun.pairing)

    def _grow(self) -> None:
        """Judge the stage anew if what is known by now changes anything for it."""
        current = self._current
        if current is None or current.is_stopped:
            return
        basis = basis_of(self.plan, current.index, self._keys, current.method.begun.first)
        if basis == current.basis():
            return
        if not current.is_held:
            self._name(current)
            return
        said, sequence, self._said = self._said, self._sequence, None
        self._begin(current.index, current.began, current.past_first, self._keys)
        assert self._current is not None
        for piece in self._history.between(current.began, self._next_tick or current.began):
            for _ in self._live(self._current, piece, is_silent=True):
                pass
        self._said, self._sequence = said, sequence

    def _name(self, current: _Current) -> None:
        """Name what came up too late to begin a stage anew with it."""
        begun, known = current.method.begun, set(current.rows.keys)
        named: dict[int, set[str]] = {}
        for key in judged_rows(self.plan, current.index, self._keys):
            if key not in known:
                named.setdefault(key.metric, set()).add(key.colo)
        begun.unjudged = {metric: sorted(colos) for metric, colos in named.items()}
        known_by_now = basis_of(self.plan, current.index, current.rows.keys, current.method.begun.first)
        begun.is_outdated = known_by_now != current.basis()

    def _live(self, current: _Current, piece: CohortTicks, *, is_silent: bool = False) -> Iterator[Judged]:
        """Judge live ticks; in silence nothing is handed on, though all is decided, and worded, as ever."""
        method, values = current.method, current.rows.values(piece)
        running, journal = method.begun, None if is_silent else self._journal
        assert running.stage.started is not None
        sides, totals = running.pairing.sides(values), running.totals.sums(values)
        ticks = sides.by_tick()
        # Histograms are added up when somebody is to read them; what settles does not count.
        counted = max(0, running.stage.started + running.stage.settle - piece.first)
        for column in range(piece.ticks):
            number = piece.first + column
            age = number - running.stage.started + 1
            running.trouble = self._trouble.get(number)
            log_e = method.step(ticks[column], (totals[0][:, column], totals[1][:, column]), age)
            if journal:
                method.record(journal, number)
            verdict = None
            if self._is_news(running, age):
                running.histograms.add(values[:, :, counted : column + 1])
                counted = max(counted, column + 1)
                verdict = method.verdict(self._sequence)
                running.late = 0
            yield Judged(number, dict(zip(self.metrics, log_e.tolist(), strict=True)), verdict)
        running.histograms.add(values[:, :, counted:])
        if journal:
            journal.cohorts(piece.first, sides, running.pairing.squares(values))

    def _is_news(self, running: Begun, age: int) -> bool:
        """Tell whether what a verdict would say has changed, and note that it is said."""
        decision = running.decision
        confounders = {name for metric in range(len(self.metrics)) for name in running.confounders(metric, age)}
        is_stopped = decision.action in ("halt", "revert")
        every = range(len(self.metrics)) if running.is_outdated else running.unjudged
        said = Said(
            running.stage.name,
            decision.action,
            decision.cause,
            tuple(decision.blamed),
            tuple(sorted(running.fallen if decision.cause == "traffic" else running.hurt)),
            tuple(sorted(confounders)),
            (running.trouble or self.plan.objection) if decision.action == "wait" else None,
            () if is_stopped else tuple(every),
        )
        if said == self._said:
            return False
        self._said = said
        self._sequence += 1
        return True

    def number_after(self, sequence: int) -> None:
        """Have verdicts numbered from after `sequence` on, if they would not be already."""
        self._sequence = max(self._sequence, sequence)

    def snapshot(self) -> State:
        """Return what was learned, for `resumed`; what is remembered of ticks is no part of it."""
        current, place = self._current, {key: row for row, key in enumerate(self._keys)}
        stage = None
        if current is not None:
            stage = StageStanding(
                *(current.index, current.began, current.past_first, current.is_held, current.basis()),
                [place[key] for key in current.rows.keys],
                current.method.begun.unjudged,
                current.method.begun.is_outdated,
            )
        standing = Standing(
            VERSION,
            self.plan.engine,
            plan_digest(self.plan, self._next_stage),
            self._next_tick,
            self.needs_from,
            self._next_stage,
            self._sequence,
            self._said,
            self._keys,
            dict(sorted(self._trouble.items())),
            stage,
        )
        state = standing.written()
        return state if current is None else {**state, "stage": current.method.snapshot()}

    @classmethod
    def resumed(
        cls,
        plan: Plan,
        state: State,
        ticks: Iterable[CohortTicks],
        journal: Journal | None = None,
        *,
        live_ticks_max: int = LIVE_TICKS_MAX,
    ) -> Self:
        """Return a judge that goes on, bit for bit, where the one that made `state` was.

        Parameters
        ----------
        plan
            That judge's plan at that time, with the same numbers of signatures; later stages may have got a start.
        state
            What its `snapshot` returned.
        ticks
            All ticks from its `needs_from` on, as they came, up to the last one that it had judged.

        Raises
        ------
        StateMismatch
            If the state is of another plan or engine, or the ticks are not those that it needs.
        """
        standing = standing_of(state, plan)
        judge = cls(plan, journal, live_ticks_max=live_ticks_max)
        judge._keys, judge._trouble = standing.keys, standing.trouble
        judge._next_tick, judge._next_stage = standing.next_tick, standing.next_stage
        judge._said, judge._sequence = standing.said, standing.sequence
        judge._recall(standing.stage, state, split(checked(ticks, standing), standing))
        return judge

    def _recall(self, stage: StageStanding | None, state: State, ticks: Iterator[CohortTicks]) -> None:
        """Remember the ticks again, and go on with the stage where its past is complete."""
        since = None if stage is None else stage.past_first
        for piece in ticks:
            if piece.keys != self._latest_keys and self._learn(piece.keys):
                msg = f"tick {piece.first} has rows that the state does not know"
                raise StateMismatch(msg)
            if stage is not None and piece.first == stage.began:
                self._pick_up(stage, part(state, "stage"))
                since = stage.past_first if stage.is_held else None
            if self._current is None or self._current.is_held or self._has_next():
                self._history.add(CohortTicks(piece.first, self._latest_keys, piece.values), since)
        if stage is not None and self._current is None:
            self._pick_up(stage, part(state, "stage"))

    def _pick_up(self, stage: StageStanding, state: State) -> None:
        """Go on with a stage whose past is remembered."""
        keys = tuple(self._keys[row] for row in stage.rows)
        self._begin(stage.index, stage.began, stage.past_first, keys, state)
        current = self._current
        assert current is not None
        if current.basis() != stage.basis:
            msg = f"stage {current.method.begun.stage.name} was begun with other rows, or on another past"
            raise StateMismatch(msg)
        current.is_held = stage.is_held
        current.method.begun.unjudged, current.method.begun.is_outdated = stage.unjudged, stage.is_outdated
        if not current.is_held and not self._has_next():
            self._history.clear()
