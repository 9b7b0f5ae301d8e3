"""Drift on the audit log: when something was found, and when it was gone. Each is said once."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from rollouts.audit import Link
from rollouts.drift_facts import Finding

FOUND: Final = "drift.found"
GONE: Final = "drift.gone"
"""Kinds of entries."""

NOTES_MAX: Final = 200
"""Most that is written at a time; the rest is written the next time."""


class Note(Struct, frozen=True, kw_only=True):
    """What is to be written down of a finding."""

    entry: str
    kind: str
    subject: str
    sentence: str


Open = dict[tuple[str, str], str]
"""What was found and is not gone: sentences by kind and subject."""


def open_of(links: Iterable[Link]) -> Open:
    """Return what is open by a log."""
    found: Open = {}
    for link in links:
        body = link.entry.body
        key = str(body.get("drift")), str(body.get("about"))
        if link.entry.kind == FOUND:
            found[key] = str(body.get("sentence"))
        elif link.entry.kind == GONE:
            found.pop(key, None)
    return found


def changes(before: Open, findings: Sequence[Finding]) -> list[Note]:
    """Say what is new and what is gone.

    What is not known is neither: a finding stays open as long as there is any of its kind that cannot be told.

    Parameters
    ----------
    before
        What was open.
    findings
        What is found now.
    """
    known = {(str(one.kind), one.subject): one.sentence for one in findings if one.known}
    doubtful = {str(one.kind) for one in findings if not one.known}
    new = [
        Note(entry=FOUND, kind=kind, subject=subject, sentence=sentence)
        for (kind, subject), sentence in known.items()
        if (kind, subject) not in before
    ]
    gone = [
        Note(entry=GONE, kind=kind, subject=subject, sentence=sentence)
        for (kind, subject), sentence in before.items()
        if (kind, subject) not in known and kind not in doubtful
    ]
    return [*new, *gone][:NOTES_MAX]


def after(before: Open, notes: Iterable[Note]) -> Open:
    """Return what is open once notes are written."""
    found = dict(before)
    for note in notes:
        if note.entry == FOUND:
            found[note.kind, note.subject] = note.sentence
        else:
            found.pop((note.kind, note.subject), None)
    return found
