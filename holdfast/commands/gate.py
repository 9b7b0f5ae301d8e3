"""`holdfast gate`: whether a policy may take the place of another one, by the recordings of a corpus."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console

from holdfast.commands.groups import Group
from holdfast.errors import BadInput
from holdfast.files import require_place, write_whole
from holdfast.progress import Bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.corpus.contenders import Contender
    from holdfast.corpus.gate_text import Gated
    from holdfast.corpus.judging import Judged
    from holdfast.corpus.loading import Corpus
    from sinks.signatures import Signer

FAILED = 4
"""Exit status where a gate is not passed."""

Jobs = Annotated[int | None, typer.Option(min=1, max=256, help="Processes; by default one for each core.")]
CacheFolder = Annotated[
    Path | None, typer.Option("--cache", help="Folder for what samples add up to, so that each recording is read once.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class _Group(Group):
    """Takes what is none of its commands for the arguments of `run`, so that nobody has to write that."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click: `holdfast gate CORPUS` is `holdfast gate run CORPUS`."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Gate a policy by recorded incidents and harmless rollouts: `holdfast gate CORPUS --policy FILE`. "
    "Its options are those of `holdfast gate run --help`.",
    no_args_is_help=True,
)


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of recordings with a truth.yaml each.")],
    policy: Annotated[Path, typer.Option(help="The policy.yaml that is to pass.")],
    against: Annotated[Path | None, typer.Option(help="The policy that it replaces; else the truth alone.")] = None,
    margin: Annotated[int, typer.Option(min=0, help="Ticks by which an incident may be caught later.")] = 3,
    strict: Annotated[bool, typer.Option("--strict", help="Demand that alpha is shown to be kept.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown to this file.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Write a signed certificate to this file.")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key (Ed25519, PEM) that signs it.")] = None,
    key_id: Annotated[str | None, typer.Option(help="Name by which that key is known.")] = None,
    jobs: Jobs = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Judge a corpus by a policy. Exit status: 0 passed, 4 not passed, 2 bad input."""
    from holdfast.corpus.contenders import Contender
    from holdfast.corpus.gate_json import gate_json
    from holdfast.corpus.gate_text import markdown as in_markdown
    from holdfast.corpus.junit import junit as in_junit

    signer = _signer(certificate, key, key_id)
    for file in (junit, markdown, certificate):
        if file is not None:
            require_place(file)
    contender = Contender.load(policy)
    old = None if against is None else Contender.load(against)
    judged = judged_corpus(folder, [contender] if old is None else [contender, old], jobs, cache)
    gated = _gated(*judged, contender, old, margin, strict)
    if junit is not None:
        write_whole(junit, in_junit(gated))
    if markdown is not None:
        write_whole(markdown, in_markdown(gated).encode())
    if as_json:
        sys.stdout.write(gate_json(gated).decode() + "\n")
    else:
        _show(gated)
    if not gated.gate.passed:
        if certificate is not None:
            sys.stderr.write(f"{certificate}: not written, since the gate is not passed\n")
        raise typer.Exit(FAILED)
    if certificate is not None and signer is not None:
        _certify(gated, certificate, signer)


@app.command()
def verify(
    certificate: Annotated[Path, typer.Argument(help="The certificate.")],
    policy: Annotated[Path, typer.Option(help="The policy.yaml that it is shown for.")],
    trusted: Annotated[
        list[str] | None, typer.Option(metavar="ID=FILE", help="A trusted public key (PEM), by its name; repeatable.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings whose trusted_keys are trusted, and gate.engine holds.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a certificate: who signed it, that nothing of it was changed, and that it is of this policy and engine.

    Exit status: 0 it counts, 4 it does not, 2 bad input.
    """
    from holdfast.corpus.certificates import load_certificate, objection
    from holdfast.documents import digest, load_policy
    from holdfast.live.settings import load_settings
    from sinks.signatures import Keys

    settings = load_settings(config)
    keys = Keys.load({**settings.trusted_keys, **_trusted(trusted or [])})
    signed = load_certificate(certificate)
    why = objection(signed, digest(load_policy(policy)), keys, settings.gate.engine)
    if as_json:
        document = {"counts": why is None, "why": why, **msgspec.to_builtins(signed)}
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    elif why is None:
        sys.stdout.write(f"{certificate}: counts for {policy}; {_summary(signed.certificate)}\n")
    else:
        sys.stderr.write(f"{certificate}: does not count for {policy}: {why}\n")
    if why is not None:
        raise typer.Exit(FAILED)


def judged_corpus(
    folder: Path, contenders: "Sequence[Contender]", jobs: int | None, cache: Path | None
) -> "tuple[Corpus, list[list[Judged]]]":
    """Load a corpus and judge it by policies, with a bar on a terminal.

    Raises
    ------
    BadInput
        If a recording cannot be judged.
    """
    from holdfast.corpus.judging import judge_corpus
    from holdfast.corpus.loading import load_corpus
    from holdfast.replaying import replay_recording
    from streams.cache import Cache

    replayer = replay_recording if cache is None else partial(replay_recording, cache=Cache(cache))
    with Bars(1) as bars:
        show = bars.part("checking recordings")
        corpus = load_corpus(folder, contenders, lambda _, done, total: show(done, total))
    with Bars(1) as bars:
        show = bars.part("judging recordings")
        judged = judge_corpus(
            corpus,
            contenders,
            jobs=jobs,
            observer=lambda _, done, total: show(int(done), int(total)),
            replayer=replayer,
        )
    return corpus, judged


def _gated(
    corpus: "Corpus",
    judged: "list[list[Judged]]",
    contender: "Contender",
    against: "Contender | None",
    margin: int,
    strict: bool,
) -> "Gated":
    from detectors.policy import duration_ms
    from holdfast.corpus.gate_text import Gated
    from holdfast.corpus.gating import Rules, gate

    # The margin does not grow with the ticks of the new policy.
    rules = Rules(contender.policy.alpha, duration_ms((against or contender).policy.tick), margin, strict)
    new, *old = ([each.score for each in run] for run in judged)
    result = gate(rules, [each.truth for each in corpus.recordings], new, old[0] if old else None)
    return Gated(corpus, contender, against, rules, result)


def _show(gated: "Gated") -> None:
    from holdfast.corpus.gate_text import lines, show

    console = Console(highlight=False)
    if console.is_terminal:
        show(console, gated)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines(gated)))


