"""The library: which incidents there are, what is known of the real ones, and what is right to say of each."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from detectors.errors import BadInput
from streams.incidents import harms
from streams.incidents.harms import Change

HARMLESS: Final = "-harmless"
"""How the name of a harmless twin ends."""


@dataclass(frozen=True, slots=True)
class Real:
    """What is known of the incident that a recording mimics.

    Attributes
    ----------
    what, when
        What happened, in a few words, and on which day.
    source
        Where it is told: title and address.
    seen_minutes, mitigated_minutes
        From the first harm until somebody knew, and until it was mitigated. None if that is not told, or if there is no
        single incident.
    seen
        What is taken for having been seen.
    """

    what: str
    when: str
    source: tuple[str, str]
    seen_minutes: int | None
    mitigated_minutes: int | None
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident of the library.

    Attributes
    ----------
    name, title
        Its name, and what happens in a line.
    started
        When the rollout starts.
    unit, kind
        What changes, as in the rollout's package.
    colos, hosts, canary_hosts
        Size of the fleet, as it usually is.
    pre_ticks, live_ticks, onset_ticks
        Ticks before and after the start, and from the start to the harm.
    bake, deadline, settle
        Of the only stage, as documents write them; no settle for changes that restart nothing.
    around, harm
        What happens to all, and what the change does; None for nothing.
    hurt
        Part of the colos in which it hurts.
    region
        Number of the only region that is hurt; None if it is not about a region.
    action, metrics, within
        What is right to say of it, which metrics show it, and by how many ticks after the onset it should be said.
    is_overlapping
        Whether a second rollout is under way, on hosts that cross those of the first one.
    real
        The incident that it mimics.
    """

    name: str
    title: str
    started: datetime
    unit: str
    kind: str
    colos: int = 12
    hosts: int = 10
    canary_hosts: int = 2
    regions: int = 4
    pre_ticks: int = 360
    live_ticks: int = 240
    onset_ticks: int
    bake: str = "20m"
    deadline: str = "1h"
    settle: str | None = None
    around: Change | None = None
    harm: Change | None
    hurt: float = 1.0
    region: int | None = None
    action: str = ""
    metrics: tuple[str, ...] = ()
    within: int = 0
    is_overlapping: bool = False
    real: Real


NOVEMBER: Final = Real(
    "a generated file of bot features doubles in size, and the proxy that reads it crashes",
    "2025-11-18",
    ("Cloudflare outage on November 18, 2025", "https://blog.cloudflare.com/18-november-2025-outage/"),
    3,
    182,
    "first errors on customers' traffic at 11:28 UTC, the first automated test that fails at 11:31, most services well "
    "again at 14:30",
)
DECEMBER: Final = Real(
    "a global flag switches a test tool off, and an old proxy fails on all that passes the managed rules",
    "2025-12-05",
    ("Cloudflare outage on December 5, 2025", "https://blog.cloudflare.com/5-december-2025-outage/"),
    3,
    25,
    "changed at 08:47 UTC, an incident declared after automated alerts at 08:50, reverted everywhere at 09:12",
)
FEBRUARY: Final = Real(
    "a task that cleans up withdraws customers' prefixes, one after the other",
    "2026-02-20",
    ("Cloudflare outage on February 20, 2026", "https://blog.cloudflare.com/cloudflare-outage-february-20-2026/"),
    17,
    307,
    "first prefixes withdrawn at 17:56 UTC, people engaged for failures at 18:13, the task found and stopped at 18:46, "
    "the last prefixes back at 23:03",
)
JUNE: Final = Real(
    "a third party's storage fails, and with it what depends on it",
    "2025-06-12",
    ("Cloudflare service outage June 12, 2025", "https://blog.cloudflare.com/cloudflare-service-outage-june-12-2025/"),
    None,
    148,
    "2 hours and 28 minutes in all; it was nobody's rollout, so there was nothing to stop",
)
HONEYCOMB: Final = Real(
    "a release leaks memory on all hosts alike, which run out of it at the same time",
    "2019-11-06",
    (
        "Incident Report: Running Dry on Memory Without Noticing",
        "https://www.honeycomb.io/blog/incident-report-running-dry-on-memory-without-noticing",
    ),
    None,
    None,
    "the brownouts were seen within minutes, their cause after several hours",
)
JULY: Final = Real(
    "a new firewall rule needs all the processors' time",
    "2019-07-02",
    (
        "Details of the Cloudflare outage on July 2, 2019",
        "https://blog.cloudflare.com/details-of-the-cloudflare-outage-on-july-2-2019/",
    ),
    None,
    None,
    "only its kind is mimicked; it was sudden, and seen within 3 minutes",
)
TAIL: Final = Real(
    "no single incident: the slowest hundredth of the requests, which averages hide",
    "",
    ("J. Dean, L. Barroso, The Tail at Scale, CACM 56(2), 2013", "https://doi.org/10.1145/2408776.2408794"),
    None,
    None,
    "no single incident",
)

