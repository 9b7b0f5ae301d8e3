"""`holdfast respond`: the worker that opens incidents, escalates them, and tells people."""

import signal
import sys

import typer

from holdfast.commands.workers import FAILED, Config
from holdfast.live.settings import load_settings


def respond(config: Config = None) -> None:
    """Open incidents from verdicts, escalate them, and tell people; several of it stand by for each other."""
    from holdfast.live.clients import admin
    from holdfast.live.http import Server
    from holdfast.live.logs import configure
    from holdfast.live.loop import Fenced
    from holdfast.live.telemetry import Telemetry
    from holdfast.live.topics import require
    from holdfast.notifying.addresses import addresses_of
    from holdfast.notifying.notifier import Notifier
    from holdfast.notifying.telemetry import NotifyTelemetry
    from holdfast.response.documents import response_of
    from holdfast.response.worker import Respond

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    response = response_of(settings)
    # What is wrong with them is told now, and not once somebody should be told of an incident.
    addresses_of(response, file=settings.response.document)
    require(admin(settings), settings)
    telemetry = Telemetry("respond", settings.worker)
    told = NotifyTelemetry()
    parts = {"notify": lambda settings, response: Notifier(settings, response, telemetry=told)}
    worker = Respond(settings, response, telemetry, parts)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    try:
        with Server(settings.http, [telemetry, told], lambda: worker.is_ready):
            worker.run()
    except Fenced as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(FAILED) from error
