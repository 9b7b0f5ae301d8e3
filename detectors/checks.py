"""Checks: what every detector is held to, whatever it computes.

A case wraps one detector and data for it; the checks feed it and compare. They know no detector, so a new one is held
to all of them by being given a case. What does not apply to a detector its case skips by name, with a reason.

References
----------
J. Montiel et al., "River: machine learning for streaming data in Python", JMLR 2021, whose `river.checks` does the same
for its estimators.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from detectors.cases import Array, Arrays, DetectorCase, FunctionCase
from detectors.errors import StateMismatch
from detectors.state import State

ALARM: Final = float(np.log(100.0))
"""Evidence that calls a breach, as a logarithm."""

TOLERANCES: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
POWERS_OF_TWO: Final = (2.0**10, 2.0**-20)
OTHER_FACTORS: Final = (3.7, 1e6)
BURSTS: Final = (1.0, 20.0, 1e9)
"""Sizes of a single tick, as logarithms of a ratio: the second is already beyond all that is real."""

_LAST_BITS: Final = 1e-9


@runtime_checkable
class Mergeable(Protocol):
    """A detector whose shards add."""

    def merge(self, other: Any, /) -> None:
        """Add what another one saw."""
        ...


Check = Callable[[Any], None]


def same_bits(one: Any, other: Any) -> bool:
    """Tell whether two results or states are the same to the last bit, NaN and signs of zero included."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same_bits(one[k], other[k]) for k in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(same_bits(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    return bool(one == other)


def _near(one: Any, other: Any) -> bool:
    pairs = zip(one, other, strict=True)
    return all(np.allclose(a, b, rtol=_LAST_BITS, atol=_LAST_BITS, equal_nan=True) for a, b in pairs)


def _near_readings(one: list[tuple[Array, Array]], other: list[tuple[Array, Array]]) -> bool:
    return all(_near(a, b) for a, b in zip(one, other, strict=True))


def _read_only(arrays: Arrays) -> Arrays:
    copies = tuple(array.copy() for array in arrays)
    for array in copies:
        array.setflags(write=False)
    return copies


# ---------------------------------------------------------------- detectors


def check_input_is_kept(case: DetectorCase) -> None:
    """Fail if a detector writes into what it is given, which the next one, or the journal, then sees."""
    kept = replace(case, given=_read_only(case.given))
    detector = kept.begin()
    for tick in range(case.live[0].shape[1]):
        kept.step(detector, _read_only(tuple(array[:, tick] for array in case.live)), tick + 1)


def check_replay_gives_the_same_bytes(case: DetectorCase) -> None:
    """Fail if hidden state, a clock or a seed of its own gives whoever replays a verdict another one."""
    detectors = [case.begin(), case.begin()]
    readings = [case.run(detector) for detector in detectors]
    assert same_bits(readings[0], readings[1]), "two runs read differently"
    assert same_bits(*(detector.snapshot() for detector in detectors)), "two runs end in different states"
    assert same_bits(*(case.told(detector) for detector in detectors)), "two runs tell different things in the end"


def check_restore_continues(case: DetectorCase) -> None:
    """Fail if a restart changes what is read: a state misses something, or shares memory with its detector."""
    whole = case.begin()
    states, readings = [whole.snapshot()], []
    for tick in range(case.live[0].shape[1]):
        readings.append(case.step(whole, tuple(array[:, tick].copy() for array in case.live), tick + 1))
        states.append(whole.snapshot())
    other = case.begin()
    for tick, state in enumerate(states):
        resumed = case.begin()
        resumed.restore(state)
        assert same_bits(resumed.snapshot(), state), f"restored before tick {tick}, the state is another one"
        assert same_bits(case.run(resumed, tick), readings[tick:]), f"restored before tick {tick}, it reads differently"
        assert same_bits(resumed.snapshot(), states[-1]), f"restored before tick {tick}, it ends in another state"
        assert same_bits(case.told(resumed), case.told(whole)), f"restored before tick {tick}, it tells something else"
        other.restore(state)
        assert same_bits(other.snapshot(), state), f"what was restored before tick {tick} has changed the state itself"


def check_restore_refuses_what_does_not_fit(case: DetectorCase) -> None:
    """Fail if a state of another rollout, or of an older version, is taken for this one's."""
    detector = case.begin()
    for changed in _misfits(detector.snapshot()):
        try:
            detector.restore(changed)
        except StateMismatch:
            continue
        message = f"{type(detector).__name__} took a state with {sorted(changed)}"
        raise AssertionError(message)