INCIDENTS: Final = (
    Incident(
        name="feature-file",
        title="a generated file doubles in size and crashes a proxy; good and bad ones alternate",
        started=datetime(2025, 11, 18, 11, 23, tzinfo=UTC),
        unit="bot-management/features.bin",
        kind="data-file",
        onset_ticks=30,
        settle="1m",
        harm=harms.feature_file,
        action="revert",
        metrics=("errors_bots",),
        within=8,
        real=NOVEMBER,
    ),
    Incident(
        name="global-flag",
        title="a flag breaks one kind of traffic at once",
        started=datetime(2025, 12, 5, 8, 47, tzinfo=UTC),
        unit="waf/testing-tool",
        kind="flag",
        onset_ticks=0,
        harm=harms.flag,
        hurt=0.5,
        action="revert",
        metrics=("errors_rules",),
        within=8,
        real=DECEMBER,
    ),
    Incident(
        name="prefixes-withdrawn",
        title="prefixes are withdrawn step by step; traffic vanishes without an error",
        started=datetime(2026, 2, 20, 17, 55, tzinfo=UTC),
        unit="addressing/cleanup",
        kind="scheduled-task",
        live_ticks=330,
        onset_ticks=6,
        bake="45m",
        harm=harms.withdrawn,
        action="halt",
        metrics=("requests",),
        within=220,
        real=FEBRUARY,
    ),
    Incident(
        name="memory-leak",
        title="memory leaks slowly, by a fifth in an hour",
        started=datetime(2026, 4, 14, 9, 0, tzinfo=UTC),
        unit="ingest",
        kind="package",
        colos=8,
        hosts=8,
        pre_ticks=360,
        live_ticks=900,
        onset_ticks=6,
        bake="2h",
        deadline="3h",
        settle="1m",
        harm=harms.leak,
        action="halt",
        metrics=("memory",),
        within=240,
        real=HONEYCOMB,
    ),
    Incident(
        name="regional-tail",
        title="the slowest requests of one region get slower, and no others",
        started=datetime(2026, 5, 19, 14, 0, tzinfo=UTC),
        unit="edge/upstreams",
        kind="configuration",
        onset_ticks=12,
        settle="1m",
        harm=harms.tail,
        region=0,
        action="revert",
        metrics=("latency_p99",),
        within=20,
        real=TAIL,
    ),
    Incident(
        name="under-the-peak",
        title="a change makes requests cost more processor time while the day's peak comes",
        started=datetime(2026, 6, 9, 7, 30, tzinfo=UTC),
        unit="waf/managed-rules",
        kind="rules",
        onset_ticks=12,
        settle="1m",
        around=harms.peak_around,
        harm=harms.costly,
        action="halt",
        metrics=("cpu",),
        within=45,
        real=JULY,
    ),
    Incident(
        name="someone-elses-outage",
        title="a harmless change, while a service that everybody depends on is away",
        started=datetime(2025, 6, 12, 17, 45, tzinfo=UTC),
        unit="edge/headers",
        kind="configuration",
        onset_ticks=42,
        settle="1m",
        around=harms.outage_around,
        harm=None,
        real=JUNE,
    ),
    Incident(
        name="overlapping-rollouts",
        title="two rollouts cross: one breaks some of the traffic, the other is harmless",
        started=datetime(2025, 12, 5, 8, 47, tzinfo=UTC),
        unit="waf/testing-tool",
        kind="flag",
        hosts=12,
        canary_hosts=4,
        colos=10,
        onset_ticks=6,
        harm=harms.some_rules,
        action="revert",
        metrics=("errors_rules",),
        within=12,
        is_overlapping=True,
        real=DECEMBER,
    ),
)

BY_NAME: Final = {incident.name: incident for incident in INCIDENTS}


def names() -> list[str]:
    """Return the names of all recordings that can be made: each incident, and its twin if the change does harm."""
    return [
        name
        for incident in INCIDENTS
        for name in (incident.name, *([incident.name + HARMLESS] if incident.harm else []))
    ]


def find(name: str) -> tuple[Incident, bool]:
    """Return the incident of a recording's name, and whether the change does harm in it.

    Raises
    ------
    BadInput
        If there is none of that name.
    """
    if name not in names():
        msg = f"incident {name!r}: there is none of that name; there are: {', '.join(names())}"
        raise BadInput(msg)
    incident = BY_NAME[name.removesuffix(HARMLESS)]
    return incident, name == incident.name and incident.harm is not None
