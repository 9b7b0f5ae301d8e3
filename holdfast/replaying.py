"""Replaying a recording folder: its documents, its metrics, and what came of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from detectors.errors import BadInput
from detectors.policy import Policy, duration_ms
from detectors.verdict import Verdict
from holdfast.documents import load_truth
from holdfast.recording.folder import Show, chosen, load_documents, require_folder
from holdfast.recording.samples import samples_of
from holdfast.setting import setting_of
from rollouts.document import Rollout
from rollouts.truth import Truth
from sinks.cloudevents import epoch_ms, verdict_event
from sinks.live_rows import truth_row
from sinks.staging import Replay, ReplaySink
from streams.cache import Cache
from streams.recording import ROWS_PER_READ
from streams.records import Both, Sink
from streams.replay import Observer, Result, moment, replay


class Keeps(Protocol):
    """What keeps a replay: the embedded store, or a server."""

    def sink(self, replay: Replay, /) -> ReplaySink:
        """Begin a replay, which is kept after the sink's `commit`."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay came to; but for `contradictions`, what `holdfast replay --json` prints.

    `action` and `time` are those of the first halt or revert, else of the last verdict; `time` is the end of the
    last tick used. `contradictions` says what speaks against the recording's truth, if it was checked.
    """

    recording: str
    rollout: str
    action: str
    time: str
    final_action: str
    ticks: int
    samples: int
    dropped: dict[str, int]
    reasons: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    contradictions: list[str]

    def as_json(self) -> bytes:
        """Return the one line of JSON that the command prints."""
        body = {name: getattr(self, name) for name in self.__slots__ if name != "contradictions"}
        return msgspec.json.encode(body)


def replay_recording(
    path: Path,
    *,
    policy_path: Path | None = None,
    policy: Policy | None = None,
    rollout: str | None = None,
    store: Keeps | None = None,
    observer: Observer | None = None,
    check: bool = False,
    rows: int = ROWS_PER_READ,
    beside: Sink | None = None,
    cache: Cache | None = None,
    show: Show = lambda *_: None,
) -> Outcome:
    """Replay one recording folder.

    Parameters
    ----------
    path
        The folder: metrics.parquet, rollout.yaml, policy.yaml and perhaps truth.yaml and rollouts/*.yaml.
    policy_path
        Another policy to judge by.
    policy
        That policy, if it was read already; `policy_path` then only names it in errors.
    rollout
        Name of the rollout to judge, of all that were under way; that of rollout.yaml by default.
    store
        Keeps what was seen and decided; nothing of a replay that fails.
    observer
        Is called after every judged tick.
    check
        Whether to hold the outcome against truth.yaml.
    rows
        Samples decoded at a time.
    beside
        Takes what was seen and decided too, while it is seen.
    cache
        Keeps what the samples add up to, so that the next replay of the recording need not read them.
    show
        Is told how far the samples are drawn that `source.yaml` describes.

    Raises
    ------
    BadInput
        If the recording or a document cannot be judged.
    """
    require_folder(path)
    rollouts, policy, truth = load_documents(path, policy_path, check, policy)
    place = chosen(path, rollouts, rollout, check)
    judged = rollouts[place]
    setting = setting_of(place, rollouts, policy_path or path / "policy.yaml", policy)
    if store is None:
        result = replay(samples_of(path, show), setting, sink=beside, observer=observer, rows=rows, cache=cache)
    else:
        known = _known(path, truth) if place.parent == path else None
        kept = store.sink(
            Replay(
                f"replay:{path.resolve().name}" + (f"/{judged.rollout}" if place.parent != path else ""),
                msgspec.json.encode(judged),
                msgspec.json.encode(policy),
                setting.policy_digest,
                None if known is None else truth_columns(judged.rollout, known),
            )
        )
        with kept as sink:
            both = sink if beside is None else Both(sink, beside)
            result = replay(samples_of(path, show), setting, sink=both, observer=observer, rows=rows, cache=cache)
            sink.commit()
    return _outcome(path, judged, policy, result, truth)


def _known(path: Path, checked: Truth | None) -> Truth | None:
    """Return what is known of a recording, whether or not it is held against it; None if nothing is."""
    if checked is not None or not (path / "truth.yaml").exists():
        return checked
    return load_truth(path / "truth.yaml")


def truth_columns(rollout: str, truth: Truth) -> dict[str, object]:
    """Return the columns of a truth in the store."""
    return truth_row(
        rollout,
        bad=truth.bad,
        expect=truth.expect,
        onset=truth.onset,
        within_ticks=truth.within,
        colos=truth.colos,
        metrics=truth.metrics,
    )


def in_words(outcome: Outcome) -> str:
    """Put an outcome into a few lines for a person."""
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in outcome.dropped.items())
    lines = [
        f"{outcome.recording}: {outcome.rollout}: {outcome.action} at {outcome.time}"
        + (f", in the end {outcome.final_action}" if outcome.final_action != outcome.action else ""),
        f"  {outcome.ticks:,} ticks judged on {outcome.samples:,} samples"
        + (f"; dropped: {dropped}" if dropped else ""),
    ]
    lines += [f"  - {reason['sentence']}" for reason in outcome.reasons]
    last = outcome.verdicts[-1]["data"]
    lines += [f"  - {entry['metric']}: {entry['why']}" for entry in last["abstained"]]
    return "\n".join(lines)


def _outcome(path: Path, rollout: Rollout, policy: Policy, result: Result, truth: Truth | None) -> Outcome:
    if not result.verdicts:
        msg = f"{path}: no tick after the start of the rollout could be judged"
        raise BadInput(msg)
    stops = [entry for entry in result.verdicts if entry[1].action in ("halt", "revert")]
    time_ms, decisive = stops[0] if stops else result.verdicts[-1]
    final = result.verdicts[-1][1]
    contradictions = contradicted(truth, time_ms, decisive, final, duration_ms(policy.tick)) if truth else []
    return Outcome(
        str(path),
        rollout.rollout,
        decisive.action,
        moment(time_ms),
        final.action,
        result.ticks,
        result.samples,
        dict(sorted(result.dropped.items())),
        msgspec.to_builtins(decisive.reasons),
        [msgspec.to_builtins(verdict_event(rollout.rollout, time, verdict)) for time, verdict in result.verdicts],
        contradictions,
    )


def contradicted(truth: Truth, time_ms: int, decisive: Verdict, final: Verdict, tick_ms: int) -> list[str]:
    """Say what of an outcome contradicts the truth.

    Parameters
    ----------
    truth
        What is known of the recording.
    time_ms, decisive
        The first halt or revert, else the last verdict.
    final
        The last verdict.
    tick_ms
        Length of a tick.
    """
    found = []
    if final.action not in truth.expect:
        found.append(f"ended in {final.action}; right would be {' or '.join(truth.expect)}")
    if decisive.action not in ("halt", "revert"):
        return found
    if truth.onset is not None:
        onset = epoch_ms(truth.onset)
        if time_ms < onset:
            found.append(f"stopped at {moment(time_ms)}, before the onset at {moment(onset)}")
        elif truth.within is not None and time_ms - onset > truth.within * tick_ms:
            late = (time_ms - onset) / tick_ms
            found.append(f"stopped {late:g} ticks after the onset; due within {truth.within}")
    if truth.colos and not set(truth.colos) & set(decisive.scope.colos):
        found.append(f"blamed {', '.join(decisive.scope.colos)}, none of which is hurt ({', '.join(truth.colos)})")
    return found
