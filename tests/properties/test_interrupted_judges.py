"""However often a judge is interrupted, whatever comes up meanwhile: what it says is what it would have said."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.checks import same_bits
from streams.cohorts import CohortTicks
from streams.judge import Judge, Judged
from streams.live.checkpoint import decode, encode
from tests.streams.judging import COLOS, JUDGES, PAST, START, Harm, keys_of, plan_of, ticks_of, told

FIRST, STOP = START - PAST, START + 52
EVENT = st.integers(START - 4, STOP - 1)


@dataclass(frozen=True)
class Story:
    """What happens: when colos join, harm begins and ticks are in trouble, and how much is remembered."""

    judge: str
    joins: tuple[int, int]
    harm: int
    trouble: frozenset[int]
    live_ticks_max: int

    def tick(self, number: int) -> CohortTicks:
        known = sum(number >= joins for joins in self.joins) + 2
        return ticks_of(number, number + 1, keys_of(COLOS[:known]), harm=Harm(self.harm, factor=4.0))

    def why(self, number: int) -> dict[int, str]:
        return {number: "clocks disagree"} if number in self.trouble else {}

    def begin(self) -> Judge:
        return Judge(plan_of(judge=self.judge), live_ticks_max=self.live_ticks_max)


STORIES = st.builds(
    Story,
    st.sampled_from(JUDGES),
    st.tuples(EVENT, EVENT),
    EVENT,
    st.frozensets(EVENT, max_size=4),
    st.sampled_from([0, 6, 1_000]),
)


def judged(story: Story, cuts: frozenset[int]) -> tuple[list[Judged], Judge]:
    """Judge tick by tick; before the ticks in `cuts` another judge goes on from a checkpoint."""
    judge, said = story.begin(), list[Judged]()
    journal: list[CohortTicks] = []
    for number in range(FIRST, STOP):
        if number in cuts:
            state = decode(encode(judge.snapshot(), number - 1))
            needed = journal[judge.needs_from - FIRST :]
            judge = Judge.resumed(judge.plan, state, needed, live_ticks_max=story.live_ticks_max)
        journal.append(story.tick(number))
        said += judge.push(journal[-1], story.why(number))
    return said, judge


@settings(max_examples=10)
@given(STORIES, st.frozensets(st.integers(FIRST + 1, STOP - 1), min_size=1, max_size=5))
def test_interruptions_change_no_bit(story: Story, cuts: frozenset[int]) -> None:
    (expected, whole), (got, other) = judged(story, frozenset()), judged(story, cuts)
    assert told(got) == told(expected)
    assert same_bits(other.snapshot(), whole.snapshot())
