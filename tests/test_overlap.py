"""Several rollouts at once: each is judged between units that differ in it alone, or names who else it may be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from holdfast.errors import BadInput
from holdfast.replaying import Outcome, in_words, replay_recording
from sinks.store import Store
from tests.test_cli import POLICY, Small

COLOS: Final = ("ams01", "fra02", "iad01", "nrt01")
HOSTS: Final = 10
ROLLOUT: Final = """\
rollout: bot-{name}
started: 2026-03-12T11:{minute:02d}:01Z
stages:
  - {{name: canary, canary: {{{name}: "yes"}}, bake: 10m, deadline: 18m}}
"""
CROSSING: Final = {"a": "0123", "b": "0124"}
"""Hosts of each colo: A and B share three, have one each for themselves, and five have neither."""

Judge = Callable[..., Outcome]


def fleet(seed: int = 1, live: int = 120, **hosts: str) -> Small:
    """Make a fleet in which the label of each rollout says `yes` on some hosts of each colo."""
    small = Small(COLOS, HOSTS, pre=120, live=live, seed=seed)
    for name, numbers in hosts.items():
        small.labels[name] = ["yes" if host.rpartition("-h")[2] in numbers else "no" for host in small.labels["host"]]
    return small


def hurt(small: Small, factor: float = 3.0, since: int = 0, **labels: str) -> Small:
    """Multiply the errors of the hosts that bear the labels."""
    touched = small.since(since, **labels)
    gains = small.gains["http_5xx", ""]
    gains[touched] = small.rng.poisson(6.0 * factor, int(touched.sum()))
    return small


def written(small: Small, folder: Path, *, others: str = "b", policy: str = POLICY, **minutes: int) -> Path:
    """Write a recording of rollout A, with the others beside it; `minutes` past eleven they start."""
    path = small.write(folder, policy, ROLLOUT.format(name="a", minute=minutes.get("a", 20)))
    (path / "rollouts").mkdir()
    for name in others:
        text = ROLLOUT.format(name=name, minute=minutes.get(name, 20))
        (path / "rollouts" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return path


def alone(path: Path) -> Path:
    """Return the same recording as if no other rollout had been announced."""
    for file in (path / "rollouts").iterdir():
        file.unlink()
    return path


def last(outcome: Outcome) -> dict[str, Any]:
    data: dict[str, Any] = outcome.verdicts[-1]["data"]
    return data


def text(outcome: Outcome) -> str:
    assert in_words(outcome)
    return outcome.as_json().decode()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("minute", [10, 20, 24])
def test_of_two_crossing_rollouts_the_bad_one_is_stopped_and_the_harmless_one_is_not(
    tmp_path: Path, seed: int, minute: int
) -> None:
    small = hurt(fleet(seed, **CROSSING), b="yes", since=6 * (minute - 20))
    path = written(small, tmp_path / "r", b=minute)
    harmless, bad = replay_recording(path), replay_recording(path, rollout="bot-b")
    assert harmless.final_action == "advance"
    assert (bad.action, {reason["metric"] for reason in bad.reasons}) == ("revert", {"errors"})
    assert "bot-b" not in "".join(reason["sentence"] for reason in harmless.reasons)


@pytest.mark.parametrize("seed", range(3))
def test_without_the_other_rollout_the_harmless_one_is_stopped(tmp_path: Path, seed: int) -> None:
    path = written(hurt(fleet(seed, **CROSSING), b="yes"), tmp_path / "r")
    assert replay_recording(alone(path)).action == "revert"
