"""The mails that subscribers get. Nothing that somebody typed stands in a header."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final
from urllib.parse import urlsplit

from holdfast.status import words
from holdfast.status.feed import identity
from holdfast.status.snapshot import PublicIncident, PublicUpdate

TEXT_MAX: Final = 10_000
"""Most characters of a mail; the page has all."""


def confirmation(to: str, sender: str, title: str, link: str, now: datetime) -> EmailMessage:
    """Write the mail that asks somebody whether it was they who subscribed."""
    letter = _letter(to, sender, f"{words.line(title)}: confirm your subscription", now)
    letter.set_content(
        f"Somebody, most likely you, asked to be told by e-mail of updates on {words.line(title)}.\n\n"
        f"If it was you, follow this link within a day:\n{link}\n\n"
        "If it was not, there is nothing to do: without it no further message comes.\n"
    )
    return letter


@dataclass(frozen=True, slots=True)
class Site:
    """The page that mails are about: its title, its address without a slash at the end, and whose it is."""

    title: str
    url: str
    installation: str


def news(
    to: str,
    sender: str,
    site: Site,
    incident: PublicIncident,
    said: Sequence[PublicUpdate],
    removal: str,
    now: datetime,
) -> EmailMessage:
    """Write the mail that tells a subscriber of what is new, newest first.

    Parameters
    ----------
    to, sender
        Addresses.
    site
        The page.
    incident, said
        What it is about, and what is new of it.
    removal
        Address that takes the subscriber off the list (RFC 8058).
    now
        The time.
    """
    phase = words.PHASE[incident.phase].lower()
    letter = _letter(to, sender, f"{words.line(site.title)}: {incident.title} ({phase})", now)
    page = f"{site.url}/incidents/{incident.id}"
    parts = [f"{words.moment(each.at)}, {words.KIND[each.kind].lower()}:\n{each.text}" for each in said]
    text = "\n\n".join(parts)
    text = text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]} …"
    next_update = f"Next update by {words.moment(incident.next_update)}.\n\n" if incident.next_update else ""
    letter.set_content(
        f"{incident.title}\n\n{text}\n\n{next_update}All of it: {page}\n\n-- \nNo more of these: {removal}\n"
    )
    place = urlsplit(site.url).hostname or "localhost"
    thread = identity(site.installation, incident.id).removeprefix("urn:uuid:")
    letter["Message-ID"] = f"<{thread}.{len(incident.updates)}@{place}>"
    letter["References"] = f"<{thread}@{place}>"
    letter["List-Id"] = f"<status.{place}>"
    letter["List-Unsubscribe"] = f"<{removal}>"
    letter["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return letter


def _letter(to: str, sender: str, subject: str, now: datetime) -> EmailMessage:
    letter = EmailMessage(policy=SMTP)
    letter["From"], letter["To"], letter["Subject"] = sender, to, subject[:200]
    letter["Date"] = format_datetime(now)
    letter["Auto-Submitted"] = "auto-generated"
    return letter
