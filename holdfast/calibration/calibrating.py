"""Calibrating a policy: placebos of one's own history, what it makes of them, what it can see, what to change."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from detectors.errors import BadInput
from detectors.policy import Policy
from holdfast.calibration.binomial import clopper_pearson, independent, of_dependent, quiet_trials_needed
from holdfast.calibration.crew import Crew
from holdfast.calibration.deciding import ACCUSING
from holdfast.calibration.effects import chosen, guess_of, summed_up
from holdfast.calibration.foreseeing import Foreseen
from holdfast.calibration.history import History, read_history
from holdfast.calibration.placebos import Judged, Placebo, overlap, past_of, schedule, span_of, window
from holdfast.calibration.report import Alarm, Calibration, Effect, Held, PastLength, Rate, Suggestion, Used, Verified
from holdfast.calibration.suggesting import (
    Found,
    accused,
    advanced_of,
    as_suggestions,
    excludable,
    further,
    lengths,
    lowered,
    of_pasts,
    raises,
    with_past,
)
from holdfast.calibration.working import Answer, Task, work
from holdfast.documents import load_policy
from holdfast.tuning.space import with_changes
from streams.replay import moment

EFFECTS: Final = 8
"""Placebos that effects are put into, if nothing else is asked for."""

SAMPLE: Final = 8
"""Placebos whose past is asked how far a tolerance can be lowered."""

Told = Callable[[str, int, int], None]
"""Is told what is done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a calibration is asked for.

    Attributes
    ----------
    policy, rollout
        Files; the rollout is that of the history by default.
    placebos
        How many, about; None for as many as there is room for.
    is_assigned
        Whether random hosts of each colo take turns as the canary.
    effects
        How many placebos effects are put into; 0 for none.
    suggests
        Whether to look for better tolerances and lengths of the past.
    seed, jobs
        Of all that is random; and how many processes, which changes nothing.
    """

    policy: Path
    rollout: Path | None = None
    placebos: int | None = None
    is_assigned: bool = False
    effects: int = EFFECTS
    suggests: bool = True
    seed: int = 1
    jobs: int | None = None


def calibrate(folders: Sequence[Path], asked: Asked, told: Told | None = None) -> Calibration:
    """Measure what a policy makes of placebo rollouts cut from histories.

    Parameters
    ----------
    folders
        Recordings; of each what lies before its first change is used.
    asked
        What is asked for.
    told
        Is told how far it is.

    Raises
    ------
    BadInput
        If documents or samples cannot be used, or no history is long enough for a placebo.
    """
    policy = load_policy(asked.policy)
    histories = _histories(folders, policy, asked, told)
    placebos = schedule(histories, asked.placebos, asked.seed)
    if not placebos:
        raise BadInput("\n".join(_too_short(history) for history in histories))
    with Crew(work, histories, asked.jobs) as crew:
        return _Run(histories, placebos, asked, policy, crew, told).report()


def _histories(folders: Sequence[Path], policy: Policy, asked: Asked, told: Told | None) -> Sequence[History]:
    problems: list[str] = []
    found: list[History] = []
    for number, folder in enumerate(folders):

        def tell(done: int, total: int, number: int = number, name: str = folder.name) -> None:
            if told is not None:
                told(f"reading {name}", number * 1_000 + 1_000 * done // max(1, total), len(folders) * 1_000)

        seed = asked.seed if asked.is_assigned else None
        try:
            found.append(read_history(folder, policy, asked.policy, asked.rollout, seed=seed, told=tell))
        except BadInput as error:
            problems.append(str(error))
    if problems:
        raise BadInput("\n".join(problems))
    return found


def _too_short(history: History) -> str:
    ticks, seconds = history.ticks.ticks, history.plan.tick_ms / 1_000
    past = past_of(history)
    until = f"; it ends where {history.until}" if history.until else ""
    return (
        f"{history.name}: too short for a placebo: {ticks:,} ticks of {seconds:g} s without a change, and it takes "
        f"{past + history.live_ticks:,}: {past:,} of past and {history.live_ticks:,} to judge (the deadline, or twice "
        f"the bake time){until}. Give a longer history, or with --rollout a rollout that bakes less long"
    )


@dataclass(slots=True)
class _Run:
    """One calibration under way."""

    histories: Sequence[History]
    placebos: Sequence[Placebo]
    asked: Asked
    policy: Policy
    crew: Crew[Sequence[History], Task, Answer]
    told: Told | None

    def report(self) -> Calibration:
        first = self.histories[0].plan
        judged = self.judge(self.placebos, None)
        foreseen = self.foresee(self.placebos, None)
        effects = self.effects(judged, foreseen)
        pasts, suggestions, verified = [], list[Suggestion](), None
        held, exposure = list[Held](), None
        if self.asked.suggests:
            pasts = self.pasts(judged)
            found = self.look(judged, foreseen)
            suggestions, verified = self.suggest(found, pasts)
            held = [found.held[metric] for metric in sorted(found.held)]
            if held and self.policy.judge == "sequential" and self.policy.advance != "exposure":
                lenient = msgspec.structs.replace(self.policy, advance="exposure")
                exposure = self.verified(self.decide(self.placebos, lenient))
        stopped = [(place, one) for place, one in zip(self.placebos, judged, strict=True) if one.is_stopped]
        stage = first.stages[0]
        spans = [span_of(self.histories[one.history], one) for one in self.placebos]
        return Calibration(
            policy=self.policy.policy,
            policy_digest=first.policy_digest,
            rollout=first.rollout,
            engine=first.engine,
            seed=self.asked.seed,
            tick_s=first.tick_ms / 1_000,
            alpha=self.policy.alpha,
            bake_ticks=stage.bake,
            deadline_ticks=stage.deadline,
            live_ticks=self.histories[0].live_ticks,
            past_ticks=self.shortest_past(),
            assigned_groups=self.histories[0].groups,
            histories=[_used(history) for history in self.histories],
            placebos=len(self.placebos),
            independent=independent(spans),
            overlap=overlap(self.histories, self.placebos),
            independent_needed=quiet_trials_needed(self.policy.alpha),
            on_evidence=self.rate(accused(one) for one in judged),
            stopped=self.rate(one.is_stopped for one in judged),
            causes=_counted([one.cause] for _, one in stopped),
            metrics=_counted(one.metrics for _, one in stopped if one.cause == "evidence"),
            colos=_counted(one.colos for _, one in stopped if one.cause == "evidence"),
            alarms=[self.alarm(place, one) for place, one in stopped],
            advanced=advanced_of(judged),
            waiting=_counted([one.cause] for one in judged if one.action == "wait"),
            effects=effects,
            pasts=pasts,
            suggestions=suggestions,
            suggested=verified,
            held=held,
            exposure=exposure,
        )

    def ask(self, doing: str, tasks: Sequence[Task]) -> list[Answer]:
        """Have tasks done, and tell how far that is."""
        done = 0

        def tell(_index: int, _found: Answer) -> None:
            nonlocal done
            done += 1
            if self.told is not None:
                self.told(doing, done, len(tasks))

        return self.crew.map(tasks, tell)

    def judge(self, placebos: Sequence[Placebo], policy: Policy | None) -> list[Judged]:
        """Have placebos judged by the judge itself."""
        found = self.ask("judging placebos", [Task("judge", one, policy) for one in placebos])
        return cast("list[Judged]", found)

    def decide(self, placebos: Sequence[Placebo], policy: Policy) -> list[Judged]:
        """Have placebos judged by another policy, without words."""
        found = self.ask("trying other values", [Task("decide", one, policy) for one in placebos])
        return cast("list[Judged]", found)

    def foresee(self, placebos: Sequence[Placebo], policy: Policy | None) -> list[list[Foreseen]]:
        """Ask the past of placebos what is to be expected."""
        found = self.ask("looking ahead", [Task("foresee", one, policy) for one in placebos])
        return [one for one in cast("list[list[Foreseen]]", found) if one]

    def rate(self, happened: Any) -> Rate:
        """Count what happened to placebos."""
        listed = [bool(one) for one in happened]
        spans = [span_of(self.histories[one.history], one) for one in self.placebos]
        count, total = sum(listed), len(listed)
        return Rate(
            count=count,
            total=total,
            share=count / total,
            interval=of_dependent(count, spans),
            interval_if_independent=clopper_pearson(count, total),
        )

    def alarm(self, place: Placebo, judged: Judged) -> Alarm:
        history = self.histories[place.history]
        return Alarm(
            history=history.name,
            started=moment(place.start * history.plan.tick_ms),
            group=place.group if history.groups else None,
            action=judged.action,
            cause=judged.cause,
            tick=judged.tick or 0,
            metrics=judged.metrics,
            colos=judged.colos,
        )

    def effects(self, judged: Sequence[Judged], foreseen: Sequence[Sequence[Foreseen]]) -> list[Effect]:
        """Find the smallest effects that are seen, of each metric that the policy names."""
        quiet = [
            place
            for place, one in zip(self.placebos, judged, strict=True)
            if not (one.is_stopped and one.cause in ACCUSING)
        ]
        drawn = chosen(quiet, self.asked.effects, self.asked.seed)
        if not drawn:
            return []
        place_of = {place: number for number, place in enumerate(self.placebos)}
        tasks = [
            Task("effect", place, None, metric, guess_of(foreseen[place_of[place]] if foreseen else [], metric))
            for metric in range(len(self.policy.metrics))
            for place in drawn
        ]
        found = cast("list[float]", self.ask("putting effects in", tasks))
        size = len(drawn)
        return [
            summed_up(self.histories[0], metric, foreseen, found[metric * size : (metric + 1) * size])
            for metric in range(len(self.policy.metrics))
        ]

    def shortest_past(self) -> int:
        """Return the length of the shortest past of a placebo."""
        return min(place.start - window(self.histories[place.history], place).first for place in self.placebos)

    def pasts(self, judged: Sequence[Judged]) -> list[PastLength]:
        """Judge the same placebos on shorter pasts."""
        result: list[PastLength] = []
        for length in lengths(self.policy, self.shortest_past()):
            is_own = length == self.policy.pre_period.ticks_max
            found = judged if is_own else self.decide(self.placebos, with_past(self.policy, length))
            result.append(
                PastLength(
                    ticks=length,
                    on_evidence=sum(accused(one) for one in found),
                    stopped=sum(one.is_stopped for one in found),
                    advanced=advanced_of(found),
                    total=len(found),
                )
            )
        return result

    def look(self, judged: Sequence[Judged], foreseen: Sequence[Sequence[Foreseen]]) -> Found:
        """Look for better tolerances."""
        found: Found = raises(self.policy, self.placebos, judged, self.decide)
        if self.policy.judge == "sequential":
            excludable(self.policy, foreseen, judged, found)
            further(self.policy, self.placebos, judged, self.decide, found)
            quiet = [place for place, one in zip(self.placebos, judged, strict=True) if not accused(one)]
            sample = chosen(quiet, SAMPLE, self.asked.seed)
            bake = self.histories[0].plan.stages[0].bake
            if sample:
                lowered(self.policy, quiet, sample, bake, self.decide, self.foresee, found)
        return found

    def suggest(self, found: Found, pasts: Sequence[PastLength]) -> tuple[list[Suggestion], Verified | None]:
        """List better values, and judge all placebos by all of them together."""
        suggestions = [*as_suggestions(self.policy, found), *of_pasts(self.policy, pasts)]
        if not suggestions:
            return [], None
        changes = {tuple(one.path): one.after for one in suggestions}
        return suggestions, self.verified(self.judge(self.placebos, with_changes(self.policy, changes)))

    def verified(self, judged: Sequence[Judged]) -> Verified:
        """Sum up what placebos come to by another policy."""
        return Verified(
            on_evidence=self.rate(accused(one) for one in judged),
            stopped=self.rate(one.is_stopped for one in judged),
            advanced=advanced_of(judged),
        )


def _counted(names: Any) -> dict[str, int]:
    """Count names, the most frequent first."""
    counter = Counter(name for some in names for name in some)
    return dict(sorted(counter.items(), key=lambda pair: (-pair[1], pair[0])))


def _used(history: History) -> Used:
    tick_ms = history.plan.tick_ms
    return Used(
        history=history.name,
        first=moment(history.ticks.first * tick_ms),
        last=moment((history.stop - 1) * tick_ms),
        ticks=history.ticks.ticks,
        samples=history.samples,
        until=history.until or None,
    )
