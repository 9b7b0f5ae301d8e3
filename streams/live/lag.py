"""How far each colo has come: for people who watch, not for what is judged."""

import numpy as np
from numpy.typing import NDArray


def newest_by_place(
    place: NDArray[np.int32], latest_ms: NDArray[np.int64], is_active: NDArray[np.bool_]
) -> dict[int, int]:
    """Return the median of the latest event times of each place's active units; of a place without any, of all.

    The median, so that one clock which runs ahead does not make a place look fresh; and a place whose units have all
    fallen silent keeps standing there.

    Parameters
    ----------
    place
        Code of the place of each unit [unit].
    latest_ms
        Latest event time of each unit [unit], in epoch milliseconds.
    is_active
        Whether a unit was heard of lately [unit].

    Returns
    -------
    dict of int to int
        Epoch milliseconds by code of the place; the lower one of two middles.

    Examples
    --------
    >>> newest_by_place(np.array([5, 5, 5, 2]), np.array([10, 12, 99, 7]), np.array([True, True, True, False]))
    {2: 7, 5: 12}
    """
    has_active = np.zeros(int(place.max(initial=0)) + 1, np.bool_)
    has_active[place[is_active]] = True
    counted = is_active | ~has_active[place]
    place, latest_ms = place[counted], latest_ms[counted]
    order = np.lexsort((latest_ms, place))
    places, starts, counts = np.unique(place[order], return_index=True, return_counts=True)
    middle = starts + (counts - 1) // 2
    return dict(zip(places.tolist(), latest_ms[order][middle].tolist(), strict=True))
