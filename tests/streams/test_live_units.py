"""Units by number: the same that a replay finds, however series come up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.catalogue import Catalogue
from streams.live.clock import Timing
from streams.live.known import KnownSeries
from streams.live.unit_ids import UnitIds
from streams.membership import find_units
from tests.samples import TICK_MS, Row, columns, sample

ROWS = st.lists(
    st.builds(
        lambda metric, host, colo, rack: sample(
            1, metric, 1.0, host=host, colo=colo, **({"rack": rack, "region": rack} if rack else {})
        ),
        st.sampled_from(["cpu", "mem"]),
        st.none() | st.sampled_from(["h1", "h2", "h3"]),
        st.sampled_from(["ams", "fra"]),
        st.sampled_from(["", "r1", "r2"]),
    ),
    min_size=1,
    max_size=40,
)


@given(ROWS, st.integers(1, 9))
def test_units_are_those_of_a_replay(rows: list[Row], size: int) -> None:
    catalogue, ids = Catalogue(["colo", "metric"]), UnitIds("host")
    for start in range(0, len(rows), size):
        labels = columns(rows[start : start + size]).labels
        catalogue.grow(labels)
        catalogue.encode(labels, len(rows[start : start + size]))
        ids.update(catalogue)
    units, numbers = ids.in_order(catalogue, "region", np.ones(len(catalogue), np.bool_))
    there = find_units(catalogue, "host", "region")
    assert units.of_series.tolist() == there.of_series.tolist()
    assert (units.colo, units.region) == (there.colo, there.region)
    assert len(ids) == len(there)
    assert numbers[units.of_series].tolist() == ids.of_series.tolist()


@given(ROWS)
def test_series_that_were_given_out_are_known_again(rows: list[Row]) -> None:
    before = KnownSeries()
    tables = []
    for start in range(0, len(rows), 7):
        part = columns(rows[start : start + 7])
        slot = before.encode(part)
        assert slot.series is not None
        before.come(Timing("host", TICK_MS, 3, 60), [(slot.series, part.time)])
        table = before.take_new()
        tables += [table] if table is not None else []
    after = KnownSeries()
    after.load(tables[::-1])
    whole = columns(rows)
    here, there = (known.encode(whole).series for known in (before, after))
    assert here is not None
    assert there is not None
    assert before.came_ms()[here].tolist() == after.came_ms()[there].tolist()
    assert len(before.catalogue) == len(after.catalogue)
