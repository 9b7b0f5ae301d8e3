"""The first reading of a recording, and the second in pieces that the clock can step on."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import BadInput
from streams.catalogue import Catalogue
from streams.recording import LabelColumn, MetricsFile, Samples
from streams.scan import Rounds, encode, in_steps, scan
from tests.samples import TICK_MS, Row, in_order, sample, series, write

STEP = 16
LATENESS_MS = 3 * TICK_MS


@pytest.fixture(autouse=True, scope="module")
def _short_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.scan.STEP_ROWS", STEP)
        yield


def steady(ticks: int, hosts: int = 4) -> list[Row]:
    return in_order(*(series("cpu", [1.0] * ticks, host=f"h{number}") for number in range(hosts)))


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        scan(MetricsFile(path), LATENESS_MS)
    return str(caught.value).replace(str(path), "FILE")


def test_scan_finds_each_series_and_when_it_was_seen(tmp_path: Path) -> None:
    rows = in_order(series("cpu", [1.0] * 4, first=3), series("mem", [2.0], first=5))
    found = scan(MetricsFile(write(tmp_path, rows)), LATENESS_MS)
    assert found.catalogue.values("metric") == ["", "cpu", "mem"]
    assert found.seen.first.tolist() == [27_000, 47_000]
    assert found.seen.last.tolist() == [57_000, 47_000]
    assert (found.first_ms, found.last_ms) == (27_000, 57_000)


def test_sample_without_time_metric_or_colo_bounds_nothing(tmp_path: Path) -> None:
    rows = [sample(-900, None, 1.0), *steady(3), sample(900, "cpu", 1.0, colo=None)]
    found = scan(MetricsFile(write(tmp_path, rows)), LATENESS_MS)
    assert (found.first_ms, found.last_ms) == (7_000, 27_000)


def test_recording_without_a_usable_sample_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [sample(1, None, 1.0), sample(2, "cpu", 1.0, colo=None)])
    assert refusal(path) == "FILE: no sample in it has a time, a metric and a colo"


def test_recording_out_of_order_is_refused(tmp_path: Path) -> None:
    rows = [row for host in range(5) for row in steady(100, hosts=1)]
    assert refusal(write(tmp_path, rows)) == (
        "FILE: 70% of the samples come more than 30 s after newer ones; "
        "a recording is in order of time: sort its rows by `time`"
    )


def test_recording_in_reverse_is_refused(tmp_path: Path) -> None:
    assert "sort its rows by `time`" in refusal(write(tmp_path, steady(100)[::-1]))


def test_recording_with_a_few_late_samples_passes(tmp_path: Path) -> None:
    rows = steady(100)
    scan(MetricsFile(write(tmp_path, [*rows, *rows[:40]])), LATENESS_MS)


@pytest.mark.parametrize("rows", [1, 3, STEP, 50, 1_000])
@pytest.mark.parametrize("rows_per_group", [5, STEP, 1_000])
def test_pieces_start_on_multiples_of_a_step(rows: int, rows_per_group: int, tmp_path: Path) -> None:
    written = steady(50)
    file = MetricsFile(write(tmp_path, written, rows_per_group))
    pieces = list(in_steps(file, scan(file, LATENESS_MS).catalogue, rows))
    starts = np.cumsum([0, *(len(time) for _, time, _ in pieces)])
    assert (starts[:-1] % STEP == 0).all()
    assert starts[-1] == len(written)
    assert [moment for _, time, _ in pieces for moment in time.tolist()] == [row.time for row in written]


def test_unnamed_sample_has_no_series(tmp_path: Path) -> None:
    rows = [*steady(2), sample(2, None, 1.0), sample(2, "cpu", 1.0, colo=None), sample(2, "cpu", 1.0, colo="")]
    file = MetricsFile(write(tmp_path, rows))
    ((series_of_row, _, _),) = in_steps(file, scan(file, LATENESS_MS).catalogue)
    assert (series_of_row >= 0).tolist() == [True] * 8 + [False] * 3


SERIES = [("cpu", "ams"), ("cpu", "fra"), ("mem", "ams"), ("mem", ""), ("", "fra")]
SCRAPES = st.lists(
    st.sampled_from([[0, 1, 2], [0, 1, 2], [0, 1, 2, 3], [2, 0, 1], [0, 1, 0, 2], [1, 4], []]), min_size=1, max_size=12
).map(lambda scrapes: [place for scrape in scrapes for place in scrape])


def labelled(places: list[int], values: list[list[str]]) -> Samples:
    """Return samples of some of `SERIES`, with labels as codes of `values`; the first of them has -1 for absent."""
    labels = {
        name: LabelColumn(
            np.array([known.index(SERIES[place][label]) if SERIES[place][label] else -1 for place in places], np.int32),
            known,
        )
        for label, (name, known) in enumerate(zip(("metric", "colo"), values, strict=True))
    }
    return Samples(np.zeros(len(places), np.int64), np.zeros(len(places)), labels)


@given(SCRAPES, st.lists(st.integers(0, 40), max_size=6), st.booleans())
def test_series_of_scrapes_are_the_same_wherever_they_are_cut(places: list[int], cuts: list[int], turns: bool) -> None:
    own, other = Catalogue(["colo", "metric"]), Catalogue(["colo", "metric"])
    rounds = Rounds(own)
    bounds = [0, *sorted(min(cut, len(places)) for cut in cuts), len(places)]
    for number, (start, stop) in enumerate(pairwise(bounds)):
        values = [["cpu", "mem"], ["ams", "fra"]]
        # Each row group has a dictionary of its own.
        some = labelled(places[start:stop], [known[:: -1 if turns and number % 2 else 1] for known in values])
        assert rounds.series(some).tolist() == encode(other, some).tolist()
    assert own.values("metric") == other.values("metric")


def test_round_that_comes_again_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, values = Rounds(Catalogue(["colo", "metric"])), [["cpu", "mem"], ["ams", "fra"]]
    assert rounds.series(labelled([0, 1, 2, 0], values)).tolist() == [0, 1, 2, 0]
    monkeypatch.delattr(Catalogue, "encode")
    assert rounds.series(labelled([1, 2, 0, 1, 2, 0, 1], values)).tolist() == [1, 2, 0, 1, 2, 0, 1]
