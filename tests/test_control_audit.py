"""What control takes from the audit topic, and what it writes there; without a broker."""

import io
import logging
import threading
import time
from datetime import timedelta

import pytest
from confluent_kafka import KafkaError, KafkaException
from msgspec.structs import replace

from holdfast.control import scribe
from holdfast.control.glass import overrides_of
from holdfast.control.refusals import WAITING_MAX, Refusals
from holdfast.control.scribe import DID, REFUSED, Noted, Scribe, draft_of, missing_of
from holdfast.errors import Unreachable
from holdfast.live.logs import REPEATS_MAX, Lines
from holdfast.live.settings import load_settings
from rollouts.audit import Chain, Record
from rollouts.controlled import Note
from rollouts.people import OverrideKind
from tests.overrides import NOW, Log, request
from tests.waiting import WAIT_S

HOUR = timedelta(hours=1)


def noted(name: str = "bots/3/note", what: str = "halted", why: str = "verdict 7") -> Noted:
    return Noted(rollout="bots", note=Note(id=name, at=NOW, what=what, by="control", why=why))


def signed(kind: OverrideKind, seed: int = 1) -> Log:
    log, asked = Log(), request(seed, kind)
    assert log.ask(asked, seed) is None
    for approver in (2,) if kind == "force_revert" else (2, 3):
        assert log.approve(asked, approver) is None
    return log


# ---------------------------------------------------------------- overrides


@pytest.mark.parametrize("kind", ["force_advance", "force_revert", "freeze_all", "ignore_metric"])
def test_an_override_in_force_names_what_was_signed_and_ends_by_the_clock(kind: OverrideKind) -> None:
    state, asked = signed(kind).state(), request(1, kind)
    (found,) = overrides_of(state, NOW)
    assert found.kind == kind
    assert (found.rollout, found.stage, found.metric) == (asked.rollout, asked.stage, asked.metric)
    assert found.expires_at == NOW + HOUR
    assert overrides_of(state, NOW + HOUR) == []


def test_what_too_few_have_signed_is_no_override() -> None:
    log = Log()
    log.ask(request(1, "freeze_all"))
    log.approve(request(1, "freeze_all"), 2)
    assert overrides_of(log.state(), NOW) == []


@pytest.mark.parametrize(
    ("kind", "count"), [("force_advance", 0), ("ignore_metric", 0), ("force_revert", 1), ("freeze_all", 1)]
)
def test_on_a_broken_log_only_what_lets_less_through_is_in_force(kind: OverrideKind, count: int) -> None:
    log = signed(kind)
    log.put("test.entry", {})
    log.put("test.entry", {})
    del log.raws[-2]
    assert not log.state().is_whole
    assert len(overrides_of(log.state(), NOW)) == count


# ---------------------------------------------------------------- entries


def chain_of(*entries: Noted, kind: str | None = None) -> Chain:
    chain = Chain("edge")
    for offset, one in enumerate(entries):
        draft = draft_of(one)
        given = kind or draft.kind
        _, raw = chain.following(time=NOW, who=draft.who, kind=given, subject=draft.subject, body=draft.body)
        assert chain.take(Record(raw=raw, offset=offset)) is not None
    return chain


def test_an_entry_says_who_did_what_and_why() -> None:
    draft = draft_of(Noted(rollout="bots", note=replace(noted().note, what="pause", by="ann", why="lunch")))
    assert (draft.who, draft.kind, draft.subject) == ("control", DID, "bots")
    assert draft.body["sentence"] == "pause, by ann: lunch"


def test_what_was_refused_is_an_entry_of_its_own_kind() -> None:
    assert draft_of(noted(what="pause refused")).kind == REFUSED


def test_what_is_on_the_log_is_not_written_again_even_if_it_was_decided_anew_later() -> None:
    later = replace(noted(), note=replace(noted().note, at=NOW + HOUR))
    assert missing_of([draft_of(later)], chain_of(noted())) == []


