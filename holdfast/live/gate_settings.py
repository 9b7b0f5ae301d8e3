"""Whether a policy must have passed its gate before a rollout that it judges may advance."""

from typing import Literal

from msgspec import Struct

from holdfast.located import Place, Problems

EngineRule = Literal["same", "any"]
"""Which engine a certificate counts for: the version that it was made by, or any."""


class Gate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether a certificate is required, by one of `trusted_keys`, and which engine must have judged for it."""

    required: bool = False
    engine: EngineRule = "same"


def gate_rule(document: Place, problems: Problems) -> None:
    """Note that certificates are required which nobody could have signed."""
    gate, keys = document.child("gate"), document.child("trusted_keys")
    required = gate.child("required") if gate else None
    if required is not None and required.value is True and not (keys and keys.mapping()):
        text = "found true without trusted_keys; allowed: with at least one, by which certificates are signed"
        problems.add(required, "gate.required", text)
