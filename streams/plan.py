"""A rollout's plan, resolved: what the judge works from."""

from collections.abc import Sequence
from dataclasses import dataclass

from detectors.policy import Policy
from streams.membership import Announced, Membership, Stage

REPORTING = "reporting_hosts"
"""The implicit metric: units that should report and do not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A rollout as the judge needs it. `engine` and `policy_digest` are named in its verdicts.

    `others` [other] are the other rollouts that were announced, in the order of `membership.others`.
    """

    rollout: str
    stages: Sequence[Stage]
    membership: Membership
    policy: Policy
    policy_digest: str
    engine: str
    binding: bool
    tick_ms: int
    others: Sequence[Announced] = ()

    @property
    def metrics(self) -> list[str]:
        """Names of all judged metrics, the implicit one last."""
        return [*(metric.name for metric in self.policy.metrics), REPORTING]
