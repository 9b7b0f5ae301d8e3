"""What must hold whatever has happened to the workers."""

from pathlib import Path

from sinks.cloudevents import VerdictEvent
from tests.integration.cluster import Cluster, accounted, missing_or_doubled
from tests.live.engine import announced, replayed


def compared(events: list[VerdictEvent]) -> list[tuple[str, int, str, str]]:
    return [(event.id, event.data.sequence, event.data.action, event.time) for event in events]


def hold_together(cluster: Cluster, recording: Path, samples: int) -> None:
    """Check the verdicts against the journal and a replay, and that no tick and no sample is missing or doubled."""
    name = announced(recording).rollout.rollout
    found, again, expected = cluster.verdicts(name), cluster.judged_again(name), replayed(recording)
    assert compared(found) == compared(again)
    assert compared(found)[: len(expected)] == compared(expected)
    headers = [part.header for part in cluster.journal(name)]
    assert missing_or_doubled(headers) == []
    in_ticks, dropped = accounted(headers)
    assert in_ticks + sum(dropped.values()) == samples
