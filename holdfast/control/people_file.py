"""Reading people documents: YAML into the typed model, or every error of a file at once."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from detectors.policy import duration_ms
from holdfast.errors import BadInput
from holdfast.live.settings import Settings
from holdfast.located import Place, Problems, join, quoted
from holdfast.validation import as_time, load, repeated
from rollouts.people import People, Roster, roster


def load_people(path: str | Path) -> People:
    """Read a people document.

    Raises
    ------
    BadInput
        With every error of the file, one a line, in the order of the document.
    """
    return load(path, People, _unique, _keys, _rules)


def load_roster(settings: Settings, path: Path | None = None) -> Roster:
    """Read the people of the settings, or of a file in their place, and the former ones.

    Raises
    ------
    BadInput
        If none are named, or with every error of all files.
    """
    named = settings.people if path is None else str(path)
    if named is None:
        message = "people: found nothing; allowed: the path of a people document, in the settings or by --people"
        raise BadInput(message)
    found: list[People] = []
    errors: list[str] = []
    for each in (named, *settings.former_people):
        try:
            found.append(load_people(each))
        except BadInput as error:
            errors.append(str(error))
    if errors:
        raise BadInput("\n".join(errors))
    return roster(found[0], found[1:])


def _people(document: Place) -> Iterator[tuple[str, Place]]:
    people = document.child("people")
    for index, person in enumerate(people.items() if people else []):
        yield join("people", index), person


def _keys_of(document: Place) -> Iterator[tuple[str, Place]]:
    for path, person in _people(document):
        keys = person.child("keys")
        for index, key in enumerate(keys.items() if keys else []):
            yield join(f"{path}.keys", index), key


def _unique(document: Place, problems: Problems) -> None:
    """Note names, ids and keys that are there twice: a person who is two people would have two votes."""
    for places, name, why in (
        (_people(document), "name", "each person once"),
        (_keys_of(document), "id", "each id once"),
        (_keys_of(document), "public", "a key of one's own for everybody, and once"),
    ):
        for path, found, text, first in repeated(places, name):
            said = f"found {quoted(text)}, which {first}.{name} is already; allowed: {why}"
            problems.add(found, f"{path}.{name}", said)


def _keys(document: Place, problems: Problems) -> None:
    for path, key in _keys_of(document):
        since, until = key.child("since"), key.child("until")
        begin, end = (as_time(place.value) if place else None for place in (since, until))
        if until and begin and end and begin.tzinfo and end.tzinfo and end <= begin:
            problems.add(until, f"{path}.until", f"found {until.text}; allowed: later than since")


def _rules(document: Place, problems: Problems) -> None:
    """Note rules that nobody can ever fulfil, and roles that nobody has."""
    have: Counter[str] = Counter()
    both: list[set[str]] = []
    for _, person in _people(document):
        roles = person.child("roles")
        names = {name for each in (roles.items() if roles else []) if (name := each.string())}
        have.update(names)
        both.append(names)
    overrides = document.child("overrides")
    if overrides and isinstance(overrides.value, dict) and not overrides.value:
        problems.add(overrides, "overrides", "found an empty mapping; allowed: a rule for at least one override")
    for kind, rule in overrides.mapping().items() if overrides else []:
        _rule(rule, join("overrides", kind), have, both, problems)


def _rule(rule: Place, path: str, have: Counter[str], both: list[set[str]], problems: Problems) -> None:
    role, asked_by, approvals, longest = (rule.child(name) for name in ("role", "asked_by", "approvals", "longest"))
    text = longest.string() if longest else None
    if longest and text is not None and _is_zero(text):
        problems.add(longest, f"{path}.longest", f"found {quoted(text)}; allowed: longer than 0")
    for name, place in (("role", role), ("asked_by", asked_by)):
        wanted = place.string() if place else None
        if place and wanted is not None and not have[wanted]:
            roles = ", ".join(sorted(have)) or "none, as nobody has one"
            problems.add(place, f"{path}.{name}", f"found {quoted(wanted)}, which nobody has; allowed: {roles}")
    needed, wanted = approvals.value if approvals else None, role.string() if role else None
    if approvals is None or type(needed) is not int or wanted is None or not have[wanted]:
        return
    asking = asked_by.string() if asked_by else None
    askers = [names for names in both if asking is None or asking in names]
    most = max((have[wanted] - (wanted in names) for names in askers), default=needed)
    if needed > most:
        said = f"found {needed}, but whatever a person asks for, at most {most} others have the role {quoted(wanted)}"
        problems.add(approvals, f"{path}.approvals", f"{said}; allowed: at most {most}")


def _is_zero(text: str) -> bool:
    try:
        return duration_ms(text) == 0
    except ValueError:
        return False
