"""Recording: samples of a source and the documents about them become a folder that can be judged again."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from detectors.policy import duration_ms
from holdfast.errors import BadInput
from holdfast.recording.aside import METRICS, filled
from holdfast.recording.document import FILE, PrometheusSource, Source
from holdfast.recording.documents import TRUTH, Documents
from holdfast.recording.folder import Show, load_documents
from holdfast.recording.gathering import Gathering
from holdfast.recording.metrics import Gap, Written, write
from holdfast.recording.opening import opened
from holdfast.recording.origin import stretch
from sinks.cloudevents import epoch_ms
from streams.replay import moment

GAPS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know of a recording before judging it."""

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What `holdfast record --json` prints.

    Attributes
    ----------
    recording, source, rollout
        The folder, what it was made of, and whose it is.
    samples, series, colos
        How many there are.
    asked
        The stretch of time that was asked for.
    start, end
        Times of the first and the last sample.
    size
        Bytes of the samples.
    has_truth
        Whether there is a truth to check verdicts against.
    left_out
        Samples that were not taken, by reason.
    lost
        What could not be read, by reason.
    findings
        What a person should know.
    """

    recording: str
    source: str
    rollout: str
    samples: int
    series: int
    colos: int
    asked: str
    start: str
    end: str
    size: int
    has_truth: bool
    left_out: dict[str, int]
    lost: dict[str, int]
    findings: list[Finding]


def gathered(
    source: Source, folder: Path, show: Show = lambda *_: None
) -> tuple[Gathering, str, dict[str, int], list[str]]:
    """Read a source to its end.

    Parameters
    ----------
    source
        The source.
    folder
        For what does not fit into memory.
    show
        Is told how far it has come.

    Returns
    -------
    tuple
        The samples, the name of the source, what could not be read by reason, and notes on it.
    """
    gathering = Gathering(folder, stretch(source), source.select)
    with opened(source) as origin:
        for piece in origin.read():
            gathering.take(piece.samples)
            show("reading", piece.done, piece.total)
        lost = {reason: count for reason, count in sorted(origin.told.lost.items()) if count}
        return gathering, origin.name, lost, origin.told.notes


def record(
    out: Path, source: Source, documents: Documents, *, replaces: bool = False, show: Show = lambda *_: None
) -> Recorded:
    """Record the samples of a source.

    Parameters
    ----------
    out
        The folder, which appears whole or not at all.
    source
        What is recorded.
    documents
        What is written beside it.
    replaces
        Whether a recording that is there already may be replaced.
    show
        Is told how far it has come.

    Raises
    ------
    BadInput
        If the source is not as it should be, or has no sample that could be judged.
    Unreachable, StoreError
        If it does not answer.
    """
    gap_ms = max(documents.policy.gap_ticks_max * documents.tick_ms, 2 * _step_ms(source))
    with filled(out, replaces=replaces) as (made, around):
        _write_documents(made, documents)
        gathering, name, lost, notes = gathered(source, around, show)
        written = write(gathering, made / METRICS, gap_ms=gap_ms, show=lambda done, total: show("writing", done, total))
        left_out = {reason: count for reason, count in sorted(gathering.left_out.items()) if count}
        if written is None:
            raise BadInput(nothing(name, source, gathering, left_out, lost))
    findings = [Finding("note", note) for note in [*documents.notes, *notes]]
    if _step_ms(source) > documents.tick_ms:
        sentence = f"there is one sample a step, and ticks are shorter, {documents.policy.tick}"
        findings.append(Finding("long_step", sentence))
    findings += _findings(written, source, documents, gap_ms)
    return Recorded(
        str(out),
        name,
        documents.rollout.rollout,
        written.samples,
        written.series,
        written.colos,
        _asked(source),
        moment(written.first_ms),
        moment(written.last_ms),
        written.size,
        TRUTH in documents.files,
        left_out,
        lost,
        findings,
    )


def _step_ms(source: Source) -> int:
    """Return how far samples lie apart that are taken by steps; 0 if they are taken as they are."""
    return duration_ms(source.step) if isinstance(source, PrometheusSource) and source.step is not None else 0


def lay(out: Path, source: Source, documents: Documents, *, replaces: bool = False) -> None:
    """Write a recording that has, instead of samples, the description of the source that a replay reads.

    Raises
    ------
    BadInput
        If the folder cannot be written.
    """
    with filled(out, replaces=replaces) as (made, _):
        _write_documents(made, documents)
        (made / FILE).write_bytes(described(source))


def described(source: Source) -> bytes:
    """Write a source as `source.yaml`, without what it says by saying nothing."""
    fields = {each.encode_name: each.default for each in msgspec.structs.fields(type(source))}
    plain: dict[str, object] = msgspec.to_builtins(source)
    kept = {name: value for name, value in plain.items() if value or name not in fields}
    return msgspec.yaml.encode({name: value for name, value in kept.items() if value != fields.get(name)})


def _write_documents(folder: Path, documents: Documents) -> None:
    for name, content in documents.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    # What was put into YAML must say what it said before.
    rollouts, policy, _ = load_documents(folder, None, check=TRUTH in documents.files)
    if (rollouts[folder / "rollout.yaml"], policy) != (documents.rollout, documents.policy):
        message = f"{documents.rollout.rollout}: its documents cannot be written as YAML that says the same"
        raise BadInput(message)


def nothing(name: str, source: Source, gathering: Gathering, left_out: dict[str, int], lost: dict[str, int]) -> str:
    """Say that there is nothing to judge, and where the samples are that there are."""
    if gathering.rows:
        return f"{name}: none of its {gathering.rows:,} samples has both a metric and a colo; --column names them"
    when = _asked(source)
    counts = {**{reason.replace("_", " "): count for reason, count in left_out.items()}, **lost}
    there = "; ".join(f"{count:,} {reason}" for reason, count in counts.items())
    return f"{name}: no sample of what is selected, {when}" + (f"; there are {there}" if there else "")


def _asked(source: Source) -> str:
    start = "the beginning" if source.start is None else _written(source.start)
    return f"{start} to {'the end' if source.end is None else _written(source.end)}"


def _findings(written: Written, source: Source, documents: Documents, gap_ms: int) -> list[Finding]:
    found = []
    start, end = source.start, source.end
    if start is not None and written.first_ms - epoch_ms(start) > gap_ms:
        sentence = f"the samples begin at {moment(written.first_ms)}, and were asked for from {_written(start)} on"
        longest = documents.policy.pre_period.ticks_max
        found.append(Finding("begins_late", f"{sentence}; up to {longest:,} ticks of a past count"))
    if end is not None and epoch_ms(end) - written.last_ms > gap_ms:
        sentence = f"the samples end at {moment(written.last_ms)}, and were asked for until {_written(end)}"
        found.append(Finding("ends_early", sentence))
    found += _past(written, documents)
    found += [Finding("gap", _gap(gap)) for gap in written.gaps]
    if written.gaps_uncounted:
        found.append(Finding("gap", f"and {written.gaps_uncounted:,} more gaps"))
    if written.nameless:
        found.append(Finding("nameless", f"{written.nameless:,} samples have no metric or no colo"))
    return found


def _past(written: Written, documents: Documents) -> list[Finding]:
    """Say if a replay will lack a past, or the rollout itself."""
    first = documents.rollout.stages[0].started or documents.rollout.started
    start_ms, tick_ms = epoch_ms(first), documents.tick_ms
    least = documents.policy.pre_period.ticks_min
    if not written.first_ms <= start_ms <= written.last_ms:
        return [Finding("no_rollout", f"the rollout starts at {_written(first)}, outside of the samples")]
    ticks = (start_ms - written.first_ms) // tick_ms
    if ticks < least:
        return [Finding("short_past", f"{ticks} ticks lie before the rollout, and the policy wants at least {least}")]
    return []


def _gap(gap: Gap) -> str:
    lasts = timedelta(milliseconds=gap.to_ms - gap.from_ms)
    where = f"in {gap.colo}" if gap.colo else "in any colo"
    return f"no samples {where} from {moment(gap.from_ms)} to {moment(gap.to_ms)}, for {lasts}"


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def in_words(recorded: Recorded) -> str:
    """Say what was written, in a few lines."""
    what = f"{recorded.samples:,} samples of {recorded.series:,} series in {recorded.colos:,} colos"
    when = f"{recorded.start} to {recorded.end}"
    lines = [f"{recorded.recording}: {what}, {when}, {recorded.size / 1e6:,.1f} MB, from {recorded.source}"]
    asked = f"not of {recorded.asked}"
    counts = {"no_time": "without a time", "outside": asked, "not_selected": "not selected"}
    left = [f"{count:,} {counts[reason]}" for reason, count in recorded.left_out.items()]
    lines += [f"  left out: {', '.join(left)}"] if left else []
    lines += [f"  lost: {count:,} {reason}" for reason, count in recorded.lost.items()]
    gaps = [finding for finding in recorded.findings if finding.kind == "gap"]
    others = [finding for finding in recorded.findings if finding.kind != "gap"]
    lines += [f"  - {finding.sentence}" for finding in [*others, *gaps[:GAPS_SHOWN_MAX]]]
    if len(gaps) > GAPS_SHOWN_MAX:
        lines.append(f"  - and {len(gaps) - GAPS_SHOWN_MAX:,} more gaps; --json lists them")
    check = " --check" if recorded.has_truth else ""
    lines.append(f"next: holdfast replay {recorded.recording}{check}")
    return "\n".join(lines)
