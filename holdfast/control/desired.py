"""Desired state: what each host of a colo is to have, as one message on a compacted topic."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.errors import BadInput
from rollouts.controlled import Before, Deploy, Restore
from rollouts.plans import Seat


class Unit(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A unit as a host is to have it; without a digest it is not to have it at all."""

    digest: str | None
    kind: str


class Wanted(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one host is to have, and by which action of each rollout."""

    units: dict[str, Unit] = {}
    numbers: dict[str, int] = {}


class Desired(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the hosts of a colo are to have."""

    colo: str
    hosts: dict[str, Wanted] = {}


_DECODER: Final = msgspec.json.Decoder(Desired)


def encode(desired: Desired) -> bytes:
    """Write desired state as JSON; equal states give equal bytes."""
    return msgspec.json.encode(desired, order="deterministic")


def decode(raw: bytes) -> Desired:
    """Read desired state.

    Raises
    ------
    BadInput
        If the bytes are none.
    """
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not a colo's desired state: {error}"
        raise BadInput(message) from error


def changed(
    current: Mapping[str, Desired], rollout: str, kinds: Mapping[str, str], effect: Deploy | Restore
) -> list[Desired]:
    """Say what colos are to have after an action; a host that was given a later one of the rollout is left as it is.

    Parameters
    ----------
    current
        What they are to have now, by colo.
    rollout, kinds
        Whose action it is, and the kinds of its units by name.
    effect
        The action.

    Returns
    -------
    list[Desired]
        Of colos that change, sorted; none if the action was done before.
    """
    made: dict[str, dict[str, Wanted]] = {}
    for group in _groups(effect):
        units = {name: Unit(digest=digest, kind=kinds[name]) for name, digest in group.units.items()}
        for seat in group.seats:
            before = _wanted(current, made, seat)
            if before.numbers.get(rollout, 0) >= effect.number:
                continue
            numbers = {**before.numbers, rollout: effect.number}
            made.setdefault(seat.colo, {})[seat.host] = Wanted(units={**before.units, **units}, numbers=numbers)
    return [
        Desired(colo=colo, hosts={**(current[colo].hosts if colo in current else {}), **made[colo]})
        for colo in sorted(made)
    ]


def _groups(effect: Deploy | Restore) -> Iterable[Before]:
    if isinstance(effect, Restore):
        return effect.before
    return [Before(units={unit.unit: unit.digest for unit in effect.units}, seats=effect.seats)]


def _wanted(current: Mapping[str, Desired], made: Mapping[str, Mapping[str, Wanted]], seat: Seat) -> Wanted:
    known = made.get(seat.colo, {}).get(seat.host)
    if known is not None:
        return known
    colo = current.get(seat.colo)
    return (colo.hosts.get(seat.host) if colo is not None else None) or Wanted()
