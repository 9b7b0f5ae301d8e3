"""Writes an entry to the audit log and kills its own process at a point.

`python -m tests.integration.auditing CONFIG POINT`: POINT is `read`, `produced` or `committed`.
"""

import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

from confluent_kafka import Producer

from holdfast.control import audit_log
from holdfast.control.audit_log import Draft, append
from holdfast.live.settings import load_settings
from rollouts.audit import Chain
from tests.waiting import WAIT_S


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(Producer):
    """A producer that kills its process when it is told to commit, before or after it does."""

    point = "none"

    def commit_transaction(self, *arguments: float) -> None:
        if self.point == "produced":
            assert self.flush(WAIT_S) == 0
            die()
        super().commit_transaction(*arguments)
        die()


def main() -> None:
    """Write until killed."""
    path, Dying.point = Path(sys.argv[1]), sys.argv[2]

    def made(chain: Chain, _at: datetime) -> Draft:
        if Dying.point == "read":
            die()
        return Draft("ada", "test.killed", "", {"after": len(chain.links)})

    def dying(client, topic: str, name: str) -> Producer:
        ours = {"transactional.id": f"{topic}-{name}", "transaction.timeout.ms": 15_000}
        return Dying({**client, **ours})

    with patch.object(audit_log, "writer", dying):
        append(load_settings(path, {}), made)


if __name__ == "__main__":
    main()
