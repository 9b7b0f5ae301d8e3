"""holdfast judges rollouts while they happen."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import BadInput
from holdfast.live.events import Event, Fresh, Gap, Received, Stale, Untrusted

if TYPE_CHECKING:
    from holdfast.live.subscription import Subscription

__all__ = ["BadInput", "Event", "Fresh", "Gap", "Received", "Stale", "Untrusted", "__version__", "subscribe"]

__version__: str


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: that takes as long as all else that is imported here."""
    if name == "__version__":
        from importlib.metadata import version

        return version("holdfast")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def subscribe(
    bootstrap: str,
    *,
    group: str,
    rollouts: Collection[str] | None = None,
    trusted_keys: Mapping[str, str | Path] | None = None,
    stale_after: str = "60s",
    topic: str = "holdfast.verdicts",
    settings: Mapping[str, object] | None = None,
) -> "Subscription":
    """Subscribe to verdicts: an iterator, and an asynchronous one, over events without an end.

    Verdicts come once each and in order; doubts and silence of the engine come as events of their own. An event is
    taken to be dealt with when the next one is asked for: whoever dies in the middle of one gets it again, and never
    misses one.

    Parameters
    ----------
    bootstrap
        Brokers, as in `kafka-1:9092,kafka-2:9092`.
    group
        Name of the consumer group, whose place is remembered. Several processes of a group share the rollouts.
    rollouts
        Names of the rollouts to hear of; None for all.
    trusted_keys
        Files with public keys by key id; None if signatures are not looked at.
    stale_after
        How long the engine may say nothing new about a rollout that is under way, as in `60s`.
    topic
        The verdict topic.
    settings
        Further settings of librdkafka, such as `security.protocol`.

    Raises
    ------
    BadInput
        If a setting is unknown, or not to be set by the caller, or a key cannot be read.
    """
    from holdfast.live.subscription import Subscription

    return Subscription(bootstrap, group, rollouts, trusted_keys, stale_after, topic, settings)
