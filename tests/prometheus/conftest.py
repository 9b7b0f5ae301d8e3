"""A real Prometheus for the tests in this folder, with the samples of a small fleet in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prometheus.between import Between
from tests.prometheus.server import NoPrometheus, Prometheus, none_to_be_had
from tests.recorded import made


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="session")
def prometheus(recording: Path) -> Iterator[Prometheus]:
    """Give a server: one on the PATH, or Debian's. In CI it must be there."""
    try:
        server = Prometheus(recording / "metrics.parquet")
        with server:
            yield server
    except NoPrometheus as error:
        none_to_be_had(str(error))


@pytest.fixture
def between(prometheus: Prometheus) -> Iterator[Between]:
    """Give a server in between, which does as it is told."""
    with Between(prometheus.port) as server:
        yield server
