"""How many messages a recipient gets: some alone and at once, and what is beyond that summed up.

Pure: what waits, what was sent and the time come in, and which message is next comes out.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from rollouts.document import Timestamp
from rollouts.incidents.history import SEVERITIES
from rollouts.incidents.notices import Notice

HOUR: Final = timedelta(hours=1)

_RESERVED: Final = 4
"""One message in so many is kept for summing up."""


class Sent(Struct, frozen=True, kw_only=True):
    """A message that went out; `is_summary` if it took a place that is kept for summing up."""

    at: Timestamp
    is_summary: bool = False


class Next(Struct, frozen=True, kw_only=True):
    """The next message.

    `covers`: what it tells of, worst first; empty if nothing may be sent now, and then `again` says when to ask again,
    None if there is nothing to wait for. `is_summary` as of `Sent`.
    """

    covers: list[Notice]
    is_summary: bool = False
    again: Timestamp | None = None


def shares(per_hour: int) -> tuple[int, int]:
    """Say how many messages an hour go out alone, and how many are kept for summing up.

    Examples
    --------
    >>> [shares(per_hour) for per_hour in (1, 2, 4, 60)]
    [(1, 0), (1, 1), (3, 1), (45, 15)]
    """
    kept = 0 if per_hour == 1 else max(1, per_hour // _RESERVED)
    return per_hour - kept, kept


def next_message(waiting: Sequence[Notice], sent: Sequence[Sent], per_hour: int, now: datetime) -> Next:
    """Say what to send next, if anything may be sent.

    Notices go out alone, worst and oldest first, as long as there is room. What is beyond is summed up in one message,
    and those messages are spread over the hour, so that there is always another one to come. In no hour do more than
    `per_hour` messages go out.

    Parameters
    ----------
    waiting
        What is to be told.
    sent
        What went out, at least in the last hour.
    per_hour
        Most messages in any hour.
    now
        The time.
    """
    if not waiting:
        return Next(covers=[])
    recent = sorted((each for each in sent if each.at > now - HOUR), key=lambda each: each.at)
    left = per_hour - len(recent)
    if left <= 0:
        return Next(covers=[], again=recent[-per_hour].at + HOUR)
    order = sorted(waiting, key=urgency)
    most, kept = shares(per_hour)
    alone = most - sum(not each.is_summary for each in recent)
    if len(order) <= alone or alone > 1 or (alone == 1 and left > 1):
        return Next(covers=order[:1])
    summed = [each.at for each in recent if each.is_summary]
    again = summed[-1] + HOUR / kept if summed and kept else now
    return Next(covers=order, is_summary=True) if again <= now else Next(covers=[], again=again)


def urgency(notice: Notice) -> tuple[int, datetime, str]:
    """Order notices: the worst first, of those the oldest."""
    return SEVERITIES.index(notice.incident.severity), notice.at, notice.id
