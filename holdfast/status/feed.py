"""The Atom feed (RFC 4287): an entry for each incident, whose id stays and whose time is that of its newest update."""

import uuid
from typing import Final
from xml.etree import ElementTree

from holdfast.status import words
from holdfast.status.snapshot import Public, PublicIncident

ENTRIES_MAX: Final = 50
TEXT_MAX: Final = 4_000
"""Most characters of an entry; the page of the incident has all."""

_ATOM: Final = "http://www.w3.org/2005/Atom"
_SPACE: Final = uuid.UUID("6f7c4b0a-0f0e-5a4e-9b1f-5b1d6a1f3c55")


def identity(installation: str, name: str) -> str:
    """Return the id of a feed or an entry: it hangs on no address, so that a page that moves keeps its ids.

    Examples
    --------
    >>> identity("holdfast", "inc-20260312-0a1b2c3d") == identity("holdfast", "inc-20260312-0a1b2c3d")
    True
    """
    return f"urn:uuid:{uuid.uuid5(_SPACE, f'{installation}/{name}')}"


def atom(public: Public, title: str, url: str, installation: str) -> bytes:
    """Write the feed.

    Parameters
    ----------
    public
        What everybody may read.
    title
        Of the page.
    url
        Address of the page, without a slash at its end.
    installation
        What tells this one from others; it is part of all ids.
    """
    told = [each for each in public.incidents if each.merged_into is None]
    newest = sorted(told, key=lambda each: (each.changed, each.id), reverse=True)[:ENTRIES_MAX]
    feed = ElementTree.Element("feed", {"xmlns": _ATOM})
    _add(feed, "id", identity(installation, "feed"))
    _add(feed, "title", words.line(title))
    # With no incident there is nothing that could have changed but the page itself.
    _add(feed, "updated", words.iso(newest[0].changed if newest else public.as_of.replace(hour=0, minute=0, second=0)))
    _add(feed, "link", rel="self", type="application/atom+xml", href=f"{url}/feed.atom")
    _add(feed, "link", rel="alternate", type="text/html", href=f"{url}/")
    _add(ElementTree.SubElement(feed, "author"), "name", words.line(title))
    _add(feed, "generator", "holdfast")
    for each in newest:
        _entry(feed, each, url, installation)
    written: bytes = ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True)
    return written


def _entry(feed: ElementTree.Element, incident: PublicIncident, url: str, installation: str) -> None:
    entry = ElementTree.SubElement(feed, "entry")
    _add(entry, "id", identity(installation, incident.id))
    _add(entry, "title", f"{incident.title}: {words.PHASE[incident.phase].lower()}")
    _add(entry, "published", words.iso(incident.opened))
    _add(entry, "updated", words.iso(incident.changed))
    _add(entry, "link", rel="alternate", type="text/html", href=f"{url}/incidents/{incident.id}")
    said = [f"{words.moment(each.at)}, {words.KIND[each.kind]}: {each.text}" for each in incident.updates]
    text = "\n\n".join(said)
    _add(entry, "content", text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]} …", type="text")


def _add(parent: ElementTree.Element, name: str, text: str | None = None, **attributes: str) -> None:
    ElementTree.SubElement(parent, name, attributes).text = text
