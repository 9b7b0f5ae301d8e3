"""A rollout's plan, resolved: what the judge works from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from detectors.policy import Policy
from streams.membership import Announced, Membership, Stage

REPORTING = "reporting_hosts"
"""The implicit metric: units that should report and do not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A rollout as the judge needs it. `engine` and `policy_digest` are named in its verdicts.

    `others` [other] are the other rollouts that were announced, in the order of `membership.others`. `announced` tells
    of a stage, by position, for which tick its start was announced if it takes effect later, as that tick was closed.
    `objection` says why the policy may let no stage advance, None if it may.
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
    announced: Mapping[int, int] = field(default_factory=dict[int, int])
    objection: str | None = None

    def extends(self, other: "Plan", begun: int) -> bool:
        """Tell whether this is `other` with more known of it: of the `begun` stages nothing may be another."""
        own, its = (
            [stage if index < begun else replace(stage, started=None) for index, stage in enumerate(plan.stages)]
            for plan in (self, other)
        )
        judged = [(plan.rollout, plan.policy, plan.policy_digest, plan.engine, plan.tick_ms) for plan in (self, other)]
        return own == its and judged[0] == judged[1]

    @property
    def metrics(self) -> list[str]:
        """Names of all judged metrics, the implicit one last."""
        return [*(metric.name for metric in self.policy.metrics), REPORTING]
