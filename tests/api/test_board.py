"""The board: what is known of each rollout, within bounds, and never better than what `holdfast verdict wait` says."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from holdfast.api.board import ROLLOUTS_MAX, STAGES_MAX, Board
from holdfast.live.events import Event, Fresh, Gap, Received, Stale, Untrusted
from holdfast.live.heard import Heard
from tests.test_following import VERDICT, at


def verdict(action="wait", stage="canary", sequence=1, rollout="bots", *, binding=True) -> Received:
    found = msgspec.structs.replace(VERDICT, sequence=sequence, action=action, stage=stage, binding=binding)
    return Received(rollout, at(sequence), f"{sequence:032x}", found)


ACTIONS = st.sampled_from(["advance", "wait", "halt", "revert"])
EVENTS = st.one_of(
    st.builds(verdict, ACTIONS, st.sampled_from(["canary", "region"]), binding=st.booleans()),
    st.builds(lambda action: Gap("bots", 1, 2, action), st.one_of(st.none(), ACTIONS)),
    st.just(Stale("bots", None)),
    st.just(Fresh("bots", None)),
    st.just(Untrusted("bots", "x", "v", 0, 1)),
)


def told(events: list[Event]) -> Board:
    board = Board()
    board.unheard(None)
    for event in events:
        board.take(event)
    return board


@given(st.lists(EVENTS, max_size=12))
def test_a_stage_fails_exactly_when_waiting_for_it_would_and_passes_only_then(events: list[Event]) -> None:
    heard = Heard("canary")
    for event in events:
        heard.take(event)
    phase = told(events).opinion("bots", "canary").phase
    assert (phase == "failure") == (heard.outcome in ("halt", "revert"))
    assert phase != "success" or heard.outcome == "advance"


@given(st.lists(EVENTS, max_size=12), st.sampled_from([Stale("bots", None), Gap("bots", 3, 4, None)]))
def test_after_a_doubt_nothing_is_a_success(events: list[Event], doubt: Event) -> None:
    assert told([*events, verdict(), doubt]).opinion("bots", "canary").phase in ("doubt", "failure")


def test_before_the_topic_was_read_nothing_is_a_success() -> None:
    board = Board()
    board.take(verdict("advance"))
    assert board.opinion("bots", "canary").phase == "doubt"
    board.unheard(None)
    assert board.opinion("bots", "canary").phase == "success"


def test_without_a_stage_nothing_is_a_success() -> None:
    assert told([verdict("advance")]).opinion("bots", None).phase == "wait"


def test_of_too_many_rollouts_the_ones_heard_longest_ago_go_and_are_in_doubt() -> None:
    board = told([verdict("advance", rollout=f"r{number}") for number in range(ROLLOUTS_MAX + 1)])
    assert board.opinion("r0", "canary").phase == "doubt"
    assert board.opinion("r1", "canary").phase == "success"


def test_what_nobody_vouches_for_takes_no_room() -> None:
    board = told([verdict("advance"), *(Untrusted(f"x{number}", "x", "v", 0, 1) for number in range(ROLLOUTS_MAX))])
    assert board.opinion("bots", "canary").phase == "success"


def test_of_too_many_stages_the_ones_heard_longest_ago_go() -> None:
    board = told([verdict("advance", stage=f"s{number}") for number in range(STAGES_MAX + 1)])
    assert [board.opinion("bots", f"s{number}").phase for number in (0, 1)] == ["wait", "success"]


def test_silence_of_the_brokers_as_a_whole_is_told_by_whoever_listens() -> None:
    board = told([verdict("advance"), Stale(None, None)])
    assert board.opinion("bots", "canary").phase == "success"
    board.unheard("away")
    assert board.opinion("bots", "canary").why == "away"
