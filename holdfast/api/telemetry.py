"""What the API counts of itself, for Prometheus. Labels are paths of the table of operations and names of webhooks."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)


class ApiTelemetry:
    """Counts of one server. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "holdfast_api_requests", "Requests by operation and status.", ("path", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "holdfast_api_request_seconds",
            "Time to answer, once the body is there.",
            ("path",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._turned_away = Counter(
            "holdfast_api_turned_away", "Requests beyond requests_max; alert on any.", registry=self.registry
        )
        self._attempts = Counter(
            "holdfast_webhook_attempts",
            "Attempts to deliver, by outcome.",
            ("webhook", "outcome"),
            registry=self.registry,
        )
        self._dead = Counter(
            "holdfast_webhook_undelivered", "Events given up; alert on any.", ("webhook",), registry=self.registry
        )

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def turned_away(self) -> None:
        """Note a request for which there was no room."""
        self._turned_away.inc()

    def attempted(self, webhook: str, outcome: str) -> None:
        """Note an attempt to deliver an event: `delivered`, `refused` or `unreachable`."""
        self._attempts.labels(webhook, outcome).inc()

    def undelivered(self, webhook: str) -> None:
        """Note an event that was given up."""
        self._dead.labels(webhook).inc()
