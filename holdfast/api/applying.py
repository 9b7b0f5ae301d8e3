"""Reports of what hosts have, over HTTP: for those who bring units to hosts and have no client of Kafka."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Final

from msgspec import Meta, Struct

from holdfast.api.refusals import Refused
from holdfast.errors import BadInput, Unreachable
from holdfast.live.clients import producer
from holdfast.live.settings import Settings
from holdfast.wall import now
from rollouts.reports import Report, encode, heard

REPORTS_MAX: Final = 10_000
"""Most reports of one request."""

_KEPT_S: Final = 15.0

Take = Callable[[Sequence[Report]], None]
"""Keeps reports; raises `Unreachable` if it is not known that they are kept."""


class Reported(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What hosts have, each a report."""

    reports: Annotated[list[Report], Meta(min_length=1, max_length=REPORTS_MAX)]


class Taken(Struct, frozen=True, kw_only=True):
    """How many reports were kept. An older one than a host has made before counts nevertheless, and changes nothing."""

    taken: int


def take(given: Reported, keep: Take) -> Taken:
    """Keep reports, all of them or, if one is from the future, none.

    Raises
    ------
    Refused
        If clocks disagree (422), or it is not known that they are kept (503).
    """
    at = now()
    errors: list[str] = []
    for one in given.reports:
        try:
            heard({}, one, at)
        except BadInput as error:
            errors.append(str(error))
    if errors:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "the reports cannot be used", errors[:100])
    try:
        keep(given.reports)
    except Unreachable as error:
        headers = {"retry-after": "5"}
        raise Refused(
            HTTPStatus.SERVICE_UNAVAILABLE, f"{error}; the same may be sent again", headers=headers
        ) from error
    return Taken(taken=len(given.reports))


def keeper(settings: Settings) -> Take:
    """Make what puts reports on the topic `applied`, under the names of their hosts."""
    writer = producer(settings)

    def keep(reports: Sequence[Report]) -> None:
        left = len(reports)

        def told(error: object, _message: object) -> None:
            nonlocal left
            left -= error is None

        try:
            for one in reports:
                writer.produce(settings.topics.applied, encode(one), one.host.encode(), on_delivery=told)
        except BufferError as error:
            message = f"{settings.topics.applied}: too much waits for the brokers"
            raise Unreachable(message) from error
        writer.flush(_KEPT_S)
        if left:
            message = f"{settings.topics.applied}: the brokers have not taken {left} of {len(reports)} reports"
            raise Unreachable(message)

    return keep
