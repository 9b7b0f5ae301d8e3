"""What a worker counts of itself."""

from collections.abc import Mapping


class Telemetry:
    """Counts of one worker.

    Parameters
    ----------
    role, worker
        Who is counted.
    """

    def __init__(self, role: str, worker: str) -> None:
        self.role = role
        self.worker = worker

    def alive(self) -> None:
        """Note that the loop goes round."""

    def transaction(self, seconds: float, *, is_committed: bool) -> None:
        """Note a transaction, and how long it took."""

    def rebalance(self, kind: str, partitions: int) -> None:
        """Note that partitions were assigned, revoked or lost."""

    def samples(self, topic: str, count: int) -> None:
        """Note samples that came in."""

    def dropped(self, reasons: Mapping[str, int]) -> None:
        """Note samples that were left out, by reason."""

    def dead_letter(self, reason: str) -> None:
        """Note a message that could not be read."""

    def ticks_closed(self, count: int) -> None:
        """Note ticks that the aggregate has closed."""

    def open_partitions(self, newest_ms: Mapping[str, int | None]) -> None:
        """Note how far each source partition has come, in epoch milliseconds."""

    def tick_judged(self, samples: int, dropped: Mapping[str, int]) -> None:
        """Note a tick that was judged, and what came of its samples."""

    def decided(self, seconds: float, action: str | None) -> None:
        """Note how long after the close of its tick a tick was decided, and the action of a new verdict."""

    def checkpoint(self, rollout: str, size: int) -> None:
        """Note the size of a checkpoint, in bytes."""

    def checkpoint_unfit(self) -> None:
        """Note a checkpoint that did not fit, so that its rollout was judged again from the journal."""