def test_an_entry_that_somebody_else_has_put_under_the_same_id_does_not_keep_a_note_away() -> None:
    draft = draft_of(noted())
    assert missing_of([draft], chain_of(noted(why="nothing at all"))) == [draft]
    assert missing_of([draft], chain_of(noted(), kind="test.entry")) == [draft]


def test_a_text_of_any_length_makes_an_entry() -> None:
    chain_of(noted(why="é" * 1_000_000))


# ---------------------------------------------------------------- the scribe


def test_a_note_waits_until_it_can_be_written_and_is_told_once(monkeypatch) -> None:
    answers = [Unreachable("away"), KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), None]
    chain = chain_of()
    wrote: list[str] = []

    def append_all(_settings, make, log) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        wrote.extend(str(draft.body["id"]) for draft in make(chain, NOW))

    monkeypatch.setattr(scribe, "append_all", append_all)
    monkeypatch.setattr(scribe, "_AGAIN_S", 0.01)
    writer = Scribe(load_settings(None, {}))
    assert not writer.has_written(noted())
    writer.start()
    end = time.monotonic() + WAIT_S
    while not writer.has_written(noted()) and time.monotonic() < end:
        time.sleep(0.01)
    writer.close()
    assert wrote == [noted().note.id]
    assert answers == []


def test_nobody_waits_for_the_scribe_and_so_many_notes_wait_with_it_at_the_most(monkeypatch) -> None:
    begun, go = threading.Event(), threading.Event()
    sizes: list[int] = []

    def append_all(_settings, make, log) -> None:
        begun.set()
        assert go.wait(WAIT_S)
        sizes.append(len(make(chain_of(), NOW)))

    monkeypatch.setattr(scribe, "append_all", append_all)
    writer = Scribe(load_settings(None, {}))
    writer.start()
    writer.has_written(noted())
    assert begun.wait(WAIT_S)
    assert not any(writer.has_written(noted(f"bots/{count}/note")) for count in range(scribe.WAITING_MAX + 10))
    assert len(writer._waiting) == scribe.WAITING_MAX
    go.set()
    writer.close()
    assert sizes[0] == 1


def test_each_thing_that_control_did_is_in_the_log_however_much_there_is() -> None:
    written = io.StringIO()
    handler = Lines(written, "text")
    scribe.log.addHandler(handler)
    scribe.log.setLevel(logging.INFO)
    try:
        for count in range(3 * REPEATS_MAX):
            assert not Scribe(load_settings(None, {})).has_written(noted(what=f"stage {count} passed"))
    finally:
        scribe.log.removeHandler(handler)
        scribe.log.setLevel(logging.NOTSET)
    assert written.getvalue().count(" passed") == 3 * REPEATS_MAX


def test_what_breaks_the_scribe_is_raised_where_somebody_asks(monkeypatch) -> None:
    def append_all(_settings, _make, log) -> None:
        message = "a bug"
        raise RuntimeError(message)

    monkeypatch.setattr(scribe, "append_all", append_all)
    writer = Scribe(load_settings(None, {}))
    writer.start()
    assert not writer.has_written(noted())
    writer._thread.join(WAIT_S)
    with pytest.raises(RuntimeError, match="a bug"):
        writer.has_written(noted())


# ---------------------------------------------------------------- refusals


def test_a_refusal_is_kept_until_it_is_written() -> None:
    kept = Refusals()
    for key, value in kept.records(kept.new([noted()]), []).items():
        kept.read(key, value)
    assert kept.waiting() == [noted()]
    for key, value in kept.records([], [noted()]).items():
        kept.read(key, value)
    assert kept.waiting() == []


def test_the_same_refusal_at_every_look_is_kept_once() -> None:
    kept = Refusals()
    assert kept.new([noted()]) == [noted()]
    assert kept.new([noted()]) == []


def test_refusals_that_wait_have_a_bound(caplog) -> None:
    kept = Refusals()
    found = kept.records((noted(str(count)) for count in range(WAITING_MAX + 5)), [])
    assert len(found) == WAITING_MAX
    assert "5 refusals are left out" in caplog.text
