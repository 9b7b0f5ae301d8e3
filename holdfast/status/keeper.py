"""Keeps the page up to date: makes it anew when something is heard, and lets those know who look at it."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from holdfast.errors import BadInput, Unreachable
from holdfast.status.folder import Folder
from holdfast.status.internal import internal
from holdfast.status.kept import listened
from holdfast.status.pages import Look
from holdfast.status.publishing import public
from holdfast.status.site import Site
from holdfast.status.snapshot import Public, Snapshot
from holdfast.status.sources import Sources
from rollouts.incidents.response import Response

LOOK_S: Final = 0.1
"""How often it looks whether something was heard."""

AGAIN_S: Final = 10.0
"""After which time a page is made anew in any case, since it says how old it is."""

EASE: Final = 4.0
"""How many times as long as it takes to make a page it rests: even a flood takes but a fifth of a core."""

LISTENED_S: Final = 60.0

FIRST: Final = ("/", "/internal")
"""Pages that are made before anybody asks, so that nobody waits for them."""

UNREAD: Final = "the topic of incidents was not read yet"

log = logging.getLogger(__name__)


def snapshot(sources: Sources, response: Response, as_of: datetime) -> Snapshot:
    """Make a snapshot of what is known."""
    histories = sources.histories()
    return Snapshot(
        public=public(histories, response, sources.watched(as_of), as_of),
        internal=internal(histories, response, sources.facts(as_of), as_of),
    )


class Keeper(threading.Thread):
    """Makes pages.

    Parameters
    ----------
    sources
        What they are made of.
    response
        What services there are.
    look
        How they look.
    url
        Public address, for the feed.
    installation
        What tells this one from others.
    clock
        The time.
    folder
        Where they are kept as files; None for nowhere.
    """

    def __init__(
        self,
        sources: Sources,
        response: Response,
        look: Look,
        url: str,
        installation: str,
        clock: Callable[[], datetime],
        folder: Folder | None = None,
    ) -> None:
        super().__init__(name="status-keeper", daemon=True)
        self._sources, self._response, self._look = sources, response, look
        self._url, self._installation, self._clock, self._folder = url, installation, clock, folder
        self._files = Look(look.title, look.base, is_static=True)
        self._stopped = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._last: Public | None = None
        self._kept_until: datetime | None = None
        self._kept_s = time.monotonic()
        self.site: Site | None = None

    def at(self, url: str) -> None:
        """Say under which address the page is, once that is known."""
        self._url = url

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called after each page that is made, in this thread."""
        self._listeners.append(listener)

    def stop(self) -> None:
        """End it soon."""
        self._stopped.set()

    def run(self) -> None:
        """Make pages until `stop`."""
        seen, made_s = -1, 0.0
        while not self._stopped.is_set():
            begun_s = time.monotonic()
            version = self._sources.version()
            took_s = 0.0
            if version != seen or begun_s - made_s >= AGAIN_S:
                try:
                    self.work()
                except Exception:
                    log.exception("status: an error of our own; the page stays as it is")
                seen, made_s = version, time.monotonic()
                took_s = made_s - begun_s
            self._stopped.wait(max(LOOK_S, EASE * took_s))

    def work(self) -> None:
        """Make the pages, if anything is known."""
        as_of, now = self._sources.as_of(), self._clock()
        if as_of is None:
            self._restore(now)
            return
        shown = as_of.replace(microsecond=0)
        self._listened(as_of)
        site = self._show(snapshot(self._sources, self._response, shown), now)
        if self._folder is not None and now - shown < timedelta(seconds=AGAIN_S):
            # What is old is not written again: the files say themselves of when they are.
            self._keep(site, now)

    def _show(self, what: Snapshot, now: datetime) -> Site:
        site = Site(what, self._look, self._url, self._installation, now)
        for path in FIRST:
            site.page(path)
        self.site = site
        for each in self._listeners:
            each()
        return site

    def _restore(self, now: datetime) -> None:
        """Show, as long as nothing is known, what was kept as files: a page that is started anew when all is down."""
        self._last = self._last or (None if self._folder is None else self._folder.read())
        if self._last is not None:
            known = internal({}, self._response, self._sources.facts(now), self._last.as_of)
            self._show(Snapshot(public=self._last, internal=replace(known, unreadable=[UNREAD])), now)

    def _keep(self, site: Site, now: datetime) -> None:
        assert self._folder is not None
        files = Site(site.snapshot, self._files, self._url, self._installation, now)
        try:
            self._folder.write(files)
        except BadInput as error:
            log.warning("status: the pages could not be kept as files: %s", error)

    def _listened(self, as_of: datetime) -> None:
        """Keep, once a minute, that the page was listening, and that there was something to be heard if need be."""
        if self._kept_until is None:
            self._kept_until = as_of
            return
        if time.monotonic() - self._kept_s < LISTENED_S:
            return
        self._kept_s = time.monotonic()
        begin = self._kept_until
        if as_of - begin > timedelta(seconds=3 * LISTENED_S):
            begin = as_of  # nothing was heard in between
        self._kept_until = as_of
        if not self._sources.is_responding():
            return  # nobody would have opened an incident: that none was opened says nothing
        try:
            for day, span in listened(begin, as_of).items():
                self._sources.listened(day, span)
        except Unreachable as error:
            log.warning("status: %s", error)
