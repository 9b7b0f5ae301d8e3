"""All that can be asked for by its path, made of one snapshot: a path is looked up, and never taken apart."""

import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Final

from msgspec import Struct

from holdfast.status.feed import atom
from holdfast.status.pages import Look
from holdfast.status.snapshot import Snapshot, digest, encode

HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json"
ATOM: Final = "application/atom+xml; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"

_ROBOTS: Final = (
    b"User-agent: *\nDisallow: /internal\nDisallow: /subscribe\nDisallow: /confirm\nDisallow: /unsubscribe\n"
)


class Page(Struct, frozen=True):
    """The bytes of an answer, also squeezed, and what tells them from others."""

    kind: str
    body: bytes
    squeezed: bytes
    etag: str

    @classmethod
    def of(cls, kind: str, body: bytes) -> "Page":
        """Make one; equal bodies give equal pages."""
        return cls(kind, body, gzip.compress(body, 6, mtime=0), f'"{hashlib.sha256(body).hexdigest()[:32]}"')


class Site:
    """What can be asked for. A page is made when it is first asked for, and kept.

    Parameters
    ----------
    snapshot
        What it says.
    look
        How it looks.
    url
        Public address, without a slash at its end; for the feed.
    installation
        What tells this one from others.
    now
        When it was made: what is old by then is said to be.
    """

    def __init__(self, snapshot: Snapshot, look: Look, url: str, installation: str, now: datetime) -> None:
        self.snapshot = snapshot
        public, internal = snapshot.public, snapshot.internal
        self.public_digest, self.internal_digest = said, told = digest(public), digest(internal)
        self._lock = Lock()
        self._made: dict[str, Page] = {}
        self.public: Mapping[str, tuple[str, Callable[[], bytes]]] = {
            "/": (HTML, lambda: look.index(public, now, said)),
            "/history": (HTML, lambda: look.history(public, now, said)),
            "/feed.atom": (ATOM, lambda: atom(public, look.title, url, installation)),
            "/status.json": (JSON, lambda: encode(public)),
            "/robots.txt": (TEXT, lambda: _ROBOTS),
            **{
                f"/incidents/{each.id}": (HTML, partial(look.incident, each, public, now, said))
                for each in public.incidents
            },
            **{f"/incidents/{each.id}.json": (JSON, partial(encode, each)) for each in public.incidents},
        }
        self.internal: Mapping[str, tuple[str, Callable[[], bytes]]] = {
            "/internal": (HTML, lambda: look.internal(internal, now, told)),
            "/internal.json": (JSON, lambda: encode(internal)),
            **{
                f"/internal/incidents/{each.id}": (
                    HTML,
                    partial(look.responded, each, internal, now, told),
                )
                for each in internal.incidents
            },
        }

    def page(self, path: str) -> Page | None:
        """Return what is at a path, or None; whether it may be read is somebody else's to say."""
        with self._lock:
            if (found := self._made.get(path)) is not None:
                return found
            made = self.public.get(path) or self.internal.get(path)
            if made is None:
                return None
            return self._made.setdefault(path, Page.of(made[0], made[1]()))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the public pages as files by their places below a folder: those that others lead to last."""
        for path, (kind, make) in reversed(list(self.public.items())):
            place = path.lstrip("/")
            if kind == HTML:
                place = f"{place}/index.html" if place else "index.html"
            yield place, make()
