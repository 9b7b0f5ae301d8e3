"""What is under control, as its topics say, for whoever only looks."""

from dataclasses import dataclass
from pathlib import Path

from holdfast.control.asking import ANSWERED, ASKED, NOTED
from holdfast.control.board import newest
from holdfast.control.documents import load_inventory
from holdfast.live.settings import Settings
from rollouts.breakers import Summary, summary_of
from rollouts.controlled import State, decode
from rollouts.folding import fold
from rollouts.inventory import Inventory
from rollouts.reports import Report, fleet_of
from rollouts.reports import decode as decode_report


@dataclass(frozen=True, slots=True)
class Seen:
    """Rollouts by name, reports by host, and the fleet."""

    states: dict[str, State]
    reports: dict[str, Report]
    fleet: Inventory

    @property
    def others(self) -> list[Summary]:
        """All rollouts, summed up for each other."""
        return [summary_of(state) for state in self.states.values()]


def look(settings: Settings, inventory: Path | None) -> Seen:
    """Read what is there.

    Raises
    ------
    BadInput
        If no host reports and no inventory is named, or a topic is missing.
    """
    states: dict[str, State] = {}
    for key, value in newest(settings, settings.topics.control).items():
        if not key.startswith((ASKED, ANSWERED, NOTED)):
            state = fold(decode(value))
            if state is not None:
                states[key.decode()] = state
    reports = {key.decode(): decode_report(value) for key, value in newest(settings, settings.topics.applied).items()}
    return Seen(states, reports, fleet_of(reports.values()) if inventory is None else load_inventory(inventory))
