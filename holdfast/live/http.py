"""Metrics and health over HTTP."""

from collections.abc import Callable, Sequence
from typing import Self

from holdfast.live.settings import Http
from holdfast.live.telemetry import Telemetry


class Server:
    """Serves `/metrics`, `/healthz` and `/readyz`."""

    def __init__(self, http: Http, telemetries: Sequence[Telemetry], is_ready: Callable[[], bool]) -> None:
        self._http, self._telemetries, self._is_ready = http, telemetries, is_ready

    def __enter__(self) -> Self:
        """Begin to serve."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
