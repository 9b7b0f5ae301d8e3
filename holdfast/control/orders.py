"""What a webhook or a command is told: an action as the state that hosts are to have, whole and in one message."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from holdfast.control.desired import Unit
from rollouts.controlled import Before, Deploy, Restore
from rollouts.plans import Seat


class Host(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A host, and where it is."""

    host: str
    colo: str
    region: str


class Group(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hosts, and what all of them are to have; units that are not named stay as they are."""

    units: dict[str, Unit]
    hosts: list[Host]


class Order(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An action on hosts.

    Attributes
    ----------
    id
        Names the action, however often it is told, and by whichever worker.
    number
        Grows with each action of the rollout: a host that has done a higher one leaves this one undone.
    action
        `deploy` gives hosts the package, `restore` gives them back what they had.
    """

    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    rollout: str
    number: Annotated[int, Meta(ge=1)]
    action: Literal["deploy", "restore"]
    stage: str
    groups: list[Group]


def order_of(rollout: str, kinds: Mapping[str, str], action: Deploy | Restore) -> Order:
    """Write an action as an order; the same action gives the same bytes.

    Parameters
    ----------
    rollout, kinds
        Whose action it is, and the kinds of its units by name.
    action
        The action.
    """
    groups = [
        Group(
            units={name: Unit(digest=digest, kind=kinds[name]) for name, digest in group.units.items()},
            hosts=[_host(seat) for seat in group.seats],
        )
        for group in _groups(action)
    ]
    what: Literal["deploy", "restore"] = "deploy" if isinstance(action, Deploy) else "restore"
    order = Order(id="", rollout=rollout, number=action.number, action=what, stage=action.stage, groups=groups)
    name = hashlib.sha256(msgspec.json.encode([action.id, order], order="deterministic")).hexdigest()[:32]
    return msgspec.structs.replace(order, id=name)


def encode(order: Order) -> bytes:
    """Write an order as JSON."""
    return msgspec.json.encode(order, order="deterministic")


def hosts_of(order: Order) -> int:
    """Count the hosts of an order."""
    return sum(len(group.hosts) for group in order.groups)


def _groups(action: Deploy | Restore) -> list[Before]:
    if isinstance(action, Restore):
        return action.before
    return [Before(units={unit.unit: unit.digest for unit in action.units}, seats=action.seats)]


def _host(seat: Seat) -> Host:
    return Host(host=seat.host, colo=seat.colo, region=seat.region)
