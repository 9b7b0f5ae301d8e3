"""When harm began, out of what a comparison has shown tick by tick."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from rollouts.incidents.onset import TICKS_MAX, begun

COUNT = 60
SHOWN = arrays(np.float64, st.integers(1, 40), elements=st.floats(-5.0, 5.0, width=16))
WEIGHTS = st.floats(0.25, 4.0, width=16)


def found(shown, weight=None) -> int | None:
    """Give what is found of the effects of single ticks."""
    weights = np.ones(len(shown)) if weight is None else np.asarray(weight, dtype=np.float64)
    information = np.cumsum(weights)
    with np.errstate(invalid="ignore"):
        effect = np.where(information > 0.0, np.cumsum(np.asarray(shown) * weights) / information, np.nan)
    return begun(effect, information)


@given(onset=st.integers(4, COUNT - 4), level=st.floats(-1.0, 1.0), rise=st.floats(1.5, 9.0))
def test_a_step_is_found_to_the_tick_whatever_was_before(onset: int, level: float, rise: float) -> None:
    quiet = np.resize([0.1, -0.1, 0.05, -0.05], COUNT)
    sign = 1.0 if level >= 0.0 else -1.0
    assert found(level + quiet + sign * rise * (np.arange(COUNT) >= onset)) == onset


@pytest.mark.parametrize("onset", [5, 20, 40])
def test_what_grows_is_found_where_it_began_to(onset: int) -> None:
    quiet = np.resize([0.05, -0.05], COUNT)
    begin = found(quiet + 0.2 * np.maximum(0, np.arange(COUNT) - onset + 1))
    assert begin is not None
    assert abs(begin - onset) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_what_was_there_from_the_start_began_with_it(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0.0, 1.0, 100)
    begin = found(1.0 + noise)
    assert begin is not None
    assert begin <= 10


def test_harm_in_noise_is_found_near_its_tick() -> None:
    errors = []
    for seed in range(100):
        noise = np.random.default_rng(seed).normal(0.0, 1.0, 120)
        begin = found(noise + 3.0 * (np.arange(120) >= 100))
        assert begin is not None
        errors.append(abs(begin - 100))
    assert np.median(errors) == 0
    assert np.percentile(errors, 90) <= 1


@given(SHOWN)
def test_it_is_one_of_the_ticks_and_the_same_in_any_unit_and_direction(shown) -> None:
    begin = found(shown)
    assert begin is None or 0 <= begin < len(shown)
    assert found(shown * 4.0) == begin  # a power of two: no bit is lost
    assert found(shown * -1.0) == begin


@given(SHOWN, st.integers(0, 10), st.integers(0, 10))
def test_ticks_that_say_nothing_change_nothing_but_the_place(shown, before: int, after: int) -> None:
    weight = np.concatenate([np.zeros(before), np.ones(len(shown)), np.zeros(after)])
    begin = found(shown)
    padded = found(np.concatenate([np.zeros(before), shown, np.zeros(after)]), weight)
    assert padded == (None if begin is None else begin + before)


@given(SHOWN, st.data())
def test_what_comes_is_never_said_to_have_begun_in_a_tick_without_information(shown, data) -> None:
    weight = data.draw(arrays(np.float64, len(shown), elements=st.one_of(st.just(0.0), WEIGHTS)))
    begin = found(shown, weight)
    assert begin is None or weight[begin] > 0.0


@pytest.mark.parametrize(("effect", "information"), [([], []), ([np.nan] * 3, [0.0] * 3), ([0.0, 0.0], [1.0, 2.0])])
def test_where_nothing_is_shown_nothing_began(effect, information) -> None:
    assert begun(np.array(effect, dtype=np.float64), np.array(information, dtype=np.float64)) is None


def test_of_very_many_ticks_the_newest_are_looked_at() -> None:
    count = TICKS_MAX + 100
    assert found(np.resize([0.1, -0.1], count) + 2.0 * (np.arange(count) >= 50)) == 100


@pytest.mark.parametrize(
    ("effect", "information", "said"), [([1.0], [1.0, 2.0], "one of each"), ([1.0, 1.0], [2.0, 1.0], "that falls")]
)
def test_what_cannot_be_is_refused(effect, information, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        begun(np.array(effect), np.array(information))
