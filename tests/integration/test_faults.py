"""What the live engine survives, on a real broker. After each fault everything holds together."""

import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from confluent_kafka import Producer

from holdfast.live.clients import transactional_producer
from holdfast.produce import Frame
from rollouts.announced import Announcement
from streams.live.frames import Keys, body_of, frame_of, header_of, keys_of, values_of
from tests.integration.cluster import Cluster
from tests.integration.holding import hold_together
from tests.kafka.broker import Broker
from tests.live.engine import announced, end_of
from tests.waiting import WAIT_S

POINTS = ("taken", "produced", "offsets_added", "committed", "taken_over")


def begun(cluster: Cluster, recording: Path) -> tuple[Announcement, list[Frame]]:
    """Announce a recording's rollout, which is over at its end, and cut its samples into frames."""
    announcement = announced(recording)
    cluster.finish(announcement, end_of(recording))
    return announcement, cluster.frames(recording)


def slices(frames: list[Frame], count: int) -> list[list[Frame]]:
    """Cut frames into so many parts."""
    edges = [len(frames) * i // count for i in range(count + 1)]
    return [frames[start:stop] for start, stop in pairwise(edges)]


def wait_for_death(process, seconds: float = 120.0) -> None:
    assert process.wait(seconds) == -signal.SIGKILL


@pytest.mark.parametrize("role", ["aggregate", "judge", "aggregate,judge"])
def test_a_worker_that_is_killed_between_any_two_steps_of_a_transaction(kafka, tmp_path, bad, role):
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=20) as cluster:
        announcement, frames = begun(cluster, bad)
        if role == "judge":
            cluster.start("aggregate", worker="other")
        elif role == "aggregate":
            cluster.start("judge", worker="other")
        samples = 0
        for part, point in zip(slices(frames, len(POINTS)), POINTS, strict=True):
            process = cluster.start(role, point, 2)
            samples += cluster.feed(part)
            wait_for_death(process)
        cluster.start(role)
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_workers_that_are_killed_twenty_times_at_random(kafka, tmp_path, bad, seed):
    rng = np.random.default_rng(seed)
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=50) as cluster:
        announcement, frames = begun(cluster, bad)
        running = {role: cluster.start(role) for role in ("aggregate", "judge")}
        samples = 0
        for part in slices(frames, 20):
            samples += cluster.feed(part)
            time.sleep(rng.uniform(0.0, 1.5))
            role = str(rng.choice(list(running)))
            running[role].kill()
            running[role].wait()
            running[role] = cluster.start(role)
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)


def test_a_transaction_that_was_taken_back_never_reaches_the_evidence(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        announcement, frames = begun(cluster, bad)
        first, second = slices(frames, 2)
        samples = cluster.feed(first)
        cluster.start("aggregate")
        cluster.start("judge")
        name = announcement.rollout.rollout
        while not (journal := cluster.journal(name)):
            time.sleep(0.2)
        liar: Producer = transactional_producer(cluster.settings, "liar")
        liar.init_transactions()
        liar.begin_transaction()
        for part in journal:
            head = header_of(part.frame)
            wrong = body_of(Keys.of(keys_of(part.frame)), values_of(part.frame) * 50.0)
            for later in range(1, 60):
                changed = frame_of(msgspec.structs.replace(head, tick=head.tick + later), wrong)
                liar.produce(cluster.settings.topics.cohort_ticks, changed, name.encode())
        liar.flush()
        samples += cluster.feed(second)
        liar.abort_transaction()
        cluster.wait_until_finished(name)
        hold_together(cluster, bad, samples)


@pytest.mark.parametrize("role", ["aggregate", "judge"])
def test_a_zombie_that_wakes_up_after_others_took_over(kafka, tmp_path, bad, role):
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=20) as cluster:
        announcement, frames = begun(cluster, bad)
        other = {"aggregate": "judge", "judge": "aggregate"}[role]
        cluster.start(other)
        zombie = cluster.start(role, worker="zombie")
        first, second, third = slices(frames, 3)
        samples = cluster.feed(first)
        while not cluster.journal(announcement.rollout.rollout):
            time.sleep(0.2)
        os.kill(zombie.pid, signal.SIGSTOP)
        cluster.start(role, worker="living")
        samples += cluster.feed(second)
        time.sleep(5.0)  # longer than a silent worker is taken for alive
        os.kill(zombie.pid, signal.SIGCONT)
        samples += cluster.feed(third)
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)


def test_workers_that_come_and_go(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=20) as cluster:
        announcement, frames = begun(cluster, bad)
        first, second, third = slices(frames, 3)
        ones = [cluster.start(role, worker="one") for role in ("aggregate", "judge")]
        samples = cluster.feed(first)
        while not cluster.verdicts(announcement.rollout.rollout) and not cluster.read(
            cluster.settings.topics.checkpoints
        ):
            time.sleep(0.3)
        for role in ("aggregate", "judge"):
            cluster.start(role, worker="two")
        samples += cluster.feed(second)
        time.sleep(4.0)
        for process in ones:
            process.terminate()
            assert process.wait(WAIT_S) == 0
        samples += cluster.feed(third)
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)


def test_a_broker_that_is_restarted(tmp_path, bad):
    with Broker() as broker, Cluster(broker.bootstrap, tmp_path, batch_messages=20) as cluster:
        announcement, frames = begun(cluster, bad)
        first, second = slices(frames, 2)
        cluster.keep("aggregate")
        cluster.keep("judge")
        samples = cluster.feed(first)
        while not cluster.journal(announcement.rollout.rollout):
            time.sleep(0.2)
        broker.restart(signal.SIGKILL)
        samples += cluster.feed(second)
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)
