"""The documents of a recording: copied from files, or taken from where rollouts are announced or stored."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from detectors.policy import Policy, duration_ms
from holdfast.documents import load_policy, load_rollout, load_truth
from holdfast.errors import BadInput
from holdfast.live.announcing import Announcements
from holdfast.live.clients import base
from holdfast.live.settings import Settings
from holdfast.live.stores import Where
from holdfast.reporting.stored import asking, documents_of
from rollouts.announced import Announcement, finished_at, start_of
from rollouts.document import NOT_YET, Rollout
from rollouts.truth import Truth

ROLLOUT: Final = "rollout.yaml"
POLICY: Final = "policy.yaml"
TRUTH: Final = "truth.yaml"
BESIDE: Final = "rollouts"
"""Folder of the other rollouts that were under way."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Documents:
    """What is written beside the samples.

    Attributes
    ----------
    rollout, policy
        What is judged, and by what.
    files
        Names of the files in the recording's folder, and their bytes.
    finished
        When the rollout was finished, if that is known.
    """

    rollout: Rollout
    policy: Policy
    files: dict[str, bytes]
    finished: datetime | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def tick_ms(self) -> int:
        """Length of a tick."""
        return duration_ms(self.policy.tick)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that the policy reads."""
        names: set[str] = set()
        for metric in self.policy.metrics:
            names |= {name for name in (metric.gauge, metric.counter, metric.histogram) if name}
            names |= {metric.ratio.bad, metric.ratio.total} if metric.ratio else set()
        return sorted(names)

    def span(self) -> tuple[datetime, datetime]:
        """Return the stretch of time that judging takes: from the longest past that counts to the last deadline.

        A little more past is for counters, whose first value tells no increase. A stage without a deadline is taken to
        bake twice as long as it must.
        """
        plan, policy = self.rollout, self.policy
        tick = timedelta(milliseconds=self.tick_ms)
        ends = []
        for index, stage in enumerate(plan.stages):
            start = stage.started or (plan.started if index == 0 else None)
            if start is not None:
                last = duration_ms(stage.deadline) if stage.deadline else 2 * duration_ms(stage.bake)
                ends.append(start + timedelta(milliseconds=last))
        end = max(ends) + (1 + policy.lateness_ticks) * tick
        if self.finished is not None:
            end = min(end, self.finished + tick)
        first = plan.stages[0].started or plan.started
        return first - (policy.pre_period.ticks_max + policy.gap_ticks_max) * tick, end


def from_files(rollout: Path, policy: Path, truth: Path | None, beside: Sequence[Path]) -> Documents:
    """Take documents from files, byte for byte.

    Raises
    ------
    BadInput
        With all errors of all of them.
    """
    problems: list[str] = []

    def loaded(load: Any, path: Path) -> Any:
        try:
            return load(path)
        except BadInput as error:
            problems.append(str(error))

    plan, judged_by = loaded(load_rollout, rollout), loaded(load_policy, policy)
    others = {path: loaded(load_rollout, path) for path in beside}
    if truth is not None:
        loaded(load_truth, truth)
    named = {} if plan is None else {plan.rollout: rollout}
    for path, other in others.items():
        if other is not None and named.setdefault(other.rollout, path) != path:
            text = f"found {other.rollout!r}, the name of the rollout in {named[other.rollout]} too"
            problems.append(f"{path}: rollout: {text}; allowed: each name once in a recording")
    if problems:
        raise BadInput("\n".join(problems))
    files = {ROLLOUT: rollout.read_bytes(), POLICY: policy.read_bytes()}
    if truth is not None:
        files[TRUTH] = truth.read_bytes()
    for number, (path, other) in enumerate(others.items(), start=1):
        files[_beside(number, other.rollout)] = path.read_bytes()
    assert plan is not None
    return Documents(plan, judged_by, files)


def announced(settings: Settings, name: str, policy: Path | None, truth: Path | None) -> Documents:
    """Take the documents of a rollout from the rollouts topic, and those of others that were under way with it.

    Starts that were told as events are written into the stages.

    Raises
    ------
    BadInput
        If none of that name is announced, or a file cannot be read.
    Unreachable
        If the brokers do not answer.
    """
    reader = Announcements(base(settings), settings.topics.rollouts)
    try:
        reader.load()
    finally:
        reader.close()
    known = reader.current
    if name not in known:
        listed = f"announced are: {', '.join(sorted(known)[:20])}" if known else "none is announced"
        message = f"{name}: not announced on {settings.topics.rollouts}; {listed}"
        raise BadInput(message)
    begun = _begun(known[name])
    _require_begun(begun)
    found = _made(begun, known[name].policy, policy, truth, finished_at(known[name]))
    first, end = found.span()
    number = 0
    for other in sorted(known):
        finished = finished_at(known[other])
        plan = _begun(known[other])
        if other != name and plan.started < end and (finished is None or finished > first):
            number += 1
            found.files[_beside(number, other)] = _written(plan)
    if reader.rejected:
        found.notes.append(f"{settings.topics.rollouts}: {reader.rejected} records could not be used and are left out")
    return found


def stored(place: Where, name: str, source: str | None, policy: Path | None, truth: Path | None) -> Documents:
    """Take the documents of a rollout from a store, with the truth if one is kept.

    Raises
    ------
    BadInput
        If nothing is stored of it, or from several replays, or a file cannot be read.
    StoreError
        If the store cannot be asked.
    """
    with asking(place) as answer:
        rollout, judged_by, known, starts = documents_of(answer, name, source)
    stages = [msgspec.structs.replace(stage, started=starts.get(stage.name, stage.started)) for stage in rollout.stages]
    plan = _dated(msgspec.structs.replace(rollout, stages=stages))
    _require_begun(plan)
    found = _made(plan, judged_by, policy, truth, None)
    if known is not None and truth is None:
        found.files[TRUTH] = _written(known)
    return found


def _begun(announcement: Announcement) -> Rollout:
    """Return the plan with the starts that events tell."""
    plan = announcement.rollout
    starts = [start_of(announcement, index) for index in range(len(plan.stages))]
    stages = [
        stage if start is None or (index == 0 and start == plan.started) else _started(stage, start)
        for index, (stage, start) in enumerate(zip(plan.stages, starts, strict=True))
    ]
    return _dated(msgspec.structs.replace(plan, stages=stages))


def _dated(plan: Rollout) -> Rollout:
    """Have a rollout that an event was to start, as all do that control releases, start with its first stage."""
    starts = [stage.started for stage in plan.stages if stage.started is not None]
    return msgspec.structs.replace(plan, started=min(starts)) if plan.started == NOT_YET and starts else plan


def _require_begun(plan: Rollout) -> None:
    if plan.started == NOT_YET:
        message = f"{plan.rollout}: no stage of it has started; allowed: a rollout that there is something to record of"
        raise BadInput(message)


def _started(stage: Any, start: datetime) -> Any:
    return msgspec.structs.replace(stage, started=start)


def _made(
    plan: Rollout, judged_by: Policy, policy: Path | None, truth: Path | None, finished: datetime | None
) -> Documents:
    files = {ROLLOUT: _written(plan), POLICY: _written(judged_by)}
    if policy is not None:
        judged_by, files[POLICY] = load_policy(policy), policy.read_bytes()
    if truth is not None:
        load_truth(truth)
        files[TRUTH] = truth.read_bytes()
    return Documents(plan, judged_by, files, finished)


def _beside(number: int, name: str) -> str:
    """Name the file of another rollout: its name may have signs that no file may."""
    return f"{BESIDE}/{number}-{_UNSAFE.sub('-', name)[:100]}.yaml"


def _written(document: Rollout | Policy | Truth) -> bytes:
    """Write a document as YAML, without what it says by saying nothing."""
    return msgspec.yaml.encode(_short(document))


def _short(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        kept: dict[str, object] = {}
        for each in msgspec.structs.fields(type(value)):
            found = getattr(value, each.name)
            default = each.default if each.default_factory is msgspec.NODEFAULT else each.default_factory()
            if found != default:
                kept[each.encode_name] = _short(found)
        return kept
    if isinstance(value, list):
        return [_short(one) for one in value]
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return msgspec.to_builtins(value)
