"""Saved runs: what `holdfast replay … --json` printed, read and checked."""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from detectors.errors import BadInput
from holdfast.validation import as_time
from sinks.cloudevents import VerdictEvent

LINE_BYTES_MAX: Final = 64_000_000
"""Longest line that is read, in bytes: the outcome of one recording."""


class SavedOutcome(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line: see `holdfast.replaying.Outcome`."""

    recording: str
    rollout: str
    action: str
    time: str
    final_action: str
    ticks: int
    samples: int
    dropped: dict[str, int]
    reasons: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]


_DECODER: Final = msgspec.json.Decoder(SavedOutcome)
_EVENTS: Final = msgspec.json.Decoder(list[VerdictEvent])


def load_run(file: Path) -> dict[str, dict[str, Any]]:
    """Read a saved run: outcomes by the name of their recording's folder, in the order of the file.

    Raises
    ------
    BadInput
        With every line that is no outcome, if a recording is there twice, the file has none, or is something else.
    """
    problems: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    try:
        with file.open("rb") as stream:
            lines = iter(lambda: stream.readline(LINE_BYTES_MAX), b"")
            for number, line in enumerate(lines, 1):
                if number == 1 and not line.lstrip().startswith(b"{"):
                    # Most likely a policy, each line of which would be an error of its own.
                    msg = (
                        f"{file}: no saved run: its first line is no JSON object; allowed: what `holdfast replay "
                        "RECORDING… --json` prints, or with --corpus two policies"
                    )
                    raise BadInput(msg)
                _take(line, f"{file}:{number}", found, problems)
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror or error}"
        raise BadInput(msg) from error
    if not found and not problems:
        problems.append(f"{file}: no outcome in it; allowed: what `holdfast replay RECORDING… --json` prints")
    if problems:
        raise BadInput("\n".join(problems))
    return found


def _take(line: bytes, place: str, found: dict[str, dict[str, Any]], problems: list[str]) -> None:
    try:
        outcome = _DECODER.decode(line)
        # All of an outcome is built upon its verdicts, so each of them has to be one.
        events = _EVENTS.decode(msgspec.json.encode(outcome.verdicts))
        for event in events:
            _require_time(event.time)
    except (msgspec.DecodeError, UnicodeDecodeError, BadInput) as error:
        problems.append(f"{place}: not an outcome: {error}; allowed: what `holdfast replay RECORDING… --json` prints")
        return
    if not any(event.time == outcome.time and event.data.action == outcome.action for event in events):
        problems.append(f"{place}: none of its verdicts is the {outcome.action} at {outcome.time} that it tells of")
        return
    name = f"{Path(outcome.recording).name}: {outcome.rollout}"
    if name in found:
        problems.append(f"{place}: {name}: there twice; allowed: each recording once in a run")
        return
    found[name] = msgspec.to_builtins(outcome)


def _require_time(text: str) -> None:
    time = as_time(text)
    if time is None or time.tzinfo is None:
        msg = f"time: found {text[:80]!r}"
        raise BadInput(msg)
