"""Replaying a recording folder: its documents, its metrics, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from detectors.errors import BadInput
from detectors.policy import Policy, duration_ms
from detectors.verdict import Verdict
from holdfast.documents import digest, load_policy, load_rollout, load_truth
from rollouts.document import Rollout
from rollouts.truth import Truth
from sinks.cloudevents import epoch_ms, verdict_event
from sinks.store import Store
from streams.membership import Stage
from streams.recording import ROWS_PER_READ
from streams.replay import Observer, Result, Setting, moment, replay

ENGINE = f"holdfast/{version('holdfast')}"


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
    store: Store | None = None,
    observer: Observer | None = None,
    check: bool = False,
    rows: int = ROWS_PER_READ,
) -> Outcome:
    """Replay one recording folder.

    Parameters
    ----------
    path
        The folder: metrics.parquet, rollout.yaml, policy.yaml and perhaps truth.yaml.
    policy_path
        Another policy to judge by.
    store
        Keeps what was seen and decided; nothing of a replay that fails.
    observer
        Is called after every judged tick.
    check
        Whether to hold the outcome against truth.yaml.
    rows
        Samples decoded at a time.

    Raises
    ------
    BadInput
        If the recording or a document cannot be judged.
    """
    if not path.is_dir():
        msg = f"{path}: no such folder; a recording is a folder with metrics.parquet, rollout.yaml and policy.yaml"
        raise BadInput(msg)
    rollout, policy, truth = _documents(path, policy_path, check)
    setting = _setting(path / "rollout.yaml", rollout, policy_path or path / "policy.yaml", policy)
    if store is None:
        result = replay(path / "metrics.parquet", setting, observer=observer, rows=rows)
    else:
        kept = store.sink(
            source=f"replay:{path.resolve().name}",
            document=msgspec.json.encode(rollout),
            policy_document=msgspec.json.encode(policy),
            policy_digest=setting.policy_digest,
        )
        with kept as sink:
            result = replay(path / "metrics.parquet", setting, sink=sink, observer=observer, rows=rows)
            sink.commit()
    return _outcome(path, rollout, policy, result, truth)


def load_setting(path: Path) -> Setting:
    """Load what a recording folder is judged by, without judging it."""
    rollout, policy, _ = _documents(path, None, check=False)
    return _setting(path / "rollout.yaml", rollout, path / "policy.yaml", policy)


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


def _documents(path: Path, policy_path: Path | None, check: bool) -> tuple[Rollout, Policy, Truth | None]:
    """Load the documents, and report the errors of all of them at once."""
    problems = []
    loaded: list[Any] = []
    wanted: list[tuple[Callable[[Path], Any], Path]] = [
        (load_rollout, path / "rollout.yaml"),
        (load_policy, policy_path or path / "policy.yaml"),
    ]
    if check:
        wanted.append((load_truth, path / "truth.yaml"))
    for load, file in wanted:
        try:
            loaded.append(load(file))
        except BadInput as error:
            problems.append(str(error))
    if problems:
        raise BadInput("\n".join(problems))
    return loaded[0], loaded[1], loaded[2] if check else None


def _setting(place: Path, rollout: Rollout, policy_place: Path, policy: Policy) -> Setting:
    tick_ms = duration_ms(policy.tick)
    stages = []
    for index, stage in enumerate(rollout.stages):
        started = stage.started or (rollout.started if index == 0 else None)
        stages.append(
            Stage(
                stage.name,
                stage.canary,
                stage.control,
                # The tick that holds the start is the first live one: a sample in it may already be touched.
                None if started is None else -(-epoch_ms(started) // tick_ms),
                max(1, -(-duration_ms(stage.bake) // tick_ms)),
                None if stage.deadline is None else -(-duration_ms(stage.deadline) // tick_ms),
                -(-duration_ms(stage.settle) // tick_ms),
            )
        )
    binding = rollout.mode == "enforce"
    return Setting(
        rollout.rollout, tuple(stages), policy, digest(policy), ENGINE, binding, tick_ms, str(place), str(policy_place)
    )


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
