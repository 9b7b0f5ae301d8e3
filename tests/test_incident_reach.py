"""What cohort ticks say of traffic and of how far a rollout has come, as the live engine writes them."""

from pathlib import Path

import numpy as np
import pytest

from holdfast.live.settings import load_settings
from holdfast.response.reach import reach_of
from streams.live.frames import Header
from tests.live.engine import announced, feed, make_engine, make_recording

Frames = dict[int, list[tuple[Header, bytes]]]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("fleet"), scenario="errors", size=3.0, onset_ticks=10)


@pytest.fixture(scope="module")
def frames(recording: Path) -> Frames:
    """Give the frames of the rollout by tick."""
    engine = make_engine(load_settings(None, {}), [announced(recording)])
    feed(engine, recording)
    engine.run(np.random.default_rng(5))
    found: Frames = {}
    for header, frame, _, _ in engine.headers():
        if header.rollout == announced(recording).rollout.rollout:
            found.setdefault(header.tick, []).append((header, frame))
    return found


def last_of(frames: Frames) -> list[bytes]:
    return [frame for _, frame in frames[max(frames)]]


def test_shares_of_traffic_are_of_all_colos_and_sum_to_one(frames: Frames, recording: Path) -> None:
    found = reach_of(last_of(frames))
    assert found is not None
    assert found.traffic is not None
    assert len(found.traffic) == 5
    assert sum(found.traffic.values()) == pytest.approx(1.0)
    assert min(found.traffic.values()) > 0.0


def test_what_has_begun_is_where_its_canary_hosts_are(frames: Frames, recording: Path) -> None:
    name = announced(recording).rollout.rollout
    found = reach_of(last_of(frames))
    assert found is not None
    assert 0.0 < found.hosts_share[name] < 1.0
    assert found.colos[name] <= {*(found.traffic or {})}


def test_what_has_not_begun_has_reached_nobody(frames: Frames, recording: Path) -> None:
    name = announced(recording).rollout.rollout
    ticks = sorted(tick for tick, parts in frames.items() if len(parts) == len(frames[max(frames)]))
    found = reach_of([frame for _, frame in frames[ticks[0]]])
    assert found is not None
    assert (found.hosts_share[name], found.colos[name]) == (0.0, frozenset())


def test_without_one_of_the_sources_nothing_is_known(frames: Frames) -> None:
    assert reach_of(last_of(frames)[1:]) is None
    assert reach_of([]) is None
