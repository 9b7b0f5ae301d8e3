"""The live engine on a real broker, held against a replay of the same samples."""

from datetime import datetime
from pathlib import Path

import pytest

from sinks.cloudevents import VerdictEvent
from tests.integration.cluster import Cluster, accounted, missing_or_doubled
from tests.live.engine import announced, end_of, make_recording, replayed


@pytest.fixture(scope="session")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("bad"), scenario="errors", size=3.0, onset_ticks=10)


def compared(events: list[VerdictEvent]) -> list[tuple[str, int, str, str]]:
    return [(event.id, event.data.sequence, event.data.action, event.time) for event in events]


def hold_together(cluster: Cluster, recording: Path, samples: int) -> None:
    """Check what must hold whatever has happened to the workers."""
    name = announced(recording).rollout.rollout
    found, again, expected = cluster.verdicts(name), cluster.judged_again(name), replayed(recording)
    assert compared(found) == compared(again)
    assert compared(found)[: len(expected)] == compared(expected)
    headers = [part.header for part in cluster.journal(name)]
    assert missing_or_doubled(headers) == []
    in_ticks, dropped = accounted(headers)
    assert in_ticks + sum(dropped.values()) == samples


def test_a_bad_rollout_is_reverted_as_a_replay_would_have_it(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        announcement = announced(bad)
        end: datetime = end_of(bad)
        cluster.finish(announcement, end)
        samples = cluster.feed(bad)
        cluster.start("aggregate")
        cluster.start("judge")
        cluster.wait_until_finished(announcement.rollout.rollout)
        hold_together(cluster, bad, samples)
