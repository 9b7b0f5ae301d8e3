"""Whether what is said to be true of a recording can be: each contradiction with the line that it stands in."""

from datetime import datetime
from pathlib import Path
from typing import Final

from holdfast.corpus.contents import Contents
from holdfast.documents import RESERVED
from holdfast.located import Place, Problems, read
from holdfast.validation import shown
from rollouts.truth import Truth
from sinks.cloudevents import epoch_ms
from streams.replay import moment

STOPS: Final = frozenset({"halt", "revert"})


def contradictions(file: Path, truth: Truth, started: datetime, contents: Contents, judged: frozenset[str]) -> Problems:
    """Find what contradicts itself or the recording in a truth.

    Parameters
    ----------
    file
        The truth.yaml, which was read without an error.
    truth
        What it says.
    started
        When the rollout begins.
    contents
        What the samples hold.
    judged
        Names of the metrics that policies judge there.
    """
    problems = Problems(str(file))
    document = read(file, problems)
    _expectations(document, truth, problems)
    _onset(document, truth, started, contents, problems)
    for key, found, allowed in (
        ("colos", truth.colos, contents.colos),
        ("metrics", truth.metrics, contents.metrics | judged | {RESERVED}),
    ):
        place = document.child(key)
        for unknown in [name for name in found if name not in allowed]:
            assert place is not None
            there = ", ".join(sorted(allowed)[:20])
            problems.add(place, key, f"found {unknown!r}, which the recording does not have; allowed: {there}")
    return problems


def _expectations(document: Place, truth: Truth, problems: Problems) -> None:
    place, within = document.child("expect"), document.child("within")
    assert place is not None
    stops = STOPS.intersection(truth.expect)
    listed = f"[{', '.join(truth.expect)}]"
    if truth.bad and not stops:
        text = f"found {listed} with bad: true; allowed: halt or revert among them, since a bad change is to be stopped"
        problems.add(place, "expect", text)
    if not truth.bad and len(stops) == len(set(truth.expect)):
        text = f"found {listed} with bad: false; allowed: advance or wait among them, since nothing is to be stopped"
        problems.add(place, "expect", text)
    if not truth.bad and within:
        text = f"found {shown(within)} with bad: false; allowed: only with bad: true, which makes a stop due"
        problems.add(within, "within", text)


def _onset(document: Place, truth: Truth, started: datetime, contents: Contents, problems: Problems) -> None:
    place = document.child("onset")
    if place is None or truth.onset is None:
        return
    onset, start = epoch_ms(truth.onset), epoch_ms(started)
    if truth.bad and onset < start:
        text = f"found {moment(onset)}, before the rollout starts at {moment(start)}; allowed: then or later"
        problems.add(place, "onset", text)
    elif not contents.first_ms <= onset <= contents.last_ms:
        text = (
            f"found {moment(onset)}, outside the samples, which span {moment(contents.first_ms)} to "
            f"{moment(contents.last_ms)}; allowed: a time within"
        )
        problems.add(place, "onset", text)
