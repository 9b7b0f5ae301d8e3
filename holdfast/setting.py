"""What a rollout is judged by: its stages in ticks, its policy, and the engine."""

from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from detectors.policy import Policy, duration_ms
from holdfast.documents import digest
from rollouts.document import Rollout
from sinks.cloudevents import epoch_ms
from streams.membership import Announced, Stage
from streams.replay import Setting

ENGINE = f"holdfast/{version('holdfast')}"


def setting_of(place: Path, rollouts: dict[Path, Rollout], policy_place: Path, policy: Policy) -> Setting:
    """Resolve a rollout, beside others, and its policy to ticks; the places are the names of their files."""
    tick_ms = duration_ms(policy.tick)
    rollout = rollouts[place]
    return Setting(
        rollout.rollout,
        _stages(rollout, tick_ms),
        policy,
        digest(policy),
        ENGINE,
        rollout.mode == "enforce",
        tick_ms,
        str(place),
        str(policy_place),
        tuple(
            Announced(other.rollout, _stages(other, tick_ms), str(file))
            for file, other in rollouts.items()
            if file != place
        ),
    )


def _stages(rollout: Rollout, tick_ms: int) -> tuple[Stage, ...]:
    starts = [stage.started or (rollout.started if index == 0 else None) for index, stage in enumerate(rollout.stages)]
    return stages_in_ticks(rollout, starts, tick_ms)


def stages_in_ticks(rollout: Rollout, starts: Sequence[datetime | None], tick_ms: int) -> tuple[Stage, ...]:
    """Return a rollout's stages in ticks of `tick_ms`; `starts` [stage] are those that are known."""
    return tuple(
        Stage(
            stage.name,
            stage.canary,
            stage.control,
            # The tick that holds the start is the first live one: a sample in it may already be touched.
            None if started is None else tick_of(started, tick_ms),
            max(1, -(-duration_ms(stage.bake) // tick_ms)),
            None if stage.deadline is None else -(-duration_ms(stage.deadline) // tick_ms),
            -(-duration_ms(stage.settle) // tick_ms),
        )
        for stage, started in zip(rollout.stages, starts, strict=True)
    )


def tick_of(time: datetime, tick_ms: int) -> int:
    """Return the tick that holds a time."""
    return -(-epoch_ms(time) // tick_ms)
