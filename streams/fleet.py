"""A simulated fleet, written as a recording: to try holdfast on, and to measure it by.

The numbers come from `streams.simulation`; here they become a folder that `holdfast replay` reads.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from detectors.errors import BadInput
from streams.choices import Scenario
from streams.simulation import SERIES, Scrapes, Shape, simulate
from streams.writing import put_in_place, schema_of, spread, write_samples

__all__ = ["Fleet", "Scenario", "write"]

STARTED_S: Final = 1_773_314_400
"""When simulated rollouts start, in epoch seconds: 2026-03-12 11:20:00 UTC."""

LABELS: Final = ("metric", "colo", "host", "region", "cohort", "le")
SCHEMA: Final = schema_of(LABELS)

PLACES: Final = {
    "eu": ("ams", "fra", "lhr", "cdg", "mad", "waw", "arn", "mxp", "vie", "zrh"),
    "us": ("iad", "sjc", "ord", "dfw", "sea", "atl", "mia", "den", "bos", "lax"),
    "ap": ("nrt", "sin", "syd", "hkg", "bom", "icn", "kix", "mel", "bkk", "tpe"),
    "sa": ("gru", "eze", "scl", "bog", "lim", "gig", "for", "ccs", "uio", "mvd"),
    "af": ("jnb", "nbo", "cpt", "los", "cai", "acc", "tun", "dkr", "add", "kgl"),
    "me": ("dxb", "doh", "ruh", "bah", "kwi", "amm", "bey", "mct", "jed", "tlv"),
}
"""Regions, and the places in them after which colos are named."""

TRUTHS: Final[dict[Scenario, tuple[str, str]]] = {
    "errors": ("revert", "errors"),
    "latency": ("revert", "latency_p99"),
    "cpu": ("halt", "cpu"),
    "silent": ("halt", "reporting_hosts"),
}
"""For each scenario the action that is right, and the metric that shows the harm."""

ROLLOUT: Final = """\
rollout: {rollout}
package:
  - {{unit: bot-management/features.bin, kind: data-file, digest: "sha256:{digest}"}}
started: {started}
stages:
  - name: canary
    canary: {{cohort: canary}}
    control: {{cohort: control}}
    bake: {bake}
    deadline: {deadline}
    settle: {settle}
