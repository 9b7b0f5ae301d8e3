"""A real ClickHouse server out of Debian's package, with its data in a temporary folder; nothing is installed.

It is version 18.16: it speaks the native protocol as today's servers do, but knows neither codecs nor TTLs nor
DateTime64. `tests.clickhouse.old` says what of the schema it gets. Run as a program it stays in the foreground until
Ctrl-C: `make clickhouse`.
"""

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn, Self

import pytest

from tests.fetching import one_at_a_time
from tests.kafka.broker import free_ports
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "clickhouse-server"

_OF_THE_SYSTEM = ("libc6", "dpkg", "debconf", "cdebconf", "adduser", "passwd", "tar", "install-info", "libpam")
"""Packages that every Debian has, or that are about installing."""

CONFIG = """\
<yandex>
    <logger><level>warning</level><log>{folder}/log</log><errorlog>{folder}/errors</errorlog></logger>
    <listen_host>127.0.0.1</listen_host>
    <tcp_port>{port}</tcp_port>
    <http_port>{http}</http_port>
    <path>{data}/</path>
    <tmp_path>{data}/tmp/</tmp_path>
    <users_config>{folder}/users.xml</users_config>
    <default_profile>default</default_profile>
    <default_database>default</default_database>
    <mark_cache_size>268435456</mark_cache_size>
    <timezone>UTC</timezone>
</yandex>
"""

USERS = """\
<yandex>
    <profiles><default>
        <readonly>{readonly}</readonly>
        <allow_experimental_low_cardinality_type>1</allow_experimental_low_cardinality_type>
    </default></profiles>
    <users><default>
        <password></password>
        <networks><ip>127.0.0.1</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
    </default></users>
    <quotas><default></default></quotas>
</yandex>
"""


class NoServer(Exception):
    """There is none to be had; the text says why."""


def none_to_be_had(why: str) -> NoReturn:
    """Skip the test that needs a server; where CI runs, fail it."""
    if "CI" in os.environ:
        pytest.fail(why)
    pytest.skip(why)


@one_at_a_time
def unpacked() -> Path:
    """Fetch Debian's package and the libraries that it needs, once, and return the folder that they are unpacked in."""
    folder = ROOT / ".clickhouse" / f"debian-{platform.machine()}"
    if folder.is_dir():
        return folder
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        msg = f"{PACKAGE} is not on the PATH, and only Debian's package is known here"
        raise NoServer(msg)
    folder.parent.mkdir(exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="fetching-", dir=folder.parent))
    try:
        _fetch(partial)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(partial, ignore_errors=True)
        msg = f"apt-get could not fetch {PACKAGE}: {str(getattr(error, 'stderr', '') or error)[-500:]}"
        raise NoServer(msg) from error
    if folder.is_dir():  # another run was quicker
        shutil.rmtree(partial)
    else:
        partial.rename(folder)
    return folder


def _fetch(folder: Path) -> None:
    names = _needed()
    if not names:  # the lists of packages were never fetched
        subprocess.run(["apt-get", "update"], check=True, capture_output=True, text=True, timeout=300)
        names = _needed()
    if not names:
        msg = f"Debian's lists of packages know no {PACKAGE}"
        raise NoServer(msg)
    with tempfile.TemporaryDirectory() as place:
        fetch = ["apt-get", "download", *names]
        subprocess.run(fetch, check=True, capture_output=True, text=True, timeout=600, cwd=place)
        for package in Path(place).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True, capture_output=True, text=True)


def _needed() -> list[str]:
    options = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    told = subprocess.run(
        ["apt-cache", "depends", "--recurse", *options, PACKAGE], check=False, capture_output=True, text=True
    )
    names = {line for line in told.stdout.splitlines() if line[:1].isalnum()}
    return sorted(name for name in names if not name.startswith(_OF_THE_SYSTEM)) if PACKAGE in names else []


class Server:
    """One server; as a context manager it is started, and stopped and removed at the end.

    Parameters
    ----------
    data
        Where it keeps its tables; a temporary folder of its own if nothing is said.
    """

    def __init__(self, data: Path | None = None) -> None:
        self._program, self._environment = _program()
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-clickhouse-"))
        self.port, self.http_port = free_ports(2)
        self.data = data or self.folder / "data"
        self.data.mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.allow_writing(is_allowed=True)
        config = CONFIG.format(folder=self.folder, data=self.data, port=self.port, http=self.http_port)
        (self.folder / "config.xml").write_text(config)

    @property
    def pid(self) -> int:
        """The process of the server."""
        assert self._process is not None
        return self._process.pid

    def allow_writing(self, *, is_allowed: bool) -> None:
        """Let clients write, or only read; a running server is started again for that."""
        (self.folder / "users.xml").write_text(USERS.format(readonly=0 if is_allowed else 1))
        if self._process is not None:
            self.restart()

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*self._program, f"--config-file={self.folder / 'config.xml'}"],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                cwd=self.folder,
            )
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                time.sleep(0.05)
                continue
            return
        said = "".join(
            (self.folder / name).read_text(errors="replace")[-2_000:]
            for name in ("output", "errors")
            if (self.folder / name).exists()
        )
        self.stop()
        msg = f"ClickHouse did not start: {said}"
        raise NoServer(msg)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop in good order, or by another signal."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self, number: int = signal.SIGTERM) -> None:
        """Stop, and start again with the same data at the same place."""
        self.stop(number)
        self.start()

    def remove(self) -> None:
        """Stop, and forget everything."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _program() -> tuple[list[str], dict[str, str]]:
    installed = shutil.which(PACKAGE)
    if installed is not None:
        return [installed], dict(os.environ)
    folder = unpacked()
    libraries = ":".join(str(each) for each in sorted(folder.glob("usr/lib/*-linux-gnu")))
    libraries += ":" + ":".join(str(each) for each in sorted(folder.glob("lib/*-linux-gnu")))
    return [str(folder / "usr" / "sbin" / PACKAGE)], os.environ | {"LD_LIBRARY_PATH": libraries}


def main() -> None:
    """Run a server until interrupted, and say where it listens."""
    with Server() as server:
        print(f"ClickHouse listens on 127.0.0.1:{server.port} (native protocol); Ctrl-C stops it", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            sys.stderr.write("\n")


if __name__ == "__main__":
    main()
