"""What hosts report that they have: the only proof that something was applied, or taken back."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from detectors.errors import BadInput
from detectors.policy import Name
from rollouts.controlled import Awaited
from rollouts.document import Timestamp
from rollouts.inventory import Host, Inventory
from rollouts.plans import Seat

CLOCK_SLACK: Final = timedelta(minutes=5)
"""How far two clocks may be apart before what they say is refused."""


class Report(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a host has.

    Attributes
    ----------
    sequence
        Grows with each report of the host; an older one changes nothing.
    units
        Digest by unit.
    numbers
        Number of the newest action that the host has done, by rollout.
    problem
        Why it has not done what it was told, for people.
    """

    host: Name
    colo: Name
    region: Name
    sequence: Annotated[int, Meta(ge=1)]
    at: Timestamp
    units: dict[str, str] = {}
    numbers: dict[str, int] = {}
    labels: dict[str, str] = {}
    problem: str | None = None


def encode(report: Report) -> bytes:
    """Write a report as JSON."""
    return msgspec.json.encode(report, order="deterministic")


def decode(raw: bytes) -> Report:
    """Read a report.

    Raises
    ------
    BadInput
        If the bytes are none.
    """
    try:
        return msgspec.json.decode(raw, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not a host's report: {error}"
        raise BadInput(message) from error


def heard(reports: Mapping[str, Report], report: Report, now: datetime) -> dict[str, Report]:
    """Take a report: the newest of each host counts, in whatever order they come.

    Raises
    ------
    BadInput
        If the host's clock is ahead of ours by more than `CLOCK_SLACK`.
    """
    if report.at > now + CLOCK_SLACK:
        message = f"{report.host}: reports at {report.at.isoformat()}, but it is {now.isoformat()}: clocks disagree"
        raise BadInput(message)
    before = reports.get(report.host)
    if before is not None and before.sequence >= report.sequence:
        return dict(reports)
    return {**reports, report.host: report}


def lasting_problem(before: Report | None, report: Report) -> str | None:
    """Return the problem of a host that has reported it twice: contents may come a moment after what asks for them."""
    if before is None or before.sequence >= report.sequence or before.problem != report.problem:
        return None
    return report.problem


def has(report: Report | None, awaited: Awaited, rollout: str) -> bool:
    """Tell whether a host has the units that are awaited, and has done this action or a later one.

    Its units alone say little: a host that has not yet heard of a change looks like one that has taken it back.
    """
    if report is None or report.numbers.get(rollout, 0) < awaited.number:
        return False
    return all(report.units.get(unit) == digest for unit, digest in awaited.units.items())


def missing(awaited: Awaited, reports: Mapping[str, Report], gone: frozenset[str], rollout: str) -> list[Seat]:
    """List the hosts that have not reported what is awaited of them, and are not gone from the fleet."""
    return [
        seat for seat in awaited.seats if seat.host not in gone and not has(reports.get(seat.host), awaited, rollout)
    ]


def fleet_of(reports: Iterable[Report]) -> Inventory:
    """Make an inventory of the hosts that report.

    Raises
    ------
    BadInput
        If none does.
    """
    hosts = [Host(host=one.host, colo=one.colo, region=one.region, labels=one.labels) for one in reports]
    if not hosts:
        message = "no host has reported; allowed: an inventory document, or agents that run"
        raise BadInput(message)
    return Inventory(hosts=sorted(hosts, key=lambda host: host.host))
