"""Making a recording of an incident: its samples and its documents, in a folder that appears whole or not at all."""

import hashlib
import zlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np

from detectors.errors import BadInput
from streams.choices import Size
from streams.fleet import colo_names, labels_of_hosts
from streams.incidents.library import Incident, find
from streams.incidents.scenes import SERIES, Scene, calm_of, scene_of, scrape
from streams.simulation import Scrapes, Shape
from streams.writing import FILES, OTHERS, put_in_place, spread, write_samples

TICK_S: Final = 10
LABELS: Final[tuple[str, ...]] = ("metric", "colo", "host", "region", "cohort", "buffer", "kind", "le")

POLICY: Final = """\
policy: edge
tick: 10s
alpha: 0.01
metrics:
  - {name: errors_plain, ratio: {bad: http_5xx, total: http_requests}, select: {kind: plain}, worse: increase,
     tolerate: {relative: 0.50, absolute: 0.0002}, breach: revert}
  - {name: errors_rules, ratio: {bad: http_5xx, total: http_requests}, select: {kind: rules}, worse: increase,
     tolerate: {relative: 0.50, absolute: 0.0002}, breach: revert}
  - {name: errors_bots, ratio: {bad: http_5xx, total: http_requests}, select: {kind: bots}, worse: increase,
     tolerate: {relative: 0.50, absolute: 0.0002}, breach: revert}
  - {name: latency_p99, histogram: http_seconds_bucket, quantile: 0.99, worse: increase,
     tolerate: {relative: 0.10}, breach: revert}
  - {name: requests, counter: http_requests, worse: either, tolerate: {relative: 0.10}, breach: halt,
     required: true}
  - {name: cpu, gauge: cpu_busy, worse: increase, tolerate: {relative: 0.05}, breach: halt}
  - {name: memory, gauge: mem_bytes, worse: increase, tolerate: {relative: 0.05}, breach: halt}
"""
"""The one policy that judges the whole library."""

ROLLOUT: Final = """\
rollout: {rollout}
package:
  - {{unit: {unit}, kind: {kind}, digest: "sha256:{digest}"}}
started: {started}
stages:
  - name: canary
    canary: {canary}
    control: {control}
    bake: {bake}
    deadline: {deadline}
    {settle}
policy: edge
"""


def make(name: str, folder: Path, seed: int, size: Size = "usual") -> None:
    """Write a recording of the library into a folder; the same name, seed and size give the same bytes.

    The folder appears whole or not at all. An earlier recording in its place is replaced.

    Raises
    ------
    BadInput
        If there is no incident of that name, the seed is negative, something else than a recording is in the folder's
        place, or the folder cannot be written.
    """
    incident, is_bad = find(name)
    if seed < 0:
        msg = f"seed {seed}: must be 0 or more"
        raise BadInput(msg)
    incident = sized(incident, size)
    put_in_place(folder, lambda made: _fill(incident, name, is_bad, seed, made), (*FILES, OTHERS))


