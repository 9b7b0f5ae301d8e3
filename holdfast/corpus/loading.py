"""Loading a corpus: every recording below a folder, and everything that is wrong with any of them at once."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from detectors.errors import BadInput
from detectors.policy import Policy, duration_ms
from holdfast.corpus.contenders import Contender, lacking
from holdfast.corpus.contents import Contents, look
from holdfast.corpus.digests import digest_of, digest_of_file, files_of
from holdfast.corpus.truths import contradictions
from holdfast.documents import load_policy, load_rollout, load_truth
from holdfast.recording.samples import samples_of
from holdfast.setting import tick_of
from rollouts.document import Rollout
from rollouts.truth import Truth
from sinks.cloudevents import epoch_ms
from streams.replay import moment

_Made = TypeVar("_Made")

RECORDINGS_MAX: Final = 100_000
"""Most recordings of a corpus."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording of a corpus, checked.

    Attributes
    ----------
    path
        Its folder.
    name
        Its folder as seen from the corpus, with `/`: what tables and other runs call it.
    truth
        What is known of it.
    rollout
        The rollout that the truth is about.
    onset_ms
        Since when there is harm, in epoch milliseconds: the truth's onset, else the start of the rollout.
    samples
        How many samples it has, which is about how long it takes to be judged.
    digest
        Names its content: bytes of samples and documents.
    metrics_digest
        Names its samples alone.
    """

    path: Path
    name: str
    truth: Truth
    rollout: Rollout
    onset_ms: int
    samples: int
    digest: str
    metrics_digest: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Recordings whose truth is known, in order of their names.

    Attributes
    ----------
    folder
        Where they are.
    recordings
        The recordings.
    digest
        Names the content of all: other bytes or other names give another one, the order of files does not.
    findings
        What a reader of figures has to know and what is no error: holes in the samples, recordings that are not
        independent of each other.
    """

    folder: Path
    recordings: tuple[Recorded, ...]
    digest: str
    findings: tuple[str, ...]

    @property
    def harmless(self) -> list[Recorded]:
        """The recordings of changes that did no harm."""
        return [each for each in self.recordings if not each.truth.bad]

    @property
    def incidents(self) -> list[Recorded]:
        """The recordings of changes that did harm."""
        return [each for each in self.recordings if each.truth.bad]


def load_corpus(
    folder: Path,
    contenders: Sequence[Contender] = (),
    observer: Callable[[str, int, int], None] | None = None,
) -> Corpus:
    """Load a corpus, and check it before anything is judged.

    Parameters
    ----------
    folder
        Holds the recordings, at any depth; hidden folders are left out.
    contenders
        The policies that are going to judge it; none if each recording is judged by its own policy.yaml.
    observer
        Is told the name of the recording that is looked at, how many were, and how many there are.

    Raises
    ------
    BadInput
        With all errors of all recordings, one a line: none there, no truth, documents, samples that cannot be read,
        metrics that a policy judges and a recording lacks, a truth that contradicts itself, its recording, or that of
        another recording of the same samples and rollout.
    """
    folders = find(folder)
    problems: list[str] = []
    loaded: list[_Loaded] = []
    for index, path in enumerate(folders):
        name = path.relative_to(folder).as_posix() if path != folder else path.resolve().name
        if observer:
            observer(name, index, len(folders))
        try:
            loaded.append(_load(path, name, contenders))
        except BadInput as error:
            problems.append(str(error))
    problems += _twice(loaded)
    if problems:
        raise BadInput("\n".join(problems))
    recordings = tuple(sorted((each.recorded for each in loaded), key=lambda each: each.name))
    findings = [text for each in loaded for text in each.findings] + _related(recordings)
    digest = digest_of((each.name, each.digest) for each in recordings)
    return Corpus(folder, recordings, digest, tuple(findings))


