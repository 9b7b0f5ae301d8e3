"""A real Prometheus out of Debian's package, filled by its own promtool; nothing is installed."""

import os
import platform
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import NoReturn, Self

import pyarrow.parquet as pq
import pytest

from tests.fetching import one_at_a_time
from tests.kafka.broker import free_ports
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "prometheus"


class NoPrometheus(Exception):
    """There is none to be had; the text says why."""


def none_to_be_had(why: str) -> NoReturn:
    """Skip the test that needs a server; where CI runs, fail it."""
    if "CI" in os.environ:
        pytest.fail(why)
    pytest.skip(why)


@one_at_a_time
def programs() -> tuple[Path, Path]:
    """Return the paths of prometheus and promtool: those on the PATH, or Debian's, which are fetched once."""
    installed = [shutil.which(name) for name in ("prometheus", "promtool")]
    if installed[0] is not None and installed[1] is not None:
        return Path(installed[0]), Path(installed[1])
    folder = ROOT / ".prometheus" / f"debian-{platform.machine()}"
    if not folder.is_dir():
        _fetch(folder)
    return folder / "usr" / "bin" / "prometheus", folder / "usr" / "bin" / "promtool"


def _fetch(folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        msg = f"{PACKAGE} is not on the PATH, and only Debian's package is known here"
        raise NoPrometheus(msg)
    folder.parent.mkdir(exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="fetching-", dir=folder.parent))
    try:
        with tempfile.TemporaryDirectory() as place:
            if not _downloaded(place):  # the lists of packages may never have been fetched
                _run(["apt-get", "update"], place)
                _run(["apt-get", "download", PACKAGE], place)
            for package in Path(place).glob("*.deb"):
                _run(["dpkg-deb", "-x", str(package), str(partial)], place)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(partial, ignore_errors=True)
        msg = f"apt-get could not fetch {PACKAGE}: {str(getattr(error, 'stderr', '') or error)[-500:]}"
        raise NoPrometheus(msg) from error
    if folder.is_dir():  # another run was quicker
        shutil.rmtree(partial)
    else:
        partial.rename(folder)


def _downloaded(place: str) -> bool:
    return not subprocess.run(
        ["apt-get", "download", PACKAGE], check=False, capture_output=True, timeout=600, cwd=place
    ).returncode


def _run(command: list[str], place: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, cwd=place)


class Prometheus:
    """One server with the samples of a recording; as a context manager it is started, and removed at the end.

    Parameters
    ----------
    metrics
        A `metrics.parquet`.
    options
        Further options of the program.
    web
        Its `--web.config.file`, if it has one: then it speaks TLS.
    context, login
        With whom and as whom we ask whether it is ready, if that matters.
    """

    def __init__(
        self,
        metrics: Path,
        *options: str,
        web: Path | None = None,
        context: ssl.SSLContext | None = None,
        login: str | None = None,
    ) -> None:
        self._program, promtool = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-prometheus-"))
        (self._port,) = free_ports(1)
        self._options = (*options, *([] if web is None else [f"--web.config.file={web}"]))
        self._scheme, self._context = "http" if web is None else "https", context
        self._headers = {} if login is None else {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "prometheus.yml").write_text("global: {}\n")
        (self.folder / "samples").write_text(openmetrics(metrics))
        blocks = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", "samples", "data"]
        subprocess.run(blocks, check=True, capture_output=True, cwd=self.folder, timeout=WAIT_S)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self._scheme}://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    def __enter__(self) -> Self:
        """Start, and wait until it is ready."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._program),
                    f"--config.file={self.folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    "--storage.tsdb.retention.time=100y",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                asked = urllib.request.Request(f"{self.url}/-/ready", headers=self._headers)
                with urllib.request.urlopen(asked, timeout=1.0, context=self._context):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        said = (self.folder / "log").read_text(errors="replace")[-2_000:]
        self.remove()
        msg = f"Prometheus did not start: {said}"
        raise NoPrometheus(msg)

    def __exit__(self, *_: object) -> None:
        """Stop, and remove the data."""
        self.remove()

    def remove(self) -> None:
        """Stop, and remove the data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def openmetrics(metrics: Path) -> str:
    """Write samples as OpenMetrics, the series of a metric together."""
    by_metric: dict[str, list[str]] = {}
    for row in pq.read_table(metrics).to_pylist():
        time_ms, value, name = int(row.pop("time").timestamp() * 1_000 + 0.5), row.pop("value"), row.pop("metric")
        labels = ",".join(f'{label}="{text}"' for label, text in row.items() if text)
        by_metric.setdefault(name, []).append(f"{name}{{{labels}}} {value!r} {time_ms / 1_000}")
    lines = [line for name in sorted(by_metric) for line in [f"# TYPE {name} unknown", *by_metric[name]]]
    return "\n".join([*lines, "# EOF", ""])
