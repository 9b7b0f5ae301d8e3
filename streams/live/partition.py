"""TEMPORARY stand-in until the real one is merged."""
from collections import Counter
from dataclasses import dataclass
import numpy as np
import pyarrow as pa
from streams.catalogue import Catalogue
from streams.clock import Clock, NEVER
from streams.cohorts import CohortTicks
from streams.layout import build
from streams.membership import find_units, resolve, Sightings, Announced
from streams.reduction import Cells, Reducer
from streams.recording import LabelColumn
from streams.scan import encode

@dataclass(frozen=True, slots=True)
class Group:
    digest: str
    policy: object
    tick_ms: int
    rollouts: tuple

@dataclass(frozen=True, slots=True)
class Closed:
    digest: str
    ticks: CohortTicks
    signatures: object
    samples: object
    dropped: dict
    is_disputed: object

class Partition:
    def __init__(self, closed=None, known=(), accounted=0):
        self._closed = dict(closed or {})
        self.accounted = accounted
        self.cat = None
        self.first = np.empty(0, np.int64)
        self.given = 0
        self.parts = []  # series,time,value,offset
        self.groups = {}
        self.state = {}
        self.known = list(known)
        for t in self.known:
            labels = {n: LabelColumn(t.column(n).combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32), t.column(n).combine_chunks().dictionary_encode().dictionary.to_pylist()) for n in t.schema.names if n != 'first_ms'}
            if self.cat is None: self.cat = Catalogue(sorted(labels))
            s = self.cat.encode(labels, t.num_rows)
            self.first = np.concatenate([self.first, t.column('first_ms').to_numpy()])
        self.given = len(self.first)
        self.newest = None
    def announce(self, groups):
        self.groups = {g.digest: g for g in groups}
        for g in groups:
            if g.digest not in self.state:
                self.state[g.digest] = dict(clock=None, dropped=Counter(), wm=NEVER, force=NEVER, latest={}, next=None if g.digest not in self._closed else self._closed[g.digest]+1, start=None)
    @property
    def newest_ms(self):
        return self.newest
    def push(self, samples, offset):
        if self.cat is None: self.cat = Catalogue(sorted(samples.labels))
        series = encode(self.cat, samples)
        n = len(self.cat)
        if len(self.first) < n: self.first = np.concatenate([self.first, np.full(n-len(self.first), np.iinfo(np.int64).max)])
        np.minimum.at(self.first, series, samples.time)
        self.parts.append((series, samples.time, samples.value, offset))
        for d, st in self.state.items():
            g = self.groups[d]
            med = int(np.median(samples.time))
            self.newest = med if self.newest is None else max(med, self.newest)
            wm = self.newest - g.policy.lateness_ticks*g.tick_ms
            t = -(-samples.time//g.tick_ms)
            if st['next'] is not None and offset >= self.accounted:
                late = int((t < st['next']).sum())
                if late: st['dropped']['late'] += late
            st['wm'] = max(st['wm'], wm)
    def advance(self, to_ms):
        for st in self.state.values(): st['wm'] = max(st['wm'], to_ms)
    def closed(self):
        return {d: st['next']-1 for d, st in self.state.items() if st['next'] is not None}
    def offset(self):
        low = None
        for d, st in self.state.items():
            g = self.groups[d]
            if st['next'] is None: 
                return self.parts[0][3] if self.parts else None
            need = (st['next']-1-g.policy.gap_ticks_max*2)*g.tick_ms
            for s,t,v,o in self.parts:
                if t.max() > need:
                    low = o if low is None else min(low,o); break
        if low is not None: self.parts = [p for p in self.parts if p[3] >= low]
        return low
    def new_series(self):
        if self.cat is None or self.given == len(self.cat) or not self.closed(): return None
        ids = np.arange(self.given, len(self.cat))
        cols = {n: pa.array([self.cat.values(n)[c] or None for c in self.cat.codes(n)[ids]], pa.string()) for n in self.cat.labels}
        cols['first_ms'] = pa.array(self.first[ids])
        self.given = len(self.cat)
        return pa.table(cols)
    def close(self):
        out = []
        for d, st in self.state.items():
            g = self.groups[d]
            if not self.parts and st['next'] is None: continue
            last = st['wm']//g.tick_ms
            s = np.concatenate([p[0] for p in self.parts]) if self.parts else np.empty(0,np.int32); t = np.concatenate([p[1] for p in self.parts]) if self.parts else np.empty(0,np.int64); v = np.concatenate([p[2] for p in self.parts]) if self.parts else np.empty(0)
            k = -(-t//g.tick_ms)
            if st['next'] is None:
                if last < int(k.min()): continue
                st['next'] = int(k.min())
            if last < st['next']: continue
            units = find_units(self.cat, g.policy.unit, g.policy.region)
            far = np.full(len(self.cat), 1<<60)
            ms = resolve(self.cat, units, g.rollouts, Sightings(self.first, far), g.tick_ms)
            lay = build(self.cat, units, ms[0], g.policy, [])
            red = Reducer(lay, g.policy.gap_ticks_max)
            seen = self.first <= (st['next']-1)*g.tick_ms
            lo = st['next'] - 2*g.policy.gap_ticks_max
            row = lay.row_of_series[s]
            seenrows = np.zeros(lay.bounds[2], bool); 
            rr = lay.row_of_series[seen]; seenrows[rr[rr>=0]] = True
            red._row_seen |= seenrows
            us = np.unique(units.of_series[np.flatnonzero(seen & (lay.row_of_series>=0))]); red._unit_seen[us] = True
            keep = (row >= 0) & (k >= lo) & (k <= last)
            c = Cells(row[keep], k[keep]-lo, t[keep], v[keep])
            res = red.reduce(lo, last-lo+1, c)
            ticks = CohortTicks(st['next'], res.keys, res.values[:, :, st['next']-lo:])
            cnt = np.array([int((k[row>=0]==x).sum()) for x in range(st['next'], last+1)])
            rows = [np.array([[r, *map(int, f)] for r, f in m.signatures]) for m in ms]
            dropped = dict(st['dropped']); st['dropped'].clear()
            nj = int(((row < 0) & (k >= st['next']) & (k<=last)).sum())
            if nj: dropped['not_judged'] = nj
            if red.duplicates: dropped['duplicate'] = red.duplicates
            out.append(Closed(d, ticks, np.concatenate(rows, axis=1), cnt, dropped, np.zeros(len(cnt), bool)))
            st['next'] = last+1
        return out
