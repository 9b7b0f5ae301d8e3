"""Judging a corpus over processes: every recording by every policy, in an order that no number of processes changes."""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa

from detectors.errors import BadInput
from detectors.policy import duration_ms
from holdfast.corpus.contenders import Contender
from holdfast.corpus.loading import Corpus, Recorded
from holdfast.corpus.scoring import Score, score
from holdfast.replaying import Outcome, replay_recording
from streams.replay import Progress

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

JOBS_MAX: Final = 256
_AHEAD: Final = 4
"""Tasks that wait for each process: enough that none idles, few enough that stopping is soon done."""

_TOLD_S: Final = 0.2
"""How often a process tells how far it is, and how long it is waited for."""


class Replayer(Protocol):
    """What replays a recording: `replay_recording`, or that with more of its arguments bound; it can be pickled."""

    def __call__(self, path: Any, /, *, policy_path: Any, policy: Any, observer: Any) -> Outcome:
        """Replay the recording in a folder."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """One recording that is to be judged by one policy."""

    recorded: Recorded
    contender: Contender


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a task: the outcome, and how it scores against the truth."""

    task: Task
    outcome: Outcome
    score: Score


Observer = Callable[[str, float, float], None]
"""Is told the name of a recording, how many samples were judged by now, and how many there are in all."""


def judge_corpus(
    corpus: Corpus,
    contenders: Sequence[Contender],
    *,
    jobs: int | None = None,
    observer: Observer | None = None,
    replayer: Replayer = replay_recording,
) -> list[list[Judged]]:
    """Judge every recording of a corpus by every policy.

    Parameters
    ----------
    corpus
        The recordings.
    contenders
        The policies.
    jobs, observer, replayer
        See `judge_tasks`.

    Returns
    -------
    list[list[Judged]]
        [policy][recording], in the order of `contenders` and of the corpus.

    Raises
    ------
    BadInput
        See `judge_tasks`.
    """
    tasks = [Task(recorded, contender) for recorded in corpus.recordings for contender in contenders]
    judged = judge_tasks(tasks, jobs=jobs, observer=observer, replayer=replayer)
    return [judged[index :: len(contenders)] for index in range(len(contenders))]


def judge_tasks(
    tasks: Sequence[Task],
    *,
    jobs: int | None = None,
    observer: Observer | None = None,
    replayer: Replayer = replay_recording,
) -> list[Judged]:
    """Judge recordings by policies.

    Parameters
    ----------
    tasks
        What to judge by what.
    jobs
        How many processes; by default one for each core that this one may use. With one it is done in this process.
    observer
        Is told how far it is.
    replayer
        Replays a recording; `partial(replay_recording, …)` to give it more.

    Returns
    -------
    list[Judged]
        In the order of the tasks, and the same however many processes there are.

    Raises
    ------
    BadInput
        With the errors of all recordings that cannot be judged, each with its name; or if a process died.
    KeyboardInterrupt
        If somebody pressed Ctrl-C: the processes have ended then.
    """
    count = min(len(tasks), jobs or usable_cores())
    told = _Told(tasks, observer)
    if count <= 1:
        found = [_attempt(task, replayer, partial(told.tell, index)) for index, task in enumerate(tasks)]
    else:
        found = _spread(tasks, count, told, replayer)
    problems = [each for each in found if isinstance(each, str)]
    if problems:
        raise BadInput("\n".join(dict.fromkeys(problems)))
    return [each for each in found if isinstance(each, Judged)]


