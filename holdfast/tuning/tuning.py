"""Tuning a policy on a corpus: a part is held out, the rest is searched, and what was chosen is shown on both."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from detectors.errors import BadInput
from holdfast.calibration.crew import Crew
from holdfast.corpus.contenders import Contender
from holdfast.corpus.judging import judge_corpus
from holdfast.corpus.loading import Corpus, load_corpus
from holdfast.documents import digest
from holdfast.located import join
from holdfast.setting import ENGINE
from holdfast.tuning.advice import of_layout, warnings
from holdfast.tuning.evaluating import Bench, Evaluated, Job, cost_of, evaluate
from holdfast.tuning.figures import Figures, Trial, deciding, figures, front
from holdfast.tuning.journal import Journal, name_of
from holdfast.tuning.report import Change, Dot, Tuned, Tuning
from holdfast.tuning.searching import Limits, Search
from holdfast.tuning.space import Candidate, Part, Path_, Space
from holdfast.tuning.split import held_out, incidents

TRIALS: Final = 48
HELD_OUT: Final = 0.3

Told = Callable[[str, int, int], None]
"""Is told what is done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a tuning is asked for.

    Attributes
    ----------
    policy
        The file that is tuned.
    free
        What of it is free.
    alarms_max
        Share of the harmless recordings that may be stopped; None for the policy's alpha.
    trials, time_s
        How many candidates are tried, and after how many seconds no more are begun (None: no such limit).
    held_out
        Part of the incidents that nothing is learned from.
    resume
        Folder of the journal; None to keep none.
    seed, jobs
        Of all that is random; and how many processes, which changes nothing.
    """

    policy: Path
    free: tuple[Part, ...]
    alarms_max: float | None = None
    trials: int = TRIALS
    time_s: float | None = None
    held_out: float = HELD_OUT
    resume: Path | None = None
    seed: int = 1
    jobs: int | None = None


def tune(folder: Path, asked: Asked, told: Told | None = None) -> Tuning:
    """Search for values of a policy that catch incidents sooner and keep within the false-alarm limit.

    Parameters
    ----------
    folder
        The corpus: recordings with a truth.
    asked
        What is asked for.
    told
        Is told how far it is.

    Raises
    ------
    BadInput
        If the corpus or the policy cannot be used, nothing of it is free, or there is nothing to learn from.
    """
    contender = Contender.load(asked.policy)
    corpus = load_corpus(folder, [contender], None if told is None else _checking(told))
    space = Space(contender.policy, asked.free)
    _require(asked, space, corpus)
    bench = Bench(corpus.recordings, asked.policy)
    with Journal(asked.resume) as journal, Crew(evaluate, bench, asked.jobs) as crew:
        return _Run(asked, corpus, contender, space, journal, crew, told).report()


def _checking(told: Told) -> Callable[[str, int, int], None]:
    return lambda name, done, total: told(f"checking {name}", done, total)


def _require(asked: Asked, space: Space, corpus: Corpus) -> None:
    """Refuse what nothing can be learned from."""
    problems: list[str] = []
    if not space.dimensions:
        problems.append(f"{asked.policy}: nothing of it is free ({', '.join(asked.free)}); --free names what is")
    if not corpus.incidents:
        problems.append(f"{corpus.folder}: no recording of a bad rollout in it; allowed: one at least, to be caught")
    if not corpus.harmless:
        problems.append(
            f"{corpus.folder}: no recording of a harmless rollout in it; allowed: one at least, to be let go on"
        )
    if problems:
        raise BadInput("\n".join(problems))


@dataclass(slots=True)
class _Run:
    """One tuning under way."""

    asked: Asked
    corpus: Corpus
    contender: Contender
    space: Space
    journal: Journal
    crew: Crew[Bench, Job, Evaluated]
    told: Told | None
    done: int = 0
    began_s: float = field(default_factory=time.monotonic)
    under_way: Search | None = None

    def report(self) -> Tuning:
        recordings = self.corpus.recordings
        is_out = held_out(recordings, self.asked.held_out, self.asked.seed)
        train = [number for number in range(len(recordings)) if not is_out[number]]
        out = [number for number in range(len(recordings)) if is_out[number]]
        search = self.search(train)
        best = search.best
        chosen = best if best.figures.alarms <= search.most else None
        on_front = front(search.trials)
        shown = {trial.number: trial for trial in [search.trials[0], *on_front, best]}
        beyond = self.held_out(list(shown.values()), out)
        self.verify(search.trials[0], train, beyond, out)
        if chosen is not None and chosen is not search.trials[0]:
            self.verify(chosen, train, beyond, out)
        names, out_names = ([recordings[number].name for number in part] for part in (train, out))
        bad_out = [recordings[number].truth.bad for number in out]

        def tuned(trial: Trial, before: Trial | None = None) -> Tuned:
            return Tuned(
                number=trial.number,
                digest=digest(trial.candidate.policy),
                changes=self.changes(trial.candidate),
                bake=trial.candidate.bake,
                within=trial.figures.alarms <= search.most,
                train=trial.figures,
                held_out=figures(beyond[trial.number], bad_out) if out else None,
                deciding=[] if before is None else deciding(names, before.evaluated, trial.evaluated),
            )

        befores = [None, *on_front[:-1]]
        current, picked = tuned(search.trials[0]), None if chosen is None else tuned(chosen)
        return Tuning(
            policy=self.contender.policy.policy,
            policy_digest=self.contender.digest,
            corpus=str(self.corpus.folder),
            corpus_digest=self.corpus.digest,
            engine=ENGINE,
            seed=self.asked.seed,
            alarms_max=self.limit,
            free=list(self.asked.free),
            recordings=len(recordings),
            held_out=out_names,
            tried=search.tried,
            dropped=search.dropped,
            is_complete=search.tried >= self.asked.trials or self.has_time(),
            current=current,
            front=[tuned(trial, before) for trial, before in zip(on_front, befores, strict=True)],
            chosen=picked,
            gained=[] if chosen is None else deciding(names, search.trials[0].evaluated, chosen.evaluated),
            gained_held_out=[] if chosen is None else deciding(out_names, beyond[0], beyond[chosen.number]),
            dots=[_dot(trial.figures) for trial in search.trials],
            warnings=[
                *warnings(current, picked, self.limit),
                *of_layout(len(set(incidents(recordings))), len(recordings)),
            ],
            findings=list(self.corpus.findings),
        )

    @property
    def limit(self) -> float:
        return self.contender.policy.alpha if self.asked.alarms_max is None else self.asked.alarms_max

    def has_time(self) -> bool:
        return self.asked.time_s is None or time.monotonic() - self.began_s < self.asked.time_s

    def search(self, train: Sequence[int]) -> Search:
        """Search on what is learned from."""
        limits = Limits(self.asked.trials, self.limit, self.asked.seed, self.has_time)
        is_bad = [self.corpus.recordings[number].truth.bad for number in train]
        search = Search(self.space, is_bad, limits, partial(self.evaluate, among=train))
        self.under_way = search
        search.run()
        return search

    def evaluate(self, tasks: Sequence[tuple[int, Candidate]], among: Sequence[int]) -> list[Evaluated]:
        """Judge recordings, by position in `among`, by candidates; what the journal knows is not judged again."""
        jobs = [Job(among[place], candidate) for place, candidate in tasks]
        keys = [(*name_of(job.candidate), self.corpus.recordings[job.recording].digest) for job in jobs]
        unknown = [place for place, key in enumerate(keys) if self.journal.get(key) is None]
        # The longest first: a long one that comes last would be waited for alone.
        unknown.sort(key=lambda place: -self._cost(jobs[place]))

        def finished(index: int, found: Evaluated) -> None:
            self.journal.add(keys[unknown[index]], found)
            self.tell(1)

        self.tell(len(jobs) - len(unknown))
        self.crew.map([jobs[place] for place in unknown], finished)
        return [cast("Evaluated", self.journal.get(key)) for key in keys]

    def _cost(self, job: Job) -> float:
        return cost_of(self.corpus.recordings[job.recording], job.candidate.policy)

    def tell(self, more: int) -> None:
        """Tell how far it is: in time, if that is what ends it first, else in evaluations."""
        self.done += more
        if self.told is None:
            return
        search = self.under_way
        assert search is not None
        whole = self.asked.trials * len(search.is_bad)
        part = self.done / whole
        if self.asked.time_s is not None:
            part = max(part, (time.monotonic() - self.began_s) / self.asked.time_s)
        self.told(f"{search.tried} of {self.asked.trials} policies", round(1_000 * min(1.0, part)), 1_000)

    def held_out(self, trials: Sequence[Trial], out: Sequence[int]) -> dict[int, list[Evaluated]]:
        """Judge what was held out by what is shown: [trial][recording]."""
        tasks = [(place, trial.candidate) for trial in trials for place in range(len(out))]
        found = iter(self.evaluate(tasks, out))
        return {trial.number: [next(found) for _ in out] for trial in trials}

    def verify(
        self, trial: Trial, train: Sequence[int], beyond: Mapping[int, Sequence[Evaluated]], out: Sequence[int]
    ) -> None:
        """Replay the whole corpus by a policy: a replay has to come to the same as the search did.

        Raises
        ------
        RuntimeError
            If it does not, which would be an error of holdfast.
        """
        if trial.candidate.bake != 1.0:  # a replay takes the bake time from the rollout
            return
        judge = Contender(trial.candidate.policy, self.asked.policy)
        known = dict(zip([*train, *out], [*trial.evaluated, *beyond[trial.number]], strict=True))
        tell = None if self.told is None else _replaying(self.told)
        for number, one in enumerate(judge_corpus(self.corpus, [judge], jobs=self.asked.jobs, observer=tell)[0]):
            own = known[number]
            if (one.score.kind, one.score.early, one.score.delay_s) != (own.kind, own.early, own.delay_s):
                msg = f"{one.score.recording}: the search came to {own.why}, a replay to {one.score.why}"
                raise RuntimeError(msg)

    def changes(self, candidate: Candidate) -> list[Change]:
        plain = cast("dict[str, Any]", msgspec.to_builtins(self.contender.policy))
        return [
            Change(keys=list(path), path=written(path, plain), before=_at(plain, path), after=value)
            for path, value in candidate.changes.items()
        ]


def _replaying(told: Told) -> Callable[[str, float, float], None]:
    return lambda _, done, total: told("replaying the corpus", round(1_000 * done / max(1.0, total)), 1_000)


def _dot(found: Figures) -> Dot:
    return Dot(delay_s=found.delay_s or 0.0, alarm_share=found.alarm_share, missed=found.missed)


def _at(plain: Any, path: Path_) -> float | str | None:
    for key in path:
        plain = plain[key]
    return cast("float | str | None", plain)


def written(path: Path_, plain: Mapping[str, Any]) -> str:
    """Write the path of a value, a metric by its name.

    Examples
    --------
    >>> written(("metrics", 0, "tolerate", "relative"), {"metrics": [{"name": "errors"}]})
    'errors: tolerate.relative'
    """
    if path[0] == "metrics":
        return f"{plain['metrics'][path[1]]['name']}: {written(path[2:], plain)}"
    whole = ""
    for key in path:
        whole = join(whole, key)
    return whole
