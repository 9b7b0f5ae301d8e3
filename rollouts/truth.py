"""What is known to be true of a recording: whether the change was bad, since when, where, what is right."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from rollouts.document import Timestamp

Ticks = Annotated[int, Meta(ge=0, description="Ticks after the onset by which a stop is due.")]


class Truth(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A truth document: what `holdfast replay --check` holds a verdict against."""

    bad: bool
    expect: Annotated[list[Literal["advance", "wait", "halt", "revert"]], Meta(min_length=1)]
    onset: Timestamp | None = None
    colos: list[str] = []
    metrics: list[str] = []
    within: Ticks | None = None
