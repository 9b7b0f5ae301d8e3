"""What is installed: names nobody else claims, nothing but declared dependencies, and a light start."""

import ast
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("holdfast", "streams", "detectors", "rollouts", "sinks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PUBLIC_HOSTS = {"pypi.org", "files.pythonhosted.org"}


def normalized(name: str) -> str:
    """Write the name of a distribution as the index does (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    """Name the distributions that holdfast declares to need when it runs."""
    return {normalized(re.split(r"[^\w.-]", requirement)[0]) for requirement in PROJECT["dependencies"]}


def imported(package: str) -> set[str]:
    """Name the top-level packages that a package of ours imports anywhere."""
    names: set[str] = set()
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_claims_a_name_of_ours(package: str) -> None:
    claims = importlib.metadata.packages_distributions().get(package, [])
    assert {normalized(name) for name in claims} <= {"holdfast"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_of_ours_means_the_folder_here(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parent == ROOT / package


def test_the_distribution_can_never_be_uploaded() -> None:
    classifiers = importlib.metadata.metadata("holdfast").get_all("Classifier") or []
    assert "Private :: Do Not Upload" in classifiers


def test_the_installed_version_is_the_one_declared() -> None:
    assert importlib.metadata.version("holdfast") == PROJECT["version"]


@pytest.mark.parametrize("package", PACKAGES)
def test_only_declared_dependencies_are_imported(package: str) -> None:
    distributions = importlib.metadata.packages_distributions()
    foreign = imported(package) - set(sys.stdlib_module_names) - set(PACKAGES)
    needed = {name: {normalized(found) for found in distributions.get(name, [name])} for name in foreign}
    assert not {name for name, found in needed.items() if not found & declared()}


def test_the_command_line_starts_without_what_is_large() -> None:
    large = {"chdb", "confluent_kafka", "numpy", "pandas", "pyarrow", "river", "scipy", "starlette"}
    code = f"import sys, holdfast.cli; print(*sorted({large} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the pinned uv, which needs neither network nor cache for what is asked of it here."""
    environment = {**os.environ, "UV_OFFLINE": "1", "UV_NO_CACHE": "1", "UV_PYTHON": sys.executable}
    command = [sys.executable, "-m", "uv", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_lock_is_what_pyproject_asks_for() -> None:
    done = uv("lock", "--check")
    assert done.returncode == 0, f"run `make lock`\n{done.stderr}"


def test_both_locks_pin_the_same() -> None:
    form = [
        "--format",
        "requirements-txt",
        "--all-groups",
        "--no-emit-project",
        "--no-annotate",
        "--no-header",
    ]
    done = uv("export", "--quiet", "--frozen", *form)
    assert done.returncode == 0, done.stderr
    written = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in written if not line.startswith("#")]
    assert pinned == done.stdout.splitlines(), "run `make lock`"


def test_the_locks_name_public_hosts_alone() -> None:
    for name in ("uv.lock", "requirements.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"\w+://(?:[^/@\s]*@)?([^/\s\"]+)", text)) <= PUBLIC_HOSTS, name
        assert "find-links" not in text
        assert "index-url" not in text
