"""Work over processes: many small tasks on the same data, in an order that no number of processes changes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from detectors.errors import BadInput
from holdfast.corpus.judging import usable_cores

_AHEAD: Final = 3
"""Tasks that wait for each process: enough that none idles, few enough that stopping is soon done."""

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Found = TypeVar("Found")


class Crew(Generic[Shared, Task, Found]):
    """Processes that hold the same data, and do one task after the other. With one job all is done in this process.

    Parameters
    ----------
    work
        What is done with the data for a task: a function of a module, the same result for the same arguments.
    shared
        The data; each process gets a copy.
    jobs
        How many processes; by default one for each core that this one may use.
    """

    def __init__(self, work: Callable[[Shared, Task], Found], shared: Shared, jobs: int | None = None) -> None:
        self._work = work
        self._shared = shared
        self._jobs = jobs or usable_cores()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, tasks: Sequence[Task], done: Callable[[int, Found], None] | None = None) -> list[Found]:
        """Do tasks, and return what came of each, in their order.

        Parameters
        ----------
        tasks
            What to do.
        done
            Is told of each that is finished, by its position; in any order.

        Raises
        ------
        BadInput
            If a process ended suddenly.
        """
        if self._jobs == 1 or (len(tasks) < 2 and self._pool is None):
            found = []
            for index, task in enumerate(tasks):
                found.append(self._work(self._shared, task))
                if done is not None:
                    done(index, found[-1])
            return found
        return self._spread(tasks, done)

    def _spread(self, tasks: Sequence[Task], done: Callable[[int, Found], None] | None) -> list[Found]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # libraries have threads by now, which a fork would break
            self._pool = ProcessPoolExecutor(self._jobs, context, _begin, (self._work, self._shared))
        waiting = list(range(len(tasks)))[::-1]
        under_way: dict[Future[Any], int] = {}
        found: dict[int, Found] = {}
        try:
            while waiting or under_way:
                with _deaf():
                    while waiting and len(under_way) < _AHEAD * self._jobs:
                        index = waiting.pop()
                        under_way[self._pool.submit(_do, tasks[index])] = index
                for future in wait(under_way, None, FIRST_COMPLETED).done:
                    index = under_way.pop(future)
                    found[index] = future.result()
                    if done is not None:
                        done(index, found[index])
        except BrokenProcessPool as error:
            msg = "a process that judged ended suddenly, out of memory perhaps, which fewer --jobs need less of"
            raise BadInput(msg) from error
        return [found[index] for index in range(len(tasks))]


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


_mine: "tuple[Callable[[Any, Any], Any], Any] | None" = None
"""Of a process that works: what it does, and with which data."""


def _begin(work: Callable[[Any, Any], Any], shared: Any) -> None:
    """Prepare a process, which ends with the one that started it, however that went."""
    global _mine  # noqa: PLW0603 - what a pool hands to its processes has no other place
    _mine = (work, shared)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(task: Any) -> Any:
    assert _mine is not None
    work, shared = _mine
    return work(shared, task)
