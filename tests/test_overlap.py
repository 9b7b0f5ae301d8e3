"""Several rollouts at once: each is judged between units that differ in it alone, or names who else it may be."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from holdfast.errors import BadInput
from holdfast.replaying import Outcome, in_words, replay_recording
from sinks.store import Store
from tests.test_cli import POLICY, Change, Small

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


def fleet(seed: int = 1, /, **hosts: str) -> Small:
    """Make a fleet in which the label of each rollout says `yes` on some hosts of each colo."""
    small = Small(COLOS, HOSTS, pre=120, live=120, seed=seed)
    for name, numbers in hosts.items():
        small.labels[name] = ["yes" if host.rpartition("-h")[2] in numbers else "no" for host in small.labels["host"]]
    return small


def hurt(small: Small, factor: float = 3.0, since: int = 0, **labels: str) -> Small:
    """Multiply the errors of the hosts that bear the labels."""
    touched = small.since(since, **labels)
    gains = small.gains["http_5xx", ""]
    gains[touched] = small.rng.poisson(gains[touched] * factor)
    return small


def written(
    small: Small, folder: Path, *, others: str = "b", policy: str = POLICY, change: Change | None = None, **minutes: int
) -> Path:
    """Write a recording of rollout A, with the others beside it; `minutes` past eleven they start."""
    path = small.write(folder, policy, ROLLOUT.format(name="a", minute=minutes.get("a", 20)), change=change)
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


def test_pools_are_not_led_astray_by_how_the_other_rollout_is_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = POLICY.replace("relative: 0.5", "relative: 0.1")
    path = written(hurt(fleet(**CROSSING), 40.0, since=24, b="yes"), tmp_path / "r", policy=strict, b=24)
    assert replay_recording(path).final_action == "advance"
    monkeypatch.setattr("streams.pairing._balanced", lambda pairing, _: pairing)
    assert replay_recording(path).action == "revert"


def test_a_bad_rollout_is_stopped_beside_a_worse_one(tmp_path: Path) -> None:
    small = hurt(hurt(fleet(**CROSSING), 2.0, a="yes"), 10.0, b="yes")
    outcome = replay_recording(written(small, tmp_path / "r"))
    assert outcome.action == "revert"
    assert any("(among hosts without bot-b)" in reason["sentence"] for reason in outcome.reasons)


def test_an_order_of_documents_changes_no_byte(tmp_path: Path) -> None:
    small = hurt(fleet(**CROSSING, c="05"), b="yes")
    path = written(small, tmp_path / "r", others="bc")
    first = text(replay_recording(path))
    for old, new in (("b", "x"), ("c", "a"), ("x", "z")):
        (path / "rollouts" / f"{old}.yaml").rename(path / "rollouts" / f"{new}.yaml")
    assert text(replay_recording(path)) == first == text(replay_recording(path, rollout="bot-a"))


# ---------------------------------------------------------------- rollouts that cannot be told apart


@pytest.mark.parametrize("hosts", ["012", "3456789"], ids=["same", "complement"])
def test_rollouts_that_differ_in_the_same_hosts_name_each_other(tmp_path: Path, hosts: str) -> None:
    small = hurt(fleet(a="012", b=hosts), a="yes")
    path = written(small, tmp_path / "r")
    assert replay_recording(path).action == "revert"
    data = replay_recording(path).verdicts[-1]["data"]
    apart = "No hosts differ in this rollout without differing in bot-b too"
    assert all(reason["sentence"].endswith(f"{apart}: either may be behind it.") for reason in data["reasons"])
    assert {entry["metric"] for entry in data["abstained"] if apart in entry["why"]} >= {"errors"}
    assert data["scope"] == {"colos": list(COLOS), "metrics": ["errors"]}


def test_of_two_rollouts_on_the_same_hosts_both_are_stopped(tmp_path: Path) -> None:
    path = written(hurt(fleet(a="012", b="012"), b="yes"), tmp_path / "r")
    assert [replay_recording(path, rollout=f"bot-{name}").action for name in "ab"] == ["revert", "revert"]


def test_a_third_rollout_still_divides_what_two_cannot_tell_apart(tmp_path: Path) -> None:
    small = hurt(fleet(a="0123", b="0123", c="0124"), c="yes")
    outcome = replay_recording(written(small, tmp_path / "r", others="bc"))
    assert outcome.final_action == "advance"
    assert "bot-b" in text(outcome)
    assert "differing in bot-c" not in text(outcome)


def test_rollouts_that_together_leave_nothing_are_all_named(tmp_path: Path) -> None:
    small = hurt(fleet(a="01", b="02", c="12"), a="yes")
    small.missing[:, [host[-1] not in "0125" for host in small.labels["host"]]] = True
    outcome = replay_recording(written(small, tmp_path / "r", others="bc"))
    assert outcome.action == "revert"
    assert "differing in bot-b, bot-c too" in outcome.reasons[0]["sentence"]


def test_a_rollout_is_named_from_the_tick_in_which_it_begins(tmp_path: Path) -> None:
    path = written(fleet(a="012", b="012"), tmp_path / "r", b=25)
    named = ["bot-b" in str(verdict["data"]) for verdict in replay_recording(path).verdicts]
    begun = [verdict["time"] >= "2026-03-12T11:25" for verdict in replay_recording(path).verdicts]
    assert named == begun
    assert set(begun) == {False, True}


@pytest.mark.parametrize("minute", [0, 59], ids=["before the past", "after the end"])
def test_what_began_before_the_past_or_never_begins_confounds_nothing(tmp_path: Path, minute: int) -> None:
    path = written(hurt(fleet(a="012", b="012"), a="yes"), tmp_path / "r", b=minute)
    outcome = text(replay_recording(path))
    assert "bot-b" not in outcome
    assert outcome == text(replay_recording(alone(path)))


# ---------------------------------------------------------------- rollouts beside each other


def test_disjoint_rollouts_leave_each_other_their_controls(tmp_path: Path) -> None:
    path = written(hurt(fleet(a="01", b="56"), b="yes"), tmp_path / "r")
    harmless, bad = (replay_recording(path, rollout=f"bot-{name}") for name in "ab")
    assert (harmless.final_action, bad.action) == ("advance", "revert")
    assert last(harmless)["abstained"] == []
    errors = next(reason for reason in harmless.reasons if reason["metric"] == "errors")
    assert errors["samples"]["control"] / errors["samples"]["canary"] == pytest.approx(3.0, rel=0.05)


def test_a_rollout_inside_another_is_judged_inside_of_it(tmp_path: Path) -> None:
    path = written(hurt(fleet(a="01", b="01234"), b="yes"), tmp_path / "r")
    assert replay_recording(path).final_action == "advance"
    outer = replay_recording(path, rollout="bot-b")
    assert outer.action == "revert"
    assert "either may be behind it" not in str(outer.reasons)


def test_a_colo_in_which_nobody_differs_in_one_rollout_alone_is_named(tmp_path: Path) -> None:
    small = fleet(a="012", b="56")
    small.labels["b"] = [
        small.labels["a"][i] if colo == "fra02" else small.labels["b"][i] for i, colo in enumerate(small.labels["colo"])
    ]
    outcome = replay_recording(written(hurt(small, b="yes"), tmp_path / "r"))
    assert outcome.final_action == "advance"
    assert {entry["metric"]: entry["why"] for entry in last(outcome)["abstained"]}["errors"] == (
        "no control in fra02 differs in this rollout alone (bot-b): not judged there"
    )


def test_hosts_that_the_other_rollout_relabels_go_on(tmp_path: Path) -> None:
    small = hurt(fleet(**CROSSING), since=24, b="yes")

    def relabelled(table: Any) -> Any:
        at = table.schema.get_field_index("b")
        early = table["time"].cast("int64").to_numpy() < 1_773_314_400_000 + 24 * 10_000
        values = np.where(early, "no", table["b"].to_numpy(zero_copy_only=False))
        return table.set_column(at, "b", [values.tolist()])

    plain = written(small, tmp_path / "plain", b=24)
    moved = written(small, tmp_path / "moved", b=24, change=relabelled)
    for name, action in (("a", "advance"), ("b", "revert")):
        outcomes = [replay_recording(path, rollout=f"bot-{name}") for path in (plain, moved)]
        assert [outcome.action for outcome in outcomes] == [action, action]
        assert outcomes[0].verdicts == outcomes[1].verdicts


# ---------------------------------------------------------------- documents, and what is kept


def test_a_rollout_that_was_not_under_way_is_refused_with_those_that_were(tmp_path: Path) -> None:
    path = written(fleet(**CROSSING), tmp_path / "r")
    with pytest.raises(BadInput) as caught:
        replay_recording(path, rollout="bot-x")
    assert str(caught.value) == (
        f"{path}: --rollout: no rollout 'bot-x' was under way in this recording; allowed: bot-a, bot-b"
    )


def test_two_documents_of_one_rollout_are_refused(tmp_path: Path) -> None:
    path = written(fleet(**CROSSING), tmp_path / "r")
    (path / "rollouts" / "again.yaml").write_text(ROLLOUT.format(name="a", minute=20), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        replay_recording(path)
    assert str(caught.value) == (
        f"{path}/rollouts/again.yaml: rollout: found 'bot-a', the name of the rollout in {path}/rollout.yaml too; "
        "allowed: each name once in a recording"
    )


def test_faults_of_all_documents_are_told_with_their_files(tmp_path: Path) -> None:
    path = written(fleet(**CROSSING), tmp_path / "r", others="bc")
    with pytest.raises(BadInput, match=r"rollouts/c\.yaml: stages\[0\]\.canary: no series matches"):
        replay_recording(path)
    (path / "rollouts" / "c.yaml").write_text("rollout: c\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"rollouts/c\.yaml.*started"):
        replay_recording(path)


def test_the_truth_is_that_of_the_recordings_own_rollout(tmp_path: Path) -> None:
    path = written(fleet(**CROSSING), tmp_path / "r")
    (path / "truth.yaml").write_text("bad: false\nexpect: [advance, wait]\n", encoding="utf-8")
    assert replay_recording(path, check=True).contradictions == []
    with pytest.raises(BadInput, match="is about the rollout 'bot-a'"):
        replay_recording(path, rollout="bot-b", check=True)


def test_replays_of_both_rollouts_lie_beside_each_other_in_the_store(tmp_path: Path) -> None:
    path = written(hurt(fleet(**CROSSING), b="yes"), tmp_path / "r")
    with Store(tmp_path / "data") as store:
        for name in ("bot-a", "bot-b"):
            replay_recording(path, rollout=name, store=store)
        kept = "SELECT DISTINCT rollout, source FROM verdicts ORDER BY rollout"
        assert store.query(kept, "CSV") == b'"bot-a","replay:r"\n"bot-b","replay:r/bot-b"\n'
        places = (
            "SELECT DISTINCT level, place FROM evidence WHERE rollout = 'bot-a' AND place LIKE 'ams01%' ORDER BY place"
        )
        assert store.query(places, "CSV") == b'"stratum","ams01 with bot-b"\n"stratum","ams01 without bot-b"\n'
        rows = "SELECT count() / uniq(time) / uniq(metric) FROM cohort_ticks WHERE rollout = 'bot-a'"
        assert store.query(rows, "CSV") == b"8\n"
