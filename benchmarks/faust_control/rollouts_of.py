"""The fleet and the plans of the trial, and what is kept of a rollout."""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from detectors.policy import Metric, Policy
from rollouts.controlled import Event, Submitted
from rollouts.document import Unit
from rollouts.inventory import Host, Inventory, Reach
from rollouts.packages import digest_of
from rollouts.plans import Most, Plan, PlanStage, resolve
from rollouts.reports import Report

STAGES: Final = 8
PARTITIONS: Final = 4
OLD: Final = digest_of(b"old")
NEW: Final = digest_of(b"new")
POLICY: Final = Policy(policy="edge", metrics=[Metric(name="busy", gauge="cpu", worse="increase", breach="halt")])
FLEET: Final = Inventory(
    hosts=[
        Host(host=f"c{colo}-h{host}", colo=f"c{colo}", region=f"r{colo % 2}") for colo in range(4) for host in range(10)
    ]
)


class Kept(Struct, kw_only=True):
    """What a table holds of a rollout: its history, and what its hosts have reported."""

    events: list[Event] = []
    reports: dict[str, Report] = {}


DECODER: Final = msgspec.json.Decoder(Kept)


def hosts_of(stage: str) -> list[Host]:
    """List the hosts of a stage, of which each has its number in its name."""
    return [host for host in FLEET.hosts if host.host.endswith(f"h{stage[1:]}")]


def submitted(name: str, now: datetime) -> Submitted:
    """Submit the plan of a rollout, which nothing holds back for long."""
    stages = [
        PlanStage(
            name=f"s{number}",
            reach=Reach(hosts={"host": f"c*-h{number}"}),
            most=Most(fleet=0.9, region=1.0),
            bake="100ms",
            deadline="30d",
            apply_within="1d",
        )
        for number in range(STAGES)
    ]
    unit = Unit(unit=f"u/{name}", kind="data-file", digest=NEW)
    plan = Plan(rollout=name, package=[unit], stages=stages, policy="edge", rest="hold")
    return Submitted(at=now, by="trial", unit="host", resolved=resolve(plan, FLEET, {}), policy=POLICY)


def reports(name: str, hosts: list[Host], number: int, now: datetime) -> list[Report]:
    """Report that hosts have done an action; number 0 is what they had before."""
    return [
        Report(
            host=host.host,
            colo=host.colo,
            region=host.region,
            sequence=1 + number,
            at=now,
            units={f"u/{name}": NEW if number else OLD},
            numbers={name: number},
        )
        for host in hosts
    ]