policy: edge-http
"""

POLICY: Final = """\
policy: edge-http
tick: {tick}s
alpha: 0.01
metrics:
  - {{name: errors, ratio: {{bad: http_5xx, total: http_requests}}, worse: increase,
     tolerate: {{relative: 0.10, absolute: 0.00005}}, breach: revert}}
  - {{name: cpu, gauge: cpu_busy, worse: increase, tolerate: {{relative: 0.05}}, breach: halt}}
  - {{name: memory, gauge: mem_bytes, worse: increase, tolerate: {{relative: 0.10}}, breach: halt}}
  - {{name: latency_p99, histogram: http_seconds_bucket, quantile: 0.99, worse: increase,
     tolerate: {{relative: 0.10}}, breach: revert}}
  - {{name: requests, counter: http_requests, worse: either, tolerate: {{relative: 0.25}}, breach: halt,
     required: true}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What to simulate.

    Parameters
    ----------
    colos, hosts, canary_hosts
        Locations, hosts in each of them, and how many of these get the change first.
    regions
        Groups of colos, whose days begin at different times.
    pre_ticks, live_ticks, tick_s
        Ticks before and after the rollout starts, and the length of a tick in seconds.
    seed
        The same fleet with the same seed is the same recording, byte for byte.
    scenario
        What the change does to its canaries: more errors, more latency, more load on the processors, or
        silence; None is a harmless change.
    size
        By what factor it does that.
    hurt
        In how many colos.
    onset_ticks
        How many ticks after the start.

    Raises
    ------
    BadInput
        If there can be no such fleet.
    """

    seed: int
    colos: int = 20
    hosts: int = 10
    canary_hosts: int = 2
    regions: int = 4
    pre_ticks: int = 180
    live_ticks: int = 240
    tick_s: int = 10
    scenario: Scenario | None = None
    size: float = 3.0
    hurt: int = 3
    onset_ticks: int = 12

    def __post_init__(self) -> None:
        checks = [
            (self.seed >= 0, "seed must be 0 or more"),
            (self.colos >= 1, "colos must be 1 or more"),
            (self.canary_hosts >= 1, "canary_hosts must be 1 or more"),
            (
                self.hosts > self.canary_hosts,
                "hosts must be more than canary_hosts, or there is no control",
            ),
            (1 <= self.regions <= len(PLACES), f"regions must be 1 to {len(PLACES)}"),
            (self.pre_ticks >= 1, "pre_ticks must be 1 or more"),
            (self.live_ticks >= 2, "live_ticks must be 2 or more"),
            (1 <= self.tick_s <= 3_600, "tick_s must be 1 to 3600"),
            (self.scenario in (None, *get_args(Scenario)), f"scenario must be one of {', '.join(TRUTHS)}"),
            (0 < self.size < float("inf"), "size must be a factor above 0"),
            (self.scenario is None or 1 <= self.hurt <= self.colos, "hurt must be 1 to the number of colos"),
            (
                self.scenario is None or 0 <= self.onset_ticks < self.live_ticks,
                "onset_ticks must be 0 or more, and less than live_ticks",
            ),
        ]
        problems = [f"simulated fleet: {rule}" for holds, rule in checks if not holds]
        if problems:
            raise BadInput("\n".join(problems))

    def shape(self) -> Shape:
        """Return what the simulation needs to know."""
        return Shape(
            colos=self.colos,
            hosts=self.hosts,
            canary_hosts=self.canary_hosts,
            regions=self.regions,
            ticks=self.pre_ticks + self.live_ticks,
            tick_s=self.tick_s,
            start=self.pre_ticks,
            onset=self.pre_ticks + self.onset_ticks,
            scenario=self.scenario,
            size=self.size,
            hurt=self.hurt if self.scenario else 0,
        )

    def colo_names(self) -> list[tuple[str, str]]:
        """Return region and name of each colo."""
        return colo_names(self.colos, self.regions)

    def tick_end_s(self, tick: int) -> int:
        """Return when a tick of the recording ends, in epoch seconds."""
        return STARTED_S - STARTED_S % self.tick_s + (tick - self.pre_ticks + 1) * self.tick_s

    def first_scrape(self, tick: int) -> str:
        """Return a time before every scrape of a tick and after every scrape of the one before."""
        time_s = self.tick_end_s(tick) - (self.tick_s - 1)
        stamp = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time_s)
        return stamp.isoformat().replace("+00:00", "Z")


def colo_names(colos: int, regions: int) -> list[tuple[str, str]]:
    """Return region and name of each of so many colos, which take turns in the regions."""
    names = []
    for colo in range(colos):
        number, region = divmod(colo, regions)
        name = list(PLACES)[region]
        again, place = divmod(number, len(PLACES[name]))
        names.append((name, f"{PLACES[name][place]}{again + 1:02d}"))
    return names


def write(fleet: Fleet, folder: Path) -> None:
    """Simulate a fleet and write it as a recording, whose rollout bears the folder's name.

    The folder appears whole or not at all. An earlier recording in its place is replaced.

    Raises
    ------
    BadInput
        If something else than a recording is in the folder's place, or the folder cannot be written.
    """
    put_in_place(folder, lambda made: _fill(fleet, made, folder.absolute().name))


def _fill(fleet: Fleet, folder: Path, rollout: str) -> None:
    scrapes = simulate(fleet.shape(), fleet.seed)
    _write_metrics(fleet, scrapes, folder / "metrics.parquet")
    documents = {
        "rollout.yaml": _rollout(fleet, rollout),
        "policy.yaml": POLICY.format(tick=fleet.tick_s),
        "truth.yaml": _truth(fleet, scrapes),
    }
    for name, text in documents.items():
        (folder / name).write_text(text, encoding="utf-8")


def _rollout(fleet: Fleet, rollout: str) -> str:
    bake = max(1, fleet.live_ticks // 2)
    return ROLLOUT.format(
        rollout=json.dumps(rollout, ensure_ascii=False),
        digest=hashlib.sha256(rollout.encode()).hexdigest(),
        started=fleet.first_scrape(fleet.pre_ticks),
        bake=duration(bake * fleet.tick_s),
        deadline=duration(max(bake, fleet.live_ticks * 5 // 6) * fleet.tick_s),
        settle=duration(min(6, bake - 1) * fleet.tick_s),
    )


def duration(seconds: int) -> str:
    """Write a duration as documents have it: in minutes, if it is a whole number of them."""
    return f"{seconds // 60}m" if seconds and seconds % 60 == 0 else f"{seconds}s"


def _truth(fleet: Fleet, scrapes: Scrapes) -> str:
    if fleet.scenario is None:
        return "bad: false\nexpect: [advance, wait]\n"
    expect, metric = TRUTHS[fleet.scenario]
    names = fleet.colo_names()
    hurt = sorted({names[colo][1] for colo in scrapes.hosts.colo[scrapes.hosts.is_hurt]})
    return (
        f"bad: true\nexpect: [{expect}]\nonset: {fleet.first_scrape(fleet.pre_ticks + fleet.onset_ticks)}\n"
        f"colos: [{', '.join(hurt)}]\nmetrics: [{metric}]\n"
    )


def labels_of_hosts(
    scrapes: Scrapes, names: Sequence[tuple[str, str]]
) -> dict[str, tuple[NDArray[np.intp], list[str]]]:
    """Return the labels that all series of a host share: codes [host], and the values that they stand for."""
    hosts = scrapes.hosts
    host_names = [f"{names[c][1]}-h{n:02d}" for c, n in zip(hosts.colo, hosts.number, strict=True)]
    regions = list(dict.fromkeys(region for region, _ in names))
    of_colo = np.array([regions.index(region) for region, _ in names])
    return {
        "colo": (hosts.colo, [name for _, name in names]),
        "host": (np.arange(len(host_names)), host_names),
        "region": (of_colo[hosts.colo], regions),
        "cohort": (hosts.is_canary.astype(np.intp), ["control", "canary"]),
    }


def _write_metrics(fleet: Fleet, scrapes: Scrapes, path: Path) -> None:
    """Write the samples in order of time."""
    metric, limit = zip(*SERIES, strict=True)
    labels = spread(labels_of_hosts(scrapes, fleet.colo_names()), {"metric": metric, "le": limit})
    ends_ms = np.array([fleet.tick_end_s(tick) for tick in range(len(scrapes.values))], np.int64) * 1_000
    write_samples(path, {label: labels[label] for label in LABELS}, scrapes.values, ends_ms, scrapes.hosts.phase_ms)
