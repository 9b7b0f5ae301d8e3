"""`holdfast record`: a recording out of what keeps metrics."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from holdfast.commands.workers import Config
from holdfast.progress import Draws

KINDS = "kafka, clickhouse, parquet, prometheus or csv"

File = Path | None
Text = str | None
Texts = list[str] | None
Files = list[Path] | None


def _of(kinds: str, text: str) -> Any:
    return typer.Option(help=f"With --from {kinds}: {text}")


def record(
    source: Annotated[str, typer.Option("--from", help=f"What keeps the metrics: {KINDS}.")],
    out: Annotated[Path, typer.Option(help="The recording's folder, which is made.")],
    rollout: Annotated[File, typer.Option(help="The rollout.yaml, copied into the recording.")] = None,
    policy: Annotated[File, typer.Option(help="The policy.yaml, copied into the recording.")] = None,
    truth: Annotated[File, typer.Option(help="The truth.yaml, copied into the recording.")] = None,
    beside: Annotated[Files, typer.Option(help="Another rollout that was under way; repeatable.")] = None,
    announced: Annotated[Text, typer.Option(help="Name of a rollout on the rollouts topic, instead of files.")] = None,
    stored: Annotated[Text, typer.Option(help="Name of a rollout in the store, instead of files.")] = None,
    stored_from: Annotated[Text, typer.Option(help="With --stored: `live`, or the source of a replay.")] = None,
    start: Annotated[Text, typer.Option(help="From when on: a time with its zone, or how long before the end.")] = None,
    end: Annotated[Text, typer.Option(help="Until when: a time with its zone.")] = None,
    select: Annotated[
        Texts, typer.Option(help="Labels that samples must have: label=value or glob; repeatable.")
    ] = None,
    column: Annotated[Texts, typer.Option(help="What a column is called there: ours=theirs; repeatable.")] = None,
    label: Annotated[Texts, typer.Option(help="A label to take, by our name; by default all; repeatable.")] = None,
    colo: Annotated[Text, typer.Option(help="What the colo is called there; short for --column colo=NAME.")] = None,
    topic: Annotated[Text, _of("kafka", "the metrics topic.")] = None,
    slack: Annotated[
        Text, _of("kafka", "how long after --end messages may have been written; by default ever.")
    ] = None,
    table: Annotated[Text, _of("clickhouse", "a table, as in metrics.samples.")] = None,
    query: Annotated[Text, _of("clickhouse", "a SELECT.")] = None,
    data: Annotated[Text, _of("clickhouse or with --stored", "folder of the embedded store.")] = None,
    file: Annotated[Texts, _of("parquet or csv", "a file, folder or glob; repeatable.")] = None,
    time_unit: Annotated[Text, _of("parquet or csv", "what times that are numbers count: s, ms, us or ns.")] = None,
    timezone: Annotated[Text, _of("parquet or csv", "UTC, if times do not name their zone.")] = None,
    url: Annotated[Text, _of("prometheus", "its address, as in https://prometheus:9090.")] = None,
    step: Annotated[Text, _of("prometheus", "take the last sample of each step only, as in 30s.")] = None,
    timeout: Annotated[Text, _of("prometheus", "how long to wait for an answer; by default 30s.")] = None,
    bearer_token_file: Annotated[Text, _of("prometheus", "file with a token.")] = None,
    username: Annotated[Text, _of("prometheus", "who asks.")] = None,
    password_file: Annotated[Text, _of("prometheus", "file with the user's password.")] = None,
    ca_file: Annotated[Text, _of("prometheus", "file (PEM) with whom to trust.")] = None,
    certificate_file: Annotated[Text, _of("prometheus", "file (PEM) with our own certificate.")] = None,
    key_file: Annotated[Text, _of("prometheus", "file (PEM) with the key of our certificate.")] = None,
    config: Config = None,
    direct: Annotated[bool, typer.Option("--direct", help="Write source.yaml instead of samples.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a recording that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a recording: samples of a stretch of time, and the rollout and policy that judge them."""
    from holdfast.recording.document import at
    from holdfast.recording.options import Ways, documents_of, source_of
    from holdfast.recording.record import in_words, lay
    from holdfast.recording.record import record as make

    asks_clickhouse = source == "clickhouse"
    given = {
        "--topic": topic, "--slack": slack, "--table": table, "--query": query, "--file": file,
        "--data": data if asks_clickhouse else None, "--time-unit": time_unit, "--timezone": timezone,
        "--url": url, "--step": step, "--timeout": timeout, "--bearer-token-file": bearer_token_file,
        "--username": username, "--password-file": password_file, "--ca-file": ca_file,
        "--certificate-file": certificate_file, "--key-file": key_file,
        "--column": [*(column or []), *([f"colo={colo}"] if colo is not None else [])],
        "--label": label, "--select": select,
    }  # fmt: skip
    if source in ("kafka", "clickhouse") and config is not None:
        given["--config"] = str(config)
    ways = Ways(rollout, policy, truth, beside or (), announced, stored, stored_from)
    documents = documents_of(ways, config, None if data is None or asks_clickhouse else Path(data))
    described = source_of(source, given, documents, start, end)
    if direct:
        lay(out, at(described, Path.cwd()), documents, replaces=replace)
        sys.stdout.write(f"{out}: its samples are read from the source by each replay\nnext: holdfast replay {out}\n")
        return
    with Draws() as draws:
        recorded = make(out, described, documents, replaces=replace, show=draws.drawing(out.name).told)
    sys.stdout.write((msgspec.json.encode(recorded).decode() if as_json else in_words(recorded)) + "\n")
