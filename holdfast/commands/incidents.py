"""`holdfast incidents`: a library of incidents, to try a policy on."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from holdfast.commands.groups import Group
from holdfast.errors import BadInput
from holdfast.progress import Bars
from streams.choices import Size

app = typer.Typer(cls=Group, help="Recordings of incidents, to try a policy on.", no_args_is_help=True)

DEFAULT_OUT = Path("holdfast-data/incidents")


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List what there is, and what is right to say of each."""
    from streams.incidents import names

    told = [_told(name) for name in names()]
    width = max(len(each["name"]) for each in told)
    for each in told:
        sys.stdout.write(msgspec.json.encode(each).decode() if as_json else _line(each, width))
        sys.stdout.write("\n")


@app.command("make")
def make_(
    chosen: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names, as `list` prints them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    out: Annotated[Path, typer.Option(help="Folder in which each becomes a folder.")] = DEFAULT_OUT,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another fleet, with other noise.")] = 1,
    size: Annotated[Size, typer.Option(help="How many colos and hosts.")] = "usual",
) -> None:
    """Make recordings, to replay and to tune policies on."""
    from streams.incidents import make, names

    if bool(chosen) == everything:
        message = "incidents make: which ones? Allowed: names, as `holdfast incidents list` prints them, or --all"
        raise BadInput(message)
    _require(chosen or [])
    with Bars(len(chosen or names())) as bars:
        for name in chosen or names():
            bars.part(name)
            make(name, out / name, seed, size)
            sys.stdout.write(f"{out / name}\n")
            sys.stdout.flush()


def _require(chosen: list[str]) -> None:
    """Refuse names that are not there, all at once."""
    from streams.incidents import names

    unknown = [name for name in chosen if name not in names()]
    if unknown:
        message = f"incidents make: there is no {', '.join(unknown)}; there are: {', '.join(names())}"
        raise BadInput(message)


def _told(name: str) -> dict[str, Any]:
    from streams.incidents import HARMLESS, find

    incident, is_bad = find(name)
    real = incident.real
    twin = name.endswith(HARMLESS)
    other = "the harmless one of them" if incident.is_overlapping else "the same without harm"
    return {
        "name": name,
        "bad": is_bad,
        "expect": [incident.action] if is_bad else ["advance", "wait"],
        "within_ticks": incident.within if is_bad else None,
        "metrics": list(incident.metrics) if is_bad else [],
        "title": f"{incident.name}, {other}" if twin else incident.title,
        "real": {
            "what": real.what,
            "when": real.when or None,
            "title": real.source[0],
            "url": real.source[1],
            "seen_minutes": real.seen_minutes,
            "mitigated_minutes": real.mitigated_minutes,
        },
    }


def _line(told: dict[str, Any], width: int) -> str:
    right = f"{told['expect'][0]} within {told['within_ticks']} ticks" if told["bad"] else "no stop"
    return f"{told['name'].ljust(width)}  {right.ljust(23)}  {told['title']}"
