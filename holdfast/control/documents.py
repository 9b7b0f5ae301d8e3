"""Documents of control: plans, inventories and limits, each with all its errors at once."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from detectors.policy import Duration
from holdfast.errors import BadInput
from holdfast.located import Place, Problems, read
from holdfast.validation import load
from rollouts.breakers import Limits
from rollouts.freezes import problems as freeze_problems
from rollouts.inventory import Inventory
from rollouts.inventory import problems as inventory_problems
from rollouts.plans import Plan, Resolved, advice, problems, resolve

_Document = TypeVar("_Document", Plan, Inventory, Limits)

_BEGINNING: Final = re.compile(r"(\w+)(?:\[(\d+)\])?")
"""How a place in a plan begins, as in `stages[0] (canary)`."""


def load_plan(path: Path) -> Plan:
    """Read a plan; what ties it to a fleet is looked at when it is resolved.

    Raises
    ------
    BadInput
        With every error of the file, one a line.
    """
    return load(path, Plan)


def resolved_of(path: Path, plan: Plan, fleet: Inventory) -> Resolved:
    """Resolve the plan of a file against a fleet, as if all rollouts were known that it waits for.

    Raises
    ------
    BadInput
        With everything that is wrong with it, one a line, each with the line where it stands.
    """
    known = {name: msgspec.structs.replace(plan, rollout=name, after=[]) for name in plan.after if name != plan.rollout}
    _noted(path, problems(plan, fleet, known)).refuse()
    return resolve(plan, fleet, known)


def advised(path: Path, plan: Plan, tick: Duration) -> list[str]:
    """Say what is allowed in the plan of a file, and yet seldom meant, each with the line where it stands."""
    return _noted(path, advice(plan, tick)).lines()


def _noted(path: Path, said: Iterable[str]) -> Problems:
    noted = Problems(str(path))
    document = read(path, noted)
    for each in said:
        where, _, text = each.partition(": ")
        noted.add(_place(document, where), where, text)
    return noted


def _place(document: Place, where: str) -> Place:
    begins = _BEGINNING.match(where)
    found = document if begins is None else document.child(begins[1]) or document
    index = None if begins is None or begins[2] is None else int(begins[2])
    items = found.items()
    return found if index is None or index >= len(items) else items[index]


def load_inventory(path: Path) -> Inventory:
    """Read an inventory; raises as `load_plan` does."""
    return _checked(path, found := load(path, Inventory), inventory_problems(found))


def load_limits(path: Path) -> Limits:
    """Read limits; raises as `load_plan` does."""
    return _checked(path, found := load(path, Limits), freeze_problems(found.freezes))


def _checked(path: Path, found: _Document, problems: list[str]) -> _Document:
    if problems:
        raise BadInput("\n".join(f"{path}: {problem}" for problem in problems))
    return found
