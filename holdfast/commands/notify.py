"""`holdfast notify`: who hears of incidents, and whether it works."""

import signal
import sys
from typing import Annotated

import msgspec
import typer

from holdfast.commands.groups import Group
from holdfast.commands.workers import FAILED, Config
from holdfast.errors import BadInput
from holdfast.live.settings import load_settings

app = typer.Typer(cls=Group, help="Tell people of incidents, and see whether they can be told.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Recipient = Annotated[str, typer.Argument(help="Name of a recipient of the response document.")]


@app.command()
def run(config: Config = None) -> None:
    """Tell people of incidents, apart from `holdfast respond`; several stand by for each other."""
    import threading

    from holdfast.live.clients import admin
    from holdfast.live.http import Server
    from holdfast.live.logs import configure
    from holdfast.live.topics import require
    from holdfast.notifying.notifier import Notifier
    from holdfast.response.documents import response_of

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    notifier, stop = Notifier(settings, response_of(settings)), threading.Event()
    require(admin(settings), settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Server(settings.http, [notifier.telemetry], lambda: notifier.is_ready):
        notifier.run(stop)


@app.command("list")
def list_(as_json: AsJson = False, config: Config = None) -> None:
    """List the recipients, what each hears, and whether Apprise takes their addresses; nothing is sent."""
    from holdfast.notifying.addresses import addresses_of
    from holdfast.notifying.sending import Failed, Senders
    from holdfast.notifying.trying import heard
    from holdfast.response.documents import response_of

    settings = load_settings(config)
    response = response_of(settings)
    senders, is_good = Senders(), True
    try:
        for name, addresses in addresses_of(response, file=settings.response.document).items():
            for address in addresses:
                wrong = None
                try:
                    senders.check(address)
                except Failed as error:
                    wrong, is_good = str(error), False
                hears = heard(name, response)
                told = {
                    "recipient": name,
                    "address": address.index,
                    "service": address.schema,
                    "error": wrong,
                    "hears": hears,
                }
                line = f"{address.name}  {address.schema}://  {wrong or 'ok'}  hears: {', '.join(hears)}"
                sys.stdout.write((msgspec.json.encode(told).decode() if as_json else line) + "\n")
    finally:
        senders.close()
    if not is_good:
        raise typer.Exit(FAILED)


@app.command("test")
def try_out(recipient: Recipient, config: Config = None) -> None:
    """Send a test message to a recipient, at all addresses, and say how long each took."""
    from holdfast.notifying.addresses import addresses_of
    from holdfast.notifying.trying import tried
    from holdfast.response.documents import response_of

    settings = load_settings(config)
    response = response_of(settings)
    found = addresses_of(response, file=settings.response.document)
    if recipient not in found:
        message = f"{recipient}: no such recipient; there are: {', '.join(found) or 'none'}"
        raise BadInput(message)
    is_good = True
    for result in tried(found[recipient], response, settings.notify):
        is_good = is_good and result.error is None
        said = f"sent in {result.seconds:.2f} s" if result.error is None else f"not sent: {result.error}"
        (sys.stdout if result.error is None else sys.stderr).write(f"{result.address.name}: {said}\n")
    if not is_good:
        raise typer.Exit(FAILED)


@app.command()
def undelivered(as_json: AsJson = False, config: Config = None) -> None:
    """List the notices that were given up, oldest first, with the reason of each."""
    from holdfast.notifying.trying import given_up

    for (name, place), value in given_up(load_settings(config)):
        told = {"notice": name, "recipient": place.recipient, "address": place.index, **msgspec.to_builtins(value)}
        at = value.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        line = f"{at}  {place}  {name}  {value.subject}: {value.reason} (attempts: {value.attempts})"
        sys.stdout.write((msgspec.json.encode(told).decode() if as_json else line) + "\n")
