"""`holdfast incident review` and `holdfast incident keep`: what is learned from an incident, and what stays of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from holdfast.commands.incident import Id
from holdfast.commands.options import By, moment
from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.progress import Bars
from holdfast.wall import now

if TYPE_CHECKING:
    from holdfast.reviewing.draft import Draft


def review(
    incident: Id,
    by: By,
    out: Annotated[Path, typer.Option(help="Folder to write the draft into.")] = Path(),
    submit: Annotated[Path | None, typer.Option(help="Submit this review instead of writing a draft.")] = None,
    store: Annotated[Path | None, typer.Option("--store", "--data", help="Folder of the embedded store.")] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the draft of a review, in Markdown to be filled and in HTML to be read; or submit what was filled."""
    if submit is not None:
        _submit(incident, submit, by, config, as_json=as_json)
        return
    made, text, shown = draft_of(incident, out, store, config)
    if as_json:
        body = {"incident": incident, "markdown": str(text), "html": str(shown), "missing": list(made.facts.missing)}
        sys.stdout.write(msgspec.json.encode(body).decode() + "\n")
        return
    sys.stdout.write(f"{text}\n{shown}\n")
    for missing in made.facts.missing:
        sys.stdout.write(f"  - not known: {missing}\n")
    sys.stdout.write(f"next: fill {text}, then holdfast incident review {incident} --submit {text}\n")


def draft_of(incident: str, out: Path, store: Path | None, config: Path | None) -> "tuple[Draft, Path, Path]":
    """Write a draft; return it, and where its Markdown and its page are.

    Raises
    ------
    BadInput
        If there is no such incident, or a draft of it is there already.
    Unreachable
        If the brokers do not answer.
    """
    from holdfast.files import write_whole
    from holdfast.live.settings import load_settings
    from holdfast.live.stores import where
    from holdfast.response.record import history_of
    from holdfast.reviewing.draft import draft
    from holdfast.reviewing.gathering import gather
    from holdfast.reviewing.markdown import written
    from holdfast.reviewing.page import page

    text, shown = out / f"{incident}.md", out / f"{incident}.html"
    if not out.is_dir():
        message = f"{out}: no such folder; allowed: a folder that is there"
        raise BadInput(message)
    if text.exists():
        message = f"{text}: is there already, and may have been written in; move it, or name another folder by --out"
        raise BadInput(message)
    settings = load_settings(config)
    made = draft(gather(settings, history_of(settings, incident), out, where(store, config)))
    write_whole(shown, page(made).encode())
    write_whole(text, written(made).encode())
    return made, text, shown


def keep(
    incident: Id,
    corpus: Annotated[Path, typer.Option(help="Folder of recordings that the incident is to be one of.")],
    source: Annotated[str, typer.Option("--from", help="What keeps the metrics: kafka, clickhouse or prometheus.")],
    by: By,
    name: Annotated[str | None, typer.Option(help="Of the recording; by default the incident's.")] = None,
    rollout: Annotated[str | None, typer.Option(help="Which rollout it is of, if there were several.")] = None,
    onset: Annotated[str | None, typer.Option(help="When the harm began, if that is known better.")] = None,
    harmless: Annotated[bool, typer.Option("--harmless", help="The change was harmless: a false alarm.")] = False,
    topic: Annotated[str | None, typer.Option(help="With --from kafka: the metrics topic.")] = None,
    table: Annotated[str | None, typer.Option(help="With --from clickhouse: a table.")] = None,
    url: Annotated[str | None, typer.Option(help="With --from prometheus: its address.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="What a column is called there: ours=theirs.")] = None,
    select: Annotated[list[str] | None, typer.Option(help="Labels that samples must have: label=value.")] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Record an incident into a corpus, with its truth, so that the gate holds it from now on."""
    from holdfast.live.settings import load_settings
    from holdfast.recording.documents import announced
    from holdfast.recording.options import source_of
    from holdfast.recording.record import in_words
    from holdfast.response.record import append, history_of
    from holdfast.response.saying import person
    from holdfast.reviewing.keeping import cause_of, truth_of
    from holdfast.reviewing.keeping import keep as record
    from rollouts.incidents.folding import fold
    from rollouts.incidents.history import Kept

    began, who = None if onset is None else moment("--onset", onset), person(by)
    settings = load_settings(config)
    found = fold(history_of(settings, incident))
    cause = cause_of(found, rollout)
    documents = announced(settings, cause.rollout, None, None)
    truth = truth_of(found, cause, documents.policy.tick, began, harmless=harmless)
    given = {"--topic": topic, "--table": table, "--url": url, "--column": column, "--select": select}
    if source in ("kafka", "clickhouse") and config is not None:
        given["--config"] = str(config)
    described = source_of(source, given, documents, None, None)
    with Bars(2) as bars:
        steps = {step: bars.part(f"{incident}: {step}") for step in ("reading", "writing")}
        kept = record(
            corpus, name or incident, described, documents, truth, lambda step, done, total: steps[step](done, total)
        )
    append(settings, incident, [Kept(at=now(), by=who, recording=name or incident, digest=kept.digest)])
    if as_json:
        sys.stdout.write(msgspec.json.encode(kept.recorded).decode() + "\n")
        return
    said = f"judged as it should be: {kept.outcome.action} at {kept.outcome.time}"
    sys.stdout.write(f"{in_words(kept.recorded)}\n{said}\n")


def _submit(incident: str, file: Path, by: str, config: Path | None, *, as_json: bool) -> None:
    from holdfast.live.settings import load_settings
    from holdfast.response.record import append
    from holdfast.response.saying import person
    from holdfast.reviewing.markdown import read
    from rollouts.incidents.history import ActionAdded, Event, Reviewed

    try:
        raw = file.read_bytes()
    except OSError as error:
        message = f"{file}: cannot be read: {error.strerror or error}"
        raise BadInput(message) from error
    filled = read(str(file), raw)
    if filled.incident != incident:
        message = f"{file}: is the review of {filled.incident}; allowed: that of {incident}"
        raise BadInput(message)
    at, who = now(), person(by)
    added: list[Event] = [ActionAdded(at=at, by=who, item=item) for item in filled.items]
    append(load_settings(config), incident, [*added, Reviewed(at=at, by=who, digest=filled.digest)])
    if as_json:
        sys.stdout.write(msgspec.json.encode({"incident": incident, "digest": filled.digest}).decode() + "\n")
        return
    items = f"{len(filled.items)} action items" if len(filled.items) != 1 else "1 action item"
    sys.stdout.write(f"{incident}: reviewed, with {items}\nnext: holdfast incident close {incident}\n")
