"""From looks of the classical judge to an action; what data a stage must have is as with the other judge."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.classical.look import Look
from detectors.decision import Decision, Tick


@dataclass(slots=True)
class ClassicalDecision(Decision):
    """The state of a stage that the classical judge looks at now and then.

    A look that fails stops the stage: by the breach of the metrics that were seen to be worse, or, where metrics
    fail for lack of data alone, by a halt. From the end of the bake time on a look that passes lets it advance.
    In between, and where no metric failed but too few could be judged, the stage waits for its deadline.
    """

    look: Look | None = None
    """The latest look."""

    def step(self, tick: Tick) -> None:
        """Decide at the end of a tick."""
        Decision.step(self, tick)
        look = self.look
        if look is None or not look.is_failure or self.action in ("halt", "revert") or not look.is_lacking.any():
            return
        self.action, self.cause, self.blamed = "halt", "data", np.flatnonzero(look.is_lacking).tolist()

    def _found_worse(self, tick: Tick) -> NDArray[np.intp]:  # noqa: ARG002 - the look has it all
        look = self.look
        if look is None or not look.is_failure:
            return np.empty(0, np.intp)
        return np.flatnonzero(look.is_worse)

    def _is_healthy(self, tick: Tick) -> bool:  # noqa: ARG002 - as above
        return self.look is not None and self.look.age >= self.rules.bake and self.look.is_pass
