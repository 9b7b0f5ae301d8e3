"""`holdfast sink`: what was judged, into the store."""

from holdfast.commands.workers import Config
from holdfast.live.settings import load_settings


def sink(config: Config = None) -> None:
    """Keep verdicts, evidence and rollouts in the store, and answer `holdfast query` about them meanwhile."""
    from holdfast.live.logs import configure
    from holdfast.live.sink import run

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    run(settings)
