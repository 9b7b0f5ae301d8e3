"""The drill's own fleet, and what is said of its steps."""

import numpy as np
import pytest

from detectors.policy import duration_ms
from holdfast.drilling.drill import page_of
from holdfast.drilling.fleet import LABEL, Rehearsal, rehearsal
from holdfast.drilling.steps import Step, in_words, rehearsed
from holdfast.errors import BadInput
from rollouts.incidents.opening import DRILL_KIND
from sinks.cloudevents import epoch_ms
from streams.recording import Samples
from streams.wire.decoding import decode

NOW = 1_795_000_000_000
NAME = "drill-20261126-120000"


def played(what: Rehearsal) -> list[Samples]:
    return [decode(frame.payload, frame.content_type) for frame in what.frames]


def test_no_label_of_a_drill_is_one_that_a_real_host_has() -> None:
    for samples in played(rehearsal(NAME, 1, NOW)):
        labels = samples.labels
        assert labels[LABEL].values == [NAME]
        assert all(value.startswith("drill-") for label in ("colo", "host") for value in labels[label].values)
        assert all(value.startswith("drill_") for value in labels["metric"].values)


def test_the_rollout_of_a_drill_selects_its_own_hosts_alone() -> None:
    plan = rehearsal(NAME, 1, NOW).rollout
    assert [(stage.canary[LABEL], stage.control and stage.control[LABEL]) for stage in plan.stages] == [(NAME, NAME)]
    assert [unit.kind for unit in plan.package] == [DRILL_KIND]


def test_its_policy_reads_its_own_metrics_alone() -> None:
    policy = rehearsal(NAME, 1, NOW).policy
    read = [name for each in policy.metrics for name in (each.counter, each.ratio and each.ratio.bad) if name]
    assert read
    assert all(name.startswith("drill_") for name in read)


def test_a_drill_begins_now_and_has_a_past() -> None:
    what = rehearsal(NAME, 1, NOW)
    times = np.concatenate([samples.time for samples in played(what)])
    tick_ms = duration_ms(what.policy.tick)
    past = epoch_ms(what.rollout.started) - int(times.min())
    assert past >= what.policy.pre_period.ticks_min * tick_ms
    assert NOW < epoch_ms(what.rollout.started) <= NOW + 3 * tick_ms
    assert epoch_ms(what.rollout.started) < what.onset_ms < int(times.max())


def test_the_same_seed_is_the_same_drill() -> None:
    first, second = rehearsal(NAME, 3, NOW), rehearsal(NAME, 3, NOW)
    assert [frame.payload for frame in first.frames] == [frame.payload for frame in second.frames]


STEPS = [
    Step("harm", 1_000),
    Step("verdict", 5_250),
    Step("incident", 6_000),
    Step("notification", None, "response.yaml names nobody under `drills`", is_tried=False),
    Step("page", None, "not within 60 s"),
]


def test_seconds_count_from_the_first_bad_sample() -> None:
    found = rehearsed(NAME, "inc-20261126-00000000", STEPS)
    assert found.seconds == {"harm": 0.0, "verdict": 4.25, "incident": 5.0, "notification": None, "page": None}
    assert (found.failed, found.not_tried) == (["page"], ["notification"])


def test_what_did_not_happen_is_told_apart_from_what_was_not_tried() -> None:
    lines = in_words(rehearsed(NAME, None, STEPS)).splitlines()
    assert [line.split("  ")[-1] for line in lines[4:6]] == [STEPS[3].note, STEPS[4].note]
    assert "not tried" in lines[4]
    assert "did not happen" in lines[5]
    assert lines[-1] == "failed: page"


@pytest.mark.parametrize("text", ["127.0.0.1:9481", "ftp://127.0.0.1", "http://", ""])
def test_an_address_that_is_no_page_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"--page: found .* allowed"):
        page_of(text)
