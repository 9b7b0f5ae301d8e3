"""What the worker of incidents counts, for Prometheus."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from prometheus_client import Counter as Counted
from prometheus_client import Gauge

from holdfast.live.telemetry import Telemetry
from rollouts.incidents.folding import Incident, overdue_actions
from rollouts.incidents.history import SEVERITIES


class Counts:
    """Counts of incidents, on the page of a worker.

    Parameters
    ----------
    telemetry
        Of the worker, whose page this is.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        page = telemetry.registry
        self._open = Gauge("holdfast_incidents_open", "Incidents that are not resolved.", ("severity",), registry=page)
        self._alone = Gauge(
            "holdfast_incidents_unacknowledged", "Those that nobody has acknowledged; alert on any.", registry=page
        )
        self._late = Gauge("holdfast_incident_updates_overdue", "Those whose promised update is late.", registry=page)
        self._undone = Gauge("holdfast_incident_actions_overdue", "Action items that should be done.", registry=page)
        self._stops = Counted("holdfast_incident_stops", "Verdicts that opened one or joined one.", registry=page)
        self._refused = Counted(
            "holdfast_incident_verdicts_refused", "Messages that are no verdict to be trusted.", registry=page
        )
        self._rejected = Gauge("holdfast_incidents_rejected", "Unreadable histories; alert on any.", registry=page)
        self._again = Counted("holdfast_incident_writes_again", "Writes that somebody else came before.", registry=page)
        self._failed = Counted(
            "holdfast_response_failures", "Failures of what runs beside; alert on any.", ("part",), registry=page
        )

    def incidents(self, incidents: Iterable[Incident], rejected: int, now: datetime) -> None:
        """Note how incidents stand; drills count as others do."""
        listed = [each for each in incidents if each.merged_into is None]
        live = [each for each in listed if not each.is_over]
        by_severity = Counter(each.severity for each in live)
        for severity in SEVERITIES:
            self._open.labels(severity).set(by_severity[severity])
        self._alone.set(sum(each.acknowledged is None for each in live))
        self._late.set(sum(each.overdue for each in live))
        self._undone.set(sum(len(overdue_actions(each, now)) for each in listed))
        self._rejected.set(rejected)

    def stops(self, count: int) -> None:
        """Note verdicts that opened an incident or joined one."""
        self._stops.inc(count)

    def refused(self) -> None:
        """Note a message that is no verdict to be trusted."""
        self._refused.inc()

    def again(self) -> None:
        """Note a write that somebody else came before."""
        self._again.inc()

    def failed(self, part: str) -> None:
        """Note that something beside the worker has failed."""
        self._failed.labels(part).inc()
