"""Text of others made harmless, and times and figures as people say them."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

_UNSEEN: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
"""Controls, what nobody sees or turns text round, halves of characters, and separators of lines."""

_CALLS: Final = re.compile(r"@(?=(?:everyone|here|channel|all|team)\b)|<(?=[!@#&])", re.IGNORECASE)
"""What chats take for a call to everybody."""

_LINES_MAX: Final = 100
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def line(text: str, longest: int = 500) -> str:
    r"""Return a text as one line that says what it seems to say: no line breaks, nothing unseen, no call to everybody.

    Examples
    --------
    >>> line("down\r\nBcc: all@example.com"), line("@everyone \u202egnp.exe"), line("a long one", 6)
    ('down Bcc: all@example.com', '@ everyone gnp.exe', 'a lon…')
    """
    seen = "".join(" " if unicodedata.category(each) in _UNSEEN else each for each in text[: 4 * longest])
    calm = _CALLS.sub(lambda found: f"{found[0]} ", " ".join(seen.split()))
    return calm if len(calm) <= longest else f"{calm[: longest - 1].rstrip()}…"


def lines(text: str, longest: int = 5_000) -> list[str]:
    """Return a text as lines that say what they seem to say, empty ones left out."""
    found = [line(each, longest) for each in re.split(r"[\r\n\v\f\x85\u2028\u2029]+", text[:longest])]
    return [each for each in found if each][:_LINES_MAX]


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return names one after the other, the first of them if they are many.

    Examples
    --------
    >>> listed(["ams01", "fra02", "lhr03"], 2)
    'ams01, fra02 and 1 more'
    """
    found = [line(name, 100) for name in names]
    more = len(found) - most
    return ", ".join(found) if more <= 0 else f"{', '.join(found[:most])} and {more} more"


def moment(at: datetime, near: datetime | None = None, *, is_rough: bool = False) -> str:
    """Return a time, with its day if that is not the day of `near`; to the minute if rough.

    Examples
    --------
    >>> moment(datetime(2026, 3, 12, 14, 2, 10, tzinfo=UTC))
    '2026-03-12 14:02:10 UTC'
    >>> noon = datetime(2026, 3, 12, 12, tzinfo=UTC)
    >>> moment(noon, noon, is_rough=True)
    '12:00 UTC'
    """
    here = at.astimezone(UTC)
    hours = here.strftime("%H:%M UTC" if is_rough else "%H:%M:%S UTC")
    is_near = near is not None and near.astimezone(UTC).date() == here.date()
    return hours if is_near else f"{here.date().isoformat()} {hours}"


def lasting(length: timedelta) -> str:
    """Return a length of time in its two largest units.

    Examples
    --------
    >>> lasting(timedelta(seconds=170)), lasting(timedelta(hours=26)), lasting(timedelta(0))
    ('2 min 50 s', '1 d 2 h', '0 s')
    """
    rest = max(0, int(length.total_seconds()))
    found: list[str] = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        found += [f"{count} {unit}"] if count else []
    return " ".join(found[:2]) or "0 s"


def share(part: float) -> str:
    """Return a share in percent, as many digits as it needs to say something.

    Examples
    --------
    >>> share(0.123), share(0.004), share(0.00001), share(0.0), share(1.0)
    ('12 %', '0.4 %', 'less than 0.01 %', '0 %', '100 %')
    """
    percent = 100 * part
    if 0 < percent < 0.01:
        return "less than 0.01 %"
    return f"{percent:.0f} %" if percent >= 10 or not percent else f"{percent:.2g} %"


def counted(number: int, one: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> counted(1, "notice"), counted(1_000, "notice")
    ('1 notice', '1,000 notices')
    """
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def titled(first: str, title: str, last: str, longest: int) -> str:
    """Return three parts of one line, the middle one shortened so that all of it fits."""
    start, end = line(first, longest), line(last, longest // 2)
    room = longest - len(start) - len(end) - 1 - (1 if end else 0)
    middle = line(title, max(1, room))
    return line(" ".join(part for part in (start, middle, end) if part), longest)


def ordered(parts: Sequence[str]) -> list[str]:
    """Return parts without those that say nothing."""
    return [part for part in parts if part]
