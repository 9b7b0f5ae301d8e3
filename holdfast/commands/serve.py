"""`holdfast serve`: the HTTP API, and the plugs for other rollout systems."""

import sys

from holdfast.commands.workers import Config
from holdfast.live.settings import load_settings


def serve(config: Config = None) -> None:
    """Serve the HTTP API: Kayenta's remote judge, verdicts, rollouts, and gates for other rollout systems."""
    from holdfast.api.server import run
    from holdfast.live.logs import configure

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    scheme, host = "https" if settings.api.certificate else "http", settings.api.host
    shown = f"[{host}]" if ":" in host else host
    run(settings, lambda port: _tell(f"{scheme}://{shown}:{port}"))


def _tell(address: str) -> None:
    """Tell where it listens."""
    sys.stderr.write(f"holdfast serve: {address}\n")
    sys.stderr.flush()
