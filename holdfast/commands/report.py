"""`holdfast report`: one HTML page about a rollout, of a recording or out of the store."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.files import require_place, write_whole
from holdfast.progress import Bars

if TYPE_CHECKING:
    from holdfast.recording.folder import Show
    from holdfast.replaying import Keeps, Outcome
    from holdfast.reporting.gathered import Gathered
    from streams.cache import Cache
    from streams.replay import Observer


def report(
    about: Annotated[
        str, typer.Argument(metavar="RECORDING|ROLLOUT", help="Folder of a recording, or a rollout in the store.")
    ],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    policy: Annotated[Path | None, typer.Option(help="Judge a recording by this policy instead of its own.")] = None,
    rollout: Annotated[str | None, typer.Option(help="Of a recording, judge this one of several rollouts.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Of a stored rollout, the rows to report: live, or replay:NAME.")
    ] = None,
    store: Annotated[Path | None, typer.Option("--store", "--data", help="Folder of the embedded store.")] = None,
    config: Config = None,
) -> None:
    """Write a page about a rollout: verdicts, evidence over time, colos, data quality. It needs no network."""
    from holdfast.live.stores import where
    from holdfast.reporting.stored import asking, gather_stored

    require_place(out)
    folder = Path(about)
    if folder.is_dir():
        if source is not None:
            message = f"{about}: --source: found {source!r}, for the folder of a recording; allowed: a stored rollout"
            raise BadInput(message)
        with Bars(1) as bars:
            reporting(out)(
                folder,
                policy_path=policy,
                rollout=rollout,
                observer=bars.begin(folder.name),
                show=bars.drawing(folder.name).told,
            )
    else:
        for option, value in (("--policy", policy), ("--rollout", rollout)):
            if value is not None:
                message = f"{about}: {option}: found {str(value)!r}, and there is no such folder; allowed: a recording"
                raise BadInput(message)
        with asking(where(store, config)) as answer:
            gathered = gather_stored(answer, about, source)
        _write(gathered, out)
    sys.stdout.write(f"{out}\n")


def require_one(recordings: Sequence[Path], out: Path) -> None:
    """Refuse to write one page about several recordings, or to a place that cannot hold it."""
    if len(recordings) != 1:
        message = f"{out}: --report: found {len(recordings)} recordings; allowed: one recording for a page"
        raise BadInput(message)
    require_place(out)


def reporting(out: Path) -> "Callable[..., Outcome]":
    """Return a replay that writes its page too, and takes what `holdfast.replaying.replay_recording` does."""
    from holdfast.reporting.recorded import gather_recording

    def judge(
        path: Path,
        *,
        policy_path: Path | None = None,
        rollout: str | None = None,
        store: "Keeps | None" = None,
        observer: "Observer | None" = None,
        check: bool = False,
        cache: "Cache | None" = None,
        show: "Show" = lambda *_: None,
    ) -> "Outcome":
        outcome, gathered = gather_recording(
            path,
            policy_path=policy_path,
            rollout=rollout,
            store=store,
            observer=observer,
            check=check,
            cache=cache,
            show=show,
        )
        _write(gathered, out)
        return outcome

    return judge


def _write(gathered: "Gathered", out: Path) -> None:
    """Write a page in one piece: whoever looks meanwhile sees the one before, or none."""
    from holdfast.reporting.build import report_data
    from holdfast.reporting.page import render

    write_whole(out, render(report_data(gathered)).encode())
