"""Style as a test: what neither ruff nor mypy can see, each finding with its file, line and remedy."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("holdfast", "streams", "detectors", "rollouts", "sinks")
SOURCES = (*PACKAGES, "benchmarks", "tests")

BODY_LINES_MAX = 60
MODULE_LINES_MAX = 400

NUMPY_SEEDED = "default_rng|Generator|SeedSequence|BitGenerator|PCG64|PCG64DXSM|Philox|SFC64|MT19937"
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:(?:work|root)/|opt/wheels\b)")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
SKIPPED_FOLDERS = {"__pycache__", "build", "dist", "holdfast-data", "node_modules"}
TEXT_BYTES_MAX = 1_000_000  # larger files are recordings or locks, not something a person wrote


class Finding(NamedTuple):
    """One line that breaks a rule."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


class Ban(NamedTuple):
    """A name that may not be used in some folders, with what to use instead."""

    name: str  # a regular expression over the full dotted name
    folders: tuple[str, ...]
    instead: str


EVENT_TIME = "take the time as a parameter: the core knows event time alone"
MONOTONIC = r"time\.(?:perf_counter|monotonic|process_time|thread_time)(?:_ns)?"
BANS = (
    Ban(r"datetime\.datetime\.(?:now|utcnow|today)|datetime\.date\.today", SOURCES, EVENT_TIME),
    Ban(r"time\.(?:time|time_ns|gmtime|localtime|clock_gettime)", SOURCES, EVENT_TIME),
    Ban(MONOTONIC, ("streams", "detectors", "rollouts", "sinks"), "measure in holdfast/ or benchmarks/"),
    Ban(rf"numpy\.random\.(?!(?:{NUMPY_SEEDED})\b)\w+", SOURCES, "numpy.random.default_rng(seed)"),
    Ban(r"random(?:\.(?!Random\b)\w+)?", SOURCES, "numpy.random.default_rng(seed)"),
    Ban(r"numpy\.random\b.*", ("detectors",), "take random numbers as arrays: detectors are deterministic"),
    Ban(r"(?:time|datetime|random|secrets|uuid)\b.*", ("detectors",), "take the value as an argument"),
    Ban(r"print", PACKAGES, "return the text, and print it in holdfast/cli.py"),
    Ban(r"breakpoint|pdb\b.*", SOURCES, "remove it"),
)

# What is allowed nevertheless: (file, name) and why.
ALLOWED = {
    ("holdfast/cli.py", "print"): "the command line is where text is printed",
    ("holdfast/wall.py", "time.time_ns"): "when something was decided is told to people, and never judged by",
}


