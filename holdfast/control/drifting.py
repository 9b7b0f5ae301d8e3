"""Gathering the facts that drift is told by: out of topics alone, and nothing is written."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from confluent_kafka import KafkaException
from msgspec import Struct

from detectors.policy import Policy
from holdfast.control import audit_log
from holdfast.control.asking import ANSWERED, ASKED, NOTED
from holdfast.control.board import Board, newest
from holdfast.control.drift_reading import sent, verdicts
from holdfast.control.people_file import load_roster
from holdfast.documents import digest, load_policy
from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import Announced
from holdfast.live.certified import objection_to
from holdfast.live.clients import admin
from holdfast.live.drift_settings import span
from holdfast.live.settings import Settings
from holdfast.live.topics import standings
from holdfast.located import Problems
from holdfast.located import read as read_file
from holdfast.response.record import read_all
from holdfast.validation import model, validate
from rollouts import breakglass
from rollouts.announced import finished_at, start_of
from rollouts.controlled import State
from rollouts.controlled import decode as decode_history
from rollouts.drift_facts import Facts, Log, Sent, Series, Unknown, Verdicts, Watched, series_of
from rollouts.folding import fold
from rollouts.incidents.folding import fold as fold_incident
from rollouts.people import Roster
from rollouts.reports import Report
from rollouts.reports import decode as decode_report
from sinks.signatures import Keys

_PROBE_S: Final = 10.0

_T = TypeVar("_T")


class Baseline(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What hosts may have though no rollout has announced it: digests by unit."""

    units: dict[str, list[str]]


class Kept(Struct, frozen=True, kw_only=True):
    """What is kept in files: policies by digest, the baseline, and the people; None where nobody may override."""

    policies: Mapping[str, Policy]
    baseline: Mapping[str, frozenset[str]]
    who: Roster | None


def load_kept(settings: Settings) -> Kept:
    """Read the files that the settings name.

    Raises
    ------
    BadInput
        With every error of a file.
    """
    policies = [load_policy(Path(path)) for path in settings.drift.policies]
    place = settings.drift.baseline
    return Kept(
        policies={digest(policy): policy for policy in policies},
        baseline={} if place is None else load_baseline(Path(place)),
        who=None if settings.people is None else load_roster(settings),
    )


def load_baseline(path: Path) -> dict[str, frozenset[str]]:
    """Read a baseline; raises as `load_kept` does."""
    problems = Problems(str(path))
    document = read_file(path, problems)
    validate(document, model(Baseline), problems)
    problems.refuse()
    found = msgspec.convert(document.plain(), Baseline)
    return {unit: frozenset(digests) for unit, digests in found.units.items()}


def baseline_of(settings: Settings) -> Baseline:
    """Write down what hosts report that they have; raises what `Board` raises, and BadInput for what is no report."""
    units: dict[str, set[str]] = {}
    for value in newest(settings, settings.topics.applied).values():
        for unit, name in decode_report(value).units.items():
            units.setdefault(unit, set()).add(name)
    return Baseline(units={unit: sorted(digests) for unit, digests in sorted(units.items())})


def gather(settings: Settings, kept: Kept, now: datetime) -> Facts:
    """Read all that is looked at. What cannot be read is unknown, with the reason, and the rest is read all the same.

    Parameters
    ----------
    settings
        Of the engine.
    kept
        What is in files.
    now
        The time, in UTC.
    """
    away = _away(settings)
    if away is not None:
        return Facts(
            rollouts=away,
            control=away,
            reports=away,
            verdicts=away,
            sent=away,
            log=away,
            incidents=away,
            settings=away,
            bounds=settings.drift.bounds,
        )
    board = Announced()
    rollouts = _known(lambda: _rollouts(settings, board))
    ongoing = {} if isinstance(rollouts, Unknown) else _ongoing(rollouts)
    policies = {each.policy: each.announcement.policy for each in ongoing.values()} | dict(kept.policies)
    refused: dict[str, str] = {}
    return Facts(
        rollouts=rollouts,
        unreadable=board.refused,
        control=_known(lambda: _control(settings)),
        reports=_known(lambda: _reports(settings, refused)),
        unreadable_reports=refused,
        verdicts=_known(lambda: _verdicts(settings, now, policies, ongoing)),
        sent=_known(lambda: _sent(settings, now, policies.values())),
        log=_known(lambda: _log(settings, kept.who)),
        incidents=_known(lambda: {name: fold_incident(history) for name, history in read_all(settings).items()}),
        settings=_known(lambda: _settings(settings)),
        policies=kept.policies,
        baseline=kept.baseline,
        bounds=settings.drift.bounds,
    )


