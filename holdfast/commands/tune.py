"""`holdfast tune`: values of a policy that catch recorded incidents sooner, within the false-alarm limit."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.errors import BadInput

if TYPE_CHECKING:
    from holdfast.tuning.report import Tuning
    from holdfast.tuning.space import Part

NONE_WITHIN = 1
INTERRUPTED = 130


def tune(
    corpus: Annotated[Path, typer.Argument(help="Folder of recordings whose truth is known.")],
    policy: Annotated[Path, typer.Option(help="The policy.yaml that is tuned.")],
    out: Annotated[Path | None, typer.Option(help="Write the chosen policy to this file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw delay against false alarms into this SVG file.")] = None,
    alpha_max: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of harmless rollouts that may be stopped; else the policy's alpha."),
    ] = None,
    free: Annotated[
        str, typer.Option(help="What is free, with commas: tolerances, weights, tick, advance, bake.")
    ] = "tolerances,weights,tick",
    trials: Annotated[int, typer.Option(min=1, max=100_000, help="How many policies are tried.")] = 48,
    duration: Annotated[str | None, typer.Option("--time", help="Begin no more after this long, as in 10m.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Part of the incidents that nothing is learned from.")
    ] = 0.3,
    resume: Annotated[
        Path | None, typer.Option(help="Folder that keeps what was evaluated, so that a stopped run goes on.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is tried, and of what is held out.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; by default one for each core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Search for values of a policy by what they make of recorded incidents."""
    import msgspec
    from rich.console import Console

    from holdfast.progress import Steps
    from holdfast.tuning.tuning import Asked, tune
    from holdfast.tuning.view import show
    from holdfast.tuning.writing import require_place

    for place in (out, picture):
        if place is not None:
            require_place(place)
    asked = Asked(policy, _free(free), alpha_max, trials, _seconds(duration), held_out, resume, seed, jobs)
    try:
        with Steps() as steps:
            found = tune(corpus, asked, steps.told)
    except KeyboardInterrupt:
        how = f"--resume {resume} again goes on from here" if resume else "with --resume FOLDER it could have gone on"
        sys.stderr.write(f"stopped; {how}\n")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        show(Console(), found)
    _write(found, policy, out, picture)
    if found.chosen is None:
        raise typer.Exit(NONE_WITHIN)


def _free(text: str) -> "tuple[Part, ...]":
    from holdfast.tuning.space import PARTS

    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        message = (
            f"--free: found {', '.join(map(repr, unknown))}; allowed: {', '.join(PARTS)}, with commas between them"
        )
        raise BadInput(message)
    return tuple(part for part in PARTS if part in names)


def _seconds(text: str | None) -> float | None:
    from detectors.policy import duration_ms

    if text is None:
        return None
    try:
        return duration_ms(text) / 1_000
    except ValueError as error:
        message = f"--time: found {text!r}; allowed: a number and its unit (ms, s, m, h or d), as in 10m"
        raise BadInput(message) from error


def _write(found: "Tuning", policy: Path, out: Path | None, picture: Path | None) -> None:
    from holdfast.files import write_whole
    from holdfast.tuning.editing import edited
    from holdfast.tuning.picture import draw
    from holdfast.tuning.view import comment

    if picture is not None:
        write_whole(picture, draw(found).encode())
        sys.stderr.write(f"{picture}: drawn\n")
    if out is not None and found.chosen is not None:
        changes = {tuple(change.keys): change.after for change in found.chosen.changes}
        write_whole(out, edited(policy, changes, comment(found)).encode())
        sys.stderr.write(f"{out}: written, with {len(changes)} values changed\n")