def usable_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return min(JOBS_MAX, len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS has no such call
        return min(JOBS_MAX, os.cpu_count() or 1)


class _Told:
    """Adds up how far all tasks are, in samples."""

    def __init__(self, tasks: Sequence[Task], observer: Observer | None) -> None:
        self._tasks = tasks
        self._observer = observer
        self._share = [0.0] * len(tasks)
        self._total = float(sum(task.recorded.samples for task in tasks))
        self._done = 0.0

    def tell(self, index: int, share: float) -> None:
        """Note which share of a task is done."""
        if self._observer is None:
            return
        recorded = self._tasks[index].recorded
        self._done += max(0.0, share - self._share[index]) * recorded.samples
        self._share[index] = max(share, self._share[index])
        self._observer(recorded.name, self._done, self._total)


def _attempt(task: Task, replayer: Replayer, tell: Callable[[float], None]) -> Judged | str:
    """Judge one recording, or say why it cannot be."""
    recorded, contender = task.recorded, task.contender

    def observe(come: Progress) -> None:
        tell(come.ticks / max(1, come.ticks_total))

    tell(0.0)
    try:
        outcome = replayer(recorded.path, policy_path=contender.place, policy=contender.policy, observer=observe)
    except BadInput as error:
        return f"{recorded.name}: cannot be judged by {contender.place}: {error}"
    except Exception as error:
        error.add_note(f"while judging the recording {recorded.path} by {contender.place}")
        raise
    tell(1.0)
    tick_ms = duration_ms(contender.policy.tick)
    return Judged(task, outcome, score(recorded.name, recorded.truth, recorded.onset_ms, tick_ms, outcome.verdicts))


def _spread(tasks: Sequence[Task], count: int, told: _Told, replayer: Replayer) -> list[Judged | str]:
    """Judge over processes, the longest first: a long one that comes last would be waited for alone."""
    context = multiprocessing.get_context("spawn")  # libraries have threads by now, which a fork would break
    reports, stop = context.Queue(), context.Event()
    waiting = sorted(range(len(tasks)), key=lambda index: tasks[index].recorded.samples)
    under_way: dict[Future[Judged | str], int] = {}
    found: dict[int, Judged | str] = {}
    pool = ProcessPoolExecutor(count, context, _begin, (reports, stop))
    try:
        while waiting or under_way:
            with _deaf():
                while waiting and len(under_way) < _AHEAD * count:
                    index = waiting.pop()
                    under_way[pool.submit(_work, tasks[index], index, replayer)] = index
            done, _ = wait(under_way, _TOLD_S, FIRST_COMPLETED)
            _drain(reports, told)
            for future in done:
                index = under_way.pop(future)
                found[index] = future.result()
                told.tell(index, 1.0)
    except BrokenProcessPool as error:
        names = sorted({tasks[index].recorded.name for index in under_way.values()})
        msg = (
            f"a process that judged recordings ended suddenly, out of memory perhaps, which fewer --jobs need less of; "
            f"under way were: {', '.join(names)}"
        )
        raise BadInput(msg) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        reports.close()
    return [found[index] for index in range(len(tasks))]


def _drain(reports: Any, told: _Told) -> None:
    """Take what processes have told meanwhile."""
    while True:
        try:
            told.tell(*reports.get_nowait())
        except queue.Empty:
            return


@contextmanager
def _deaf() -> Generator[None]:
    """Keep Ctrl-C from processes that are started meanwhile; it waits for this one until then.

    On a terminal all processes get it, and each would tell of it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Stopped(BaseException):
    """Ends what a process is judging, since nobody waits for it any more."""


_mine: "tuple[Any, Event] | None" = None
"""Of a process that judges: where it tells how far it is, and what says that it is to stop."""


def _begin(reports: Any, stop: "Event") -> None:
    """Prepare a process: it ends with the one that started it, and cores are shared by process, not by thread."""
    global _mine  # noqa: PLW0603 - what a pool hands to its processes has no other place
    _mine = (reports, stop)
    pa.set_cpu_count(1)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(task: Task, index: int, replayer: Replayer) -> Judged | str:
    assert _mine is not None
    reports, stop = _mine
    told_s = time.monotonic()

    def tell(share: float) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if share and now_s - told_s < _TOLD_S:
            return
        told_s = now_s
        if stop.is_set():
            raise _Stopped
        reports.put((index, share))

    return _attempt(task, replayer, tell)
