"""An incident becomes a recording whose truth is known, so that no policy that misses it ever passes the gate again."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Final

import msgspec

from detectors.policy import duration_ms
from holdfast.corpus.digests import digest_of, digest_of_file, files_of
from holdfast.errors import BadInput
from holdfast.recording.document import Source
from holdfast.recording.documents import TRUTH, Documents
from holdfast.recording.record import Recorded, record
from holdfast.replaying import Outcome, replay_recording
from rollouts.incidents.folding import Incident
from rollouts.incidents.history import Cause
from rollouts.truth import Truth

_TRY: Final = ".keeping-"


@dataclass(frozen=True, slots=True)
class KeptAs:
    """What was kept: the recording, its digest, and how the engine judges it."""

    recorded: Recorded
    digest: str
    outcome: Outcome


def cause_of(incident: Incident, rollout: str | None) -> Cause:
    """Return the stop that the recording is to be of: the first one, or that of a rollout.

    Raises
    ------
    BadInput
        If there is none.
    """
    causes = sorted(incident.causes, key=lambda cause: cause.at)
    if rollout is not None:
        causes = [cause for cause in causes if cause.rollout == rollout]
    if not causes:
        known = ", ".join(sorted({cause.rollout for cause in incident.causes})) or "none, as it was opened by hand"
        message = f"{incident.id}: no rollout {rollout or ''} was stopped by a verdict; there are: {known}"
        raise BadInput(message)
    return causes[0]


def truth_of(incident: Incident, cause: Cause, tick: str, onset: datetime | None, *, harmless: bool) -> Truth:
    """State the truth of an incident.

    The stop is due by the tick in which it was given, and not later: a policy that sees it later is a worse one.

    Parameters
    ----------
    incident, cause
        The incident, and the stop that the recording is of.
    tick
        Of the policy.
    onset
        When the harm began, if somebody knows it better than the incident.
    harmless
        Whether the review found that the change was harmless, and the verdict a false alarm.

    Raises
    ------
    BadInput
        If nobody knows when the harm began, or it is said to have begun after it was stopped.
    """
    if harmless:
        return Truth(bad=False, expect=["advance", "wait"])
    began = onset or incident.impact.onset
    if began is None:
        message = (
            f"{incident.id}: nobody knows when the harm began; --onset says so, as in --onset 2026-03-12T11:20:00Z"
        )
        raise BadInput(message)
    if onset is None and incident.impact.is_onset_estimated:
        about = f"{msgspec.to_builtins(began.astimezone(UTC))[:19]}Z"
        message = (
            f"{incident.id}: that the harm began at about {about} is an estimate, and the gate would hold policies to "
            f"it for ever; --onset says when it did, as in --onset {about}"
        )
        raise BadInput(message)
    if began >= cause.at:
        stopped = cause.at.isoformat()
        message = f"{incident.id}: found an onset of {began.isoformat()}; allowed: before the verdict of {stopped}"
        raise BadInput(message)
    ticks = ceil((cause.at - began) / timedelta(milliseconds=duration_ms(tick)))
    return Truth(
        bad=True,
        expect=["halt", "revert"],
        onset=began,
        colos=incident.impact.colos,
        metrics=incident.impact.metrics,
        within=ticks,
    )


def keep(
    corpus: Path,
    name: str,
    source: Source,
    documents: Documents,
    truth: Truth,
    show: Callable[[str, int, int], None] = lambda *_: None,
) -> KeptAs:
    """Record an incident into a corpus, and see that the engine judges it as the truth says.

    Parameters
    ----------
    corpus
        Folder of recordings.
    name
        Of the recording in it.
    source, documents
        Where samples are, and what judges them.
    truth
        What is true of it.
    show
        Is told how far it has come.

    Raises
    ------
    BadInput
        If there is such a recording already, its samples are gone, or replaying it contradicts its truth: then
        nothing is kept, as every policy would fail a gate on it.
    Unreachable, StoreError
        If what keeps the samples does not answer.
    """
    out = corpus / name
    if out.exists():
        message = f"{out}: is there already; allowed: a name that is not in the corpus"
        raise BadInput(message)
    if not corpus.is_dir():
        message = f"{corpus}: no such folder; allowed: a corpus, a folder of recordings, which may be empty"
        raise BadInput(message)
    documents.files[TRUTH] = msgspec.yaml.encode(msgspec.to_builtins(truth))
    tried = corpus / f"{_TRY}{name}"
    shutil.rmtree(tried, ignore_errors=True)  # of a run that was killed
    try:
        recorded = record(tried, source, documents, show=show)
        outcome = replay_recording(tried, check=True)
        if outcome.contradictions:
            why = "; ".join(outcome.contradictions)
            message = f"{name}: replayed by its own policy, it contradicts its truth, and is not kept: {why}"
            raise BadInput(message)
        tried.rename(out)
    finally:
        shutil.rmtree(tried, ignore_errors=True)
    return KeptAs(replace(recorded, recording=str(out)), _digest(out), outcome)


def _digest(recording: Path) -> str:
    return digest_of((str(file.relative_to(recording)), digest_of_file(file)) for file in files_of(recording))
