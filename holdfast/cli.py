"""The command line."""

import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer
from rich.console import Console

from holdfast.commands import audit as audit_commands
from holdfast.commands import breakglass as breakglass_commands
from holdfast.commands import calibrate as calibrate_commands
from holdfast.commands import compare as compare_commands
from holdfast.commands import config as config_commands
from holdfast.commands import control as control_commands
from holdfast.commands import deadletters as deadletters_commands
from holdfast.commands import demo as demo_commands
from holdfast.commands import drill as drill_commands
from holdfast.commands import gate as gate_commands
from holdfast.commands import incident as incident_commands
from holdfast.commands import incident_review as incident_review_commands
from holdfast.commands import incidents as incidents_commands
from holdfast.commands import notify as notify_commands
from holdfast.commands import produce as produce_commands
from holdfast.commands import query as query_commands
from holdfast.commands import record as record_commands
from holdfast.commands import report as report_commands
from holdfast.commands import respond as respond_commands
from holdfast.commands import rollout as rollout_commands
from holdfast.commands import serve as serve_commands
from holdfast.commands import sink as sink_commands
from holdfast.commands import status as status_commands
from holdfast.commands import store as store_commands
from holdfast.commands import token as token_commands
from holdfast.commands import topics as topics_commands
from holdfast.commands import tune as tune_commands
from holdfast.commands import verdict as verdict_commands
from holdfast.commands import workers as worker_commands
from holdfast.commands.groups import Whole
from holdfast.errors import BadInput, Unreachable
from holdfast.progress import Bars
from sinks.errors import StoreError
from sinks.folder import DEFAULT_FOLDER

if TYPE_CHECKING:
    from sinks.remote import RemoteStore
    from sinks.store import Store

BAD_INPUT = 2
CONTRADICTED = 3

app = typer.Typer(
    cls=Whole,
    help="holdfast judges rollouts while they happen.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(calibrate_commands.calibrate)
app.command()(tune_commands.tune)
app.command()(config_commands.config)
app.add_typer(topics_commands.app, name="topics")
app.add_typer(rollout_commands.app, name="rollout")
app.add_typer(control_commands.plan, name="plan")
rollout_commands.app.command()(control_commands.pause)
rollout_commands.app.command()(control_commands.resume)
rollout_commands.app.command()(control_commands.abort)
app.command()(control_commands.reach)
app.command()(control_commands.control)
app.command()(control_commands.agent)
app.add_typer(verdict_commands.app, name="verdict")
app.add_typer(breakglass_commands.app, name="breakglass")
app.add_typer(audit_commands.app, name="audit")
app.command()(worker_commands.aggregate)
app.command()(worker_commands.judge)
app.command()(worker_commands.rekey)
app.command()(worker_commands.run)
app.command()(sink_commands.sink)
app.add_typer(deadletters_commands.app, name="deadletters")
app.add_typer(notify_commands.app, name="notify")
app.command()(produce_commands.produce)
app.add_typer(incidents_commands.app, name="incidents")
app.add_typer(incident_commands.app, name="incident")
incident_commands.app.command()(incident_review_commands.review)
incident_commands.app.command()(incident_review_commands.keep)
app.command()(respond_commands.respond)
app.command()(drill_commands.drill)
app.command()(record_commands.record)
app.command()(report_commands.report)
app.command()(query_commands.query)
app.command()(serve_commands.serve)
app.add_typer(status_commands.app, name="status")
app.add_typer(token_commands.app, name="token")
app.add_typer(store_commands.app, name="store")
app.add_typer(gate_commands.app, name="gate")
app.command()(compare_commands.compare)

Folder = Annotated[Path, typer.Option("--data", help="Folder of the embedded store.")]


@app.command()
def replay(
    recordings: Annotated[list[Path], typer.Argument(help="Folders with metrics.parquet, rollout.yaml, policy.yaml.")],
    policy: Annotated[Path | None, typer.Option(help="Judge by this policy instead of the recording's own.")] = None,
    rollout: Annotated[str | None, typer.Option(help="Judge this one of several rollouts under way.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per recording.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 if a verdict contradicts truth.yaml.")] = False,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep nothing.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write a page about it to this file, for one recording.")] = None,
    store: Folder = DEFAULT_FOLDER,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings that name a server: keep there what is judged.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Folder for what samples add up to, so that they are read once; cache in --data."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Read the samples, and keep no sums of them.")] = False,
) -> None:
    """Judge recordings as if they were happening now."""
    from holdfast.replaying import in_words, replay_recording
    from streams.cache import Cache

    place = _cache_folder(cache, None if no_cache or no_store else store / "cache", no_cache=no_cache)
    if report is not None:
        report_commands.require_one(recordings, report)
    contradicted = False
    with nullcontext() if no_store else _kept(store, config) as kept, Bars(len(recordings)) as bars:
        sums = None if place is None else Cache(place)
        for recording in recordings:
            observer = bars.begin(recording.name)
            judge = replay_recording if report is None else report_commands.reporting(report)
            outcome = judge(
                recording,
                policy_path=policy,
                rollout=rollout,
                store=kept,
                observer=observer,
                check=check,
                cache=sums,
                show=bars.drawing(recording.name).told,
            )
            sys.stdout.write((outcome.as_json().decode() if as_json else in_words(outcome)) + "\n")
            sys.stdout.flush()
            contradicted |= bool(outcome.contradictions)
            for contradiction in outcome.contradictions:
                sys.stderr.write(f"{recording}: contradicts truth.yaml: {contradiction}\n")
    if contradicted:
        raise typer.Exit(CONTRADICTED)


