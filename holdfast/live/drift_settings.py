"""From when on something is drift, and what drift is looked for in beside the topics."""

from datetime import timedelta
from typing import Annotated

from msgspec import Meta, Struct

from detectors.policy import duration_ms
from holdfast.live.durations import between
from rollouts.drift_facts import Bounds, Kind

PathText = Annotated[str, Meta(min_length=1, extra={"allowed": "the path of a file"})]
Long = Annotated[str, between("1m", "366d")]


class Drift(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `holdfast audit drift` looks for; `rollouts.drift_facts.Bounds` says what the durations mean.

    `sent_within` is how far back metrics topics are read, `policies` are files of policies that are kept for use,
    `baseline` is what hosts had before rollouts were announced, `leave_out` are kinds that are not looked for.
    """

    exercised_within: Long = "14d"
    drilled_within: Long = "90d"
    expiring_within: Long = "1h"
    stuck_after: Long = "1h"
    silent_after: Long = "10m"
    sent_within: Annotated[str, between("1m", "1d")] = "10m"
    policies: Annotated[list[PathText], Meta(max_length=1_000)] = []
    baseline: PathText | None = None
    leave_out: list[Kind] = []

    @property
    def bounds(self) -> Bounds:
        """From when on something is drift."""
        return Bounds(
            exercised_within=span(self.exercised_within),
            drilled_within=span(self.drilled_within),
            expiring_within=span(self.expiring_within),
            stuck_after=span(self.stuck_after),
            silent_after=span(self.silent_after),
            leave_out=frozenset(self.leave_out),
        )


def span(text: str) -> timedelta:
    """Read a duration that was checked before."""
    return timedelta(milliseconds=duration_ms(text))
