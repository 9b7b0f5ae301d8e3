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
LocalTime = Annotated[datetime, Meta(tz=False)]
ClockTime = Annotated[time, Meta(tz=False)]


class Once(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="once", tag_field="freeze"):
    """A window that comes once, in the time that clocks of its zone show. `until` is outside."""

    begin: LocalTime = field(name="from")
    until: LocalTime
    zone: Zone
    reason: Name


class Weekly(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="weekly", tag_field="freeze"):
    """A window that comes on some days of each week, by its zone's clocks; up to the next day if `until` is earlier."""

    days: Annotated[list[Day], Meta(min_length=1, max_length=7)]
    begin: ClockTime = field(name="from")
    until: ClockTime
    zone: Zone
    reason: Name


Freeze = Once | Weekly


def problems(freezes: Iterable[Freeze]) -> list[str]:
    """Say what is wrong with windows beyond their types: zones that do not exist, ends before their beginnings."""
    found: list[str] = []
    for index, freeze in enumerate(freezes):
        place = f"freezes[{index}]"
        try:
            ZoneInfo(freeze.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            found.append(f"{place}.zone: found {freeze.zone!r}; allowed: a time zone, as in Europe/Lisbon")
            continue
        if isinstance(freeze, Once) and _utc(freeze.until, freeze.zone, late=True) <= _utc(freeze.begin, freeze.zone):
            found.append(f"{place}.until: found {freeze.until}, not after {freeze.begin}; allowed: a later time")
        if isinstance(freeze, Weekly) and freeze.until == freeze.begin:
            found.append(f"{place}.until: found {freeze.until}, which is its beginning; allowed: another time")
    return found


def frozen_by(freezes: Iterable[Freeze], now: datetime) -> Freeze | None:
    """Return the first window that a point in time is in, or None.

    Where clocks are put back, an hour comes twice: a window begins with its first and ends with its second, so that
    it is never shorter than it was meant.
    """
    for freeze in freezes:
        if isinstance(freeze, Once):
            if _utc(freeze.begin, freeze.zone) <= now < _utc(freeze.until, freeze.zone, late=True):
                return freeze
        elif _is_in_week(freeze, now):
            return freeze
    return None


def _is_in_week(freeze: Weekly, now: datetime) -> bool:
    today = now.astimezone(ZoneInfo(freeze.zone)).date()
    for day in (today - timedelta(days=1), today):
        if DAYS[day.weekday()] not in freeze.days:
            continue
        end = day if freeze.until > freeze.begin else day + timedelta(days=1)
        begin = _utc(datetime.combine(day, freeze.begin), freeze.zone)
        if begin <= now < _utc(datetime.combine(end, freeze.until), freeze.zone, late=True):
            return True
    return False


def _utc(local: datetime, zone: str, *, late: bool = False) -> datetime:
    return local.replace(tzinfo=ZoneInfo(zone), fold=int(late)).astimezone(UTC)
