"""The Dockerfile, kept honest without Docker: what it copies and runs makes a command that works by itself."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.test_packaging import PACKAGES, ROOT

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
FIRST = LINES.index(next(line for line in LINES if line.startswith("FROM")))
BUILD = LINES[FIRST : LINES.index("", FIRST)]
RUN_ON_IMAGE = LINES[LINES.index("", FIRST) + 1 :]


def words(lines: list[str], instruction: str) -> list[list[str]]:
    """Return the arguments of each instruction of a kind."""
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{instruction} ")]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Follow the instructions of the first stage, in a folder of its own, and return the environment that they make."""
    source, made = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("opt") / "holdfast"
    variables = dict(word.split("=", 1) for line in words(BUILD, "ENV") for word in line)
    # uv's cache, which the suite's own environment has filled, saves fetching everything anew.
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    known = {**kept, **variables, "UV_PROJECT_ENVIRONMENT": str(made), "UV_PYTHON": sys.executable}
    known["UV_LINK_MODE"] = "hardlink"
    for line in BUILD:
        if line.startswith("COPY "):
            *names, target = shlex.split(line)[1:]
            for name in names:
                subprocess.run(["cp", "-R", str(ROOT / name), str(source / target)], check=True)
        elif line.startswith("RUN uv "):
            command = line.removeprefix("RUN ").replace(variables["UV_PROJECT_ENVIRONMENT"], str(made))
            command = f"{shlex.quote(sys.executable)} -m {command}"
            done = subprocess.run(
                ["sh", "-c", command], cwd=source, env=known, check=False, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"
    return made


def ran(environment: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment where nothing else can be imported."""
    return subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]],
        cwd=environment,
        env={"PATH": str(environment / "bin"), "HOLDFAST_WORKER": "one"},
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_command_runs(environment: Path) -> None:
    done = ran(environment, "holdfast", "--version")
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert (done.returncode, done.stdout) == (0, f"holdfast {version}\n")


def test_the_settings_are_those_of_the_variables(environment: Path) -> None:
    done = ran(environment, "holdfast", "config")
    assert (done.returncode, done.stderr) == (0, "")
    assert "worker: one  # HOLDFAST_WORKER\n" in done.stdout


def test_every_module_can_be_imported(environment: Path) -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        "for package in sys.argv[1:]:\n"
        "    module = importlib.import_module(package)\n"
        "    for found in pkgutil.walk_packages(module.__path__, package + '.'):\n"
        "        importlib.import_module(found.name)\n"
        "print(importlib.import_module(package).__file__)\n"
    )
    done = ran(environment, "python", "-c", code, *PACKAGES)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(environment))


def test_nothing_is_in_it_that_only_development_needs(environment: Path) -> None:
    done = ran(environment, "python", "-c", "import pytest")
    assert "No module named 'pytest'" in done.stderr


def test_the_image_has_the_uv_that_is_locked() -> None:
    with (ROOT / "uv.lock").open("rb") as file:
        (version,) = {package["version"] for package in tomllib.load(file)["package"] if package["name"] == "uv"}
    assert f"RUN pip install --no-cache-dir uv=={version}" in BUILD


def test_both_stages_have_the_same_python() -> None:
    images = {arguments[0] for arguments in words(LINES, "FROM")}
    assert len(images) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-bookworm", images.pop())


def test_the_image_runs_the_command_and_not_as_root() -> None:
    assert 'ENTRYPOINT ["holdfast"]' in RUN_ON_IMAGE
    assert words(RUN_ON_IMAGE, "USER") == [["holdfast"]]


def test_what_is_copied_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {name for arguments in words(BUILD, "COPY") for name in arguments[:-1]}
    assert {f"!{name}/**" if (ROOT / name).is_dir() else f"!{name}" for name in copied} <= set(ignored)
