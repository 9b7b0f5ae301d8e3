"""axe-core, fetched from npm once: it looks at a page for what keeps people out."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.chromium import Page

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
VERSION: str = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]["axe-core"]


def axe() -> str | None:
    """Return the script of axe-core, that of HOLDFAST_TEST_AXE or one from npm; None if none is to be had."""
    if given := os.environ.get("HOLDFAST_TEST_AXE"):
        return Path(given).read_text(encoding="utf-8")
    folder = ROOT / ".axe" / VERSION
    if not folder.is_dir():
        npm = shutil.which("npm")
        if npm is None:
            return None
        folder.parent.mkdir(exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="fetching-", dir=folder.parent))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, partial)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(partial)]
        if subprocess.run(command, check=False, capture_output=True, timeout=300).returncode:
            shutil.rmtree(partial, ignore_errors=True)
            return None
        if folder.is_dir():  # another run was quicker
            shutil.rmtree(partial)
        else:
            partial.rename(folder)
    return Path(folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def findings(page: Page, script: str) -> tuple[list[str], int]:
    """Look at the page that a browser shows; return what is wrong or cannot be told, and how many rules passed."""
    page.value(f"{script}; 0")
    found: dict[str, Any] = page.value(
        "axe.run(document, {resultTypes: ['violations', 'incomplete', 'passes']}).then(all => ({"
        " wrong: all.violations.map(rule => [rule.id, rule.impact, rule.nodes.map(node => node.html).slice(0, 3)]),"
        " open: all.incomplete.map(rule => [rule.id, 'cannot tell', rule.nodes.map(node => node.html).slice(0, 3)]),"
        " passes: all.passes.length}))"
    )
    said = [json.dumps(each) for each in [*found["wrong"], *found["open"]]]
    return said, int(found["passes"])
