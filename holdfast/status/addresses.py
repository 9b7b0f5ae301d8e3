"""E-mail addresses that can be subscribed: plain ones, in ASCII, of one person at one domain."""

import re
from typing import Final

ADDRESS_MAX: Final = 254
_LOCAL_MAX: Final = 64
_LOCAL: Final = re.compile(r"[A-Za-z0-9#$&'*+/=?^_{}~-]+(?:\.[A-Za-z0-9#$&'*+/=?^_{}~-]+)*")
_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")

ALLOWED: Final = "allowed: NAME@DOMAIN in ASCII, of at most 254 characters, without quotes, comments and blanks"


def address(text: str) -> str:
    """Return an address as mail is sent to it, its domain in small letters.

    Letters that look like others, line breaks and several addresses are refused: nobody means them.

    Raises
    ------
    ValueError
        If it is none that can be subscribed.

    Examples
    --------
    >>> address(" Ann.B+status@Example.COM ")
    'Ann.B+status@example.com'
    """
    given = text.strip(" ")
    local, at, domain = given.rpartition("@")
    domain = domain.lower()
    is_fit = len(given) <= ADDRESS_MAX and at and len(local) <= _LOCAL_MAX
    if not is_fit or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise ValueError(ALLOWED)
    return f"{local}@{domain}"


def mailbox(text: str) -> str:
    """Return what two addresses share that reach the same person: without case, and without a `+tag`.

    Examples
    --------
    >>> mailbox("Ann.B+status@example.com")
    'ann.b@example.com'
    """
    local, _, domain = text.rpartition("@")
    return f"{local.partition('+')[0] or local}@{domain}".lower()
