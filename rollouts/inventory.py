"""The fleet: hosts with labels, and which of them a stage reaches. Once a rollout is announced, that is fixed.

A percentage picks hosts by where a hash of rollout and host falls. So whether a host is picked does not depend on
which other hosts there are, a larger percentage picks every host that a smaller one does, and each rollout begins with
other hosts.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Final

from msgspec import Meta, Struct

from detectors.policy import LabelName, Name, Selector

HOSTS_MAX: Final = 100_000
"""Most hosts of a fleet."""

_POINTS: Final = 1 << 64
_GLOB: Final = re.compile(r"[*?\[\]]")


class Host(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The smallest thing that gets a change. Its name is that of no other host of the fleet."""

    host: Name
    colo: Name
    region: Name
    labels: dict[LabelName, str] = {}


class Inventory(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The inventory document: all hosts, and segments of customers as selectors of the hosts that serve them."""

    hosts: Annotated[list[Host], Meta(min_length=1, max_length=HOSTS_MAX)]
    segments: dict[Name, Selector] = {}


class Reach(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which hosts a stage reaches: those that match everything that is said.

    `hosts` selects by `host`, `colo`, `region` and labels; `segment` names some of the inventory's; `percent` is the
    part of the rest, by consistent hashing, the hosts of smaller percentages among them.
    """

    hosts: Selector = {}
    segment: Name | None = None
    percent: Annotated[float, Meta(gt=0, le=100)] = 100.0


def problems(inventory: Inventory) -> list[str]:
    """Say everything that is wrong with an inventory beyond its types."""
    found: list[str] = []
    first: dict[str, int] = {}
    regions: dict[str, str] = {}
    for index, host in enumerate(inventory.hosts):
        place = f"hosts[{index}] ({host.host})"
        if host.host in first:
            found.append(f"{place}: host: the name of hosts[{first[host.host]}] too; allowed: each name once")
        first.setdefault(host.host, index)
        if _GLOB.search(host.host):
            found.append(f"{place}: host: allowed: a name without *, ?, [ and ], which selectors take for a pattern")
        taken = sorted({"host", "colo", "region"} & host.labels.keys())
        if taken:
            found.append(f"{place}: labels: found {', '.join(taken)}; allowed: other names than the host's own keys")
        region = regions.setdefault(host.colo, host.region)
        if region != host.region:
            found.append(f"{place}: region: found {host.region!r}; its colo {host.colo!r} is in {region!r}")
    return found


def point(salt: str, host: str) -> float:
    """Tell where a host falls, from 0 to below 1: the same for ever, and evenly spread.

    Examples
    --------
    >>> round(point("bots", "ams01-1"), 3), round(point("routes", "ams01-1"), 3)
    (0.296, 0.558)
    """
    digest = hashlib.sha256(f"{salt}\n{host}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _POINTS


def reached(inventory: Inventory, reach: Reach, salt: str) -> list[str]:
    """List the hosts that a stage reaches, sorted by name.

    Parameters
    ----------
    inventory
        The fleet.
    reach
        What the stage says. A segment that the inventory does not have holds no host.
    salt
        The rollout's name.
    """
    segment = {} if reach.segment is None else inventory.segments.get(reach.segment)
    if segment is None:
        return []
    return sorted(
        host.host
        for host in inventory.hosts
        if matches(host, reach.hosts)
        and matches(host, segment)
        and (reach.percent >= 100 or point(salt, host.host) * 100 < reach.percent)
    )


def matches(host: Host, selector: Selector) -> bool:
    """Tell whether all labels of a selector match a host, as they match a series: values, lists or globs."""
    known: Mapping[str, str] = {**host.labels, "host": host.host, "colo": host.colo, "region": host.region}
    for label, wanted in selector.items():
        patterns: Sequence[str] = [wanted] if isinstance(wanted, str) else wanted
        value = known.get(label, "")
        if not any(fnmatchcase(value, pattern) for pattern in patterns) or (not value and "" not in patterns):
            return False
    return True
