"""A policy that a corpus is judged by, and what of it a recording must have."""

from dataclasses import dataclass
from pathlib import Path

from detectors.policy import Policy
from holdfast.documents import digest, load_policy


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy to judge by.

    Attributes
    ----------
    policy
        The policy.
    place
        The file that it came from, which errors name.
    """

    policy: Policy
    place: Path

    @classmethod
    def load(cls, file: Path) -> "Contender":
        """Read a policy.

        Raises
        ------
        BadInput
            With every error of the file.
        """
        return cls(load_policy(file), file)

    @property
    def digest(self) -> str:
        """Names the policy by its content."""
        return digest(self.policy)


def lacking(contender: Contender, metrics: frozenset[str], source: str) -> list[str]:
    """Say which metrics of a policy have no samples at all among `metrics`, the names that `source` holds.

    The bad half of a ratio may be absent: errors that never happened have no series.
    """
    there = ", ".join(sorted(metrics)[:12])
    return [
        f"{contender.place}: metrics[{index}] ({metric.name}): {source} has no `{name}`; it has: {there}"
        for index, metric in enumerate(contender.policy.metrics)
        if (name := metric.ratio.total if metric.ratio else metric.gauge or metric.counter or metric.histogram or "")
        not in metrics
    ]
