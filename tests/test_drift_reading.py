"""Which series a frame holds, as drift looks for them; without a broker."""

import numpy as np
import pytest

from holdfast.control.drift_reading import is_there
from rollouts.drift_facts import Selected, Series
from streams.recording import LabelColumn


def column(*texts: str | None) -> LabelColumn:
    values = sorted({text for text in texts if text is not None})
    return LabelColumn(np.array([-1 if text is None else values.index(text) for text in texts], np.int32), values)


LABELS = {"metric": column("cpu", "cpu", "errors"), "service": column("kv", None, "web"), "empty": column("", "", "")}


@pytest.mark.parametrize(
    ("metric", "select", "expected"),
    [
        ("cpu", (), True),
        ("cp*", (), False),
        ("memory", (), False),
        ("cpu", (("service", ("kv",)),), True),
        ("cpu", (("service", ("web",)),), False),
        ("errors", (("service", ("kv", "w*")),), True),
        ("errors", (("service", ("",)),), False),
        ("cpu", (("service", ("",)),), True),
        ("cpu", (("zone", ("a",)),), False),
        ("cpu", (("zone", ("*",)),), False),
        ("cpu", (("zone", ("",)),), True),
        ("cpu", (("empty", ("*",)),), False),
        ("cpu", (("service", ("kv",)), ("zone", ("",))), True),
    ],
)
def test_a_series_is_there_if_its_metric_and_all_its_labels_are(metric: str, select: Selected, expected: bool) -> None:
    assert is_there(LABELS, Series(metric=metric, select=select)) is expected


def test_a_frame_without_metrics_holds_nothing() -> None:
    assert not is_there({"service": column("kv")}, Series(metric="cpu"))
