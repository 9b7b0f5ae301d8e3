"""`holdfast calibrate`: what a policy makes of placebo rollouts in one's own history."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from holdfast.errors import BadInput


def calibrate(
    histories: Annotated[
        list[Path], typer.Argument(metavar="HISTORY…", help="Folders of recordings without a change.")
    ],
    policy: Annotated[Path, typer.Option(help="The policy.yaml that is calibrated.")],
    rollout: Annotated[Path | None, typer.Option(help="The rollout to pretend; by default each folder's own.")] = None,
    placebos: Annotated[
        int | None, typer.Option(min=1, help="About how many; by default as many as do not overlap.")
    ] = None,
    assign: Annotated[
        bool, typer.Option("--assign", help="Random hosts of each colo take turns as the canary.")
    ] = False,
    effects: Annotated[
        int, typer.Option(min=0, help="Into how many placebos effects are put, to see what is caught.")
    ] = 8,
    suggest: Annotated[bool, typer.Option(help="Look for better tolerances and lengths of the past.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the starts, and of the hosts that take turns.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; by default one for each core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the policy with what is suggested to this file.")] = None,
) -> None:
    """Measure how often a policy stops rollouts that change nothing, and the smallest effect that it sees."""
    import msgspec
    from rich.console import Console

    from holdfast.calibration.calibrating import Asked, calibrate
    from holdfast.calibration.view import show
    from holdfast.progress import Steps
    from holdfast.tuning.writing import require_place

    if out is not None:
        require_place(out)
        if not suggest:
            message = "--out: found with --no-suggest; allowed: only with suggestions, which are what it writes"
            raise BadInput(message)
    asked = Asked(policy, rollout, placebos, assign, effects, suggest, seed, jobs)
    with Steps() as steps:
        found = calibrate(histories, asked, steps.told)
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        show(Console(), found)
    if out is not None:
        _write(policy, out, found)


def _write(policy: Path, out: Path, found: object) -> None:
    from holdfast.calibration.report import Calibration
    from holdfast.calibration.view import comment
    from holdfast.files import write_whole
    from holdfast.tuning.editing import edited

    assert isinstance(found, Calibration)
    changes = {tuple(one.path): one.after for one in found.suggestions}
    write_whole(out, edited(policy, changes, comment(found)).encode())
    sys.stderr.write(f"{out}: written, with {len(changes)} values changed\n")