def _signer(certificate: Path | None, key: Path | None, key_id: str | None) -> "Signer | None":
    """Read the key before there is any work, if it is needed."""
    from sinks.signatures import Signer

    given = {"--certificate": certificate, "--key": key, "--key-id": key_id}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if key is None or key_id is None or certificate is None:
        message = f"{', '.join(missing)}: missing; a certificate needs --certificate, --key and --key-id"
        raise BadInput(message)
    return Signer.load(key, key_id)


def _certify(gated: "Gated", file: Path, signer: "Signer") -> None:
    from holdfast.corpus.certificates import certify
    from rollouts.certificate import encode

    signed = certify(gated.gate, gated.rules, gated.corpus, gated.contender, gated.against, signer)
    write_whole(file, encode(signed))
    sys.stderr.write(f"{file}: written, signed by {signer.key_id}\n")


def _summary(certificate: Any) -> str:
    results = certificate.results
    return (
        f"policy {certificate.policy_name}, {results.caught} of {results.incidents} incidents caught, "
        f"{results.false_alarms} of {results.harmless} harmless recordings stopped on evidence, by {certificate.engine}"
    )


def _trusted(given: list[str]) -> dict[str, str]:
    """Read pairs of a name and a file."""
    pairs = [text.partition("=") for text in given]
    wrong = [text for text, (name, _, file) in zip(given, pairs, strict=True) if not name or not file]
    if wrong:
        message = f"--trusted: found {wrong[0]!r}; allowed: the name of a key, =, and the file of its public key"
        raise BadInput(message)
    return {name: file for name, _, file in pairs}