def _misfits(state: State) -> list[State]:
    """Return states that lack a part, have one too many, or have one of another shape or kind."""
    changed: list[State] = [{**state, "another": 1}]
    for key, value in state.items():
        changed.append({name: part for name, part in state.items() if name != key})
        parts: list[Any] = [np.zeros(1, np.int8)]
        if isinstance(value, dict):
            parts += _misfits(value)
        elif isinstance(value, np.ndarray):
            parts += [value[None], value.astype(np.float32)]
        changed += [{**state, key: part} for part in parts]
    return changed


def check_merged_shards_equal_one_run(case: DetectorCase) -> None:
    """Fail if what is known depends on how many workers there are.

    Numbers of ticks must be the same bit for bit; sums may differ in their last bits, since they add in another order.
    """
    whole = case.begin()
    case.run(whole)
    shards = [case.begin() for _ in range(3)]
    for tick in range(case.live[0].shape[1]):
        case.step(shards[tick % 3], tuple(array[:, tick].copy() for array in case.live), tick + 1)
    merged, backwards = case.begin(), case.begin()
    for shard, other in zip(shards, shards[::-1], strict=True):
        for target, one in ((merged, shard), (backwards, other)):
            assert isinstance(target, Mergeable), "it cannot merge"
            target.merge(one)
    for got in (merged.snapshot(), backwards.snapshot()):
        for key, value in whole.snapshot().items():
            alike = _near((got[key],), (value,)) if np.asarray(value).dtype.kind == "f" else same_bits(got[key], value)
            assert alike, f"{key} of merged shards is not that of one run"


def check_permuted_series_permute_the_result(case: DetectorCase) -> None:
    """Fail if a result depends on which row a series has: series are mixed up, or leak into their neighbours."""
    order = case.order()
    straight, other = case.run(), case.permuted(order).run()
    moved = [(case.reordered(against, order), case.reordered(within, order)) for against, within in straight]
    assert _near_readings(other, moved), "the evidence is not that of the permuted series"


def check_swapped_cohorts_flip_the_sign(case: DetectorCase) -> None:
    """Fail if harm upwards is seen otherwise than the same harm downwards: one direction is unlike the other."""
    straight, mirrored = case.run(), case.swapped().run()
    assert max(float(against.max()) for against, _ in straight) > ALARM, "there is nothing to be found"
    assert _near_readings(mirrored, straight), "the mirrored case has other evidence"


def check_scaling_a_metric_changes_nothing(case: DetectorCase) -> None:
    """Fail if a metric in milliseconds is judged otherwise than in seconds: a constant in its unit has crept in."""
    straight = case.run()
    assert max(float(against.max()) for against, _ in straight) > ALARM, "there is nothing to be found"
    for factor in POWERS_OF_TWO:
        assert same_bits(case.scaled(factor).run(), straight), f"times {factor} the evidence has other bits"
    for factor in OTHER_FACTORS:
        assert _near_readings(case.scaled(factor).run(), straight), f"times {factor} the evidence is another one"


def check_missing_data_is_not_healthy(case: DetectorCase) -> None:
    """Fail if a cohort without data passes for one that was shown to be healthy: no data is never good news."""
    healthy = replace(case, live=case.calm).run()
    assert max(float(within.max()) for _, within in healthy) > np.log(20.0), "even calm data show no health"
    for silent in case.silent():
        said = max(float(within.max(initial=-np.inf)) for _, within in silent.run())
        assert said <= 0, f"missing data speak for health: {said}"


def check_silence_adds_nothing_to_health(case: DetectorCase) -> None:
    """Fail if a cohort that falls silent seems healthier later than when it was last heard of."""
    half = case.calm[0].shape[1] // 2
    for silent in (one for one in case.silent() if one.given is case.given):  # in others it is the past that is missing
        pairs = zip(case.calm, silent.live, strict=True)
        late = replace(case, live=tuple(np.hstack([calm[:, :half], gone[:, half:]]) for calm, gone in pairs)).run()
        known = late[half - 1][1]
        for _, within in late[half:]:
            assert (within <= known + _LAST_BITS).all(), f"health rises in silence, from {known} to {within}"


def check_more_tolerance_never_alarms_sooner(case: DetectorCase) -> None:
    """Fail if whoever tolerates more is woken earlier, at whatever threshold from suspicion on."""
    highest = []
    for tolerance in TOLERANCES:
        against = np.stack([against for against, _ in replace(case, tolerance=tolerance).run()])
        highest.append(np.maximum.accumulate(np.maximum(against, np.log(10.0)), axis=0))  # [tick, result]
    assert float(highest[0].max()) > ALARM, "there is nothing to be found"
    for less, more, tolerance in zip(highest, highest[1:], TOLERANCES[1:], strict=False):
        ticks, results = np.nonzero(more > less + _LAST_BITS)
        assert not len(ticks), f"tolerating {tolerance}, result {results[0]} has more evidence by tick {ticks[0] + 1}"


