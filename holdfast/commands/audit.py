"""`holdfast audit`: the log of who did what, and the proof that nothing of it was changed."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from holdfast.commands.groups import Group
from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.live.durations import seconds_of
from holdfast.live.settings import Settings, load_settings
from rollouts.audit import Break, Link
from rollouts.breakglass import written

app = typer.Typer(cls=Group, help="Look at the audit log, and prove it.", no_args_is_help=True)

BROKEN = 3

DRIFT: Final = {"none": 0, "found": 3, "unknown": 4}
"""Exit status of `holdfast audit drift`; 2 is bad input."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What `holdfast audit verify --json` prints; `broken` is the first broken link, `breaks` how many there are."""

    installation: str
    topic: str
    entries: int
    head: str
    whole: bool
    breaks: int
    broken: Break | None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as `holdfast audit list --json` prints it, one a line; `written` is by the broker's clock."""

    offset: int
    hash: str
    written: str | None
    entry: msgspec.Raw


@app.callback()
def audit() -> None:
    """Look at the audit log, and prove it."""


@app.command()
def verify(
    expect_head: Annotated[
        str | None, typer.Option(help="A hash of a last entry that was noted elsewhere; the log must hold it.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Prove that no entry was changed, taken out, put in or moved. Exit status: 0 whole, 3 broken, 2 bad input."""
    from holdfast.control.audit_log import read

    if expect_head is not None and not _is_hash(expect_head):
        message = f"--expect-head: found {expect_head[:80]!r}; allowed: 64 hexadecimal digits, as `verify` prints them"
        raise BadInput(message)
    settings = load_settings(config)
    chain = read(settings)
    broken = chain.first_break(expect_head)
    proof = Proof(
        installation=settings.prefix,
        topic=settings.topics.audit,
        entries=len(chain.links),
        head=chain.head,
        whole=broken is None,
        breaks=max(len(chain.breaks), int(broken is not None)),
        broken=broken,
    )
    sys.stdout.write((msgspec.json.encode(proof).decode() if as_json else in_words(proof)) + "\n")
    if broken is not None:
        raise typer.Exit(BROKEN)


@app.command("list")
def list_all(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest ones, so many.")] = 100,
    kind: Annotated[str | None, typer.Option(help="Only those whose kind begins like this.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only those about this, as a rollout.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    config: Config = None,
) -> None:
    """List entries, oldest first. A log that is broken is listed all the same, and standard error says so."""
    from holdfast.control.audit_log import read

    settings = load_settings(config)
    chain = read(settings)
    fits = [
        link
        for link in chain.links
        if (kind is None or link.entry.kind.startswith(kind)) and (subject is None or link.entry.subject == subject)
    ]
    for link in fits[-limit:]:
        sys.stdout.write((msgspec.json.encode(_listed(link)).decode() if as_json else line(link)) + "\n")
    broken = chain.first_break()
    if broken is not None:
        sys.stderr.write(f"{settings.topics.audit}: broken: {broken.sentence}\n")


@app.command()
def drift(
    as_json: AsJson = False,
    every: Annotated[str | None, typer.Option(help="Look again and again, as in 15m, and serve metrics.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write what comes and what goes on the audit topic too.")
    ] = False,
    metrics: Annotated[
        Path | None, typer.Option(help="Write metrics to this file, for the textfile collector of node_exporter.")
    ] = None,
    config: Config = None,
) -> None:
    """List what is not as it was decided. Exit status: 0 none, 3 found, 4 nothing found but not all known, 2 bad input.

    Nothing is written unless --record says so.
    """
    from rich.console import Console

    from holdfast.control.drift_view import report_of, show
    from holdfast.control.drift_watch import record as record_findings
    from holdfast.control.drift_watch import write_metrics
    from holdfast.control.drifting import gather, load_kept
    from holdfast.wall import now
    from rollouts.drift import audit as look
    from rollouts.drift import standing

    settings = load_settings(config)
    if every is not None:
        if as_json or metrics is not None:
            message = (
                "--every: found together with --json or --metrics; allowed: one of them, its metrics are on /metrics"
            )
            raise BadInput(message)
        _watch(settings, seconds_of("--every", every), is_recorded=record)
        return
    kept, at = load_kept(settings), now()
    findings = look(gather(settings, kept, at), at)
    if metrics is not None:
        write_metrics(metrics, findings, at)
    if as_json:
        sys.stdout.write(msgspec.json.encode(report_of(findings, written(at))).decode() + "\n")
    else:
        show(Console(), findings)
    if record:
        record_findings(settings, findings)
    raise typer.Exit(DRIFT[standing(findings)])


@app.command()
def baseline(config: Config = None) -> None:
    """Print what hosts report that they have, as a baseline for `drift`: read it before you take it for right."""
    from holdfast.control.drifting import baseline_of

    found = baseline_of(load_settings(config))
    sys.stdout.write(msgspec.yaml.encode(found).decode())


def _watch(settings: Settings, every_s: float, *, is_recorded: bool) -> None:
    from holdfast.control.drift_watch import Watch
    from holdfast.control.drifting import load_kept
    from holdfast.live.logs import configure

    configure(settings.log.level, settings.log.form)
    watch = Watch(settings, load_kept(settings), every_s, is_recorded=is_recorded)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watch.stop())
    watch.run()


def in_words(proof: Proof) -> str:
    """Write a proof for people."""
    count = f"{proof.entries} {'entry' if proof.entries == 1 else 'entries'}"
    if proof.broken is None:
        return f"{proof.topic}: whole, {count}; head {proof.head}"
    more = "" if proof.breaks == 1 else f"\n    and {proof.breaks - 1} more after it"
    return f"{proof.topic}: broken ({proof.broken.kind}), {count}; head {proof.head}\n    {proof.broken.sentence}{more}"


def line(link: Link) -> str:
    """Write an entry in one line."""
    entry = link.entry
    about = f" {entry.subject}" if entry.subject else ""
    reason = entry.body.get("sentence") or entry.body.get("reason")
    said = f": {reason}" if isinstance(reason, str) else ""
    return f"{entry.sequence} {written(entry.time)} {entry.who}: {entry.kind}{about}{said}"


def _listed(link: Link) -> Listed:
    from rollouts.audit import encode

    at = None if link.written is None else written(link.written)
    return Listed(offset=link.offset, hash=link.hash, written=at, entry=msgspec.Raw(encode(link.entry)))


def _is_hash(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
