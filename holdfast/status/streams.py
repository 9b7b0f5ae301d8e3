"""Pages that stay up to date: server-sent events, of a bounded number of readers, each of which has to keep up."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from holdfast.status.site import Site
from holdfast.status.words import iso, second

ALIVE_S: Final = 10.0
"""How often a reader is told that the page is still what it was."""

SLOW_S: Final = 10.0
"""How long a reader may take to take a message."""

LONGEST_S: Final = 3_600.0
"""After which time a reader has to come back."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Streams:
    """Tells readers when a page has changed.

    Parameters
    ----------
    site
        Returns what the page says now.
    most, most_per_client
        How many readers there may be, and of one client.
    alive_s
        How often each is told that the page is still what it was.
    """

    def __init__(
        self, site: Callable[[], Site | None], most: int, most_per_client: int, alive_s: float = ALIVE_S
    ) -> None:
        self._site, self._most, self._most_per_client, self._alive_s = site, most, most_per_client, alive_s
        self._readers: Counter[str] = Counter()
        self._changed: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    @property
    def count(self) -> int:
        """How many readers there are."""
        return self._readers.total()

    def changed(self) -> None:
        """Have all readers told, from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Have all readers go, from any thread."""
        self._is_closed = True
        self.changed()

    def _wake(self) -> None:
        event, self._changed = self._changed, asyncio.Event()
        if event is not None:
            event.set()

    def has_room(self, client: str) -> bool:
        """Tell whether one more reader is taken."""
        return not self._is_closed and self.count < self._most and self._readers[client] < self._most_per_client

    async def serve(
        self,
        client: str,
        headers: list[tuple[bytes, bytes]],
        digest: Callable[[Site], str],
        receive: Receive,
        send: Send,
    ) -> None:
        """Tell one reader until it goes."""
        self._loop = self._loop or asyncio.get_running_loop()
        self._changed = self._changed or asyncio.Event()
        self._readers[client] += 1
        gone: asyncio.Future[Any] = asyncio.ensure_future(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(LONGEST_S):
                    await self._tell(digest, gone, send)
            if not gone.done():
                await _said(send, b"", more=False)
        except (TimeoutError, OSError):
            pass  # who does not take what it is sent is let go
        finally:
            gone.cancel()
            self._readers[client] -= 1
            if not self._readers[client]:
                del self._readers[client]

    async def _tell(self, digest: Callable[[Site], str], gone: "asyncio.Future[Any]", send: Send) -> None:
        said = ""
        await _said(send, b"retry: 3000\n\n")
        while not gone.done() and not self._is_closed:
            event = self._changed
            assert event is not None
            site = self._site()
            if site is not None:
                as_of = site.snapshot.public.as_of
                text = f"event: alive\ndata: {iso(as_of)} {second(as_of).removesuffix(' UTC')}\n\n"
                if (now := digest(site)) != said:
                    said = now
                    text += f"event: snapshot\ndata: {now}\n\n"
                await _said(send, text.encode())
            waiting: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
            await asyncio.wait({waiting, gone}, timeout=self._alive_s, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()


async def _said(send: Send, text: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(SLOW_S):
        await send({"type": "http.response.body", "body": text, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
