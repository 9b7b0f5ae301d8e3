"""What an aggregate tells of itself while it works."""

import numpy as np
import pytest

from holdfast.live.aggregating import AggregateStep
from holdfast.live.settings import load_settings
from tests.live.engine import PARTITIONS, Engine, announced, feed, make_engine, make_recording


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, int]:
    recording = make_recording(tmp_path_factory.mktemp("bad"), pre_ticks=10, live_ticks=10)
    settings = load_settings(None, {"HOLDFAST_PATIENCE": "30s", "HOLDFAST_WORKER": "test"})
    engine = make_engine(settings, [announced(recording)])
    return engine, feed(engine, recording)


def told(engine: Engine, name: str, **labels: str) -> float | None:
    step = engine.aggregate.step
    assert isinstance(step, AggregateStep)
    return step._telemetry.registry.get_sample_value(name, {"role": "aggregate", "worker": "test"} | labels)


def test_samples_are_told_by_topic_and_format_and_ticks_are_open_until_they_close(fed: tuple[Engine, int]) -> None:
    engine, samples = fed
    assert told(engine, "holdfast_ticks_open") == 0
    rng = np.random.default_rng(1)
    while engine.aggregate.poll(rng, 0.0):
        pass
    topic = engine.settings.metrics[0].topic
    assert told(engine, "holdfast_samples_total", topic=topic, format="arrow") == samples
    (announcement,) = engine.told.current.values()
    assert told(engine, "holdfast_ticks_open") == PARTITIONS * (announcement.policy.lateness_ticks + 1)
    engine.aggregate.poll(rng, engine.settings.patience_seconds + 60.0)
    assert told(engine, "holdfast_ticks_open") == 0
