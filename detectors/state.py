"""State: what a detector has learned since it began, so that a run that is interrupted can go on elsewhere."""

from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.errors import StateMismatch

State: TypeAlias = "dict[str, NDArray[Any] | int | str | list[int] | list[str] | State]"
"""Plain arrays, numbers and words by name; that of a detector inside another one is nested."""


class Stateful:
    """A detector that tells what it has learned live, and goes on from what it is told.

    What it was begun with is no part of that: it is begun again with the same, since baselines are a function of the
    pre-period. A class names its live attributes in `_state`; one that is None is left out.

    Examples
    --------
    >>> class Sum(Stateful):
    ...     _state = ("_total",)
    ...     def __init__(self) -> None:
    ...         self._total = np.zeros(2)
    >>> one, other = Sum(), Sum()
    >>> one._total += 3.0
    >>> other.restore(one.snapshot())
    >>> other.snapshot()
    {'total': array([3., 3.])}
    """

    __slots__ = ()
    _state: ClassVar[tuple[str, ...]] = ()

    def snapshot(self) -> State:
        """Return the state as copies, which later ticks do not change."""
        return {key: _plain(getattr(self, name)) for key, name in self._live_names().items()}

    def restore(self, state: State) -> None:
        """Go on from `state`, which must be that of a detector begun with the same; it is copied.

        Raises
        ------
        StateMismatch
            If the state has other parts, or parts of other shapes or kinds. The detector is of no use then.
        """
        names = self._live_names()
        own = type(self).__name__
        if state.keys() != names.keys():
            msg = f"{own} has {sorted(names)}, its state {sorted(state)}"
            raise StateMismatch(msg)
        for key, name in names.items():
            held = getattr(self, name)
            if isinstance(held, Stateful):
                held.restore(part(state, key))
                continue
            value = state[key]
            if _kind(value) != _kind(held):
                msg = f"{key} of {own} is {_kind(held)}, in its state {_kind(value)}"
                raise StateMismatch(msg)
            setattr(self, name, set(_plain(value)) if isinstance(held, set) else _plain(value))

    def _live_names(self) -> dict[str, str]:
        return {name.lstrip("_"): name for name in self._state if getattr(self, name) is not None}


def part(state: State, name: str) -> State:
    """Return a state that is nested in another one.

    Raises
    ------
    StateMismatch
        If there is none of that name.
    """
    found = state.get(name)
    if not isinstance(found, dict):
        msg = f"{name} has a state of its own, and here is {_kind(found)}"
        raise StateMismatch(msg)
    return found


def _plain(value: Any) -> Any:
    """Return a copy of one attribute; of a set it is a list, in order."""
    if isinstance(value, Stateful):
        return value.snapshot()
    if isinstance(value, set):
        return sorted(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return value.copy() if isinstance(value, np.ndarray | list) else value


def _kind(value: Any) -> tuple[Any, ...]:
    """Return what two values must have in common for one to replace the other; a set is kept as a list."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, *value.shape
    return ("list",) if isinstance(value, set) else (type(value).__name__,)
