"""Samples as they come in real life, on a real broker: twice, late, out of order, unreadable, from odd clocks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from holdfast.produce import Frame
from streams.recording import Samples
from streams.wire.decoding import decode
from streams.wire.encoding import encode
from tests.integration.cluster import Cluster, accounted
from tests.integration.holding import compared, hold_together
from tests.integration.test_faults import begun, slices, wait_for_death
from tests.live.engine import announced, replayed
from tests.waiting import until

HOUR_MS = 3_600_000


def name_of(recording: Path) -> str:
    return announced(recording).rollout.rollout


def dropped_of(cluster: Cluster, recording: Path) -> dict[str, int]:
    return dict(accounted([part.header for part in cluster.journal(name_of(recording))])[1])


def started(cluster: Cluster) -> None:
    cluster.start("aggregate")
    cluster.start("judge")


def shifted(frame: Frame, by_ms: int, share: float = 1.0) -> Frame:
    """Move the clock of a share of a frame's hosts."""
    samples = decode(frame.payload, frame.content_type)
    host = samples.labels["host"].codes
    moved = host < share * len(samples.labels["host"].values)
    changed = Samples(np.where(moved, samples.time + by_ms, samples.time), samples.value, samples.labels)
    payload, kind = encode(changed, "arrow")
    return replace(frame, payload=payload, content_type=kind)


def test_frames_that_come_twice_count_once(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        _, frames = begun(cluster, bad)
        samples = cluster.feed([each for frame in frames for each in (frame, frame)])
        started(cluster)
        cluster.wait_until_finished(name_of(bad))
        hold_together(cluster, bad, samples)
        assert dropped_of(cluster, bad)["duplicate"] == samples // 2


def test_frames_out_of_order_within_the_allowed_lateness_change_nothing(kafka, tmp_path, bad):
    rng = np.random.default_rng(1)
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        _, frames = begun(cluster, bad)
        order = np.argsort([frame.first_ms + rng.uniform(0, 15_000) for frame in frames])
        samples = cluster.feed([frames[i] for i in order])
        started(cluster)
        cluster.wait_until_finished(name_of(bad))
        hold_together(cluster, bad, samples)
        assert "late" not in dropped_of(cluster, bad)


def test_frames_that_come_much_too_late_are_counted_and_left_out(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        _, frames = begun(cluster, bad)
        early, rest = frames[:10], frames[10:]
        first, second = slices(rest, 2)
        samples = cluster.feed(first) + cluster.feed(early) + cluster.feed(second)
        started(cluster)
        cluster.wait_until_finished(name_of(bad))
        assert compared(cluster.verdicts(name_of(bad))) == compared(cluster.judged_again(name_of(bad)))
        in_ticks, dropped = accounted([part.header for part in cluster.journal(name_of(bad))])
        assert in_ticks + sum(dropped.values()) == samples
        assert dropped["late"] == sum(frame.rows for frame in early)


def test_a_clock_that_runs_an_hour_ahead_closes_nobodys_ticks(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        _, frames = begun(cluster, bad)
        ahead = [shifted(frame, HOUR_MS) for frame in frames[60:61]]
        # The host sends what it has twice: as it should be, and again with the time of its other clock.
        samples = cluster.feed(frames[:120]) + cluster.feed(ahead) + cluster.feed(frames[120:])
        started(cluster)
        cluster.wait_until_finished(name_of(bad))
        hold_together(cluster, bad, samples)
        assert dropped_of(cluster, bad)["future"] == ahead[0].rows


def test_a_frame_that_cannot_be_read_is_kept_aside_and_stops_nobody(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        _, frames = begun(cluster, bad)
        first, second = slices(frames, 2)
        samples = cluster.feed(first)
        cluster.send(b"\x00not a frame", "application/json", frames[0].key)
        samples += cluster.feed(second)
        started(cluster)
        cluster.wait_until_finished(name_of(bad))
        hold_together(cluster, bad, samples)
        letters = cluster.read(cluster.settings.topics.dead_letters)
        assert [letter.value for letter in letters] == [b"\x00not a frame"]
        headers = letters[0].headers
        assert headers["holdfast-topic"].decode() == cluster.metrics
        assert {"holdfast-partition", "holdfast-offset", "holdfast-reason"} <= headers.keys()


def test_a_topic_that_is_not_keyed_by_colo_is_keyed_first(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=20) as cluster:
        cluster.declare(keyed=False)
        _, frames = begun(cluster, bad)
        first = cluster.start("rekey", "committed", 2)
        samples = 0
        for part in slices(frames, 10):
            samples += cluster.feed(part[::2], partition=0) + cluster.feed(part[1::2], partition=1)
        wait_for_death(first)
        cluster.start("rekey")
        (keyed,) = cluster.settings.sources
        until(lambda: len(cluster.read(keyed)) >= len(frames), cluster.logs)  # a pause of it would be taken for silence
        started(cluster)
        cluster.wait_until_finished(name_of(bad))
        hold_together(cluster, bad, samples)


def test_a_colo_in_two_partitions_of_a_keyed_topic_makes_the_verdict_wait(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        _, frames = begun(cluster, bad)
        cluster.feed(frames[::2], partition=0)
        cluster.feed(frames[1::2], partition=1)
        started(cluster)
        cluster.wait_until_finished(name_of(bad))
        found = [event.data for event in cluster.verdicts(name_of(bad))]
        assert "advance" not in {each.action for each in found}
        assert "evidence" not in {each.cause for each in found}
        troubled = [each for each in found if (each.action, each.cause) == ("wait", "data")]
        assert any("more than one partition" in why.why for each in troubled for why in each.abstained)


def test_a_worker_that_lags_hours_behind_catches_up(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        _, frames = begun(cluster, bad)
        samples = cluster.feed(frames)
        cluster.start("judge")
        wait_for_death(cluster.start("aggregate", "committed", 1))
        cluster.start("aggregate")
        cluster.wait_until_finished(name_of(bad))
        hold_together(cluster, bad, samples)


@pytest.mark.parametrize("form", ["json", "json-grouped", "otlp", "prometheus"])
def test_every_format_comes_to_the_same_verdicts(kafka, tmp_path, bad, form):
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        announcement, _ = begun(cluster, bad)
        cluster.feed(cluster.frames(bad, form))
        started(cluster)
        cluster.wait_until_finished(announcement.rollout.rollout)
        expected = compared(replayed(bad))
        assert compared(cluster.verdicts(name_of(bad)))[: len(expected)] == expected
