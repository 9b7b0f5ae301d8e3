"""What all tests share."""

import os
import signal
from typing import Final

import pytest
from hypothesis import settings

# On a busy machine an example's time says nothing, and CI must not fail on a seed that nobody can repeat.
settings.register_profile("holdfast", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("holdfast")

# In the background of a shell Ctrl-C is ignored, and every process that the tests start would be deaf to it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONG: Final = (
    "test_faults",
    "test_samples",
    "test_drill",
    "test_status",
    "test_release",
    "test_past",
    "test_together",
    "test_subscribe",
    "test_sink",
    "test_sink_faults",
    "test_certified",
    "test_drift",
    "test_notifying",
    "test_quality",
    "test_same_bytes",
    "test_tune",
    "test_interrupted_judges",
    "test_live_partition",
    "test_refused",
    "test_description",
    "test_respond",
    "test_serve",
    "test_broker",
    "test_record_prometheus",
)
"""The files that take longest, the longest first."""


REAL: Final = (
    "api",
    "integration",
    "notifying",
    "status",
    "test_carriers",
    "test_following",
    "test_record_gathering",
    "test_record_terminal",
    "test_report_browser",
    "test_store_owner",
)
"""Folders and files whose tests wait for servers, browsers and other processes."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have tests with real parts run once more if they fail, and deal the tests out to the processes there are.

    A test that fails twice fails. One that fails once is told as `RERUN` at the end of the run: it has a race, or
    found one in what it tests, and is to be looked at all the same.
    """
    for item in items:
        if not {item.path.stem, item.path.parent.name}.isdisjoint(REAL):
            item.add_marker(pytest.mark.flaky(reruns=1))
    # Every process begins with long tests, so that none is left with one while the others are done.
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    if processes > 1:
        items[:] = dealt(items, processes)


def dealt(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """Put tests in an order of which each process is given an equal run, one run after the other.

    Files stay whole, as tests of one may share what is costly to make.
    """
    files: dict[str, list[pytest.Item]] = {}
    rest: list[pytest.Item] = []
    for item in items:
        (files.setdefault(item.path.stem, []) if item.path.stem in LONG else rest).append(item)
    runs: list[list[pytest.Item]] = [[] for _ in range(processes)]
    for number, stem in enumerate(stem for stem in LONG if stem in files):
        turn, place = divmod(number, processes)
        runs[place if turn % 2 == 0 else processes - 1 - place] += files[stem]
    found: list[pytest.Item] = []
    for number, run in enumerate(runs):
        room = (len(items) - len(found)) // (processes - number)
        taken = max(0, room - len(run))
        found += run + rest[:taken]
        rest = rest[taken:]
    return found + rest
