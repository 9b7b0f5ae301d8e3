"""Workers that demand gate certificates: without one nothing advances, and what is bad is stopped as ever."""

import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.documents import digest
from holdfast.live.settings import Settings, load_settings
from rollouts.announced import Announcement, replaced
from rollouts.certificate import SignedCertificate
from tests.live.engine import Engine, announced, feed, make_engine, make_recording, replayed
from tests.test_certificate import KEY, made


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("harmless") / "harmless", live_ticks=60)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("bad") / "bad", scenario="errors", size=3.0, onset_ticks=10)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    public = tmp_path / "ci.pem"
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    given = {"HOLDFAST_GATE__REQUIRED": "true", "HOLDFAST_TRUSTED_KEYS__CI": str(public), "HOLDFAST_WORKER": "test"}
    return load_settings(None, {"HOLDFAST_PATIENCE": "30s", "HOLDFAST_CHECKPOINT_TICKS": "10", **given})


def certificate_of(announcement: Announcement, **changes: object) -> SignedCertificate:
    return made(**({"policy": digest(announcement.policy)} | changes))


def run(settings: Settings, recording: Path, signed: SignedCertificate | None, kills: int = 0) -> Engine:
    announcement = announced(recording)
    if signed is not None:
        announcement = msgspec.structs.replace(announcement, certificate=signed)
    engine = make_engine(settings, [announcement])
    feed(engine, recording)
    engine.run(np.random.default_rng(1), kills)
    return engine


def told(engine: Engine, recording: Path) -> list[tuple[str, str]]:
    found = engine.verdicts(announced(recording).rollout.rollout)
    return [(event.data.action, event.data.cause) for event in found]


def test_with_a_certificate_verdicts_are_those_of_a_replay(settings: Settings, harmless: Path) -> None:
    engine = run(settings, harmless, certificate_of(announced(harmless)))
    expected = replayed(harmless)
    assert expected[-1].data.action == "advance"
    assert engine.verdicts(expected[-1].subject)[: len(expected)] == expected


def test_without_one_a_healthy_stage_waits_and_is_halted_at_its_deadline(settings: Settings, harmless: Path) -> None:
    engine = run(settings, harmless, None)
    assert told(engine, harmless) == [("wait", "uncertified"), ("halt", "deadline")]
    for event in engine.verdicts(announced(harmless).rollout.rollout):
        said = {one.metric: one.why for one in event.data.abstained}
        assert all("the policy may let no stage advance: it has no gate certificate" in why for why in said.values())
        assert said


def test_without_one_a_bad_change_is_reverted_when_it_would_be_with_one(settings: Settings, bad: Path) -> None:
    engine = run(settings, bad, None)
    stop, expected = engine.verdicts(announced(bad).rollout.rollout)[-1], replayed(bad)[-1]
    assert (stop.data.action, stop.data.cause, stop.time) == ("revert", "evidence", expected.time)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy": "sha256:" + "0" * 64}, "that of another policy"),
        ({"engine": "holdfast/0.0.1"}, "by the engine holdfast/0.0.1"),
    ],
)
def test_a_certificate_that_does_not_count_is_none(
    changes: dict[str, str], said: str, settings: Settings, harmless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "holdfast.live.certified"):
        engine = run(settings, harmless, certificate_of(announced(harmless), **changes))
    assert told(engine, harmless)[0] == ("wait", "uncertified")
    assert [record.getMessage() for record in caplog.records if said in record.getMessage()] != []


def test_each_announcement_without_one_is_logged_once(
    settings: Settings, harmless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "holdfast.live.certified"):
        run(settings, harmless, None)
    assert len(caplog.records) == 1


def test_a_changed_certificate_does_not_count(settings: Settings, harmless: Path) -> None:
    signed = certificate_of(announced(harmless))
    spoiled = msgspec.structs.replace(signed, certificate=msgspec.structs.replace(signed.certificate, strict=True))
    assert told(run(settings, harmless, spoiled), harmless)[0] == ("wait", "uncertified")


def test_a_certificate_that_comes_later_takes_effect_then(settings: Settings, harmless: Path) -> None:
    announcement = announced(harmless)
    engine = make_engine(settings, [announcement])
    feed(engine, harmless, slice(None, 400))  # of 600 frames: the past, and some of the stage
    rng = np.random.default_rng(2)
    while not told(engine, harmless):
        engine.now += 0.1
        engine.aggregate.poll(rng, engine.now)
        engine.judge.poll(rng, engine.now)
    later = announcement.rollout.started
    engine.told.announce(
        replaced(announcement, announcement.rollout, announcement.policy, later, certificate_of(announcement))
    )
    feed(engine, harmless, slice(400, None))
    engine.run(rng)
    assert told(engine, harmless)[0] == ("wait", "uncertified")
    assert told(engine, harmless)[-1] == ("advance", "evidence")


@pytest.mark.parametrize("certified", [True, False])
def test_workers_that_die_at_random_change_nothing(certified: bool, settings: Settings, harmless: Path) -> None:
    signed = certificate_of(announced(harmless)) if certified else None
    calm, killed = run(settings, harmless, signed), run(settings, harmless, signed, kills=20)
    name = announced(harmless).rollout.rollout
    assert killed.verdicts(name) == calm.verdicts(name)


def test_where_none_is_demanded_a_certificate_changes_nothing(harmless: Path) -> None:
    settings = load_settings(None, {"HOLDFAST_PATIENCE": "30s", "HOLDFAST_WORKER": "test"})
    engine = run(settings, harmless, certificate_of(announced(harmless), engine="holdfast/0.0.1"))
    assert told(engine, harmless)[-1] == ("advance", "evidence")
