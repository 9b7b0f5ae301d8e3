"""The past of a rollout that is announced late, on a real broker."""

import msgspec

from rollouts.announced import Announcement
from tests.integration.cluster import Cluster
from tests.integration.holding import hold_together
from tests.integration.test_faults import wait_for_death
from tests.live.engine import announced, replayed
from tests.waiting import WAIT_S, until

FRAMES = 2 * 120
"""Source partitions, and ticks of the recording."""

DEATHS = (("committed", 2), ("produced", 2), ("offsets_added", 2), ("committed", 1))


def bystander(announcement: Announcement) -> Announcement:
    """Make a rollout that reaches nobody."""
    stages = [msgspec.structs.replace(stage, canary={"cohort": "nobody"}) for stage in announcement.rollout.stages]
    rollout = msgspec.structs.replace(announcement.rollout, rollout="bystander", stages=stages)
    return msgspec.structs.replace(announcement, rollout=rollout)


def test_workers_that_are_killed_while_they_read_the_past_write_each_tick_once(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        cluster.submit(bystander(announced(bad)))
        samples = cluster.feed(cluster.frames(bad))
        first = cluster.start("aggregate")
        cluster.start("judge", worker="other")
        until(lambda: len(cluster.journal("bystander")) >= FRAMES - 10, cluster.logs)
        first.terminate()
        assert first.wait(WAIT_S) == 0
        announcement = announced(bad)
        name, expected = announcement.rollout.rollout, replayed(bad)
        cluster.submit(announcement)
        written = []
        for point, count in DEATHS:
            wait_for_death(cluster.start("aggregate", point, count))
            written.append(len(cluster.journal(name)))
        assert any(0 < frames < FRAMES for frames in written)
        cluster.start("aggregate")
        until(lambda: len(cluster.journal(name)) >= FRAMES, cluster.logs)
        until(lambda: len(cluster.verdicts(name)) >= len(expected), cluster.logs)
        cluster.stop()
        hold_together(cluster, bad, samples)
