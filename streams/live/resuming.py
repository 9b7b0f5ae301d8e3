"""Going on with a rollout that was judged elsewhere before: its checkpoint, and the journal that it was made from."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from detectors.errors import StateMismatch
from detectors.state import State
from detectors.verdict import Verdict
from streams.cohorts import CohortTicks, RowKey
from streams.judge import Judge
from streams.live.frames import Planned, SourcePartition
from streams.live.judging import LiveJudge, Reader
from streams.live.turnstile import Part
from streams.records import Sink
from streams.standing import needs_from

FORMAT = 1


class _Turnstile(Struct):
    sources: dict[str, int]
    closed: list[tuple[str, int, int]]
    idle: list[tuple[str, int]]
    late: list[tuple[int, str, int]]
    released: int | None
    dropped: dict[str, int]


class _Signatures(Struct):
    rollouts: list[str]
    stages: list[int]
    vectors: list[list[int]]


class _About(Struct):
    """What a checkpoint holds beside the judge's own state."""

    format: int
    rollout: str
    offset: int
    needed_from: int
    announcement: str
    starts: dict[int, int]
    late_starts: dict[int, int]
    others: list[Planned]
    is_finished: bool
    turnstile: _Turnstile
    signatures: _Signatures
    colos: list[str]
    regions: list[str]
    last_verdict: tuple[int, Verdict] | None
    heard: list[tuple[str, str, int, int]]


def snapshot(live: LiveJudge, offset: int) -> State:
    """Write down where a rollout stands.

    Parameters
    ----------
    offset
        The offset in the journal after the last frame that it has taken.
    """
    needed = live.needed_from()
    keys = live.assembly.keys
    colos, regions = sorted({key.colo for key in keys}), sorted({key.region for key in keys})
    about = _About(
        FORMAT,
        live.rollout,
        offset,
        offset if needed is None else needed,
        live.announcement.decode(),
        live.starts,
        live.late_starts,
        list(live.others.values()),
        live.is_finished,
        msgspec.convert(live.turnstile.snapshot(), _Turnstile),
        msgspec.convert(live.assembly.signatures.snapshot(), _Signatures),
        colos,
        regions,
        live.last_verdict,
        [
            (name, source.topic, source.partition, tick)
            for name, sources in live.assembly.heard.items()
            for source, tick in sources.items()
        ],
    )
    colo, region = ({name: index for index, name in enumerate(names)} for names in (colos, regions))
    state: State = {
        "about": msgspec.json.encode(about).decode(),
        "metric": np.array([key.metric for key in keys], np.int32),
        "edge": np.array([key.edge for key in keys], np.float64),
        "colo": np.array([colo[key.colo] for key in keys], np.int32),
        "region": np.array([region[key.region] for key in keys], np.int32),
        "signature": np.array([key.signature for key in keys], np.int32),
    }
    if live.judge is not None and not live.is_finished:
        state["judge"] = live.judge.snapshot()
    return state


class Resumption:
    """A rollout on its way back: its checkpoint, and the frames that are read again.

    Parameters
    ----------
    state
        As `snapshot` made it.

    Raises
    ------
    StateMismatch
        If another version of holdfast made it.
    """

    def __init__(self, state: State) -> None:
        raw = state["about"]
        assert isinstance(raw, str)
        version = msgspec.json.decode(raw, type=_Format).format
        if version != FORMAT:
            msg = f"the checkpoint has format {version}, and this holdfast reads format {FORMAT}"
            raise StateMismatch(msg)
        self._about = msgspec.json.decode(raw, type=_About)
        self._state = state
        self._parts: list[Part] = []

    @property
    def rollout(self) -> str:
        """The rollout's name."""
        return self._about.rollout

    @property
    def offset(self) -> int:
        """The offset in the journal from which on frames are to be judged."""
        return self._about.offset

    @property
    def needed_from(self) -> int:
        """The offset in the journal from which on frames are to be read."""
        return self._about.needed_from

    def add(self, part: Part) -> None:
        """Take a frame again that the checkpoint knows: one from `needed_from` on and before `offset`."""
        self._parts.append(part)

    def resume(self, read: Reader, engine: str, sink: Sink | None = None) -> LiveJudge:
        """Return the rollout as it stood.

        Raises
        ------
        StateMismatch
            If the state does not fit what the journal says.
        """
        about, state = self._about, self._state
        live = LiveJudge(about.rollout, read, engine, sink)
        live.announcement = about.announcement.encode()
        live.terms = read(live.announcement) if live.announcement else None
        live.starts, live.late_starts = about.starts, about.late_starts
        live.others = {other.rollout: other for other in about.others}
        live.is_finished, live.last_verdict = about.is_finished, about.last_verdict
        gate = about.turnstile
        live.turnstile.restore(gate.sources, gate.closed, gate.idle, gate.late, gate.released, gate.dropped)
        known = about.signatures
        live.assembly.signatures.restore(known.rollouts, known.stages, known.vectors)
        live.assembly.keys = self._keys()
        for colo, topic, number, tick in about.heard:
            live.assembly.heard.setdefault(colo, {})[SourcePartition(topic, number)] = tick
        judge = state.get("judge")
        if judge is not None:
            assert isinstance(judge, dict)
            ticks = self._ticks(live, needs_from(judge))
            live.begin(lambda plan, journal: Judge.resumed(plan, judge, ticks, journal))
        for part in self._parts:
            live.note(part)
            if part.header.kind == "tick" and (gate.released is None or part.header.tick > gate.released):
                live.turnstile.reenter(part)
        self._parts = []
        return live

    def judge_again(self, read: Reader, engine: str, sink: Sink | None = None) -> LiveJudge:
        """Return the rollout as the frames alone tell it, with verdicts numbered on from the last one.

        What was decided on frames that the checkpoint does not reach back to, as in stages before, is not known then.
        """
        live = LiveJudge(self._about.rollout, read, engine, sink)
        for part in self._parts:
            for _ in live.push(part):
                pass
        self._parts = []
        if live.judge is not None and self._about.last_verdict is not None:
            live.judge.number_after(self._about.last_verdict[1].sequence)
        return live

    def _keys(self) -> tuple[RowKey, ...]:
        about, columns = self._about, {}
        for name in ("metric", "edge", "colo", "region", "signature"):
            column = self._state[name]
            assert isinstance(column, np.ndarray)
            columns[name] = column.tolist()
        return tuple(
            RowKey(metric, edge, about.colos[colo], about.regions[region], signature)
            for metric, edge, colo, region, signature in zip(*columns.values(), strict=True)
        )

    def _ticks(self, live: LiveJudge, needed: int) -> Iterator[CohortTicks]:
        """Put the ticks together again that were released before the checkpoint, from the first needed one on.

        Source partitions do not keep in step, so frames of earlier ticks of one stand behind later ones of another.
        """
        gate = self._about.turnstile
        if gate.released is None:
            return
        by_tick: dict[int, list[Part]] = {}
        for part in self._parts:
            header = part.header
            is_late = (header.tick, header.source) in live.turnstile.late
            is_wanted = needed <= header.tick <= gate.released and not is_late
            if header.kind == "tick" and is_wanted and live.is_under_the_policy(part):
                by_tick.setdefault(header.tick, []).append(part)
        if not by_tick:
            return
        for tick in range(min(by_tick), gate.released + 1):
            parts = _in_order(by_tick.get(tick, []))
            if parts:
                live.assembly.learn(parts)
            yield live.assembly.assemble(tick, parts)


class _Format(Struct):
    format: int


def _in_order(parts: Sequence[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: part.header.source)
