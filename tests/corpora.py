"""Small corpora for tests: recordings of a few hosts, made once and copied."""

import shutil
from pathlib import Path
from typing import Final

from tests.test_cli import HARMLESS, POLICY, Small

ONSET: Final = "2026-03-12T11:20:51Z"
BAD: Final = f"bad: true\nexpect: [revert]\nonset: {ONSET}\ncolos: [ams01]\nmetrics: [errors]\nwithin: 12\n"
LAX: Final = POLICY.replace("relative: 0.5,", "relative: 40,")
"""Tolerates what the bad recording does."""


def make_corpus(folder: Path, harmless: int = 2) -> Path:
    """Make a corpus of some harmless recordings and an incident, whose canaries in both colos err."""
    for number in range(harmless):
        Small(seed=number + 1).write(folder / f"harmless-{number}", truth=HARMLESS)
    small = Small(seed=harmless + 1)
    small.gains["http_5xx", ""][small.since(5, cohort="canary")] *= 12
    small.write(folder / "incidents" / "erring", truth=BAD)
    return folder


def written(folder: Path, text: str, name: str = "policy.yaml") -> Path:
    """Write a file, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def copied(corpus: Path, folder: Path) -> Path:
    """Copy a corpus that is shared, to spoil it."""
    return shutil.copytree(corpus, folder)
