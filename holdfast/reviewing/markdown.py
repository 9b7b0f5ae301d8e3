"""The review as Markdown: written as a draft, and read again once people have filled it.

Whatever comes from outside is escaped, so that it is text and never markup: backslashes before what CommonMark (section
2.4) gives a meaning within a line, and at its start; entities for what would make a link or a tag.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from holdfast.errors import BadInput
from holdfast.reviewing.draft import SECTIONS, Draft, second
from holdfast.reviewing.facts import Knew
from rollouts.incidents.history import ActionItem

UNFILLED: Final = "*To be written.*"
ITEMS: Final = "Action items"
NO_ITEMS: Final = "*Fill the table, or say here why nothing is to be done.*"

REVIEW_BYTES_MAX: Final = 1 << 20
"""Largest review that is read."""

_SPECIAL: Final = re.compile(r"([\\`*_\[\]|~])")
_AT_THE_START: Final = re.compile(r"\A(?:([#+=-])|([0-9]+)([.)])(?=\s|$))")
_HEADING: Final = re.compile(r"^## (.+?)\s*$", re.MULTILINE)
_MARK: Final = re.compile(r"\A<!-- holdfast review (inc-[0-9]{8}-[0-9a-f]{8}) -->$", re.MULTILINE)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_CELL: Final = re.compile(r"(?<!\\)\|")
_UNESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


@dataclass(frozen=True, slots=True)
class Filled:
    """A review as people have written it: its action items, and the SHA-256 of its bytes, in hexadecimal."""

    incident: str
    items: tuple[ActionItem, ...]
    digest: str


def escaped(text: str) -> str:
    r"""Write text so that Markdown shows it as it is, on one line.

    Examples
    --------
    >>> escaped("*a* <b> | [c](d)")
    '\\*a\\* &lt;b&gt; \\| \\[c\\](d)'
    """
    line = " ".join(text.split())
    plain = "".join(_ENTITIES.get(sign, sign) for sign in line if sign.isprintable())
    inside = _SPECIAL.sub(r"\\\1", plain).replace("://", "&#58;//").replace("@", "&#64;")
    return _AT_THE_START.sub(lambda found: f"{found[2] or ''}\\{found[1] or found[3]}", inside)


def written(draft: Draft) -> str:
    """Write a draft; equal drafts give equal text."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    facts, incident = draft.facts, draft.facts.incident
    yield f"<!-- holdfast review {incident.id} -->"
    yield f"# Review of {incident.id}: {escaped(incident.title)}"
    yield ""
    if incident.is_drill:
        yield from ("**This was a drill: nobody was hurt.**", "")
    yield f"Severity {incident.severity}, {incident.phase}. Opened {second(incident.opened)}."
    yield from (
        "",
        f"Submit it with `holdfast incident review {incident.id} --submit FILE` once all of it is written.",
        "",
    )
    for section in SECTIONS[:2]:
        yield from _section(section.title, section.question)
    yield from _table("Figures", ("Figure", "Value", "Reckoned"), [(f.name, f.value, f.how) for f in draft.figures])
    yield from _reach(draft)
    yield from _causes(draft)
    rows = [(second(each.at), each.source, each.who, each.what) for each in draft.timeline]
    yield from _table("Timeline", ("Time", "From", "Who", "What"), rows)
    yield from _known(facts.verdicts)
    yield from _listed("Overridden", facts.overrides, "Nothing was overridden.")
    for section in SECTIONS[2:]:
        yield from _section(section.title, section.question)
    yield from _items(incident.actions)
    if facts.missing:
        yield from _listed("What is not known here", facts.missing, "")


def _section(title: str, question: str) -> Iterator[str]:
    yield from (f"## {title}", "", f"<!-- {question} -->", "", UNFILLED, "")


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from (f"## {title}", "", f"| {' | '.join(names)} |", f"|{'---|' * len(names)}")
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"
    yield ""


def _listed(title: str, entries: Sequence[str], otherwise: str) -> Iterator[str]:
    yield from (f"## {title}", "")
    yield from (f"- {escaped(entry)}" for entry in entries) if entries else (otherwise,)
    yield ""


def _reach(draft: Draft) -> Iterator[str]:
    facts = draft.facts
    yield from ("## Blast radius", "")
    impact = facts.incident.impact
    hurt = ", ".join(impact.colos) or "no colo by name"
    yield f"Hurt: {escaped(hurt)}. Services: {escaped(', '.join(impact.services) or 'none by name')}."
    yield ""
    for each in facts.reached:
        yield escaped(f"{each.rollout} had reached {each.hosts:,} hosts in {len(each.colos):,} colos.")
        yield ""
    for page in facts.evidence:
        yield f"All evidence about {escaped(page.rollout)}: [{page.file}]({page.file})"
        yield ""


