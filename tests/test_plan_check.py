"""`holdfast plan check`: what each stage reaches, and everything that is wrong with a plan, by the line."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.recorded import Shell
from tests.rollouts.fleet import POLICY, inventory, plan, stage

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def shell(capsys, monkeypatch) -> Shell:
    return Shell(capsys, monkeypatch)


@pytest.fixture
def hosts(tmp_path: Path) -> str:
    path = tmp_path / "inventory.yaml"
    path.write_bytes(msgspec.yaml.encode(inventory()))
    return f"--inventory={path}"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "plan.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def baking(first: str, second: str, settle: str = "0s") -> bytes:
    """Give a plan of two stages."""
    stages = [stage("one", hosts={"host": "c*-h1"}), stage("half", hosts={"host": ["c*-h2", "c*-h3"]})]
    timed = [replace(each, bake=bake, settle=settle) for each, bake in zip(stages, (first, second), strict=True)]
    return msgspec.yaml.encode(plan(stages=timed))


def test_what_each_stage_reaches_is_told(shell: Shell, hosts: str, tmp_path: Path) -> None:
    path = written(tmp_path, baking("1h", "1h"))
    status, said, errors = shell("plan", "check", str(path), hosts)
    assert (status, errors) == (0, "")
    assert said.splitlines() == [
        "one: 4 hosts, 20.00% of the fleet with those before",
        "half: 8 hosts, 60.00% of the fleet with those before",
        "rest: 8 hosts, which get the change at the end",
    ]


def test_all_that_is_wrong_is_told_with_its_line(shell: Shell, hosts: str, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""\
rollout: bots
package:
  - {{unit: ../b, kind: data-file, digest: "{DIGEST}"}}
  - {{unit: c, kind: rpm, digest: "{DIGEST}"}}
policy: edge
after: [bots]
stages:
  - {{name: all, reach: {{percent: 100}}, most: {{fleet: 1.0, region: 1.0}}, bake: 1h, deadline: 30m}}
""",
    )
    status, said, errors = shell("plan", "check", str(path), hosts)
    assert (status, said) == (2, "")
    assert [line.removeprefix(f"{path}:").split(";")[0] for line in errors.splitlines()] == [
        "3: package[0] (../b): unit: found '../b'",
        "4: package[1] (c): kind: found 'rpm'",
        "6: after: a circle, in which each waits for the next: bots -> bots",
        "8: stages[0] (all): deadline: found 30m",
        "8: stages[0] (all): reach: 20 of 20 hosts at once",
        "8: stages[0] (all): reach: no host is left to compare with",
    ]


def test_a_bake_that_is_short_for_harm_that_begins_late_is_warned_of(shell: Shell, hosts: str, tmp_path: Path) -> None:
    path = written(tmp_path, baking("11m", "12m", settle="1m"))
    status, said, errors = shell("plan", "check", str(path), hosts)
    assert (status, len(said.splitlines())) == (0, 3)
    (line,) = errors.splitlines()
    assert line.startswith(f"warning: {path}:")
    assert "stages[0] (one): bake: found 11m, of which 60 ticks of 10s are judged; advised: at least 66" in line


def test_how_many_ticks_a_bake_has_is_for_the_policy_to_say(shell: Shell, hosts: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(msgspec.yaml.encode(replace(POLICY, tick="1s")))
    path = written(tmp_path, baking("66s", "66s"))
    assert shell("plan", "check", str(path), hosts, f"--policy={policy}")[2] == ""
    assert shell("plan", "check", str(path), hosts)[2].count("6 ticks of 10s are judged") == 2
