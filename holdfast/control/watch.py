"""What a control worker tells of itself, for Prometheus."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, get_args

from prometheus_client import Gauge

from holdfast.control.ears import Ears
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from rollouts.breakers import Limits, Summary, summary_of, trips
from rollouts.controlled import Note, Phase, State
from rollouts.inventory import Inventory
from rollouts.reports import Report

OVERDUE: Final = timedelta(minutes=2)
"""How long a host may report nothing; agents report every 30 s."""

GONE: Final = timedelta(days=1)
"""After how long without a report a host has left the fleet, where no inventory says which there are."""

_LOOK_S: Final = 1.0
_PLACES: Final = ("colo", "region", "fleet")


class Watch(Telemetry):
    """Counts of a control worker. One that stands by has all of them, and they are 0.

    Parameters
    ----------
    settings
        Name the worker and the verdict topic.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__("control", settings.worker)
        self._topic = settings.topics.verdicts
        self._looked: float | None = None
        self._ears: Ears | None = None
        self._in_charge = self._gauge("control_in_charge", "Whether this worker controls rollouts, or stands by.")
        self._rollouts = self._gauge("control_rollouts", "Rollouts by phase.", "phase")
        self._actions = self._gauge("control_actions_in_flight", "Steps forth or back whose end is waited for.")
        self._effects = self._gauge("control_effects_waiting", "Effects that are to be done; alert if they stay.")
        self._entries = self._gauge("control_entries_waiting", "Entries that wait for the audit topic.")
        self._breakers = self._gauge("control_breakers_open", "Circuit breakers that are open, by place.", "place")
        self._lost = self._gauge("control_judges_lost", "Rollouts under way whose judge is not relied on.")
        self._hosts = self._gauge("control_hosts", "Hosts of the fleet, as far as it is known.")
        self._overdue = self._gauge("control_reports_overdue", "Hosts without a report in two minutes; alert on many.")
        age = self._gauge("control_verdict_age_seconds", "Since a verdict was heard, or control took over.")
        age.labels(self.role, self.worker).set_function(lambda: 0.0 if self._ears is None else self._ears.silent_s)
        self.stands_by()

    def stands_by(self) -> None:
        """Note that somebody else is in charge."""
        self._ears = self._looked = None
        self._tell(self._in_charge, 0)
        self._count({}, [], 0)
        self._reports(0, 0)
        self.queues({self._topic: 0}, 0)

    def takes_over(self, ears: Ears) -> None:
        """Note that this worker is in charge."""
        self._ears = ears
        self._tell(self._in_charge, 1)

    def look(
        self,
        states: Mapping[str, State],
        reports: Mapping[str, Report],
        fleet: Inventory | None,
        limits: Limits,
        now: datetime,
    ) -> None:
        """Count, if it is time to.

        Parameters
        ----------
        states
            All rollouts, by name.
        reports
            The newest report of each host.
        fleet
            The inventory; None for the hosts that report.
        limits
            What is too much at once.
        now
            The time.
        """
        at = time.monotonic()
        if self._looked is not None and at - self._looked < _LOOK_S:
            return
        self._looked = at
        summaries = [summary_of(state) for state in states.values()]
        self._count(Counter(trip.kind for trip in trips(summaries, limits, now)), summaries, in_flight(states.values()))
        waiting = [effect for state in states.values() for effect in state.outbox]
        notes = sum(isinstance(effect, Note) for effect in waiting)
        self._tell(self._effects, len(waiting) - notes)
        self._tell(self._entries, notes)
        hosts = reporting(reports, now) if fleet is None else [host.host for host in fleet.hosts]
        self._reports(len(hosts), len(overdue(hosts, reports, now)))
        self.queues({self._topic: 0 if self._ears is None else self._ears.backlog}, 0)

    def _count(self, breakers: Mapping[str, int], summaries: Iterable[Summary], actions: int) -> None:
        known = list(summaries)
        phases = Counter(one.phase for one in known)
        for phase in get_args(Phase):
            self._rollouts.labels(self.role, self.worker, phase).set(phases[phase])
        for place in _PLACES:
            self._breakers.labels(self.role, self.worker, place).set(breakers.get(place, 0))
        self._tell(self._lost, sum(one.is_judge_lost for one in known))
        self._tell(self._actions, actions)

    def _reports(self, hosts: int, late: int) -> None:
        self._tell(self._hosts, hosts)
        self._tell(self._overdue, late)

    def _tell(self, gauge: Gauge, value: int) -> None:
        gauge.labels(self.role, self.worker).set(value)


def in_flight(states: Iterable[State]) -> int:
    """Count the actions whose end is waited for."""
    return sum(state.in_flight is not None for state in states)


def reporting(reports: Mapping[str, Report], now: datetime) -> list[str]:
    """List the hosts that there are where no inventory says it: one that was silent for `GONE` has left the fleet."""
    return [host for host, report in reports.items() if now - report.at <= GONE]


def overdue(hosts: Iterable[str], reports: Mapping[str, Report], now: datetime) -> list[str]:
    """List the hosts that have not reported for too long, or never."""
    return [host for host in hosts if host not in reports or now - reports[host].at > OVERDUE]