def _causes(draft: Draft) -> Iterator[str]:
    rows = [
        (each.rollout or "unattributed", f"{each.score:.2f}", "; ".join(each.evidence))
        for each in draft.facts.incident.candidates
    ]
    if rows:
        yield from _table("Changes that may have caused it", ("Change", "Score", "Evidence"), rows)
    else:
        yield from ("## Changes that may have caused it", "", "None was ranked.", "")


def _known(verdicts: Sequence[Knew]) -> Iterator[str]:
    yield from ("## What the engine knew, and when", "")
    if not verdicts:
        yield from ("No verdict is stored.", "")
    for each in verdicts:
        binding = "" if each.binding else ", not binding"
        yield f"- {second(each.at)}, {escaped(each.rollout)} {each.sequence}: **{each.action}** ({each.cause}{binding})"
        yield from (f"  - {escaped(sentence)}" for sentence in each.sentences)
        if each.abstained:
            yield f"  - not judged: {escaped('; '.join(each.abstained))}"
    yield ""


def _items(items: Sequence[ActionItem]) -> Iterator[str]:
    yield from (f"## {ITEMS}", "", "| Id | What | Owner | Due |", "|---|---|---|---|")
    for item in items:
        cells = (item.id, item.what, item.owner, item.due.astimezone(UTC).date().isoformat())
        yield f"| {' | '.join(escaped(cell) for cell in cells)} |"
    yield from ("", "" if items else NO_ITEMS, "")


# ------------------------------------------------------------------ and back


def read(name: str, raw: bytes) -> Filled:
    """Read what people have made of a draft.

    Parameters
    ----------
    name
        Of the file, for what is wrong with it.
    raw
        Its bytes.

    Raises
    ------
    BadInput
        With everything that is missing or cannot be read, at once.
    """
    if len(raw) > REVIEW_BYTES_MAX:
        message = f"{name}: found {len(raw):,} bytes; allowed: {REVIEW_BYTES_MAX:,}"
        raise BadInput(message)
    try:
        text = raw.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        message = f"{name}: not UTF-8: {error}"
        raise BadInput(message) from error
    mark = _MARK.search(text)
    if mark is None:
        message = (
            f"{name}: line 1: found no mark of a draft; allowed: the line that `holdfast incident review` wrote there"
        )
        raise BadInput(message)
    found = _bodies(text)
    problems: list[str] = []
    for section in SECTIONS:
        body = found.get(section.title)
        if body is None:
            problems.append(f"{name}: the section '{section.title}' is missing")
        elif not body or UNFILLED in body:
            problems.append(f"{name}: the section '{section.title}' is not written: {section.question}")
    items = _read_items(name, found.get(ITEMS), problems)
    if problems:
        raise BadInput("\n".join(problems))
    return Filled(mark[1], items, sha256(raw).hexdigest())


def _bodies(text: str) -> dict[str, str]:
    places = list(_HEADING.finditer(text))
    ends = [place.start() for place in places[1:]] + [len(text)]
    return {
        place[1]: _COMMENT.sub("", text[place.end() : end]).strip() for place, end in zip(places, ends, strict=True)
    }


def _read_items(name: str, body: str | None, problems: list[str]) -> tuple[ActionItem, ...]:
    if body is None:
        problems.append(f"{name}: the section '{ITEMS}' is missing")
        return ()
    rows = [line for line in body.splitlines() if line.startswith("|")][2:]
    words = [line for line in body.splitlines() if line.strip() and not line.startswith("|")]
    if not rows and (not words or NO_ITEMS in words):
        problems.append(f"{name}: the section '{ITEMS}' is not written: what is to be done, by whom, until when?")
    items = [item for row in rows if (item := _item(name, row, problems)) is not None]
    return tuple(items)


def _item(name: str, row: str, problems: list[str]) -> ActionItem | None:
    cells = [_unescaped(cell.strip()) for cell in _CELL.split(row.strip().strip("|"))]
    where = f"{name}: {ITEMS}: {' | '.join(cells)[:100]}"
    if len(cells) != 4 or not all(cells[1:]):
        problems.append(
            f"{where}: found {len(cells)} cells, or empty ones; allowed: id (may be empty), what, owner, due"
        )
        return None
    known, what, owner, due = cells
    try:
        day = datetime.fromisoformat(due).replace(hour=23, minute=59, second=59, tzinfo=UTC)
    except ValueError:
        problems.append(f"{where}: due: found {due!r}; allowed: a day, as in 2026-12-24")
        return None
    if len(what) > 200 or len(owner) > 100:
        problems.append(f"{where}: allowed: 200 characters of what, 100 of whom")
        return None
    return ActionItem(id=known or f"item-{sha256(what.encode()).hexdigest()[:8]}", what=what, owner=owner, due=day)


def _unescaped(text: str) -> str:
    plain = _UNESCAPED.sub(r"\1", text).replace("&#58;", ":").replace("&#64;", "@")
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
