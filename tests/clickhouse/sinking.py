"""Runs the sink as the command does, for a server of whatever version, and kills it a number of times.

`python -m tests.clickhouse.sinking old|new KILLS SEED`: each life is a fork of this process, which has imported
everything already, so that kills hit the sink at its work and not while it starts.
"""

import faulthandler
import os
import signal
import sys
import time
from typing import Any
from unittest.mock import patch

import numpy as np

import sinks.clickhouse
from holdfast.live import sink
from holdfast.live.settings import load_settings
from tests.clickhouse.old import OldClient

LIFE_SECONDS = (0.2, 1.2)


def live(version: str) -> tuple[int, int]:
    """Be a sink until told to stop, in a process of its own; what it leaves open ends when it has put something in."""
    at_work, before = os.pipe()
    process = os.fork()
    if process:
        os.close(before)
        return process, at_work
    faulthandler.register(signal.SIGUSR1)  # whoever waits in vain may ask what it is doing
    kind = OldClient if version == "old" else sinks.clickhouse.Server
    left, insert = [before], kind.insert

    def told(client: Any, *given: Any) -> None:
        insert(client, *given)
        while left:
            os.close(left.pop())

    with patch.object(sinks.clickhouse, "Server", kind), patch.object(kind, "insert", told):
        sink.run(load_settings())
    os._exit(0)


def main() -> None:
    """Live as often as is asked for, and then until told to stop."""
    version, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    draw = np.random.default_rng(seed)
    for number in range(kills):
        process, at_work = live(version)
        if number == 0:
            os.read(at_work, 1)  # so that not all is left to the last one, however slow the machine
        os.close(at_work)
        time.sleep(draw.uniform(*LIFE_SECONDS))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"life {number} ended by itself")
    if kills:
        print("all lives are over", flush=True)
    last, _ = live(version)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: os.kill(last, number))
    _, status = os.waitpid(last, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