def find(folder: Path) -> list[Path]:
    """Find the recordings below a folder, or the folder itself if it is one, in order of their paths.

    Raises
    ------
    BadInput
        If there is no such folder, no recording in it, or one without a truth.
    """
    if not folder.is_dir():
        msg = f"{folder}: no such folder; a corpus is a folder of recordings, each with a truth.yaml"
        raise BadInput(msg)
    found, unknown = [], []
    seen: set[Path] = set()
    for place, names, files in os.walk(folder, followlinks=True):
        real = Path(place).resolve()
        # What links lead to is looked at once, however many there are: they may lead in circles.
        names[:] = [] if real in seen else sorted(name for name in names if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        if "truth.yaml" in files:
            found.append(Path(place))
        elif "metrics.parquet" in files:
            unknown.append(f"{place}: no truth.yaml; each recording of a corpus needs one, or does not belong in it")
    if unknown:
        raise BadInput("\n".join(sorted(unknown)))
    if not 1 <= len(found) <= RECORDINGS_MAX:
        msg = (
            f"{folder}: found {len(found)} recordings with a truth.yaml there or below; allowed: 1 to {RECORDINGS_MAX}"
        )
        raise BadInput(msg)
    return sorted(found)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A recording, what is to be told of it, and what another one of the same samples and rollout has alike."""

    recorded: Recorded
    findings: list[str]
    likeness: bytes


def _load(path: Path, name: str, contenders: Sequence[Contender]) -> _Loaded:
    problems: list[str] = []

    def attempt(make: Callable[[], _Made]) -> _Made | None:
        try:
            return make()
        except BadInput as error:
            problems.append(str(error))
            return None

    rollout = attempt(lambda: load_rollout(path / "rollout.yaml"))
    others = [attempt(partial(load_rollout, file)) for file in sorted((path / "rollouts").glob("*.yaml"))]
    truth = attempt(lambda: load_truth(path / "truth.yaml"))
    own = path / "policy.yaml"
    policy = attempt(lambda: load_policy(own)) if own.exists() or not contenders else None
    judges = list(contenders) or ([Contender(policy, own)] if policy else [])
    reckoning = policy or (judges[0].policy if judges else None)
    source = attempt(lambda: samples_of(path))
    contents = attempt(lambda: look(source, duration_ms(reckoning.tick))) if source and reckoning else None
    findings: list[str] = []
    if contents and rollout and reckoning:
        begins = rollout.stages[0].started or rollout.started
        problems += _times(path, rollout, contents, judges)
        if truth:
            judged = {metric.name for each in (reckoning, *(one.policy for one in judges)) for metric in each.metrics}
            held = contradictions(path / "truth.yaml", truth, begins, contents, frozenset(judged))
            attempt(held.refuse)
            findings = _holes(name, truth, tick_of(begins, duration_ms(reckoning.tick)), contents, reckoning)
    if contents:
        for judge in judges:
            problems += lacking(judge, contents.metrics, str(path / "metrics.parquet"))
    if problems or rollout is None or truth is None or source is None:
        raise BadInput("\n".join(problems))
    digests = {file.relative_to(path).as_posix(): digest_of_file(file) for file in files_of(path)}
    begins = rollout.stages[0].started or rollout.started
    recorded = Recorded(
        path=path,
        name=name,
        truth=truth,
        rollout=rollout,
        onset_ms=epoch_ms(truth.onset or begins),
        samples=source.rows,
        digest=digest_of(digests.items()),
        metrics_digest=digests["metrics.parquet"],
    )
    return _Loaded(recorded, findings, _likeness([rollout, *(each for each in others if each)]))


def _times(path: Path, rollout: Rollout, contents: Contents, judges: Sequence[Contender]) -> list[str]:
    """Hold the start of the rollout against the samples, and against the past that policies require."""
    begins, file = rollout.stages[0].started or rollout.started, path / "rollout.yaml"
    span = f"the samples span {moment(contents.first_ms)} to {moment(contents.last_ms)}"
    if not contents.first_ms <= epoch_ms(begins) <= contents.last_ms:
        return [f"{file}: started: {moment(epoch_ms(begins))} lies outside the recording; {span}"]
    found = []
    for judge in judges:
        tick_ms, period = duration_ms(judge.policy.tick), judge.policy.pre_period
        past = tick_of(begins, tick_ms) - -(-contents.first_ms // tick_ms)
        if period.required and past < period.ticks_min:
            found.append(
                f"{file}: started: only {past} ticks of {tick_ms / 1000:g} s lie before it, and {judge.place} requires "
                f"{period.ticks_min} (pre_period.ticks_min); {span}"
            )
    return found


def _holes(name: str, truth: Truth, start: int, contents: Contents, policy: Policy) -> list[str]:
    """Name the holes in the samples that judging meets.

    They are no errors: a fleet that goes dark is an incident like others, and the judge waits then. But who reads that
    an incident was missed or caught late has to know that for a while there was nothing to see.
    """
    tick_ms, found = duration_ms(policy.tick), []
    for first, last in contents.holes(start - policy.pre_period.ticks_min, policy.gap_ticks_max):
        text = (
            f"{name}: no sample at all from {moment((first - 1) * tick_ms)} to {moment(last * tick_ms)}, for "
            f"{last - first + 1} ticks; the policy bridges {policy.gap_ticks_max} (gap_ticks_max)"
        )
        if truth.onset and first <= tick_of(truth.onset, tick_ms) <= last:
            text += "; the onset lies within, so that its delay says little"
        found.append(text)
    return found


def _likeness(rollouts: Sequence[Rollout]) -> bytes:
    """Return what of rollouts decides how they are judged: neither their names nor what their packages hold."""
    plain = [msgspec.structs.replace(each, rollout="-", package=[], policy=None, mode="enforce") for each in rollouts]
    return b"\n".join([msgspec.json.encode(plain[0]), *sorted(msgspec.json.encode(each) for each in plain[1:])])


def _twice(loaded: Sequence[_Loaded]) -> list[str]:
    """Find recordings that are there twice: with another truth one of them is wrong, with the same it counts double."""
    first: dict[tuple[str, bytes], Recorded] = {}
    problems = []
    for each in loaded:
        known = first.setdefault((each.recorded.metrics_digest, each.likeness), each.recorded)
        if known is each.recorded:
            continue
        what = "as in" if known.truth == each.recorded.truth else "with another truth than"
        problems.append(
            f"{each.recorded.path / 'truth.yaml'}: the same samples and the same rollout {what} {known.path}; "
            "allowed: each rollout once in a corpus"
        )
    return problems


def _related(recordings: Sequence[Recorded]) -> list[str]:
    """Tell which recordings share their samples: figures take recordings for independent of each other."""
    sharing: dict[str, list[str]] = {}
    for each in recordings:
        sharing.setdefault(each.metrics_digest, []).append(each.name)
    return [
        f"{', '.join(names)}: have the same samples; intervals, which take them for independent, are too narrow"
        for names in sharing.values()
        if len(names) > 1
    ]