def python_files(folders: tuple[str, ...]) -> list[Path]:
    """List the Python files of some top-level folders, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def text_files() -> Iterator[Path]:
    """Find every file that a person wrote, without asking git: an unpacked archive has none."""
    for folder, folders, names in os.walk(ROOT):
        inside = Path(folder)
        kept = (name for name in folders if name not in SKIPPED_FOLDERS and not name.endswith(".egg-info"))
        folders[:] = sorted(name for name in kept if not name.startswith(".") or name in {".ci", ".github"})
        for name in sorted(names):
            path = inside / name
            if path.is_file() and path.stat().st_size <= TEXT_BYTES_MAX and name != ".git":
                yield path


def relative(path: Path) -> str:
    """Name a file as seen from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def used_names(tree: ast.Module) -> list[tuple[int, str]]:
    """List (line, full dotted name) of what a module imports and uses, seen through its aliases."""
    bound: dict[str, str] = {}
    used: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
                used.append((node.lineno, alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                used.append((node.lineno, f"{node.module}.{alias.name}"))
    inner: set[ast.expr] = set()
    for node in ast.walk(tree):  # outer attributes come before the inner ones they are made of
        if isinstance(node, (ast.Attribute, ast.Name)) and node not in inner:
            attributes: list[str] = []
            base: ast.expr = node
            while isinstance(base, ast.Attribute):
                attributes.insert(0, base.attr)
                base = base.value
                inner.add(base)
            if isinstance(base, ast.Name):
                known = bound.get(base.id)
                if known is not None:
                    used.append((node.lineno, ".".join([known, *attributes])))
                elif not attributes and base.id in {"print", "breakpoint"}:
                    used.append((node.lineno, base.id))
    return used


def banned(path: str, tree: ast.Module) -> Iterator[Finding]:
    """Find uses of banned names, each line and name once."""
    folder = path.partition("/")[0]
    for line, name in sorted(set(used_names(tree))):
        for ban in BANS:
            if folder in ban.folders and (path, name) not in ALLOWED and re.fullmatch(ban.name, name):
                yield Finding(path, line, f"{name} is banned here; {ban.instead}")
                break


def unseeded(path: str, tree: ast.Module) -> Iterator[Finding]:
    """Find generators of random numbers that were given no seed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "default_rng":
                yield Finding(path, node.lineno, "default_rng() cannot be repeated; give it a seed")


ABORTING = re.compile(r"(?:describe|delete)_consumer_groups|(?:list|alter|delete)_consumer_group_offsets")


def asking_of_groups(path: str, tree: ast.Module) -> Iterator[Finding]:
    """Find questions about a group that librdkafka ends the process over if a broker goes away meanwhile."""
    if path.partition("/")[0] in PACKAGES:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ABORTING.fullmatch(node.attr):
                what = f"{node.attr} may end the process (docs/decisions/0018); Consumer.committed does not"
                yield Finding(path, node.lineno, what)


def long_bodies(path: str, tree: ast.Module) -> Iterator[Finding]:
    """Find functions whose body, without its docstring, is longer than the limit."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > BODY_LINES_MAX:
                what = f"{node.name} has a body of {lines} lines; {BODY_LINES_MAX} is the limit: split it"
                yield Finding(path, node.lineno, what)


@pytest.fixture(scope="module")
def found() -> dict[str, list[Finding]]:
    """Return what each check finds in all sources, each of which is parsed once."""
    checks = (long_bodies, banned, unseeded, asking_of_groups)
    findings: dict[str, list[Finding]] = {check.__name__: [] for check in checks}
    for path in python_files(SOURCES):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for check in checks:
            findings[check.__name__] += check(relative(path), tree)
    return findings


def report(findings: list[Finding]) -> None:
    """Fail with one line for each finding."""
    __tracebackhide__ = True
    if findings:
        pytest.fail("\n".join(["", *map(str, findings)]), pytrace=False)


def test_no_function_body_is_longer_than_its_limit(found: dict[str, list[Finding]]) -> None:
    report(found["long_bodies"])


def test_no_module_is_longer_than_its_limit() -> None:
    lengths = [(path, len(path.read_text(encoding="utf-8").splitlines())) for path in python_files(SOURCES)]
    what = f"a module has at most {MODULE_LINES_MAX} lines: split it by nouns"
    report([Finding(relative(path), lines, what) for path, lines in lengths if lines > MODULE_LINES_MAX])


def test_no_banned_name_is_used(found: dict[str, list[Finding]]) -> None:
    report(found["banned"])


def test_every_random_generator_has_a_seed(found: dict[str, list[Finding]]) -> None:
    report(found["unseeded"])


def test_no_process_of_the_product_asks_about_groups_as_an_administrator(found: dict[str, list[Finding]]) -> None:
    report(found["asking_of_groups"])


def test_a_question_about_a_group_is_found() -> None:
    tree = ast.parse("client.list_topics()\nclient.describe_consumer_groups([group])")
    assert [f.line for f in asking_of_groups("holdfast/x.py", tree)] == [2]
    assert list(asking_of_groups("tests/x.py", tree)) == []


def test_nothing_is_left_for_later_in_a_comment() -> None:
    what = "finish it, or write it down in an issue"
    report(
        [
            Finding(relative(path), number, what)
            for path in python_files((*PACKAGES, "benchmarks"))
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
            if UNFINISHED.search(line)
        ]
    )


def machine_paths(path: Path) -> Iterator[Finding]:
    """Find paths in a text file that exist on one machine only."""
    content = path.read_bytes()
    lines = [] if b"\0" in content else content.decode("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if MACHINE_PATHS.search(line):
            what = "a path of one machine; make it relative to the repository, or a setting"
            yield Finding(relative(path), number, what)


def test_no_file_names_a_path_of_one_machine() -> None:
    report([finding for path in text_files() for finding in machine_paths(path)])


def test_a_path_of_one_machine_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_tidy.ROOT", tmp_path)
    folder = "/".join(["", "work", "main"])
    (tmp_path / "notes.md").write_text(f"see https://example.com{folder}\nsee {folder}\n", encoding="utf-8")
    assert [(f.path, f.line) for path in text_files() for f in machine_paths(path)] == [("notes.md", 2)]


@pytest.mark.parametrize(
    ("folder", "code", "name"),
    [
        ("streams", "from datetime import datetime as d\nd.now(None)", "datetime.datetime.now"),
        ("sinks", "import time as t\nt.time()", "time.time"),
        ("streams", "from time import perf_counter\nperf_counter()", "time.perf_counter"),
        ("tests", "import numpy as np\nnp.random.seed(1)", "numpy.random.seed"),
        ("detectors", "import numpy as np\nnp.random.default_rng(1)", "numpy.random.default_rng"),
        ("detectors", "from numpy.random import default_rng", "numpy.random.default_rng"),
        ("detectors", "import datetime", "datetime"),
        ("tests", "import random\nrandom.seed(1)", "random.seed"),
        ("rollouts", "print(1)", "print"),
        ("holdfast", "print(1)", "print"),
    ],
)
def test_a_ban_is_seen_through_aliases(folder: str, code: str, name: str) -> None:
    assert any(f.what.startswith(f"{name} is banned") for f in banned(f"{folder}/x.py", ast.parse(code)))


@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("holdfast", "import time\ntime.perf_counter()"),
        ("benchmarks", "from time import perf_counter\nprint(perf_counter())"),
        ("streams", "import numpy as np\nnp.random.default_rng(seed=1)"),
        ("streams", "from datetime import datetime\ndatetime.fromtimestamp(0, tz=None)"),
        ("detectors", "def f(time, random): return time.time + random.now"),
    ],
)
def test_what_is_not_banned_passes(folder: str, code: str) -> None:
    assert list(banned(f"{folder}/x.py", ast.parse(code))) == []


def test_the_command_line_may_print() -> None:
    assert list(banned("holdfast/cli.py", ast.parse("print(1)"))) == []


def test_the_docstring_does_not_count_towards_a_body() -> None:
    docstring = '    """' + "\n" * 100 + '    """\n'
    assert list(long_bodies("x.py", ast.parse(f"def f():\n{docstring}    return 1\n"))) == []
    too_long = "    pass\n" * (BODY_LINES_MAX + 1)
    assert [f.line for f in long_bodies("x.py", ast.parse(f"\ndef f():\n{docstring}{too_long}"))] == [2]