def _away(settings: Settings) -> Unknown | None:
    """Say that no broker answers, so that this is not waited for once for each topic."""
    try:
        admin(settings).list_topics(timeout=_PROBE_S)
    except KafkaException as error:
        where = settings.kafka.get("bootstrap.servers", "localhost:9092")
        return Unknown(why=f"no answer from {where}: {error.args[0].str()}")
    return None


def _known(work: Callable[[], _T]) -> _T | Unknown:
    try:
        return work()
    except (BadInput, Unreachable) as error:
        return Unknown(why=str(error))
    except KafkaException as error:
        return Unknown(why=str(error.args[0].str()))


def _rollouts(settings: Settings, known: Announced) -> dict[str, Watched]:
    keys = Keys.load(settings.trusted_keys) if settings.trusted_keys else None
    topic = settings.topics.rollouts
    with Board(settings, topic) as board:
        for key, value in board.load():
            known.take(key, value, topic)
    return {
        name: Watched(
            announcement=announcement,
            policy=digest(announcement.policy),
            objection=objection_to(announcement, keys, settings),
            is_checked=keys is not None,
        )
        for name, announcement in known.current.items()
    }


def _ongoing(rollouts: Mapping[str, Watched]) -> dict[str, Watched]:
    return {name: each for name, each in rollouts.items() if finished_at(each.announcement) is None}


def _control(settings: Settings) -> dict[str, State]:
    found: dict[str, State] = {}
    for key, value in newest(settings, settings.topics.control).items():
        if key.startswith((ASKED, ANSWERED, NOTED)):
            continue
        state = fold(decode_history(value))
        if state is not None:
            found[key.decode()] = state
    return found


def _reports(settings: Settings, refused: dict[str, str]) -> dict[str, Report]:
    found: dict[str, Report] = {}
    for key, value in newest(settings, settings.topics.applied).items():
        name = key.decode(errors="replace")
        try:
            found[name] = decode_report(value)
        except BadInput as error:
            refused[name] = str(error)
    return found


def _verdicts(settings: Settings, now: datetime, policies: Iterable[str], ongoing: Mapping[str, Watched]) -> Verdicts:
    starts = {name: start_of(each.announcement, 0) for name, each in ongoing.items()}
    begun = [name for name, start in starts.items() if start is not None and start <= now]
    return verdicts(settings, now, span(settings.drift.exercised_within), [*policies], begun)


def _sent(settings: Settings, now: datetime, policies: Iterable[Policy]) -> Sent:
    named = [each for policy in policies for each in series_of(policy).values()]
    must: set[Series] = {each for known, _ in named for each in known}
    may: set[Series] = {each for _, rare in named for each in rare}
    return sent(settings, now, span(settings.drift.sent_within), must, may)


def _log(settings: Settings, who: Roster | None) -> Log:
    chain = audit_log.read(settings)
    broken = chain.first_break()
    drills = [link.entry.time for link in chain.links if link.entry.kind == breakglass.DRILL]
    return Log(
        broken=None if broken is None else broken.sentence,
        drilled=max(drills, default=None),
        overrides=None if who is None else breakglass.fold(chain, who),
    )


def _settings(settings: Settings) -> dict[str, str]:
    """Say in what settings and topics are not what they have to be."""
    found = {
        f"topic {each.wanted.topic}": ", ".join(each.differences) or "there is none"
        for each in standings(admin(settings), settings)
        if each.differences or not each.exists
    }
    if settings.trusted_keys and not settings.gate.required:
        found["gate.required"] = "no, though there are trusted_keys: judges let policies without a gate advance"
    return found
