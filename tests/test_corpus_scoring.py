"""What became of a recording, held against its truth; and exact intervals of how often."""

from typing import Any

import pytest

from holdfast.corpus.scoring import Share, interval, lower_bound, needed, score, sums, upper_bound
from rollouts.truth import Truth

ONSET_MS = 1_773_314_451_000  # 2026-03-12T11:20:51Z, in the tick that ends at 11:21:00
BAD = Truth(bad=True, expect=["revert"], colos=["ams01"])
HARMLESS = Truth(bad=False, expect=["advance", "wait"])


def event(at: str, action: str, cause: str = "evidence", colos: tuple[str, ...] = (), metrics: tuple[str, ...] = ()):
    scope = {"colos": list(colos), "metrics": list(metrics)}
    return {"time": f"2026-03-12T11:{at}Z", "data": {"action": action, "cause": cause, "scope": scope}}


WAIT = event("20:10", "wait", "baking")


def scored(truth: Truth, *events: dict[str, Any]):
    return score("one", truth, ONSET_MS, 10_000, [WAIT, *events])


def test_a_stop_where_it_hurts_after_the_onset_is_a_catch() -> None:
    found = scored(BAD, event("21:20", "revert", colos=("ams01", "fra02"), metrics=("errors",)))
    assert (found.kind, found.delay_ticks, found.delay_s) == ("caught", 3, 29.0)
    assert (found.expected, found.why) == (True, "revert (evidence), errors")


def test_the_first_bad_tick_counts_as_one() -> None:
    assert scored(BAD, event("21:00", "revert", colos=("ams01",))).delay_ticks == 1


def test_an_onset_at_the_end_of_a_tick_belongs_to_that_tick() -> None:
    found = score("one", BAD, ONSET_MS + 9_000, 10_000, [event("21:00", "revert", colos=("ams01",))])
    assert (found.kind, found.delay_ticks) == ("caught", 1)


def test_it_is_the_first_stop_that_counts() -> None:
    events = event("21:20", "halt", colos=("ams01",)), event("22:20", "revert", colos=("ams01",))
    found = scored(BAD, *events)
    assert (found.action, found.delay_ticks, found.final, found.expected) == ("halt", 3, "revert", True)


def test_another_action_than_was_right_is_a_catch_all_the_same() -> None:
    found = scored(BAD, event("21:20", "halt", colos=("ams01",)))
    assert (found.kind, found.expected) == ("caught", False)


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        (event("20:50", "revert", colos=("ams01",)), "revert (evidence), before the onset"),
        (event("21:20", "revert", colos=("fra02",)), "revert (evidence), in fra02, where nothing is hurt"),
        (event("28:00", "halt", "deadline"), "halt (deadline)"),
        (event("25:00", "advance"), "advance (evidence)"),
        (event("20:10", "wait", "data"), "wait (data)"),
    ],
)
def test_anything_else_misses_the_incident(stop: dict[str, Any], why: str) -> None:
    found = scored(BAD, stop)
    assert (found.kind, found.why, found.delay_ticks) == ("missed", why, None)


def test_only_a_stop_before_the_onset_is_early() -> None:
    early = scored(BAD, event("20:50", "revert", colos=("ams01",)))
    late = scored(BAD, event("21:20", "revert", colos=("fra02",)))
    assert (early.early, late.early) == (True, False)


def test_a_halt_at_the_deadline_catches_nothing_even_where_no_colo_is_named() -> None:
    assert scored(Truth(bad=True, expect=["halt"]), event("28:00", "halt", "deadline")).kind == "missed"


@pytest.mark.parametrize("cause", ["evidence", "objective", "traffic"])
def test_without_colos_in_the_truth_a_stop_anywhere_is_a_catch(cause: str) -> None:
    assert scored(Truth(bad=True, expect=["halt"]), event("22:00", "halt", cause, ("fra02",))).kind == "caught"


@pytest.mark.parametrize(
    ("events", "kind", "on_evidence"),
    [
        ([event("25:00", "advance")], "advanced", False),
        ([], "held", False),
        ([event("25:00", "halt", "evidence", ("ams01",))], "false alarm", True),
        ([event("28:00", "halt", "deadline")], "false alarm", False),
    ],
)
def test_of_a_harmless_one_every_stop_is_a_false_alarm(events: Any, kind: str, on_evidence: bool) -> None:
    found = scored(HARMLESS, *events)
    assert (found.kind, found.on_evidence) == (kind, on_evidence)


def test_it_advances_when_it_said_so_for_good() -> None:
    events = event("24:00", "advance"), event("25:00", "wait"), event("26:00", "advance"), event("27:00", "advance")
    assert scored(HARMLESS, *events).advanced_ms == ONSET_MS + 309_000


def test_what_did_not_advance_in_the_end_did_not_advance() -> None:
    assert scored(HARMLESS, event("24:00", "advance"), event("25:00", "wait")).advanced_ms is None


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.3085), (1, 10, 0.0025, 0.4450), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0)],
)
def test_the_interval_is_the_exact_one_of_the_tables(count: int, total: int, low: float, high: float) -> None:
    assert interval(count, total) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_without_a_trial_everything_is_possible() -> None:
    assert (interval(0, 0), lower_bound(0, 0), upper_bound(0, 0)) == ((0.0, 1.0), 0.0, 1.0)


def test_one_alarm_in_two_is_more_than_one_in_a_hundred_and_one_in_ten_may_be_chance() -> None:
    assert lower_bound(1, 2) > 0.01 > lower_bound(1, 10)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.5])
def test_as_many_trials_as_are_needed_just_suffice(share: float) -> None:
    trials = needed(share)
    assert upper_bound(0, trials) <= share < upper_bound(0, trials - 1)


# ---------------------------------------------------------------- sums


def test_sums_count_each_kind_apart() -> None:
    found = sums(
        [
            scored(BAD, event("21:20", "revert", colos=("ams01",))),
            scored(BAD, event("22:20", "revert", colos=("ams01",))),
            scored(BAD, event("20:50", "revert", colos=("ams01",))),
            scored(HARMLESS, event("25:00", "halt", "evidence", ("ams01",))),
            scored(HARMLESS, event("28:00", "halt", "deadline")),
            scored(HARMLESS, event("25:00", "advance")),
            scored(HARMLESS),
        ]
    )
    counts = [(each.count, each.total) for each in (found.caught, found.early, found.alarms, found.others)]
    assert counts == [(2, 3), (1, 3), (1, 4), (1, 4)]
    assert (found.advanced.count, found.delay_ticks, found.delay_s, found.delay_ticks_max) == (1, 6.0, 59.0, 9)


def test_where_nothing_was_caught_there_is_no_delay() -> None:
    found = sums([scored(BAD)])
    assert (found.delay_ticks, found.delay_ticks_max, found.caught) == (None, None, Share.of([False]))
