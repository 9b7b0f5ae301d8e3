"""JSON Schemas (2020-12) of the documents that people and rollout systems write and read."""

import inspect
from typing import Any, Final, Literal, get_args

import msgspec

from detectors.policy import Policy
from holdfast.recording import document as recorded
from holdfast.recording.document import Source
from holdfast.status.snapshot import Public
from rollouts.breakers import Limits
from rollouts.certificate import SignedCertificate
from rollouts.document import Rollout
from rollouts.incidents.response import Response
from rollouts.inventory import Inventory
from rollouts.people import People
from rollouts.plans import Package, Plan
from rollouts.truth import Truth
from sinks.cloudevents import VerdictEvent
from sinks.verdict_messages import Heartbeat

DocumentName = Literal[
    "policy",
    "rollout",
    "verdict",
    "heartbeat",
    "truth",
    "certificate",
    "source",
    "people",
    "plan",
    "package",
    "inventory",
    "limits",
    "response",
    "status",
]
NAMES: Final[tuple[DocumentName, ...]] = get_args(DocumentName)

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_MODELS: Final[dict[DocumentName, Any]] = {
    "policy": Policy,
    "rollout": Rollout,
    "verdict": VerdictEvent,
    "heartbeat": Heartbeat,
    "truth": Truth,
    "certificate": SignedCertificate,
    "source": Source,
    "people": People,
    "response": Response,
    "status": Public,
    "plan": Plan,
    "package": Package,
    "inventory": Inventory,
    "limits": Limits,
}
_TITLES: Final[dict[DocumentName, str]] = {
    "policy": "holdfast policy",
    "rollout": "holdfast rollout",
    "verdict": "holdfast verdict event",
    "heartbeat": "holdfast heartbeat event",
    "truth": "holdfast truth of a recording",
    "certificate": "holdfast gate certificate",
    "source": "holdfast source of a recording's samples",
    "people": "holdfast people",
    "response": "holdfast response to incidents",
    "status": "holdfast status page",
    "plan": "holdfast plan",
    "package": "holdfast package",
    "inventory": "holdfast inventory",
    "limits": "holdfast limits",
}
_WORDS: Final[dict[DocumentName, str]] = {
    "source": recorded.__doc__ or "",
    "package": "Units that are released together, each by name, kind and digest of its content: `package` of a plan.",
}
"""Of documents whose model is no class with a text of its own."""


def schema(name: DocumentName) -> dict[str, Any]:
    """Return the JSON Schema of a document.

    Parameters
    ----------
    name
        One of `NAMES`; `verdict` and `heartbeat` are whole CloudEvents, `package` is a part of a plan, `status` is what
        a status page says.
    """
    body = _tidied(msgspec.json.schema(_MODELS[name]))
    return {
        "$schema": _DIALECT,
        "$id": f"https://holdfast.dev/schema/{name}.v1.json",
        "title": _TITLES[name],
        "description": inspect.cleandoc(_WORDS.get(name) or _MODELS[name].__doc__ or ""),
        **body,
    }


def _tidied(part: Any) -> Any:
    """Take the indentation of the source out of descriptions, and call an enumeration of one a constant."""
    if isinstance(part, list):
        return [_tidied(one) for one in part]
    if not isinstance(part, dict):
        return part
    tidied = {key: _tidied(value) for key, value in part.items()}
    if isinstance(tidied.get("description"), str):
        tidied["description"] = inspect.cleandoc(tidied["description"])
    if isinstance(tidied.get("enum"), list) and len(tidied["enum"]) == 1:
        tidied["const"] = tidied.pop("enum")[0]
    return tidied