def sized(incident: Incident, size: Size) -> Incident:
    """Return an incident at a size: a small one has half of the colos and fewer hosts, and lasts as long."""
    if size == "usual":
        return incident
    hosts = 8 if incident.is_overlapping else 5
    return replace(incident, colos=max(4, incident.colos // 2), hosts=hosts)


def _fill(incident: Incident, name: str, is_bad: bool, seed: int, folder: Path) -> None:
    scene, scrapes = recorded(incident, is_bad, seed)
    _write_metrics(incident, scene, scrapes, folder / "metrics.parquet")
    is_other = incident.is_overlapping and not is_bad
    documents = {
        "rollout.yaml": _second(incident, name) if is_other else _rollout(incident, name),
        "policy.yaml": POLICY,
        "truth.yaml": _truth(incident, scene, is_bad),
    }
    if incident.is_overlapping:
        (folder / OTHERS).mkdir()
        other = _rollout(incident, incident.name) if is_other else _second(incident, incident.name + "-second")
        documents[f"{OTHERS}/{'first' if is_other else 'second'}.yaml"] = other
    for file, text in documents.items():
        (folder / file).write_text(text, encoding="utf-8")


def recorded(incident: Incident, is_bad: bool, seed: int) -> tuple[Scene, Scrapes]:
    """Draw an incident: where and when it happens, and what the scrapes bring."""
    scenery, noise = np.random.SeedSequence([seed, zlib.crc32(incident.name.encode())]).spawn(2)
    onset = incident.pre_ticks + incident.onset_ticks
    shape = Shape(
        colos=incident.colos,
        hosts=incident.hosts,
        canary_hosts=incident.canary_hosts,
        regions=incident.regions,
        ticks=incident.pre_ticks + incident.live_ticks,
        tick_s=TICK_S,
        start=incident.pre_ticks,
        onset=onset,
        scenario=None,
        size=1.0,
        hurt=round(incident.hurt * incident.colos),
    )
    scene = scene_of(shape, scenery, region=incident.region, onset=onset)
    calm = calm_of(scene, noise, is_restarted=incident.settle is not None)
    around = incident.around(scene, calm.conditions) if incident.around else calm.conditions
    # The harmless one of two rollouts is judged while the other one does its harm.
    is_harmed = incident.harm is not None and (is_bad or incident.is_overlapping)
    met = incident.harm(scene, around) if incident.harm and is_harmed else around
    return scene, scrape(scene, calm, around, met)


def _time(incident: Incident, tick: int) -> str:
    """Return a time before every scrape of a tick and after every scrape of the one before."""
    time = incident.started + timedelta(seconds=1 + (tick - incident.pre_ticks) * TICK_S)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _rollout(incident: Incident, name: str) -> str:
    return ROLLOUT.format(
        rollout=name,
        unit=incident.unit,
        kind=incident.kind,
        digest=hashlib.sha256(name.encode()).hexdigest(),
        started=_time(incident, incident.pre_ticks),
        canary="{cohort: canary}",
        control="{cohort: control}",
        bake=incident.bake,
        deadline=incident.deadline,
        settle=f"settle: {incident.settle or '0s'}",
    )


def _second(incident: Incident, name: str) -> str:
    """Return the harmless rollout beside the bad one, which began a little earlier."""
    return ROLLOUT.format(
        rollout=name,
        unit="waf/body-buffer",
        kind="configuration",
        digest=hashlib.sha256(name.encode()).hexdigest(),
        started=_time(incident, incident.pre_ticks - 12),
        canary="{buffer: large}",
        control="{buffer: small}",
        bake=incident.bake,
        deadline=incident.deadline,
        settle=f"settle: {incident.settle or '0s'}",
    )


def _truth(incident: Incident, scene: Scene, is_bad: bool) -> str:
    if not is_bad:
        return "bad: false\nexpect: [advance, wait]\n"
    names = colo_names(incident.colos, incident.regions)
    hurt = sorted({names[colo][1] for colo in scene.hosts.colo[scene.hosts.is_hurt]})
    return (
        f"bad: true\nexpect: [{incident.action}]\nonset: {_time(incident, scene.onset)}\nwithin: {incident.within}\n"
        f"colos: [{', '.join(hurt)}]\nmetrics: [{', '.join(incident.metrics)}]\n"
    )


def _write_metrics(incident: Incident, scene: Scene, scrapes: Scrapes, path: Path) -> None:
    by_host = labels_of_hosts(scrapes, colo_names(incident.colos, incident.regions))
    if incident.is_overlapping:
        by_host["buffer"] = (scene.is_second.astype(np.intp), ["small", "large"])
    metric, kind, limit = zip(*SERIES, strict=True)
    labels = spread(by_host, {"metric": metric, "kind": kind, "le": limit})
    ends_s = int(incident.started.timestamp()) + (np.arange(scene.shape.ticks) - incident.pre_ticks + 1) * TICK_S
    ordered = {name: labels[name] for name in LABELS if name in labels}
    write_samples(path, ordered, scrapes.values, ends_s.astype(np.int64) * 1_000, scrapes.hosts.phase_ms)
