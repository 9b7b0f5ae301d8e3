"""`holdfast status serve` and `holdfast status export`."""

import logging
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from holdfast.api.server import Server
from holdfast.api.settings import Api
from holdfast.api.tokens import Gate
from holdfast.errors import Unreachable
from holdfast.live.clients import check
from holdfast.live.settings import Settings
from holdfast.status.app import App
from holdfast.status.folder import Folder
from holdfast.status.keeper import Keeper, snapshot
from holdfast.status.mailing import Mailer, Smtp
from holdfast.status.pages import Look
from holdfast.status.sealing import Seal
from holdfast.status.settings import Status, seconds
from holdfast.status.site import Site
from holdfast.status.snapshot import Public
from holdfast.status.sources import Topics, moment
from holdfast.status.streams import Streams
from holdfast.status.subscribing import Desk
from holdfast.status.turns import Turn
from rollouts.incidents.response import Response

_END_S: Final = 5.0
_EXPORT_S: Final = 30.0
_POLL_S: Final = 0.05

log = logging.getLogger(__name__)


def base_of(url: str | None) -> str:
    """Return the path below which pages are, without a slash at its end.

    Examples
    --------
    >>> base_of("https://example.com/status"), base_of("https://status.example.com"), base_of(None)
    ('/status', '', '')
    """
    return "" if url is None else urlsplit(url).path


def serve(settings: Settings, response: Response, folder: Path | None, told: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        Brokers, topics, and `status`.
    response
        What services there are.
    folder
        Where the public pages are kept as files; None for nowhere.
    told
        Is told the port that is listened on.

    Raises
    ------
    BadInput
        If something that the settings name cannot be used. Brokers may be away.
    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    status = settings.status
    check(settings)
    gate = Gate(None if status.tokens is None else Path(status.tokens), moment)
    seal = None if status.mail is None or status.secret is None else Seal.load(Path(status.secret))
    kept = None if folder is None else Folder(folder)
    topics = Topics(settings, seal)
    stale = timedelta(seconds=seconds(status.stale_after))
    look = Look(status.title, base_of(status.url), can_subscribe=seal is not None, stale=stale)
    keeper = Keeper(topics, response, look, status.url or "", settings.prefix, moment, kept)

    def site() -> Site | None:
        return keeper.site

    def public() -> Public | None:
        return None if keeper.site is None else keeper.site.snapshot.public

    streams = Streams(site, status.streams_max, status.streams_per_client)
    keeper.listen(streams.changed)
    mailing = _mailing(settings, topics, seal, public)
    desk = None if seal is None or mailing is None else Desk(seal, topics.table, mailing[0].ask, moment)
    server = Server(_listening(status), App(status, gate, site, streams, look, desk), section="status")
    if not status.url:
        keeper.at(f"{'https' if status.certificate else 'http'}://{status.host}:{server.port}")

    def stop(*_: object) -> None:
        streams.close()
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    topics.start()
    keeper.start()
    if mailing is not None:
        keeper.listen(mailing[0].look)
        for each in mailing:
            each.start()
    told(server.port)
    try:
        server.run()
    finally:
        if mailing is not None:
            for each in mailing:
                each.stop()
            mailing[1].join(_END_S)
        keeper.stop()
        keeper.join(_END_S)
        topics.close(_END_S)


def _mailing(
    settings: Settings, topics: Topics, seal: Seal | None, public: Callable[[], Public | None]
) -> tuple[Mailer, Turn] | None:
    """Make what writes to subscribers, and what says when it is up to this server; None where nobody can subscribe."""
    status = settings.status
    if seal is None or status.mail is None:
        return None
    turn = Turn(settings)

    def is_my_turn() -> bool:
        return turn.is_mine(topics.table.heard)

    post = Smtp(status.mail)
    return Mailer(status, settings.prefix, post, seal, topics.table, public, is_my_turn=is_my_turn), turn


def _listening(status: Status) -> Api:
    return Api(
        host=status.host,
        port=status.port,
        certificate=status.certificate,
        key=status.key,
        requests_max=status.requests_max,
        timeout="30s",
    )


def export(settings: Settings, response: Response, folder: Path) -> int:
    """Write the public pages into a folder, and return how many files have changed.

    Raises
    ------
    BadInput
        If something cannot be used or written.
    Unreachable
        If the topics are not read to their end in time.
    """
    status = settings.status
    kept = Folder(folder)
    topics = Topics(settings, None)
    topics.start()
    try:
        end = time.monotonic() + _EXPORT_S
        while topics.as_of() is None or topics.table.heard is None:
            if time.monotonic() > end:
                message = f"{settings.topics.incidents}: not read to its end in {_EXPORT_S:g} s"
                raise Unreachable(message)
            time.sleep(_POLL_S)
        now = moment()
        look = Look(status.title, base_of(status.url), is_static=True)
        made = snapshot(topics, response, topics.as_of() or now)
        return kept.write(Site(made, look, status.url or "", settings.prefix, now))
    finally:
        topics.close(_END_S)
