"""`holdfast incident`: opening incidents by hand, having roles in them, and saying how they stand."""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from holdfast.commands.groups import Group
from holdfast.commands.options import By, moment
from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.live.settings import Settings, load_settings
from rollouts.incidents.history import Impact, Role, Severity

if TYPE_CHECKING:
    from rollouts.incidents.folding import Incident
    from rollouts.incidents.history import Event

app = typer.Typer(cls=Group, help="Incidents: open, take a role, say how it stands.", no_args_is_help=True)
action = typer.Typer(cls=Group, help="What is to be done so that it does not happen again.", no_args_is_help=True)
app.add_typer(action, name="action")

Id = Annotated[str, typer.Argument(metavar="ID", help="The incident, as in inc-20260312-0a1b2c3d.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the timeline.")]
How = Annotated[str, typer.Option("--how", help="By what, for the timeline.")]
RoleName = Annotated[Role, typer.Argument(help="Which role.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Colos = Annotated[list[str] | None, typer.Option("--colo", help="A colo that is hurt; may be given again.")]
Services = Annotated[list[str] | None, typer.Option("--service", help="A component that is hurt; may be given again.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="A metric that is hurt; may be given again.")]
Traffic = Annotated[
    float | None, typer.Option("--traffic-share", min=0.0, max=1.0, help="Share of the traffic that is hurt.")
]
Since = Annotated[str | None, typer.Option("--since", help="When it began, as in 2026-03-12T11:20:00Z.")]


@app.command("open")
def open_incident(
    title: Annotated[str, typer.Argument(help="What happens, in a line.")],
    by: By,
    severity: Annotated[Severity | None, typer.Option(help="How bad; else by the grades of the document.")] = None,
    colo: Colos = None,
    service: Services = None,
    metric: Metrics = None,
    traffic_share: Traffic = None,
    since: Since = None,
    drill: Annotated[bool, typer.Option("--drill", help="It is a drill, and says so wherever it appears.")] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Open an incident by hand."""
    from holdfast.response.documents import response_of
    from holdfast.response.record import append
    from holdfast.response.saying import line, person
    from holdfast.wall import now
    from rollouts.incidents.history import Opened
    from rollouts.incidents.opening import name_of, services_of, severity_of

    settings, at = load_settings(config), now()
    response, said, who = response_of(settings), line("title", title), person(by)
    colos, metrics, services = _lines("--colo", colo), _lines("--metric", metric), _lines("--service", service)
    if services is None and (colos or metrics):
        services = services_of(colos or [], metrics or [], response)
    impact = Impact(
        colos=colos or [],
        metrics=metrics or [],
        services=services or [],
        traffic_share=traffic_share,
        onset=None if since is None else moment("--since", since),
    )
    opened = Opened(
        at=at,
        by=who,
        title=said,
        severity=severity or severity_of(impact, "revert", response),
        impact=impact,
        is_drill=drill,
    )
    _said(append(settings, name_of(at, [said, who, at.isoformat()]), [opened]), as_json=as_json)


@app.command("list")
def list_incidents(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """List incidents, the worst first."""
    from holdfast.response.record import read_all
    from holdfast.response.view import console_of, in_order, show_list
    from holdfast.wall import now
    from rollouts.incidents.folding import fold

    settings = load_settings(config)
    found = [fold(history) for history in read_all(settings).values()]
    wanted = [one for one in found if everything or not one.is_over]
    if as_json:
        sys.stdout.write(msgspec.json.encode(in_order(wanted)).decode() + "\n")
    else:
        show_list(console_of(), [_promised(one, settings) for one in wanted], now())


@app.command("show")
def show_incident(incident: Id, as_json: Json = False, config: Config = None) -> None:
    """Show how an incident stands, and all that happened."""
    from holdfast.response.record import history_of
    from holdfast.response.saying import incident_id
    from holdfast.response.view import console_of, show
    from holdfast.wall import now
    from rollouts.incidents.folding import fold

    settings = load_settings(config)
    history = history_of(settings, incident_id(incident))
    found = fold(history)
    if as_json:
        sys.stdout.write(msgspec.json.encode({"incident": found, "events": history.events}).decode() + "\n")
    else:
        show(console_of(), _promised(found, settings), history, now())


def _promised(incident: "Incident", settings: Settings) -> "Incident":
    """Have an incident say when the next word is promised, be it by the document alone, if the settings name one."""
    from msgspec.structs import replace

    from holdfast.response.documents import response_of
    from rollouts.incidents.timers import promised_for

    if settings.response.document is None:
        return incident
    return replace(incident, next_update=promised_for(incident, response_of(settings)))


@app.command()
def take(incident: Id, role: RoleName, by: By, as_json: Json = False, config: Config = None) -> None:
    """Take a role that nobody has; the first to take one acknowledges the incident."""
    from rollouts.incidents.roles import taken

    _amend(incident, by, config, lambda found, at, who: _some(taken(found, role, who, at)), as_json=as_json)


@app.command("hand-over")
def hand_over(
    incident: Id,
    role: RoleName,
    person: Annotated[str, typer.Argument(help="Who has it from then on.")],
    by: By,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Hand a role over: who has it may, and the incident lead."""
    from holdfast.response.saying import PERSON_MAX, line
    from rollouts.incidents.roles import handed_over

    to = line("person", person, PERSON_MAX)
    _amend(incident, by, config, lambda found, at, who: _some(handed_over(found, role, to, who, at)), as_json=as_json)


@app.command()
def ack(incident: Id, by: By, as_json: Json = False, config: Config = None) -> None:
    """Acknowledge an incident: nothing escalates any further."""
    from rollouts.incidents.history import Acknowledged

    def made(found: "Incident", at: datetime, who: str) -> "Sequence[Event]":
        return [] if found.acknowledged is not None else [Acknowledged(at=at, by=who)]

    _amend(incident, by, config, made, as_json=as_json)


@app.command()
def assess(
    incident: Id,
    why: Why,
    by: By,
    severity: Annotated[Severity | None, typer.Option(help="How bad it is.")] = None,
    colo: Colos = None,
    service: Services = None,
    metric: Metrics = None,
    traffic_share: Traffic = None,
    since: Since = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """See severity or impact otherwise; what is not given stays as it is."""
    from holdfast.response.saying import lines
    from rollouts.incidents.history import Assessed

    reason = lines("--why", why)
    given = {
        "colos": _lines("--colo", colo),
        "services": _lines("--service", service),
        "metrics": _lines("--metric", metric),
        "traffic_share": traffic_share,
        "onset": None if since is None else moment("--since", since),
    }
    new = {name: value for name, value in given.items() if value is not None}
    if since is not None:
        new["is_onset_estimated"] = False
    if severity is None and not new:
        message = "assess: found nothing that is seen otherwise; allowed: --severity, or something of the impact"
        raise BadInput(message)

    def made(found: "Incident", at: datetime, who: str) -> "Sequence[Event]":
        impact = msgspec.structs.replace(found.impact, **new) if new else None
        return [Assessed(at=at, by=who, severity=severity, impact=impact, why=reason)]

    _amend(incident, by, config, made, as_json=as_json)


@app.command()
def update(
    incident: Id,
    text: Annotated[str, typer.Argument(help="How it stands; - reads it from standard input.")],
    by: By,
    public: Annotated[bool, typer.Option("--public", help="Put it on the public page too.")] = False,
    promise: Annotated[
        str | None, typer.Option("--next", help="When the next word comes: in so long (30m), or at a time.")
    ] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Say how it stands, and promise the next word."""
    from holdfast.response.documents import response_of
    from holdfast.response.saying import TEXT_MAX, lines, when
    from rollouts.incidents.history import Updated
    from rollouts.incidents.timers import promise_of

    said = lines("text", sys.stdin.read(4 * TEXT_MAX) if text == "-" else text)
    response = response_of(load_settings(config))

    def made(found: "Incident", at: datetime, who: str) -> "Sequence[Event]":
        later = at + promise_of(found, response) if promise is None else when("--next", promise, at)
        return [Updated(at=at, by=who, text=said, is_public=public, next_update=None if found.is_over else later)]

    _amend(incident, by, config, made, as_json=as_json)


@app.command()
def mitigate(incident: Id, how: How, by: By, as_json: Json = False, config: Config = None) -> None:
    """Say that it hurts nobody any more."""
    from holdfast.response.saying import lines
    from rollouts.incidents.history import Mitigated

    said = lines("--how", how)
    _amend(incident, by, config, lambda _, at, who: [Mitigated(at=at, by=who, how=said)], as_json=as_json)


@app.command()
def resolve(incident: Id, how: How, by: By, as_json: Json = False, config: Config = None) -> None:
    """Say that it is over; only people can."""
    from holdfast.response.saying import lines
    from rollouts.incidents.history import Resolved

    said = lines("--how", how)
    _amend(incident, by, config, lambda _, at, who: [Resolved(at=at, by=who, how=said)], as_json=as_json)


@app.command()
def reopen(incident: Id, why: Why, by: By, as_json: Json = False, config: Config = None) -> None:
    """Say that it was not over."""
    from holdfast.response.saying import lines
    from rollouts.incidents.history import Reopened

    said = lines("--why", why)
    _amend(incident, by, config, lambda _, at, who: [Reopened(at=at, by=who, why=said)], as_json=as_json)


@app.command()
def merge(
    incident: Id,
    other: Annotated[str, typer.Argument(metavar="INTO", help="The incident that it goes on as.")],
    by: By,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Have an incident go on as another one, with all that stopped because of it."""
    from holdfast.response.record import change, known
    from holdfast.response.saying import incident_id, person
    from rollouts.incidents.merging import united

    one, into, who = incident_id(incident), incident_id(other), person(by)
    found = change(load_settings(config), lambda ledger, at: united(known(ledger, one), known(ledger, into), who, at))
    _said(found[into], as_json=as_json)


@app.command()
def close(incident: Id, by: By, as_json: Json = False, config: Config = None) -> None:
    """Close an incident that is resolved and reviewed."""
    from rollouts.incidents.history import Closed

    _amend(incident, by, config, lambda _, at, who: [Closed(at=at, by=who)], as_json=as_json)


@action.command("add")
def add_action(
    incident: Id,
    what: Annotated[str, typer.Argument(help="What is to be done, in a line.")],
    owner: Annotated[str, typer.Option(help="Who does it.")],
    due: Annotated[str, typer.Option(help="Until when: 14d, or 2026-04-01.")],
    by: By,
    name: Annotated[str | None, typer.Option("--id", help="Its name; one of that name is replaced.")] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Add an action item."""
    from holdfast.response.saying import PERSON_MAX, line, when
    from rollouts.incidents.history import ActionAdded, ActionItem

    said, who_does = line("what", what), line("--owner", owner, PERSON_MAX)
    given = None if name is None else line("--id", name)

    def made(found: "Incident", at: datetime, who: str) -> "Sequence[Event]":
        names = {item.id for item in found.actions}
        free = next(f"a{number}" for number in range(1, len(names) + 2) if f"a{number}" not in names)
        item = ActionItem(id=given or free, what=said, owner=who_does, due=when("--due", due, at))
        return [ActionAdded(at=at, by=who, item=item)]

    _amend(incident, by, config, made, as_json=as_json)


@action.command("done")
def action_done(
    incident: Id,
    name: Annotated[str, typer.Argument(help="Its name, as `incident show` has it.")],
    by: By,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Say that an action item is done."""
    from holdfast.response.saying import line
    from rollouts.incidents.history import ActionDone

    item = line("name", name)
    _amend(incident, by, config, lambda _, at, who: [ActionDone(at=at, by=who, id=item)], as_json=as_json)


def _amend(
    incident: str,
    by: str,
    config: Path | None,
    made: "Callable[[Incident, datetime, str], Sequence[Event]]",
    *,
    as_json: bool,
) -> None:
    """Add what is decided on how an incident stands, and say how it stands then."""
    from holdfast.response.record import amend
    from holdfast.response.saying import incident_id, person

    name, who, settings = incident_id(incident), person(by), load_settings(config)
    _said(amend(settings, name, lambda found, at: made(found, at, who)), as_json=as_json)


def _said(incident: "Incident", *, as_json: bool) -> None:
    from holdfast.response.view import phase

    if as_json:
        sys.stdout.write(msgspec.json.encode(incident).decode() + "\n")
    else:
        sys.stdout.write(f"{incident.id}: {incident.severity}, {phase(incident)}: {incident.title}\n")


def _some(event: "Event | None") -> "list[Event]":
    return [] if event is None else [event]


def _lines(what: str, texts: list[str] | None) -> list[str] | None:
    from holdfast.response.saying import line

    return None if not texts else sorted({line(what, text) for text in texts})
