"""Whether the level of a series has changed, told by river's detectors of drift: ADWIN and Page-Hinkley."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ALLOWANCE: Final = 0.5
_THRESHOLD: Final = 5.0
"""Of Page-Hinkley, in deviations: the values that are common for a shift of one deviation (Page 1954, Hinkley 1971)."""


def changed(series: Array) -> NDArray[np.bool_]:
    """Tell for each series [series] whether the newest ticks have another level than those before.

    Each is read from the oldest tick to the newest by a fresh pair of detectors, so that the answer depends on these
    ticks alone. It is a change if a detector finds one in the newer half. Page-Hinkley is quick with what is large;
    ADWIN needs more ticks and finds less.

    Parameters
    ----------
    series
        [series, tick] In units of their own deviation, the newest tick last.

    References
    ----------
    A. Bifet, R. Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007.
    E. Page, "Continuous inspection schemes", Biometrika 41, 1954. D. Hinkley, "Inference about the change-point from
    cumulative sum tests", Biometrika 58, 1971.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(1).normal(size=(2, 57))
    >>> noise[1, -4:] += 4.0
    >>> changed(noise).tolist()
    [False, True]
    """
    # Imported where it is first needed: it takes seconds, and most rollouts never have a control that moves.
    from river.drift import ADWIN, PageHinkley

    result = np.zeros(len(series), np.bool_)
    for row, values in enumerate(series.tolist()):
        newer = len(values) // 2
        detectors: list[Any] = [  # river's own types stop at its doors
            PageHinkley(min_instances=newer, delta=_ALLOWANCE, threshold=_THRESHOLD, alpha=1.0),
            ADWIN(clock=1, grace_period=newer),  # type: ignore[no-untyped-call]
        ]
        for tick, value in enumerate(values):
            for detector in detectors:
                detector.update(value)
                result[row] |= tick >= newer and detector.drift_detected
    return result
