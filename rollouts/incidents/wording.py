"""What a notice says, in plain words with figures: what, where, how much, since when, what was done, and when next.

Titles, updates and names come from people and from rollouts: they are text and never anything else, whatever is in
them. A subject is one line of at most 120 characters; HTML has every such text escaped.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Final, Literal

from msgspec import Struct

from rollouts.incidents.folding import ENGINE, Incident
from rollouts.incidents.history import (
    Assessed,
    Closed,
    Escalated,
    Event,
    Joined,
    MergedInto,
    Mitigated,
    Opened,
    Overdue,
    Reminded,
    Reopened,
    Resolved,
    Role,
    Updated,
)
from rollouts.incidents.notices import Notice
from rollouts.incidents.plain import counted, lasting, line, lines, listed, moment, ordered, share, titled
from rollouts.incidents.response import Response, What
from rollouts.incidents.timers import promised_for

SUBJECT_MAX: Final = 120

LISTED_MAX: Final = 20
"""Most notices that a message which sums up says something of."""

UNKNOWN: Final = "not known"

Tone = Literal["failure", "warning", "info", "success"]

_ROLES: Final[dict[Role, str]] = {
    "lead": "incident lead",
    "communications": "communications",
    "expert": "subject expert",
}
_TONES: Final[dict[What, Tone]] = {
    "opened": "failure",
    "escalated": "failure",
    "reopened": "failure",
    "due": "warning",
    "overdue": "warning",
    "resolved": "success",
    "closed": "success",
}
_SENTENCES_MAX: Final = 3
_CAUSES_MAX: Final = 5


class Message(Struct, frozen=True, kw_only=True):
    """What is sent.

    `id` is the same each time that it is sent, `thread` that of all messages of one incident, None if it is about
    several. `is_over` says that nothing more is expected of whoever was called.
    """

    id: str
    subject: str
    plain: str
    html: str
    tone: Tone
    thread: str | None = None
    is_over: bool = False


Row = tuple[str, list[str]]
"""What is told, and the lines of it."""


def words(notice: Notice, response: Response, link: str | None = None) -> Message:
    """Write a notice.

    Parameters
    ----------
    notice
        What is told.
    response
        Says how often an update is promised.
    link
        Where more can be read; `{incident}` stands for the incident's id.
    """
    incident = notice.incident
    rows: list[Row] = [
        ("What", [_hurt(incident)]),
        ("Where", [listed(incident.impact.colos) or UNKNOWN]),
        ("How much", [_how_much(incident)]),
        ("Since", [_since(incident)]),
        ("What was done", _done(notice)),
        ("Why", _why(incident)),
        ("Likely cause", _likely(incident)),
        ("Who is on it", [_people(incident)]),
        ("Next update", [_next(notice, response)]),
    ]
    head = [_title(incident), *_news(notice)]
    return _message(
        notice.id, subject_of(notice), head, [row for row in rows if row[1]], notice, link and _at(link, incident)
    )


def sum_up(covered: Sequence[Notice], since: datetime, name: str, link: str | None = None) -> Message:
    """Write one message about many notices, worst first.

    Parameters
    ----------
    covered
        What there is to tell, at least one.
    since
        From when on it was held back.
    name
        The id of the message.
    link
        As of `words`; of all incidents the part before the id is given.
    """
    worst = covered[0].incident.severity
    incidents = list(dict.fromkeys(notice.incident.id for notice in covered))
    counts = [(each, sum(notice.incident.severity == each for notice in covered)) for each in ("critical", "major")]
    of_it = listed([f"{number:,} {severity}" for severity, number in counts if number])
    is_drill = all(notice.incident.is_drill for notice in covered)
    first = f"{'[DRILL] ' if is_drill else ''}[{worst}] {counted(len(covered), 'more notice')}"
    subject = titled(first, f"since {moment(since, since, is_rough=True)}", f"({of_it})" if of_it else "", SUBJECT_MAX)
    many = f"{counted(len(covered), 'notice')} of {counted(len(incidents), 'incident')} since {moment(since)}"
    head = [f"{many}: too many to send each alone."]
    told = [f"{moment(one.at, since)}  {subject_of(one)}  {one.incident.id}" for one in covered[:LISTED_MAX]]
    more = len(covered) - LISTED_MAX
    rows: list[Row] = [("The worst first", told)]
    rows += [("And", [f"{counted(more, 'other')}, in {counted(len(incidents), 'incident')} with those above"])][
        : more > 0
    ]
    return _message(name, subject, head, rows, covered[0], None if link is None else link.partition("{incident}")[0])


def _message(name: str, subject: str, head: list[str], rows: list[Row], worst: Notice, link: str | None) -> Message:
    is_one = name == worst.id
    foot = [f"More: {link}"] if link else []
    foot.append(f"Notice {name} to {line(worst.recipient, 100)}, sent by holdfast.")
    if worst.incident.is_drill:
        head = ["This is a drill: nothing is broken, and nobody has to do anything.", *head]
    return Message(
        id=name,
        subject=subject,
        plain=_plain(head, rows, foot),
        html=_html(head, rows, foot),
        tone=_tone(worst),
        thread=worst.incident.id if is_one else None,
        is_over=is_one and worst.what in ("resolved", "closed"),
    )


def _plain(head: list[str], rows: list[Row], foot: list[str]) -> str:
    told = [f"{name}: {texts[0]}" if len(texts) == 1 else "\n- ".join((f"{name}:", *texts)) for name, texts in rows]
    return "\n\n".join(["\n".join(head), "\n".join(told), "\n".join(foot)]) + "\n"


def _html(head: list[str], rows: list[Row], foot: list[str]) -> str:
    told = "".join(f"<p><strong>{escape(name)}:</strong> {_html_of(texts)}\n" for name, texts in rows)
    news = "".join(f"<p>{escape(text)}</p>\n" for text in head[1:])
    small = "".join(f"<p><small>{escape(text)}</small></p>\n" for text in foot)
    return f"<h2>{escape(head[0])}</h2>\n{news}{told}{small}"


def _html_of(texts: list[str]) -> str:
    if len(texts) == 1:
        return f"{escape(texts[0])}</p>"
    return f"</p>\n<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def subject_of(notice: Notice) -> str:
    """Return the subject of a notice, one line of at most `SUBJECT_MAX` characters."""
    incident = notice.incident
    first = f"{'[DRILL] ' if incident.is_drill else ''}[{incident.severity}] {notice.what}:"
    colos = incident.impact.colos
    return titled(first, incident.title, f"({listed(colos, 3)})" if colos else "", SUBJECT_MAX)


def _title(incident: Incident) -> str:
    return f"{incident.severity.capitalize()} incident {incident.id}: {line(incident.title, 200)}"


def _at(link: str, incident: Incident) -> str:
    return link.replace("{incident}", incident.id)


def _tone(notice: Notice) -> Tone:
    tone = _TONES.get(notice.what, "info")
    return "warning" if tone == "failure" and notice.incident.severity == "minor" else tone


def _news(notice: Notice) -> list[str]:
    """Say what is new."""
    event, by = notice.event, _by(notice.event)
    at = moment(notice.at)
    match event:
        case Opened():
            return [f"Opened at {at}{by}."]
        case Joined():
            return [f"At {at} one more rollout was stopped, of the same cause: {line(event.why)}"]
        case Escalated():
            waited = lasting(event.at - notice.incident.opened)
            return [f"Nobody has acknowledged it in {waited}: step {event.step + 1} of the escalation, at {at}."]
        case Updated():
            return [f"Update at {at}{by}:", *lines(event.text)]
        case Reminded():
            whose = notice.incident.roles.get("lead")
            who = f"{line(whose, 100)}, who is incident lead, is to" if whose else "Nobody leads it: somebody is to"
            return [f"{who} say how it stands by {moment(event.promised)}, in {lasting(event.promised - event.at)}."]
        case Overdue():
            return [f"The update that was promised for {moment(event.promised)} did not come."]
        case Assessed():
            return [f"Seen otherwise at {at}{by}{_changed(notice)}: {line(event.why)}"]
        case _:
            return _turned(event, at, by)


def _turned(event: Event, at: str, by: str) -> list[str]:
    match event:
        case Mitigated():
            return [f"Mitigated at {at}{by}: {line(event.how)}"]
        case Resolved():
            return [f"Resolved at {at}{by}: {line(event.how)}"]
        case Reopened():
            return [f"Reopened at {at}{by}: {line(event.why)}"]
        case MergedInto():
            return [f"It is one with {event.incident}, and goes on there since {at}."]
        case Closed():
            return [f"Reviewed and closed at {at}{by}."]
        case _:
            return []


def _by(event: Event) -> str:
    return "" if event.by == ENGINE else f" by {line(event.by, 100)}"


def _changed(notice: Notice) -> str:
    before = notice.before
    is_same = before is None or before.severity == notice.incident.severity
    return "" if is_same or before is None else f", {notice.incident.severity} instead of {before.severity}"


def _hurt(incident: Incident) -> str:
    services = listed(incident.impact.services)
    metrics = listed(incident.impact.metrics)
    found = ordered((f"hurts {services}" if services else "", f"seen in {metrics}" if metrics else ""))
    return ", ".join(found) or UNKNOWN


def _how_much(incident: Incident) -> str:
    traffic, hosts = incident.impact.traffic_share, incident.impact.hosts_share
    found = [
        "share of the traffic not known" if traffic is None else f"{share(traffic)} of the traffic is in these colos",
        "share of the hosts not known" if hosts is None else f"the change had reached {share(hosts)} of the hosts",
    ]
    return "; ".join(found)


def _since(incident: Incident) -> str:
    onset = incident.impact.onset
    if onset is None:
        return f"{UNKNOWN}; opened at {moment(incident.opened)}"
    noticed = incident.opened - onset
    until = incident.mitigated or incident.resolved
    about = "about " if incident.impact.is_onset_estimated else ""
    told = f"{about}{moment(onset)}"
    told += f", {lasting(noticed)} before it was opened" if noticed > timedelta(0) else ""
    return told if until is None else f"{told}; over after {lasting(until - onset)}"


def _done(notice: Notice) -> list[str]:
    """List what was done, oldest first."""
    incident = notice.incident
    kinds = {"revert": "taken back", "halt": "halted"}
    causes = [
        f"{moment(cause.at, notice.at)}: rollout {line(cause.rollout, 100)} {kinds[cause.action]} at stage "
        f"{line(cause.stage, 100)} (verdict {cause.sequence})"
        for cause in incident.causes[-_CAUSES_MAX:]
    ]
    hidden = len(incident.causes) - len(causes)
    if hidden:
        causes = [f"{counted(hidden, 'rollout')} stopped before", *causes]
    return causes or ["nothing by holdfast: it was opened by hand"]


def _why(incident: Incident) -> list[str]:
    if not incident.causes:
        return []
    return [line(text, 300) for text in incident.causes[-1].sentences[:_SENTENCES_MAX]]


def _likely(incident: Incident) -> list[str]:
    return [
        f"{'unattributed' if each.rollout is None else 'rollout ' + line(each.rollout, 100)} "
        f"(score {each.score:.2g}){': ' if each.evidence else ''}{line('; '.join(each.evidence[:2]), 300)}"
        for each in incident.candidates[:_SENTENCES_MAX]
    ]


def _people(incident: Incident) -> str:
    found = [f"{line(person, 100)} ({_ROLES[role]})" for role, person in sorted(incident.roles.items())]
    if found:
        return ", ".join(found)
    if incident.acknowledged is not None:
        return f"somebody has acknowledged it, at {moment(incident.acknowledged)}"
    return "nobody yet" if not incident.is_over else "nobody took a role"


def _next(notice: Notice, response: Response) -> str:
    incident = notice.incident
    due = None if incident.merged_into else promised_for(incident, response)
    if due is None:
        return "none is promised: it is over" if incident.merged_into is None else "with the other incident"
    by = moment(due, notice.at, is_rough=True)
    return f"by {by}" if due > notice.at else f"was due by {by}"