def _cache_folder(given: Path | None, usual: Path | None, *, no_cache: bool) -> Path | None:
    """Return where sums are kept; what keeps nothing else keeps none of them either, unless told where."""
    if given is not None and no_cache:
        msg = f"--cache {given}: there is --no-cache too; allowed is one of them"
        raise BadInput(msg)
    return given or usual


@contextmanager
def _kept(folder: Path, config: Path | None) -> "Generator[Store | RemoteStore]":
    """Open what keeps replays: a server, if settings that are named on the command line name one."""
    from holdfast.live.clickhouse_settings import ClickHouse
    from holdfast.live.stores import where, writing
    from sinks.remote import RemoteStore
    from sinks.store import Store

    place = folder if config is None else where(None, config)
    if isinstance(place, ClickHouse):
        with writing(place) as server, RemoteStore(server) as store:
            yield store
    else:
        with Store(place) as store:
            yield store


@app.command()
def check(
    policy: Annotated[Path, typer.Argument(help="The policy.yaml that is to judge the rollout.")],
    recording: Annotated[Path, typer.Argument(help="Folder with rollout.yaml and metrics.parquet.")],
    stage: Annotated[str | None, typer.Option(help="Name of the stage; by default the first one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell before a rollout what a policy will see of it, and how soon."""
    from holdfast.check_view import show
    from holdfast.checking import check_recording

    checked = check_recording(policy, recording, stage)
    if as_json:
        sys.stdout.write(msgspec.json.encode(checked).decode() + "\n")
    else:
        show(Console(), checked)


app.command()(demo_commands.demo)


@app.command()
def schema(name: Annotated[str, typer.Argument(help="policy, rollout, verdict, or another one.")]) -> None:
    """Print the JSON Schema of a document."""
    from holdfast.schemas import NAMES
    from holdfast.schemas import schema as schema_of

    if name not in NAMES:
        msg = f"schema {name!r}: there is none of that name; there are: {', '.join(NAMES)}"
        raise BadInput(msg)
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(schema_of(name))).decode() + "\n")


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Judge rollouts while they happen."""
    if version:
        from holdfast import __version__

        sys.stdout.write(f"holdfast {__version__}\n")
        raise typer.Exit


def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Take Ctrl-C as Python's own handler does.

    That one is written in C: what it raises in a callback of a client comes out of the client as a `SystemError`.
    """
    raise KeyboardInterrupt


def kafka_says(error: Exception) -> str | None:
    """Put what Kafka's client raised into words; None if it was something else, as where it was never loaded."""
    client = sys.modules.get("confluent_kafka")
    if client is None or not isinstance(error, client.KafkaException):
        return None
    return f"kafka: {error.args[0].str()}; `kafka` in the settings says where the brokers are, and how they are reached"


def main() -> NoReturn:
    """Run the command line; bad input is one message on standard error, and exit status 2."""
    run: Callable[..., object] = app
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        run(prog_name="holdfast")
    except (BadInput, StoreError, Unreachable) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(BAD_INPUT)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        said = kafka_says(error)
        if said is None:
            raise
        sys.stderr.write(f"{said}\n")
        sys.exit(BAD_INPUT)
    except SystemExit as ended:
        # Typer ends without a word after Ctrl-C; commands that have something to say of it end by themselves.
        if ended.__context__ is not None and isinstance(ended.__context__.__cause__, KeyboardInterrupt):
            sys.stderr.write("interrupted\n")
        raise
    sys.exit(0)
