"""A history as a placebo needs it: cohort ticks, read once, of the time in which nothing was changed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.errors import BadInput
from detectors.policy import Policy
from holdfast.documents import load_rollout
from holdfast.recording.samples import samples_of
from holdfast.setting import setting_of, tick_of
from rollouts.document import Rollout
from streams.aggregate import Aggregate
from streams.cohorts import CohortTicks, RowKey
from streams.layout import build
from streams.membership import NOT_REACHED, Announced, Membership, Units, find_units, moving_labels, resolve
from streams.plan import Plan
from streams.replay import Setting, blocks, moment
from streams.scan import Scan, scan

VALUES_MAX: Final = 1 << 27
"""Most numbers that the cohort ticks of one history may hold: 1 GiB."""

GROUPS_MAX: Final = 10
"""Most groups of hosts that take turns as the canary, however small the canary is."""


@dataclass(frozen=True, slots=True)
class History:
    """Cohort ticks in which nothing was changed, and the plan that placebo rollouts follow.

    Attributes
    ----------
    name
        The folder.
    ticks
        Everything before the first change.
    plan
        The rollout; its stages have the starts that they would have if the first one started at tick 0.
    groups
        How many groups of hosts take turns as the canary; 0 if it is the rollout's own canary.
    until
        Why the history ends where it does, as a sentence; empty if that is where the samples end.
    samples
        How many samples were read.
    """

    name: str
    ticks: CohortTicks
    plan: Plan
    groups: int
    until: str
    samples: int

    @property
    def stop(self) -> int:
        """The tick after the last one."""
        return self.ticks.first + self.ticks.ticks

    @property
    def live_ticks(self) -> int:
        """Ticks that a placebo is judged for: up to the last stage's deadline, or twice its bake time without one.

        One more, in which a deadline that has passed is noticed.
        """
        ends = [
            stage.started + (stage.deadline or 2 * stage.bake)
            for stage in self.plan.stages
            if stage.started is not None
        ]
        return max(ends) + 1

    def planned(self, start: int, group: int, policy: Policy | None = None) -> Plan:
        """Return the plan of a rollout that is pretended to start at a tick, with a group of hosts as its canary.

        Parameters
        ----------
        start
            The first live tick.
        group
            Which group, if groups take turns.
        policy
            Another policy, that asks for the same sums.
        """
        stages = [
            replace(stage, started=None if stage.started is None else start + stage.started)
            for stage in self.plan.stages
        ]
        membership = self.plan.membership
        if self.groups:
            membership = replace(membership, signatures=_signatures(self.groups, group, len(stages)))
        return replace(self.plan, stages=stages, membership=membership, policy=policy or self.plan.policy)


def read_history(
    path: Path,
    policy: Policy,
    policy_path: Path,
    rollout_path: Path | None = None,
    *,
    seed: int | None = None,
    told: Callable[[int, int], None] | None = None,
) -> History:
    """Read a folder's samples up to the first change into cohort ticks.

    Parameters
    ----------
    path
        The folder: metrics.parquet, and rollout.yaml unless there is a `rollout_path`; rollouts/*.yaml are heeded.
    policy, policy_path
        What is to be summed, and the file that says so.
    rollout_path
        The rollout that is pretended, if it is not the folder's own.
    seed
        Have random hosts of each colo take turns as the canary, drawn by this seed; None for the rollout's own canary.
    told
        Is told how many samples of how many have been read.

    Raises
    ------
    BadInput
        If the documents or samples cannot be used, or no tick lies before the first change.
    """
    place = rollout_path or path / "rollout.yaml"
    documents = _documents(path, place)
    setting = setting_of(place, {place: documents[place]}, policy_path, policy)
    metrics = samples_of(path)
    found = scan(metrics, policy.lateness_ticks * setting.tick_ms)
    cut, until = _first_change(documents, setting, found)
    units = find_units(found.catalogue, policy.unit, policy.region)
    announced = (Announced(setting.rollout, setting.stages, setting.place),)
    membership = resolve(found.catalogue, units, announced, found.seen, setting.tick_ms)[0]
    if not membership.controls(0).any():
        msg = f"{setting.place}: stages[0]: every unit is a canary; none is left as a control"
        raise BadInput(msg)
    groups = 0
    if seed is not None:
        membership, groups = _in_groups(units, membership, np.random.default_rng(seed), setting)
    layout = build(
        found.catalogue, units, membership, policy, moving_labels(announced), (setting.policy_place, metrics.name)
    )
    lateness_ms, ahead_ms = policy.lateness_ticks * setting.tick_ms, policy.ahead_ticks_max * setting.tick_ms
    aggregate = Aggregate(layout, units.of_series, setting.tick_ms, lateness_ms, ahead_ms, policy.gap_ticks_max)
    pieces: list[CohortTicks] = []
    held = 0
    for block in blocks(metrics, found, aggregate):
        if block.first >= cut:
            break
        pieces.append(block.between(block.first, min(cut, block.first + block.ticks)))
        held += pieces[-1].values.size
        if held > VALUES_MAX:
            msg = f"{metrics.name}: too long to be held at once ({held:,} sums); cut it into several folders"
            raise BadInput(msg)
        if told is not None:
            told(aggregate.samples, metrics.rows)
    if not pieces:
        msg = f"{metrics.name}: nothing that the policy judges lies before {moment(cut * setting.tick_ms)} ({until})"
        raise BadInput(msg)
    values = np.concatenate([piece.values for piece in pieces], axis=2)
    ticks = CohortTicks(pieces[0].first, pieces[0].keys, values)
    return History(str(path), ticks, _plan(setting, membership, groups), groups, until, aggregate.samples)


def _documents(path: Path, place: Path) -> dict[Path, Rollout]:
    """Load the rollout that is pretended, and those that the folder says were under way."""
    own = path / "rollout.yaml"
    files = [place, *([own] if own.exists() and own != place else []), *sorted((path / "rollouts").glob("*.yaml"))]
    problems: list[str] = []
    found: dict[Path, Rollout] = {}
    for file in files:
        try:
            found[file] = load_rollout(file)
        except BadInput as error:
            problems.append(str(error))
    if problems:
        raise BadInput("\n".join(problems))
    return found


def _first_change(documents: dict[Path, Rollout], setting: Setting, found: Scan) -> tuple[int, str]:
    """Return the first tick that a rollout may have touched, or the one after the last, and why in words."""
    first, last = (-(-time // setting.tick_ms) for time in (found.first_ms, found.last_ms))
    starts: list[tuple[int, str]] = []
    for file, rollout in documents.items():
        for index, stage in enumerate(rollout.stages):
            started = stage.started or (rollout.started if index == 0 else None)
            if started is not None and first < (tick := tick_of(started, setting.tick_ms)) <= last:
                starts.append((tick, f"{rollout.rollout} starts then, by {file}"))
    return min(starts, default=(last + 1, ""))


def _plan(setting: Setting, membership: Membership, groups: int) -> Plan:
    """Return the plan with starts that count from that of the first stage."""
    start = setting.stages[0].started or 0
    stages = [
        # Hosts that take turns have no later stage to be reached in.
        replace(stage, started=None if stage.started is None or (index and groups) else stage.started - start)
        for index, stage in enumerate(setting.stages)
    ]
    return Plan(
        setting.rollout,
        stages,
        membership,
        setting.policy,
        setting.policy_digest,
        setting.engine,
        setting.binding,
        setting.tick_ms,
    )


def _in_groups(
    units: Units, membership: Membership, rng: np.random.Generator, setting: Setting
) -> tuple[Membership, int]:
    """Divide the hosts of each colo at random into groups as large as its canary is; the rest is always control.

    A group's number is its signature; one more is the rest, and one more what is neither canary nor control.
    """
    is_canary, is_control = (side[membership.signature] for side in (membership.canary(0), membership.controls(0)))
    by_colo = [np.flatnonzero(np.array(units.colo) == colo) for colo in sorted(set(units.colo))]
    pools = [(colo[is_canary[colo] | is_control[colo]], int(is_canary[colo].sum())) for colo in by_colo]
    groups = min(GROUPS_MAX, *(len(pool) // size for pool, size in pools if size))
    if groups < 2:
        msg = (
            f"{setting.place}: stages[0]: in a colo with canaries fewer hosts are left as control than are canaries, "
            "so that they cannot take turns (--assign); allowed: at least as many"
        )
        raise BadInput(msg)
    signature = np.full(len(units), groups + 1, np.int32)
    for pool, size in pools:
        drawn = rng.permutation(pool)
        signature[drawn] = groups
        for group in range(groups):
            signature[drawn[group * size : (group + 1) * size]] = group
    signatures = _signatures(groups, 0, len(setting.stages))
    return Membership(signature, signatures, np.empty((len(signatures), 0), np.int32)), groups


def _signatures(groups: int, group: int, stages: int) -> tuple[tuple[int, tuple[bool, ...]], ...]:
    """Say of each signature what it is while one group is the canary."""
    reached = [0 if number == group else NOT_REACHED for number in range(groups + 2)]
    return tuple((stage, (number <= groups,) * stages) for number, stage in enumerate(reached))


def canary_rows(keys: tuple[RowKey, ...], plan: Plan, metric: int) -> NDArray[np.intp]:
    """Return the rows of a metric, by position, that are of the first stage's canary."""
    is_canary = plan.membership.canary(0)
    return np.array([row for row, key in enumerate(keys) if key.metric == metric and is_canary[key.signature]], np.intp)
