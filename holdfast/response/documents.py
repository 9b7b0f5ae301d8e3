"""Reading response documents: YAML into the typed model, or every error of a file at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detectors.policy import duration_ms
from holdfast.live.settings import Settings
from holdfast.located import Place, Problems, join, quoted
from holdfast.validation import load, repeated
from rollouts.incidents.response import Response

NOBODY: Final = Response(response="none")
"""What counts without a document: incidents are opened, and nobody is told."""


def response_of(settings: Settings) -> Response:
    """Read the document that the settings name; without one, `NOBODY`. Raises as `load_response` does."""
    named = settings.response.document
    return NOBODY if named is None else load_response(named)


def load_response(path: str | Path) -> Response:
    """Read a response document.

    Raises
    ------
    BadInput
        With every error of the file, one a line, in the order of the document.
    """
    return load(path, Response, _unique, _recipients, _components, _order)


def _items(document: Place, key: str) -> Iterator[tuple[str, Place]]:
    found = document.child(key)
    for index, each in enumerate(found.items() if found else []):
        yield join(key, index), each


def _names(document: Place, key: str) -> list[str]:
    found = (each.child("name") for _, each in _items(document, key))
    return [name for each in found if each and (name := each.string())]


def _unique(document: Place, problems: Problems) -> None:
    for key in ("components", "recipients"):
        for path, found, text, first in repeated(_items(document, key), "name"):
            problems.add(found, f"{path}.name", f"found {quoted(text)}, as in {first}; allowed: each name once")


def _recipients(document: Place, problems: Problems) -> None:
    """Note that somebody is to be told who is no recipient: nobody would hear of it."""
    known = _names(document, "recipients")
    rules = [*_items(document, "rules"), *_items(document, "escalation")]
    places = [(f"{path}.tell", each.child("tell")) for path, each in rules]
    for path, tell in [*places, ("drills", document.child("drills"))]:
        for index, each in enumerate(tell.items() if tell else []):
            text = each.string()
            if text is not None and text not in known:
                said = f"found {quoted(text)}; allowed: {', '.join(known) or 'none, as there are no recipients'}"
                problems.add(each, join(path, index), said)


def _components(document: Place, problems: Problems) -> None:
    """Note services without a glob that are no component: no incident would ever be of them."""
    known = _names(document, "components")
    for key in ("grades", "rules"):
        for path, each in _items(document, key):
            services = each.child("services")
            for index, one in enumerate(services.items() if services else []):
                text = one.string()
                if text is not None and not set(text) & set("*?[") and text not in known:
                    said = f"found {quoted(text)}; allowed: a glob, or {', '.join(known) or 'a component'}"
                    problems.add(one, join(f"{path}.services", index), said)


def _order(document: Place, problems: Problems) -> None:
    """Note a step that comes before the one above it: they are taken in their order."""
    last = -1
    for path, each in _items(document, "escalation"):
        after = each.child("after")
        text = after.string() if after else None
        try:
            length = None if text is None else duration_ms(text)
        except ValueError:
            continue
        if after is not None and length is not None:
            if length < last:
                said = f"found {quoted(text or '')}; allowed: not before the step above it"
                problems.add(after, f"{path}.after", said)
            last = max(last, length)
