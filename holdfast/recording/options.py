"""What the options of `holdfast record` say: a source, as its document would, and where the documents come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from detectors.policy import duration_ms
from holdfast.errors import BadInput
from holdfast.live.settings import load_settings
from holdfast.live.stores import where
from holdfast.located import Place, Problems, placed
from holdfast.recording.document import KEY, MODELS, Source, checked, within
from holdfast.recording.documents import Documents, announced, from_files, stored
from holdfast.validation import as_time, either

Given = Mapping[str, str | Sequence[str] | None]
"""Options by their names, as they were written; None or empty where they were not."""

_KEYS: Final = {"--config": "settings", "--file": "files", "--column": "columns", "--label": "labels"}
"""Keys of the document that are not called as the option is."""


@dataclass(frozen=True, slots=True)
class Ways:
    """Where the documents are to come from, as the options say."""

    rollout: Path | None = None
    policy: Path | None = None
    truth: Path | None = None
    beside: Sequence[Path] = ()
    announced: str | None = None
    stored: str | None = None
    stored_from: str | None = None


def documents_of(ways: Ways, config: Path | None, data: Path | None) -> Documents:
    """Load the documents.

    Parameters
    ----------
    ways
        Where they come from.
    config, data
        Settings, and the folder of an embedded store.

    Raises
    ------
    BadInput
        If it is not one way, or what it leads to is not as it should be.
    Unreachable, StoreError
        If whoever is asked does not answer.
    """
    chosen = [ways.rollout is not None, ways.announced is not None, ways.stored is not None]
    if sum(chosen) != 1:
        found = "several" if any(chosen) else "none"
        message = f"--rollout, --announced, --stored: found {found}; allowed: one, which says what was rolled out"
        raise BadInput(message)
    if ways.stored_from is not None and ways.stored is None:
        message = "--stored-from: found without --stored; allowed: with it"
        raise BadInput(message)
    if ways.rollout is not None:
        if ways.policy is None:
            message = "--policy: missing; allowed: the policy.yaml that judges the rollout"
            raise BadInput(message)
        return from_files(ways.rollout, ways.policy, ways.truth, ways.beside)
    if ways.beside:
        message = "--beside: found without --rollout; allowed: with it, as others are taken from where it is announced"
        raise BadInput(message)
    if ways.announced is not None:
        return announced(load_settings(config), ways.announced, ways.policy, ways.truth)
    assert ways.stored is not None
    return stored(where(data, config), ways.stored, ways.stored_from, ways.policy, ways.truth)


def source_of(kind: str, given: Given, documents: Documents, start: str | None, end: str | None) -> Source:
    """Make a source of options.

    Parameters
    ----------
    kind
        What stands behind `--from`.
    given
        The other options about it.
    documents
        What is judged: it says what is needed where the options say nothing, from when to when, and of a Prometheus
        which metrics.
    start, end
        From when and until when, as they were written.

    Raises
    ------
    BadInput
        With every error of the options.
    """
    problems = Problems(f"--from {kind}")
    if kind not in MODELS:
        message = f"--from: found {kind!r}; allowed: {either(list(MODELS))}"
        raise BadInput(message)
    document = Place({KEY: Place(kind, 0, 0, kind)}, 0, 0)
    values = document.mapping()
    wrong: list[str] = []
    for option, value in given.items():
        if value is not None and len(value):
            key = _KEYS.get(option, option.removeprefix("--").replace("-", "_"))
            place = _from(_parsed(option, value, wrong), option)
            if key in _fields(kind):
                values[key] = place
                document.keys[key] = place
            else:
                able = [name for name in MODELS if key in _fields(name)]
                wrong.append(f"{option}: found with --from {kind}; allowed: with --from {either(able)}")
    if kind == "prometheus":
        select = values.setdefault("select", placed({}))
        if "metric" not in select.mapping():
            select.mapping()["metric"] = placed(documents.metrics)
            select.keys["metric"] = placed("metric")
    first, last = _span(documents, start, end, wrong)
    values["start"], values["end"] = _at(first, "--start"), _at(last, "--end")
    try:
        made = within(checked(document, problems), first, last)
    except BadInput as error:
        raise BadInput("\n".join([*wrong, str(error)])) from error
    if wrong:
        raise BadInput("\n".join(wrong))
    return made


def _fields(kind: str) -> set[str]:
    return {each.encode_name for each in msgspec.structs.fields(MODELS[kind])}


def _parsed(option: str, value: str | Sequence[str], wrong: list[str]) -> object:
    if isinstance(value, str):
        return value
    if option == "--column":
        return dict(_pairs(option, value, "ours=theirs, as in time=ts", wrong))
    if option == "--select":
        selected: dict[str, list[str]] = {}
        for label, text in _pairs(option, value, "label=value, as in colo=ams*", wrong):
            selected.setdefault(label, []).append(text)
        return {label: texts[0] if len(texts) == 1 else texts for label, texts in selected.items()}
    return list(value)


def _pairs(option: str, texts: Sequence[str], allowed: str, wrong: list[str]) -> list[tuple[str, str]]:
    found = []
    for text in texts:
        left, sign, right = text.partition("=")
        if sign and left:
            found.append((left, right))
        else:
            wrong.append(f"{option}: found {text!r}; allowed: {allowed}")
    return found


def _from(value: object, option: str) -> Place:
    """Give a value, and what is in it, the option as the place that it came from."""
    plain = placed(value)

    def named(place: Place) -> Place:
        inside = place.value
        if isinstance(inside, dict):
            inside = {key: named(one) for key, one in inside.items()}
        elif isinstance(inside, list):
            inside = [named(one) for one in inside]
        keys = {key: named(one) for key, one in place.keys.items()}
        return Place(inside, 0, 0, place.text, place.size, keys, option)

    return named(plain)


def _at(moment: datetime, option: str) -> Place:
    return Place(moment, 0, 0, moment.isoformat(), source=option)


def _span(documents: Documents, start: str | None, end: str | None, wrong: list[str]) -> tuple[datetime, datetime]:
    """Return the stretch of time that is asked for."""
    first, last = documents.span()
    if end is not None:
        last = _moment("--end", end, wrong, "a time with its zone, as in 2026-03-12T11:20:00Z") or last
    if start is not None:
        try:
            first = last - timedelta(milliseconds=duration_ms(start))
        except ValueError:
            allowed = "a time with its zone, as in 2026-03-12T11:20:00Z, or how long before the end, as in 6h"
            first = _moment("--start", start, wrong, allowed) or first
    return first, last


def _moment(option: str, text: str, wrong: list[str], allowed: str) -> datetime | None:
    moment = as_time(text)
    if moment is None or moment.tzinfo is None:
        wrong.append(f"{option}: found {text!r}; allowed: {allowed}")
        return None
    return moment
