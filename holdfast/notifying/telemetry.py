"""What the notifier counts of itself, for Prometheus. Labels are recipients of the response document, and few words."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 21_600.0)


class NotifyTelemetry:
    """Counts of one notifier. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self.role = "notify"
        self.registry = registry = CollectorRegistry()
        self._alive = time.monotonic()
        self._notices = Counter(
            "holdfast_notices",
            "Notices by what became of them: sent, summed, undelivered; alert on the last.",
            ("recipient", "state"),
            registry=registry,
        )
        self._attempts = Counter(
            "holdfast_notice_attempts", "Attempts to send, by outcome.", ("recipient", "outcome"), registry=registry
        )
        self._seconds = Histogram(
            "holdfast_notice_seconds",
            "From what happened to the message about it.",
            ("what",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge(
            "holdfast_notices_waiting", "Notices that wait, once for each address.", ("recipient",), registry=registry
        )
        self._refused = Counter(
            "holdfast_notify_refused", "Messages on topics that are none; alert on any.", registry=registry
        )

    @property
    def silent_seconds(self) -> float:
        """How long ago the loop went round last."""
        return time.monotonic() - self._alive

    def alive(self) -> None:
        """Note that the loop has gone round."""
        self._alive = time.monotonic()

    def became(self, recipient: str, state: str) -> None:
        """Note what became of notices: `sent`, `summed` or `undelivered`."""
        self._notices.labels(recipient, state).inc()

    def attempted(self, recipient: str, outcome: str) -> None:
        """Note an attempt: `sent` or `failed`."""
        self._attempts.labels(recipient, outcome).inc()

    def told(self, what: str, seconds: float) -> None:
        """Note how long after it happened something was told."""
        self._seconds.labels(what).observe(max(0.0, seconds))

    def wait(self, recipient: str, number: int) -> None:
        """Note how many notices wait."""
        self._waiting.labels(recipient).set(number)

    def refused(self) -> None:
        """Note a message that could not be read."""
        self._refused.inc()