def check_one_tick_alone_is_no_alarm(case: DetectorCase) -> None:
    """Fail if one tick alone alarms, which may be an accident of measuring, or if what lasts does not."""
    assert max(float(against.max()) for against, _ in case.run()) > ALARM, "not even what lasts alarms"
    detector = case.begin()
    begun = detector.snapshot()
    for at in (0, 1, 2, 5, 20, case.calm[0].shape[1] - 1):
        for size in BURSTS:
            for case_with_burst in case.burst(at, size):
                detector.restore(begun)
                most = max(float(against.max()) for against, _ in case_with_burst.run(detector))
                assert most < ALARM, f"a tick of {size} at age {at + 1} alone comes to {most:.2f}"


DETECTOR_CHECKS: Final[tuple[Check, ...]] = (
    check_input_is_kept,
    check_replay_gives_the_same_bytes,
    check_restore_continues,
    check_restore_refuses_what_does_not_fit,
    check_merged_shards_equal_one_run,
    check_permuted_series_permute_the_result,
    check_swapped_cohorts_flip_the_sign,
    check_scaling_a_metric_changes_nothing,
    check_missing_data_is_not_healthy,
    check_silence_adds_nothing_to_health,
    check_more_tolerance_never_alarms_sooner,
    check_one_tick_alone_is_no_alarm,
)


# ---------------------------------------------------------------- functions


def check_arguments_are_kept(case: FunctionCase) -> None:
    """Fail if a function writes into its arguments, which are the past that others are fitted to."""
    replace(case, given=_read_only(case.given)).call()


def check_calls_give_the_same_bytes(case: FunctionCase) -> None:
    """Fail as `check_replay_gives_the_same_bytes` does."""
    assert same_bits(case.call(), case.call()), "two calls differ"


def check_batches_equal_single_ones(case: FunctionCase) -> None:
    """Fail if what a series or a tick comes to depends on which others are computed with it."""
    whole = case.call()
    for part, place in case.parts():
        got = part.call()
        for number, (one, other) in enumerate(zip(got, whole, strict=True)):
            assert same_bits(one, np.ascontiguousarray(other[place])), f"result {number} of {place} differs alone"


def check_permuted_series_permute_the_results(case: FunctionCase) -> None:
    """Fail as `check_permuted_series_permute_the_result` does."""
    permuted, place = case.permuted(case.order())
    assert _near(permuted.call(), [result[place] for result in case.call()]), "the results are not permuted"


def check_swapped_cohorts_flip_the_results(case: FunctionCase) -> None:
    """Fail unless swapped cohorts change the sign of the effect, and nothing else."""
    (effect, *rest), (mirrored, *others) = case.call(), case.swapped().call()
    assert (effect > 0).any(), "there is nothing to be flipped"
    assert _near([mirrored], [-effect]), "the effect is not flipped"
    assert _near(others, rest), "more than the sign has changed"


def check_scaling_a_metric_keeps_the_results(case: FunctionCase) -> None:
    """Fail as `check_scaling_a_metric_changes_nothing` does."""
    straight = case.call()
    assert all(same_bits(case.scaled(factor).call(), straight) for factor in POWERS_OF_TWO), "the bits are others"
    assert all(_near(case.scaled(factor).call(), straight) for factor in OTHER_FACTORS), "the results are others"


def check_missing_data_say_nothing(case: FunctionCase) -> None:
    """Fail if missing data are scored, fitted to, or pass."""
    assert (case.health() > 0).any(), "even complete data say nothing"
    for silent in case.silent():
        assert not (silent.health() > 0).any(), "missing data say something"


def check_more_tolerance_finds_no_more(case: FunctionCase) -> None:
    """Fail if tolerating more finds what tolerating less does not."""
    found = [replace(case, tolerance=tolerance).call()[0] > 0 for tolerance in TOLERANCES]
    assert found[0].any(), "there is nothing to be found"
    assert all(not (more & ~less).any() for less, more in pairwise(found)), "more is found"


def check_one_sample_alone_is_not_found(case: FunctionCase) -> None:
    """Fail if one sample among many is found to be harm."""
    for size in BURSTS:
        assert all(not (burst.call()[0] > 0).any() for burst in case.burst(5, size)), f"one sample of {size} is found"


FUNCTION_CHECKS: Final[tuple[Check, ...]] = (
    check_arguments_are_kept,
    check_calls_give_the_same_bytes,
    check_batches_equal_single_ones,
    check_permuted_series_permute_the_results,
    check_swapped_cohorts_flip_the_results,
    check_scaling_a_metric_keeps_the_results,
    check_missing_data_say_nothing,
    check_more_tolerance_finds_no_more,
    check_one_sample_alone_is_not_found,
)
