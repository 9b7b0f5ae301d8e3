"""The order of tests that several processes share."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import LONG, dealt


def items(*files: tuple[str, int]) -> list[Any]:
    return [SimpleNamespace(path=Path(f"{stem}.py"), number=number) for stem, size in files for number in range(size)]


def runs(found: list[Any], processes: int) -> list[list[Any]]:
    """Cut tests as xdist does at first."""
    cut, left = [], [*found]
    for number in range(processes):
        size = len(left) // (processes - number)
        cut.append(left[:size])
        left = left[size:]
    return cut


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_every_process_begins_with_long_tests(processes: int) -> None:
    given = items(("test_a", 101), *[(stem, 5) for stem in reversed(LONG)], ("test_b", 102))
    found = dealt(given, processes)
    assert Counter(map(id, found)) == Counter(map(id, given))
    firsts = [run[0].path.stem for run in runs(found, processes)]
    assert firsts == list(LONG[:processes])


def test_files_stay_whole_and_in_order() -> None:
    found: list[Any] = [*dealt(items(*[(stem, 4) for stem in LONG], ("test_a", 200)), 4)]
    for stem in LONG:
        places = [place for place, item in enumerate(found) if item.path.stem == stem]
        assert places == list(range(places[0], places[0] + 4))
        assert [found[place].number for place in places] == [0, 1, 2, 3]


def test_a_file_of_which_more_is_long_than_a_process_is_given_loses_nothing() -> None:
    given = items((LONG[0], 50), ("test_a", 2))
    assert Counter(map(id, dealt(given, 4))) == Counter(map(id, given))


def test_the_files_that_take_longest_are_there() -> None:
    tests = Path(__file__).parent
    assert [stem for stem in LONG if not [*tests.rglob(f"{stem}.py")]] == []
