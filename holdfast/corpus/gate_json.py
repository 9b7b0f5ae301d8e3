"""A gate as one JSON object, for machines."""

from dataclasses import asdict
from typing import Any

import msgspec

from holdfast.corpus.contenders import Contender
from holdfast.corpus.gate_text import Gated
from holdfast.setting import ENGINE


def gate_json(gated: Gated) -> bytes:
    """Write a gate as JSON."""
    gate = gated.gate
    body: dict[str, Any] = {
        "passed": gate.passed,
        "policy": _policy(gated.contender),
        "against": None if gated.against is None else _policy(gated.against),
        "corpus": {"folder": str(gated.corpus.folder), "digest": gated.corpus.digest},
        "engine": ENGINE,
        "margin_ticks": gated.rules.margin_ticks,
        "strict": gated.rules.strict,
        "failures": [asdict(each) for each in gate.failures],
        "false_alarms": asdict(gate.alarms),
        "sums": {"policy": asdict(gate.new), "against": None if gate.old is None else asdict(gate.old)},
        "recordings": [
            {
                "recording": row.recording,
                "policy": asdict(row.new),
                "against": None if row.old is None else asdict(row.old),
                "note": row.note,
            }
            for row in gate.rows
        ],
        "notes": [*gate.warnings, *gated.corpus.findings],
    }
    return msgspec.json.encode(body)


def _policy(contender: Contender) -> dict[str, str]:
    return {"file": str(contender.place), "name": contender.policy.policy, "digest": contender.digest}
