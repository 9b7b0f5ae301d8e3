"""What cohort ticks say about the fleet: where the traffic is, and how far each rollout has come."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from detectors.policy import Policy
from rollouts.announced import decode
from streams.live.frames import Header, Planned, header_of
from streams.membership import NOT_REACHED

_NEEDED: Final = ["metric", "colo", "signature", "units", "squares"]


@dataclass(frozen=True, slots=True)
class Reach:
    """The fleet in one tick.

    Attributes
    ----------
    traffic
        Share of all events of the policy's first ratio, by colo; None if the policy has no ratio, or nothing came.
    colos
        Colos that have units with the change, by rollout.
    hosts_share
        Share of the units that report which have the change, by rollout.
    """

    traffic: Mapping[str, float] | None
    colos: Mapping[str, frozenset[str]]
    hosts_share: Mapping[str, float]


def reach_of(frames: Sequence[bytes]) -> Reach | None:
    """Read the frames of one rollout's tick, one for each source partition; None if one of those is missing.

    Raises
    ------
    FrameError, BadInput
        If one of them is no frame, or brings no announcement.
    """
    headers = [header_of(frame) for frame in frames]
    if not headers or len({each.source for each in headers}) < sum(headers[0].sources.values()):
        return None
    policy = decode(bytes(headers[0].announcement)).policy
    events = defaultdict[str, float](float)
    hosts = defaultdict[str, float](float)
    reached: dict[str, defaultdict[str, float]] = {}
    for header, frame in zip(headers, frames, strict=True):
        if header.kind == "tick":
            _add(header, frame, policy, events, hosts, reached)
    total, fleet = sum(events.values()), sum(hosts.values())
    return Reach(
        {colo: count / total for colo, count in events.items()} if total > 0.0 else None,
        {name: frozenset(colo for colo, count in mine.items() if count > 0.0) for name, mine in reached.items()},
        {name: sum(mine.values()) / fleet for name, mine in reached.items()} if fleet > 0.0 else {},
    )


def _add(
    header: Header,
    frame: bytes,
    policy: Policy,
    events: defaultdict[str, float],
    hosts: defaultdict[str, float],
    reached: dict[str, defaultdict[str, float]],
) -> None:
    counted, reporting = _counted(policy), len(policy.metrics)
    having = _having(header.planned, header.signatures, header.tick)
    for each in header.planned:
        reached.setdefault(each.rollout, defaultdict(float))
    with pa.ipc.open_stream(pa.py_buffer(frame)) as stream:
        table = stream.read_all().select(_NEEDED)
    wanted = pa.array([reporting] if counted is None else [counted, reporting], pa.int32())
    for row in table.filter(pc.is_in(table["metric"], value_set=wanted)).to_pylist():
        colo = str(row["colo"])
        if row["metric"] == counted:
            if row["units"] > 0.0:  # where nobody has counted, nobody knows
                events[colo] += float(row["squares"])
            continue
        hosts[colo] += float(row["units"])
        for name in having[row["signature"]]:
            reached[name][colo] += float(row["units"])


def _counted(policy: Policy) -> int | None:
    """Return the position of what traffic is counted by: the first ratio, one of the service itself if there is."""
    ratios = [number for number, metric in enumerate(policy.metrics) if metric.ratio is not None]
    own = [number for number in ratios if not policy.metrics[number].select]
    return next(iter([*own, *ratios]), None)


def _having(planned: Sequence[Planned], signatures: Sequence[Sequence[int]], tick: int) -> list[list[str]]:
    """Name, for each signature, the rollouts whose change units of that signature have."""
    found: list[list[str]] = []
    for row in signatures:
        names, at = list[str](), 0
        for each in planned:
            stage = row[at]
            started = each.stages[stage].started if stage != NOT_REACHED else None
            if started is not None and started <= tick:
                names.append(each.rollout)
            at += 1 + len(each.stages)
        found.append(names)
    return found
