"""Judging a corpus: over processes as in one, with errors that name the recording, and an end to it at Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from detectors.errors import BadInput
from holdfast.corpus.contenders import Contender
from holdfast.corpus.judging import Task, judge_corpus, judge_tasks, usable_cores
from holdfast.corpus.loading import Corpus, load_corpus
from holdfast.replaying import Outcome, replay_recording
from tests.corpora import LAX, make_corpus, written
from tests.test_cli import POLICY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("judged") / "corpus")


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return load_corpus(folder)


@pytest.fixture(scope="module")
def contenders(folder: Path) -> list[Contender]:
    return [Contender.load(written(folder.parent, text, name)) for text, name in ((POLICY, "a.yaml"), (LAX, "b.yaml"))]


def failing(path: Path, name: str, *, policy_path: Path, policy: Any, observer: Any) -> Outcome:
    """Replay all recordings but one, in whatever process it is asked to."""
    if path.name == name:
        message = f"{path}: spoiled"
        raise BadInput(message)
    if name == "die":
        os._exit(9)
    return replay_recording(path, policy_path=policy_path, policy=policy, observer=observer)


def unlike(name: str, path: Path, **given: Any) -> Outcome:
    return failing(path, name, **given)


def test_each_policy_judges_each_recording(corpus: Corpus, contenders: list[Contender]) -> None:
    first, second = judge_corpus(corpus, contenders, jobs=1)
    assert [each.score.kind for each in first] == ["advanced", "advanced", "caught"]
    assert [each.score.kind for each in second] == ["advanced", "advanced", "missed"]
    assert {each.task.contender.place.name for each in second} == {"b.yaml"}


def test_processes_change_neither_results_nor_their_order(corpus: Corpus, contenders: list[Contender]) -> None:
    assert judge_corpus(corpus, contenders, jobs=2) == judge_corpus(corpus, contenders, jobs=1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_recording_that_fails_is_named_and_the_others_too(jobs: int, corpus: Corpus, contenders: Any) -> None:
    with pytest.raises(BadInput, match=r"^harmless-1: cannot be judged by .*a\.yaml: .*harmless-1: spoiled$"):
        judge_corpus(corpus, contenders[:1], jobs=jobs, replayer=partial(unlike, "harmless-1"))


def test_a_process_that_dies_is_told_with_what_it_was_at(corpus: Corpus, contenders: list[Contender]) -> None:
    with pytest.raises(BadInput, match=r"ended suddenly.*under way were: .*harmless-0"):
        judge_corpus(corpus, contenders, jobs=2, replayer=partial(unlike, "die"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_it_tells_how_far_it_is_until_all_is_done(jobs: int, corpus: Corpus, contenders: list[Contender]) -> None:
    told: list[tuple[str, float, float]] = []
    judge_corpus(corpus, contenders[:1], jobs=jobs, observer=lambda *come: told.append(come))
    samples = sum(each.samples for each in corpus.recordings)
    assert told[-1][1] == pytest.approx(samples)
    assert told[-1][2] == samples
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_tasks_may_be_any_of_the_pairs(corpus: Corpus, contenders: list[Contender]) -> None:
    tasks = [Task(corpus.recordings[2], contenders[1]), Task(corpus.recordings[0], contenders[0])]
    assert [each.score.recording for each in judge_tasks(tasks, jobs=1)] == ["incidents/erring", "harmless-0"]


def test_nothing_to_do_is_done_at_once() -> None:
    assert judge_tasks([]) == []


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1


ENDLESS = """
import sys, time
from functools import partial
from pathlib import Path
from holdfast.corpus.contenders import Contender
from holdfast.corpus.judging import judge_corpus
from holdfast.corpus.loading import load_corpus
from streams.replay import Progress
from tests.test_corpus_judging import lingering

if __name__ == "__main__":
    corpus = load_corpus(Path(sys.argv[1]))
    told = lambda name, done, total: print(name, flush=True)
    judge_corpus(corpus, [Contender.load(Path(sys.argv[2]))], jobs=2, observer=told, replayer=lingering)
"""


def lingering(path: Path, *, policy_path: Path, policy: Any, observer: Any) -> Outcome:
    """Replay a recording again and again, telling of each tick."""
    while True:
        replay_recording(path, policy_path=policy_path, policy=policy, observer=observer)


def children(process: int) -> list[int]:
    """List the processes that a process has started."""
    return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text("utf-8").split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc, to see which processes there are")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_when_it_is_ended(how: signal.Signals, folder: Path, tmp_path: Path) -> None:
    script = written(tmp_path, ENDLESS, "endless.py")
    command = [sys.executable, script, folder, folder.parent / "a.yaml"]
    root = str(Path(__file__).resolve().parent.parent)
    with subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # one of them judges by now
        started = children(process.pid)
        os.killpg(process.pid, how) if how == signal.SIGINT else process.kill()
        _, errors = process.communicate(timeout=300)
        assert len(started) >= 2
        end = time.monotonic() + 120
        while (left := [each for each in started if alive(each)]) and time.monotonic() < end:
            time.sleep(0.05)
        assert left == []
        # Ctrl-C on a terminal reaches all of them, and one tells of it.
        assert errors.count("Traceback") == (1 if how == signal.SIGINT else 0)
