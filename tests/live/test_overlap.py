"""A rollout that ends while another one is judged: what it changed stays what tells units apart."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from holdfast.live.framing import BESIDE_MAX, Framing
from holdfast.live.settings import load_settings
from rollouts.announced import Announcement, with_event
from rollouts.document import NOT_YET, Stage
from tests.live.engine import announced, make_recording, replayed
from tests.live.late import Late, aggregating, short_past


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a recording of a bad rollout, and of one that reached half of the hosts in its past."""
    folder = make_recording(tmp_path_factory.mktemp("crossed") / "bad", scenario="errors", size=3.0, onset_ticks=10)
    (folder / "rollouts").mkdir()
    (folder / "rollouts" / "before.yaml").write_bytes(msgspec.yaml.encode(before(announced(folder)).rollout))
    return folder


def before(announcement: Announcement) -> Announcement:
    """Make a rollout that begins five minutes before another one, in another half of each colo."""
    plan = announcement.rollout
    colos = ["ams01", "fra01", "iad01", "lhr01", "sjc01"]
    hosts = [f"{colo}-h{number:02}" for colo in colos for number in range(3)]
    stage = Stage(name="half", canary={"host": hosts}, control=None, bake="4m")
    begun = msgspec.structs.replace(plan, rollout="before", started=plan.started - timedelta(minutes=5), stages=[stage])
    return msgspec.structs.replace(announcement, rollout=begun)


@pytest.mark.parametrize("minutes", [-1, 0, 2])
@pytest.mark.parametrize("kills", [0, 6])
def test_what_is_judged_while_another_rollout_ends_is_judged_as_a_replay_judges_it(
    crossed: Path, minutes: int, kills: int
) -> None:
    judged = announced(crossed)
    other, name = before(judged), judged.rollout.rollout
    ended = judged.rollout.started + timedelta(minutes=minutes)
    late = Late(load_settings(None, {"HOLDFAST_WORKER": "test"}), crossed, 0.5 + minutes / 20 + 0.05, (judged, other))
    late.engine.told.announce(with_event(other, "finished", None, ended))
    late.poll(30)
    late.grow(1.0)
    engine = late.run(kills)
    assert engine.verdicts(name) == replayed(crossed)
    assert engine.judged_again(name) == replayed(crossed)
    ticks = {each.tick for each, *_ in engine.headers() if each.rollout == "before"}
    assert max(ticks) * 10 <= (ended + timedelta(minutes=1)).timestamp()  # then it was told: nothing more of itself


@pytest.mark.parametrize("minutes", [1, 9])
def test_what_has_ended_is_known_beside_one_that_may_start_as_long_as_its_past_would_reach_back(
    crossed: Path, minutes: int
) -> None:
    """The past is two minutes here, and a gap."""
    judged = announced(crossed)
    waiting = short_past(judged, 12)
    waiting = msgspec.structs.replace(waiting, rollout=msgspec.structs.replace(waiting.rollout, started=NOT_YET))
    other = before(judged)
    begun, name = other.rollout.started, waiting.rollout.rollout
    late = Late(load_settings(None, {"HOLDFAST_WORKER": "test"}), crossed, 0.3, (waiting, other))
    late.engine.told.announce(with_event(other, "finished", None, begun + timedelta(minutes=1)))
    late.poll(30)
    for part in (5.0, 5.5, 6.0):  # who is known is looked at between
        late.grow((part + minutes) / 20)
        late.poll(30)
    newest = max((each for each, *_ in late.engine.headers() if each.rollout == name), key=lambda each: each.tick)
    assert [each.rollout for each in newest.planned] == [name, "before"][: 1 + (minutes == 1)]
    assert aggregating(late.engine)._framing.open == {name}


def test_of_many_that_have_ended_the_latest_are_known(crossed: Path) -> None:
    judged = announced(crossed)
    framing = Framing(load_settings(None, {"HOLDFAST_WORKER": "test"}))
    ended = {}
    for number in range(BESIDE_MAX + 2):
        other = before(judged)
        plan = msgspec.structs.replace(
            other.rollout, rollout=f"r{number:02}", started=other.rollout.started + timedelta(seconds=number)
        )
        whole = msgspec.structs.replace(other, rollout=plan)
        ended[plan.rollout] = with_event(whole, "finished", None, plan.started + timedelta(minutes=1))
    framing.announce({"bad": judged} | ended)
    framing.group(["bad"], 0)
    (group,) = framing.groups.values()
    assert [each.rollout for each in group.rollouts] == ["bad", *sorted(ended)[2:]]
    assert framing.judged(group) == ["bad"]
