"""The pictures of a report: lines, bands, bars and the axes that they stand on."""

import dataclasses

import numpy as np
import pytest

from holdfast.reporting.build import report_data
from holdfast.reporting.svg.axes import WIDE, level_axis, time_axis
from holdfast.reporting.svg.heat import levels
from holdfast.reporting.svg.marks import band, line, runs
from tests.report_cases import made
from tests.test_cli import START_MS


def test_the_bars_of_the_heat_map_grow_with_the_evidence() -> None:
    heat = report_data(made(colos=1)).heat
    assert heat is not None
    top = heat.log_threshold
    cells = np.array([[-3.0, 0.0, 0.01, 0.26 * top, 0.51 * top, 0.76 * top, top, 40 * top, np.nan, -np.inf]])
    assert levels(dataclasses.replace(heat, log_e=cells)).tolist() == [[0, 0, 1, 2, 3, 4, 5, 5, -1, 0]]


def test_a_line_breaks_where_data_are_missing_or_another_stage_begins() -> None:
    values = np.array([1.0, 2.0, np.nan, 3.0, 4.0, 5.0])
    found = runs(np.array([0, 0, 0, 0, 1, 1]), values)
    assert [(each.start, each.stop) for each in found] == [(0, 2), (3, 4), (4, 6)]
    drawn = line("line", np.arange(6), np.nan_to_num(values).astype(np.int64), found)
    assert drawn == '<path class="line" d="M0 1L1 2M3 3h0M4 4L5 5"/>'
    assert line("line", np.arange(6), np.arange(6), []) == ""


def test_a_band_goes_there_and_back() -> None:
    x, low, high = np.array([0, 5, 9]), np.array([9, 8, 9]), np.array([1, 2, 1])
    assert band("band", x, low, high, [slice(0, 3)]) == '<path class="band" d="M0 1L5 2 9 1 9 9 5 8 0 9z"/>'


@pytest.mark.parametrize("minutes", [0, 1, 7, 45, 600, 3_000, 40_000, 500_000])
def test_time_has_a_few_round_labels_whatever_its_length(minutes: int) -> None:
    axis, labels = time_axis(START_MS, START_MS + 60_000 * minutes)
    assert (axis.low, axis.size) == (START_MS, WIDE)
    assert 1 <= len(labels) <= 8
    assert all(0 <= label.percent <= 100 for label in labels)
    assert len({label.text for label in labels}) == len(labels)


@pytest.mark.parametrize("values", [[], [np.nan], [0.0], [5.0, 5.0], [-1.0, 1.0], [1e-9, 2e-9], [1e12, 2e12]])
def test_levels_of_any_size_have_an_axis(values: list[float]) -> None:
    axis, labels = level_axis(np.array(values), is_share=False)
    assert axis.low < axis.high
    assert all(axis.holds(value) for value in values if not np.isnan(value))
    assert 1 <= len(labels) <= 6
