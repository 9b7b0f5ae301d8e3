"""The small recording, and a cache."""

import shutil
from pathlib import Path

import pytest

from streams.cache import Cache
from streams.fleet import write
from tests.replay_cache.cases import SMALL


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "change"
    write(SMALL, path)
    return path


@pytest.fixture
def recording(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "recording"))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")
