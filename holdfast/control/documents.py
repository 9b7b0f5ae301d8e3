"""Documents of control: plans, inventories and limits, each with all its errors at once."""

from pathlib import Path
from typing import TypeVar

from holdfast.errors import BadInput
from holdfast.validation import load
from rollouts.breakers import Limits
from rollouts.freezes import problems as freeze_problems
from rollouts.inventory import Inventory
from rollouts.inventory import problems as inventory_problems
from rollouts.plans import Plan

_Document = TypeVar("_Document", Plan, Inventory, Limits)


def load_plan(path: Path) -> Plan:
    """Read a plan; what ties it to a fleet is looked at when it is resolved.

    Raises
    ------
    BadInput
        With every error of the file, one a line.
    """
    return load(path, Plan)


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
