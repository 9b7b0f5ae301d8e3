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

from holdfast.live.clients import admin, transactional_producer
from holdfast.produce import Frame
from rollouts.announced import Announcement
from streams.live.frames import Keys, body_of, frame_of, header_of, keys_of, values_of
from streams.live.turnstile import Part
from tests.integration.cluster import PATIENT, Cluster
from tests.integration.forking import Forked
from tests.integration.holding import hold_together
from tests.kafka.broker import Broker
from tests.live.engine import announced, end_of
from tests.waiting import WAIT_S, until

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


def wait_for_death(process: Forked) -> None:
    assert process.wait(WAIT_S) == -signal.SIGKILL


def wait_for_journal(cluster: Cluster, rollout: str) -> list[Part]:
    until(lambda: cluster.journal(rollout), cluster.logs)
    return cluster.journal(rollout)


def wait_for_members(cluster: Cluster, role: str, names: set[str]) -> None:
    """Wait until these workers, and no others, have partitions of a role's group."""
    group, client = f"{cluster.settings.prefix}-{role}", admin(cluster.settings)

    def owners() -> set[str]:
        found = client.describe_consumer_groups([group])[group].result(WAIT_S)
        return {
            str(member.group_instance_id).removesuffix(f"-{role}")
            for member in found.members
            if member.assignment is not None and member.assignment.topic_partitions
        }

    until(lambda: owners() == names, lambda: f"{owners()}\n{cluster.logs()}")


@pytest.mark.parametrize("role", ["aggregate", "judge", "aggregate,judge"])
def test_a_worker_that_is_killed_between_any_two_steps_of_a_transaction(kafka, tmp_path, bad, role):
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=20) as cluster:
        announcement, frames = begun(cluster, bad)
        samples = cluster.feed(frames)  # more than all the lives but the last take
        if role == "judge":
            cluster.start("aggregate", worker="other")
        elif role == "aggregate":
            cluster.start("judge", worker="other")
        for point in POINTS:
            wait_for_death(cluster.start(role, point, 2))
        cluster.start(role)
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_workers_that_are_killed_twenty_times_at_random(kafka, tmp_path, bad, seed):
    rng = np.random.default_rng(seed)
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=50, **PATIENT) as cluster:
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
        cluster.end_patience()
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)


def test_a_transaction_that_was_taken_back_never_reaches_the_evidence(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path, transaction_timeout="10m", **PATIENT) as cluster:
        announcement, frames = begun(cluster, bad)
        first, second = slices(frames, 2)
        samples = cluster.feed(first)
        cluster.start("aggregate")
        cluster.start("judge")
        name = announcement.rollout.rollout
        journal = wait_for_journal(cluster, name)
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
        cluster.end_patience()
        cluster.wait_until_finished(name)
        hold_together(cluster, bad, samples)


@pytest.mark.parametrize("role", ["aggregate", "judge"])
def test_a_zombie_that_wakes_up_after_others_took_over(kafka, tmp_path, bad, role):
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=20, **PATIENT) as cluster:
        announcement, frames = begun(cluster, bad)
        other = {"aggregate": "judge", "judge": "aggregate"}[role]
        cluster.start(other)
        zombie = cluster.start(role, worker="zombie")
        first, second, third = slices(frames, 3)
        samples = cluster.feed(first)
        wait_for_journal(cluster, announcement.rollout.rollout)
        os.kill(zombie.pid, signal.SIGSTOP)
        cluster.start(role, worker="living")
        samples += cluster.feed(second)
        wait_for_members(cluster, role, {"living"})
        os.kill(zombie.pid, signal.SIGCONT)
        samples += cluster.feed(third)
        cluster.end_patience()
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)


def test_workers_that_come_and_go(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=20, **PATIENT) as cluster:
        announcement, frames = begun(cluster, bad)
        first, second, third = slices(frames, 3)
        ones = [cluster.start(role, worker="one") for role in ("aggregate", "judge")]
        samples = cluster.feed(first)
        name, checkpoints = announcement.rollout.rollout, cluster.settings.topics.checkpoints
        until(lambda: cluster.verdicts(name) or cluster.read(checkpoints), cluster.logs)
        for role in ("aggregate", "judge"):
            cluster.start(role, worker="two")
        samples += cluster.feed(second)
        for role in ("aggregate", "judge"):
            wait_for_members(cluster, role, {"one", "two"})
        for process in ones:
            process.terminate()
            assert process.wait(WAIT_S) == 0
        samples += cluster.feed(third)
        cluster.end_patience()
        cluster.wait_until_finished(name)
        hold_together(cluster, bad, samples)


@pytest.mark.parametrize("role", ["aggregate", "judge"])
def test_partitions_given_up_by_a_worker_that_died_before_it_said_so_come_to_belong_to_somebody(
    kafka, tmp_path, bad, role
):
    with Cluster(kafka.bootstrap, tmp_path, session_timeout="1m", batch_messages=20, **PATIENT) as cluster:
        announcement, frames = begun(cluster, bad)
        cluster.start({"aggregate": "judge", "judge": "aggregate"}[role])
        first, second = slices(frames, 2)
        dying = cluster.start(role, "revoked", 1)
        samples = cluster.feed(first)
        wait_for_members(cluster, role, {"one"})
        cluster.start(role, worker="two")  # has "one" give up a partition
        wait_for_death(dying)
        before = cluster.members(role)
        cluster.start(role)
        until(lambda: cluster.members(role) != before, cluster.logs)
        assert cluster.ownerless(role) == 1  # it is back, and no rebalance followed
        until(lambda: cluster.ownerless(role) == 0, cluster.logs)
        wait_for_members(cluster, role, {"one", "two"})
        samples += cluster.feed(second)
        cluster.end_patience()
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)


def test_a_broker_that_is_restarted(tmp_path, bad):
    # A worker whose client hangs once the broker was away ends itself after some of these, and is started again.
    with (
        Broker() as broker,
        Cluster(broker.bootstrap, tmp_path, batch_messages=20, transaction_timeout="15s", **PATIENT) as cluster,
    ):
        announcement, frames = begun(cluster, bad)
        first, second = slices(frames, 2)
        cluster.keep("aggregate")
        cluster.keep("judge")
        samples = cluster.feed(first)
        wait_for_journal(cluster, announcement.rollout.rollout)
        broker.restart(signal.SIGKILL)
        samples += cluster.feed(second)
        cluster.end_patience()
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)
