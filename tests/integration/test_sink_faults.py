"""What happens to a sink's server, and to itself, under load: afterwards the server holds what the topic holds."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.clickhouse.proxy import Proxy
from tests.clickhouse.server import NoServer, Server, none_to_be_had
from tests.integration.conftest import Kafka
from tests.integration.stored import PLACES, SPECIAL, Stored


def started(data: Path | None = None) -> Server:
    """Start a server that only this test uses."""
    try:
        server = Server(data)
        server.start()
    except NoServer as error:
        none_to_be_had(str(error))
    return server


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a server that may be killed."""
    made = started()
    yield made
    made.remove()


@pytest.fixture
def stored(kafka: Kafka, server: Server, tmp_path: Path) -> Iterator[Stored]:
    """Give a sink to that server, with a load, and rows in the table already."""
    with Stored(kafka.bootstrap, server, tmp_path) as made:
        made.start()
        made.load()
        made.wait_for_rows(PLACES)
        yield made


def stopped_for(stored: Stored, seconds: float) -> None:
    stored.server.stop()
    stored.wait_for_failures()
    time.sleep(seconds)
    before = stored.committed()
    stored.server.start()
    assert stored.count() < stored._sent * PLACES  # much was held by the topic
    stored.all_is_there()
    assert stored.committed() > before


def test_a_server_that_is_stopped_for_a_while_gets_everything(stored: Stored) -> None:
    stopped_for(stored, 2.0)


@pytest.mark.slow
def test_a_server_that_is_stopped_for_a_minute_gets_everything(stored: Stored) -> None:
    stopped_for(stored, 60.0)


def test_a_server_that_is_killed_during_inserts_has_everything_once(stored: Stored) -> None:
    draw = np.random.default_rng(11)
    for _ in range(5):
        stored.work((0.2, 0.8), draw)
        stored.server.restart(signal.SIGKILL)
    stored.all_is_there()


def test_a_server_that_only_lets_read_for_a_while_gets_everything(stored: Stored) -> None:
    stored.server.allow_writing(is_allowed=False)
    stored.wait_for_failures(words="readonly mode")
    stored.server.allow_writing(is_allowed=True)
    stored.all_is_there()


class SmallDisk:
    """A disk of some megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._sudo = folder, [] if os.geteuid() == 0 else ["sudo", "-n"]
        self.folder.mkdir()

    def mount(self) -> None:
        """Make it, or skip the test."""
        options = f"size=48m,uid={os.getuid()},gid={os.getgid()}"
        command = [*self._sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        except OSError as error:
            pytest.skip(f"no small disk to be had: {error}")
        if done.returncode:
            pytest.skip(f"no small disk to be had: {done.stderr}")

    def fill(self) -> None:
        """Leave no room."""
        with (self.folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:  # others write meanwhile, so that nobody knows beforehand how much room there is
                file.write(bytes(1 << 20))

    def clear(self) -> None:
        """Give the room back."""
        (self.folder / "filler").unlink()

    def unmount(self) -> None:
        """Let go of it."""
        subprocess.run([*self._sudo, "umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Give a disk that can be filled."""
    made = SmallDisk(tmp_path / "disk")
    made.mount()
    yield made
    made.unmount()


def test_a_server_whose_disk_is_full_for_a_while_gets_everything(kafka: Kafka, disk: SmallDisk, tmp_path: Path) -> None:
    server = started(disk.folder)
    try:
        with Stored(kafka.bootstrap, server, tmp_path) as stored:
            stored.start()
            stored.load()
            stored.wait_for_rows(PLACES)
            disk.fill()
            stored.wait_for_failures(words="No space left on device")
            disk.clear()
            stored.all_is_there()
    finally:
        server.remove()


def test_a_row_that_is_refused_in_the_middle_of_a_batch_is_a_dead_letter_and_the_others_go_in(stored: Stored) -> None:
    stored.run(f"ALTER TABLE holdfast.evidence ADD COLUMN checked UInt8 MATERIALIZED throwIf(effect = {SPECIAL})")
    stored.unload()
    for number in range(9):
        stored.send(special=number == 4)
    stored.all_is_there(refused=1)
    (letter,) = stored.letters()
    assert letter.from_topic == stored.settings.topics.evidence
    assert letter.reason.startswith("1 of its rows were refused, the others are stored: evidence: ClickHouse at ")


def wait_for_cut(stored: Stored, proxy: Proxy, number: int) -> None:
    """Wait for a cut, and for rows that come after it."""
    stored.wait_until(lambda: proxy.cuts == number, f"cut {number}")
    before = stored.count()
    stored.wait_until(lambda: stored.count() > before, "rows after a cut")


def test_a_connection_that_is_cut_in_the_middle_of_blocks_loses_and_doubles_nothing(
    kafka: Kafka, server: Server, tmp_path: Path
) -> None:
    draw = np.random.default_rng(12)
    with Proxy(server.port) as proxy, Stored(kafka.bootstrap, server, tmp_path, proxy.port) as stored:
        stored.start()
        stored.load()
        stored.wait_for_rows(PLACES)
        for cut in range(1, 6):
            proxy.left = int(draw.integers(10_000))
            wait_for_cut(stored, proxy, cut)
        stored.all_is_there()


def test_a_sink_that_is_killed_twenty_times_has_everything_in_the_server_once(
    kafka: Kafka, server: Server, tmp_path: Path
) -> None:
    with Stored(kafka.bootstrap, server, tmp_path) as stored:
        stored.load()
        stored.start(kills=20, seed="13")
        stored.wait_for_failures(words="all lives are over")
        assert stored.count() >= PLACES  # not all was done by the last one
        stored.all_is_there()
