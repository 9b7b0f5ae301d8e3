"""`holdfast deadletters`: messages that could not be read; look at them, and send them again."""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from holdfast.commands.groups import Group
from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.live.settings import load_settings
from sinks.cloudevents import rfc3339

if TYPE_CHECKING:
    from holdfast.live.dead_letters import Letter
    from holdfast.live.redriving import Listed

app = typer.Typer(cls=Group, help="Look at messages that could not be read, and send them again.", no_args_is_help=True)

_PREVIEW_BYTES = 512

Topic = Annotated[str | None, typer.Option(help="Only those that came from this topic.")]
Reason = Annotated[str | None, typer.Option(help="Only those whose reason contains this text.")]


@app.command("list")
def list_(
    topic: Topic = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest ones, so many of each partition.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    config: Config = None,
) -> None:
    """List them, oldest first."""
    from holdfast.live.dead_letters import Chosen
    from holdfast.live.redriving import DeadLetters

    for listed in DeadLetters(load_settings(config)).listed(Chosen(topic, reason), limit):
        sys.stdout.write((msgspec.json.encode(_told(listed)).decode() if as_json else _line(listed)) + "\n")


@app.command()
def show(
    place: Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `list` prints it.")],
    config: Config = None,
) -> None:
    """Show one of them: where it comes from, why it was put aside, what is said of it now, and how it begins."""
    from holdfast.live.dead_letters import Chosen
    from holdfast.live.redriving import DeadLetters, reason_now

    settings = load_settings(config)
    found = DeadLetters(settings).listed(Chosen(places=frozenset([_place(place)])), 1, is_whole=True)
    if not found:
        message = f"{place}: no dead letter there; `holdfast deadletters list` lists them"
        raise BadInput(message)
    letter = found[0].letter
    lines = [f"{name}: {value}" for name, value in _told(found[0]).items()]
    lines += [f"header {name}: {text.decode(errors='backslashreplace')}" for name, text in letter.headers]
    lines += [f"reason now: {reason_now(settings, letter)}", *_preview(letter)]
    sys.stdout.write("\n".join(lines) + "\n")


@app.command()
def redrive(
    places: Annotated[list[str] | None, typer.Argument(help="PARTITION:OFFSET …, as `list` prints them.")] = None,
    topic: Topic = None,
    reason: Reason = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Those too that were sent again before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; tell what would be sent.")] = False,
    config: Config = None,
) -> None:
    """Send them to the topic and partition that they came from."""
    from holdfast.live.dead_letters import Chosen
    from holdfast.live.redriving import DeadLetters

    if not (places or topic or reason or everything):
        message = "redrive: which ones? Allowed: PARTITION:OFFSET …, --topic, --reason, or --all"
        raise BadInput(message)
    wanted = frozenset(map(_place, places)) if places else None
    result = DeadLetters(load_settings(config)).redrive(Chosen(topic, reason, wanted), is_again=again, is_dry=dry_run)
    for place in result.sent:
        sys.stdout.write(f"{place}: {'would be sent' if dry_run else 'sent'}\n")
    for place, why in result.refused:
        sys.stderr.write(f"{place}: not sent: {why}\n")
    sys.stdout.write(f"{len(result.sent)} {'would be sent' if dry_run else 'sent'}, ")
    sys.stdout.write(f"{result.before} sent before, {len(result.refused)} not to be sent\n")


def _place(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", text, re.ASCII)
    if found is None:
        message = f"{text!r} is no place of a dead letter; allowed: PARTITION:OFFSET, as in 3:1712"
        raise BadInput(message)
    return int(found[1]), int(found[2])


def _told(listed: "Listed") -> dict[str, object]:
    letter = listed.letter
    return {
        "place": letter.place,
        "topic": letter.from_topic,
        "partition": letter.from_partition,
        "offset": letter.from_offset,
        "time": rfc3339(letter.from_timestamp_ms),
        "reason": letter.reason,
        "worker": letter.worker,
        "bytes": listed.size,
        "content_type": letter.content_type,
        "whole": letter.is_whole,
        "redriven": listed.redriven,
    }


def _line(listed: "Listed") -> str:
    letter = listed.letter
    sent = f", sent again {listed.redriven} times" if listed.redriven else ""
    size = f"{listed.size:,} bytes{sent}"
    return (
        f"{letter.place}  {rfc3339(letter.from_timestamp_ms)}  {letter.from_topic}/{letter.from_partition} at "
        f"{letter.from_offset}  {size}: {' '.join(letter.reason.split())}"
    )


def _preview(letter: "Letter") -> list[str]:
    """Show the first bytes as text, if they are some, or else in hexadecimal, 16 a line."""
    value = letter.value
    if value is None:
        return ["no value"]
    head = value[:_PREVIEW_BYTES]
    more = f", the first {len(head)}" if len(value) > len(head) else ""
    title = f"{len(value):,} bytes{more}:"
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = ""
    if text and all(each.isprintable() or each in "\n\t\r" for each in text):
        return [title, text]
    rows = [head[start : start + 16] for start in range(0, len(head), 16)]
    return [title, *(f"{16 * number:04x}  {row.hex(' '):47}  {_dots(row)}" for number, row in enumerate(rows))]


def _dots(row: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
