"""When partitions that nobody has are taken for lost, and whose turn it is to do something about them."""

from itertools import pairwise

from holdfast.live.orphans import LOOKS, Group, Suspicion, assignment

EVERY = frozenset({("t", 0), ("t", 1), ("t", 2)})
WHOLE = Group(True, {"a": frozenset({("t", 0), ("t", 2)}), "b": frozenset({("t", 1)})})
TORN = Group(True, {"a": frozenset({("t", 0), ("t", 2)}), "b": frozenset()})


def turns(me: str, groups: list[Group]) -> list[int]:
    """Tell at which of these looks it was a member's turn, counted from one."""
    suspicion = Suspicion()
    return [number for number, group in enumerate(groups, 1) if suspicion.look(me, group, EVERY)]


def test_a_group_that_has_everything_is_left_alone() -> None:
    assert turns("a", [WHOLE] * 50) == turns("b", [WHOLE] * 50) == []


def test_a_partition_that_is_on_its_way_is_nobodys_for_a_look_or_two() -> None:
    assert turns("b", [TORN, TORN, WHOLE] * 20) == []


def test_looks_during_a_rebalance_say_nothing_and_what_was_seen_before_counts_no_more() -> None:
    moving = Group(False, TORN.assigned)
    assert turns("b", [moving] * 20) == []
    assert turns("b", [TORN, TORN, moving] * 20) == []


def test_each_time_another_partition_on_its_way_is_not_the_same_one_for_long() -> None:
    others = [Group(True, {"b": EVERY - {("t", number % 3)}}) for number in range(50)]
    assert turns("b", others) == []


def test_whoever_has_least_goes_first_and_the_next_one_if_that_does_not() -> None:
    assert turns("b", [TORN] * LOOKS) == [LOOKS]
    assert turns("a", [TORN] * LOOKS) == []
    assert turns("a", [TORN] * (2 * LOOKS)) == [2 * LOOKS]


def test_a_member_that_is_alone_goes_first() -> None:
    assert turns("a", [Group(True, {"a": frozenset({("t", 0)})})] * LOOKS) == [LOOKS]


def test_what_does_not_help_is_tried_more_and_more_seldom_and_never_given_up() -> None:
    found = turns("b", [TORN] * 400)
    gaps = [after - before for before, after in pairwise(found)]
    assert gaps[:6] == [2 * LOOKS, 4 * LOOKS, 8 * LOOKS, 16 * LOOKS, 16 * LOOKS, 16 * LOOKS]


def test_what_helped_is_tried_as_soon_the_next_time() -> None:
    assert turns("b", [TORN] * LOOKS + [WHOLE] + [TORN] * LOOKS) == [LOOKS, 2 * LOOKS + 1]


def test_a_member_that_the_group_does_not_know_does_nothing() -> None:
    assert turns("", [TORN] * 50) == turns("c", [TORN] * 50) == []


def test_an_assignment_of_several_topics_is_read() -> None:
    encoded = b"\0\3\0\0\0\2\0\1t\0\0\0\2\0\0\0\0\0\0\0\7\0\3u.v\0\0\0\1\0\0\1\0\xff\xff\xff\xff"
    assert assignment(encoded) == {("t", 0), ("t", 7), ("u.v", 256)}
    assert assignment(b"") == frozenset()
