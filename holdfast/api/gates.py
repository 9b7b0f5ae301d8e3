"""What other rollout systems are told of a stage, each in its own words: Argo Rollouts, Flagger, Spinnaker.

Only a stage that has shown that it is healthy, under an engine that watches on, is told as a success. Whatever is in
doubt holds: it is neither.
"""

from http import HTTPStatus
from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Struct

from detectors.policy import Name
from detectors.verdict import Action, Verdict
from holdfast.api.board import Opinion, Phase
from holdfast.api.refusals import Refused

ArgoPhase = Literal["Successful", "Failed", "Inconclusive"]
SpinnakerStatus = Literal["SUCCEEDED", "TERMINAL", "RUNNING"]
FlaggerGate = Literal[
    "confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "rollback"
]
GATES: Final[tuple[FlaggerGate, ...]] = get_args(FlaggerGate)

_GATES: Final[dict[str, FlaggerGate]] = {gate: gate for gate in GATES}
_ARGO: Final[dict[Phase, ArgoPhase]] = {
    "success": "Successful",
    "failure": "Failed",
    "wait": "Inconclusive",
    "doubt": "Inconclusive",
    "finished": "Inconclusive",
}
_SPINNAKER: Final[dict[Phase, SpinnakerStatus]] = {
    "success": "SUCCEEDED",
    "failure": "TERMINAL",
    "wait": "RUNNING",
    "doubt": "RUNNING",
    "finished": "TERMINAL",
}
_OPEN: Final[dict[FlaggerGate, tuple[Phase, ...]]] = {
    "confirm-rollout": ("success", "wait"),
    "pre-rollout": ("success", "wait"),
    "rollout": ("success", "wait"),
    "confirm-traffic-increase": ("success",),
    "confirm-promotion": ("success",),
}
_STAGED: Final = ("confirm-traffic-increase", "confirm-promotion")
_REASONS_MAX: Final = 5


class StageAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stage that is asked about."""

    rollout: Name
    stage: Name


class StageOpinion(Struct, frozen=True, kw_only=True):
    """What is known of a stage: in one word, in a sentence, and the verdict that it rests on."""

    rollout: str
    stage: str | None
    phase: Phase
    why: str
    action: Action | None
    sequence: int | None
    time: str | None
    id: str | None
    verdict: Verdict | None


class ArgoMeasurement(Struct, frozen=True, kw_only=True):
    """What Argo Rollouts' web metric reads: `result` is a phase of an analysis."""

    result: ArgoPhase
    phase: Phase
    why: str
    reasons: list[str]


class SpinnakerProgress(Struct, frozen=True, kw_only=True):
    """What Spinnaker's webhook stage reads: `status` and `progress`."""

    status: SpinnakerStatus
    progress: str
    phase: Phase
    reasons: list[str]


class FlaggerPayload(Struct, frozen=True, kw_only=True):
    """What Flagger sends; `metadata` names the rollout, the stage where the gate needs one, and the token."""

    name: Annotated[str, Meta(max_length=300)]
    namespace: Annotated[str, Meta(max_length=300)]
    phase: Annotated[str, Meta(max_length=100)] = ""
    metadata: Annotated[dict[str, Annotated[str, Meta(max_length=1_000)]], Meta(max_length=50)] = {}


class FlaggerOpen(Struct, frozen=True, kw_only=True):
    """Why a gate is open."""

    gate: FlaggerGate
    phase: Phase
    why: str


def opinion_of(rollout: str, stage: str | None, found: Opinion) -> StageOpinion:
    """Tell all that is known."""
    verdict = found.verdict
    return StageOpinion(
        rollout=rollout,
        stage=stage,
        phase=found.phase,
        why=found.why,
        action=None if verdict is None else verdict.action,
        sequence=None if verdict is None else verdict.sequence,
        time=None if verdict is None else verdict.time.isoformat().replace("+00:00", "Z"),
        id=None if verdict is None else verdict.id,
        verdict=None if verdict is None else verdict.verdict,
    )


def argo(found: Opinion) -> ArgoMeasurement:
    """Tell Argo Rollouts."""
    return ArgoMeasurement(result=_ARGO[found.phase], phase=found.phase, why=found.why, reasons=_reasons(found))


def spinnaker(found: Opinion) -> SpinnakerProgress:
    """Tell Spinnaker."""
    return SpinnakerProgress(
        status=_SPINNAKER[found.phase], progress=found.why, phase=found.phase, reasons=_reasons(found)
    )


def flagger_asks(gate: str, payload: FlaggerPayload) -> tuple[FlaggerGate, str, str | None]:
    """Return which gate is asked about, for which rollout and stage.

    Raises
    ------
    Refused
        If there is no such gate (404), or the metadata do not name what it needs (422).
    """
    known = _GATES.get(gate)
    if known is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"no gate {gate!r}; allowed: {', '.join(GATES)}")
    rollout, stage = payload.metadata.get("rollout", ""), payload.metadata.get("stage")
    missing = [] if rollout else ["metadata.rollout: missing; allowed: the name of an announced rollout"]
    if known in _STAGED and not stage:
        missing.append("metadata.stage: missing; allowed: the stage whose decision is asked for")
    if missing:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "the metadata do not say what is asked about", missing)
    return known, rollout, stage or None


def flagger(gate: FlaggerGate, found: Opinion) -> FlaggerOpen:
    """Tell Flagger that a gate is open.

    Raises
    ------
    Refused
        If it is closed (409): Flagger takes every status beyond 202 for that, and shows why.
    """
    is_open = found.is_revert if gate == "rollback" else found.phase in _OPEN[gate]
    if not is_open:
        raise Refused(HTTPStatus.CONFLICT, f"{gate}: closed: {found.why}", _reasons(found))
    return FlaggerOpen(gate=gate, phase=found.phase, why=found.why)


def _reasons(found: Opinion) -> list[str]:
    return [] if found.verdict is None else [each.sentence for each in found.verdict.reasons[:_REASONS_MAX]]
