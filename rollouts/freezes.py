"""Freezes: windows of the calendar in which no stage begins. What has to be taken back is taken back nevertheless."""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, Struct, field

from detectors.policy import Name

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = get_args(Day)
Zone = Annotated[str, Meta(min_length=1, max_length=100, extra={"allowed": "a time zone, as in Europe/Lisbon"})]
Moment = Annotated[
    str, Meta(min_length=5, max_length=19, extra={"allowed": "text, as in '2026-12-24T00:00' or '18:00'"})
]


class Freeze(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A window, in the time that the clocks of its zone show; `until` is outside.

    Without `days` it comes once, and its ends are points in time, as in 2026-12-24T00:00. With `days` it comes on these
    days of each week, its ends are times of the day, as in 18:00, and it lasts into the next day if `until` is earlier.
    """

    begin: Moment = field(name="from")
    until: Moment
    zone: Zone
    reason: Name
    days: Annotated[list[Day], Meta(min_length=1, max_length=7)] | None = None


def problems(freezes: Iterable[Freeze]) -> list[str]:
    """Say what is wrong with windows beyond their types: zones and times that do not exist, ends before beginnings."""
    found: list[str] = []
    for index, freeze in enumerate(freezes):
        place, count = f"freezes[{index}]", len(found)
        try:
            ZoneInfo(freeze.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            found.append(f"{place}.zone: found {freeze.zone!r}; allowed: a time zone, as in Europe/Lisbon")
        for key, text in (("from", freeze.begin), ("until", freeze.until)):
            if not _is_time(text, is_daily=freeze.days is not None):
                example = "2026-12-24T00:00" if freeze.days is None else "18:00"
                found.append(f"{place}.{key}: found {text!r}; allowed: a time without its zone, as in {example}")
        if len(found) > count:
            continue
        if freeze.days is None and _ends(freeze)[1] <= _ends(freeze)[0]:
            found.append(f"{place}.until: found {freeze.until}, not after {freeze.begin}; allowed: a later time")
        if freeze.days is not None and time.fromisoformat(freeze.until) == time.fromisoformat(freeze.begin):
            found.append(f"{place}.until: found {freeze.until}, which is its beginning; allowed: another time")
    return found


def frozen_by(freezes: Iterable[Freeze], now: datetime) -> Freeze | None:
    """Return the first window that a point in time is in, or None.

    Where clocks are put back, an hour comes twice: a window begins with its first and ends with its second, so that
    it is never shorter than it was meant.
    """
    for freeze in freezes:
        if freeze.days is not None:
            if _is_in_week(freeze, freeze.days, now):
                return freeze
        else:
            begin, until = _ends(freeze)
            if begin <= now < until:
                return freeze
    return None


def _is_time(text: str, *, is_daily: bool) -> bool:
    try:
        found = time.fromisoformat(text) if is_daily else datetime.fromisoformat(text)
    except ValueError:
        return False
    return found.tzinfo is None and (is_daily or "T" in text)


def _ends(freeze: Freeze) -> tuple[datetime, datetime]:
    return (
        _utc(datetime.fromisoformat(freeze.begin), freeze.zone),
        _utc(datetime.fromisoformat(freeze.until), freeze.zone, late=True),
    )


def _is_in_week(freeze: Freeze, days: list[Day], now: datetime) -> bool:
    today = now.astimezone(ZoneInfo(freeze.zone)).date()
    first, last = time.fromisoformat(freeze.begin), time.fromisoformat(freeze.until)
    for day in (today - timedelta(days=1), today):
        if DAYS[day.weekday()] not in days:
            continue
        end = day if last > first else day + timedelta(days=1)
        begin = _utc(datetime.combine(day, first), freeze.zone)
        if begin <= now < _utc(datetime.combine(end, last), freeze.zone, late=True):
            return True
    return False


def _utc(local: datetime, zone: str, *, late: bool = False) -> datetime:
    return local.replace(tzinfo=ZoneInfo(zone), fold=int(late)).astimezone(UTC)
