"""Announcing late: an engine whose metrics have been read before a rollout is announced, and what comes of it."""

from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from holdfast.live.aggregating import AggregateStep
from holdfast.live.settings import Settings
from rollouts.announced import Announcement
from tests.live.engine import Engine, feed, make_engine, with_policy

PARTITIONS = range(3)


def short_past(announcement: Announcement, ticks: int) -> Announcement:
    policy = announcement.policy
    pre_period = msgspec.structs.replace(policy.pre_period, ticks_min=8, ticks_max=ticks)
    return with_policy(announcement, msgspec.structs.replace(policy, pre_period=pre_period))


def another(announcement: Announcement, *, alpha: float | None = None) -> Announcement:
    """Make a rollout of another name on the same hosts, by the same policy or a slightly different one."""
    rollout = msgspec.structs.replace(announcement.rollout, rollout="another")
    made = msgspec.structs.replace(announcement, rollout=rollout)
    return made if alpha is None else with_policy(made, msgspec.structs.replace(made.policy, alpha=alpha))


class Late:
    """An engine whose metrics have been read, all or a part of them, before a rollout is announced."""

    def __init__(
        self, settings: Settings, recording: Path, part: float = 1.0, running: tuple[Announcement, ...] = ()
    ) -> None:
        self.engine: Engine = make_engine(settings, running)
        self.samples = feed(self.engine, recording)
        self.rng = np.random.default_rng(1)
        topic = settings.metrics[0].topic
        self._whole = {(topic, number): list(self.engine.broker.logs[topic, number]) for number in PARTITIONS}
        self.grow(part)
        self.poll(30)

    def grow(self, part: float) -> None:
        """Have the metrics topic hold so much of the recording."""
        for place, log in self._whole.items():
            self.engine.broker.logs[place][:] = log[: int(part * len(log))]

    def delay(self, every: int, by: int) -> None:
        """Have some messages come later than others that were sent after them."""
        for log in self._whole.values():
            for place in range(0, len(log) - by, every):
                log.insert(place + by, log.pop(place))

    def poll(self, count: int, *, is_judging: bool = True) -> None:
        for _ in range(count):
            self.engine.now += 0.1
            self.engine.aggregate.poll(self.rng, self.engine.now)
            if is_judging:
                self.engine.judge.poll(self.rng, self.engine.now)

    def read_into(self, rollout: str) -> None:
        """Go on until a part of a rollout's past is written."""
        while not journal(self.engine, rollout):
            self.poll(1, is_judging=False)
        assert behind(self.engine) == {rollout}

    def grow_slowly(self, start: float) -> None:
        """Have the rest of the recording come bit by bit, to workers that die now and then."""
        for step, part in enumerate(np.linspace(start, 1.0, 80)):
            self.grow(part)
            self.poll(1)
            if step % 25 == 10:
                self.engine.aggregate.kill()

    def wait(self, seconds: int) -> None:
        """Let time go by on the wall."""
        for _ in range(seconds):
            self.engine.now += 1.0
            self.poll(1)

    def run(self, kills: int = 0) -> Engine:
        self.engine.run(self.rng, kills)
        return self.engine


def journal(engine: Engine, rollout: str) -> dict[tuple[int, int], bytes]:
    """Return the frames of a rollout by source partition and tick, each of which must be there once."""
    found: dict[tuple[int, int], bytes] = {}
    for header, frame, *_ in engine.headers():
        if header.rollout == rollout and header.kind == "tick":
            assert (header.partition, header.tick) not in found
            found[header.partition, header.tick] = frame
    return found


def aggregating(engine: Engine) -> AggregateStep:
    """Return the aggregate's step."""
    return cast("AggregateStep", engine.aggregate.step)


def behind(engine: Engine) -> set[str]:
    """Name the rollouts whose past is not through."""
    return {name for fed in aggregating(engine)._fed.values() for name in fed.joining.behind}


def offsets(engine: Engine) -> set[int]:
    """Return where the pasts that are read have begun."""
    readings = [fed.joining.reading for fed in aggregating(engine)._fed.values()]
    return {reading.offset for reading in readings if reading is not None}


def accounts(engine: Engine, rollout: str) -> int:
    in_ticks, dropped = engine.accounted(rollout)
    return in_ticks + sum(dropped.values())
