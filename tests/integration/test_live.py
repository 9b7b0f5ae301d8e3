"""The live engine on a real broker, held against a replay of the same samples."""

from tests.integration.cluster import Cluster
from tests.integration.holding import hold_together
from tests.live.engine import announced, end_of


def test_a_bad_rollout_is_reverted_as_a_replay_would_have_it(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        announcement = announced(bad)
        cluster.finish(announcement, end_of(bad))
        samples = cluster.feed(cluster.frames(bad))
        cluster.start("aggregate")
        cluster.start("judge")
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)
