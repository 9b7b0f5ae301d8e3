"""The benchmark of the blast radius: its world is the same for the same seed, and its figures are what happened."""

from dataclasses import replace

import pytest

from benchmarks.blast_radius.__main__ import beyond, by_stage, compared, spared, verdict
from benchmarks.blast_radius.gated import Outcome, run


@pytest.fixture(scope="module")
def bad() -> Outcome:
    return run(1, 1)


def test_a_bad_package_is_taken_back_within_the_bound_of_its_stage(bad: Outcome) -> None:
    assert (bad.is_bad, bad.phase) == (True, "reverted")
    assert 0 < bad.reached <= bad.bound < 1
    assert bad.decided is not None
    assert bad.restored is not None
    assert 0 < bad.decided < bad.restored


def test_the_same_seed_gives_the_same_outcome(bad: Outcome) -> None:
    assert run(1, 1) == bad


def test_what_was_never_noticed_is_worse_than_anything(bad: Outcome) -> None:
    one, other = replace(bad, noticed=(40, 40), undone=(60, 60)), replace(bad, noticed=(None, 40), undone=(None, 60))
    header, rows = compared([one, other])
    assert {len(row) for row in rows} == {len(header)}
    assert rows[1][3:] == ["1 of 2", "never", "never", "never", "never"]
    assert rows[2][3:] == ["2 of 2", "40", "40", "60", "60"]


def test_a_missed_one_and_a_stopped_harmless_one_are_told(bad: Outcome) -> None:
    missed = replace(bad, phase="completed", stage="rest", reached=1.0, bound=1.0)
    stopped = replace(bad, number=2, is_bad=False, where="none")
    assert verdict([missed, stopped]).startswith("Not as promised: 2 of 2.")
    assert spared([missed, stopped])[1] == [["1", "0", "0", "1", "-", "-"]]
    assert by_stage([missed, stopped])[1][-1][-1] == "1"


def test_a_bad_one_beyond_its_bound_is_told(bad: Outcome) -> None:
    assert verdict([bad]).startswith("Every harmless one was completed")
    assert "1, errors x 2.24 " in verdict([replace(bad, reached=bad.bound + 0.01)])


def test_a_package_that_hurts_only_at_scale_is_let_through_the_first_stage_and_then_taken_back() -> None:
    late = run(1, 1, at_scale=True)
    assert (late.where, late.phase) == ("at scale", "reverted")
    assert late.stage != "canary"
    assert 0.03 < late.reached <= late.bound < 1
    _, rows = beyond([late])
    assert [row[:3] for row in rows] == [[late.stage, f"{late.from_share:.0%} to {late.from_share:.0%}", "1 of 1"]]
