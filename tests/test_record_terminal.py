"""Recording and replaying a source on a terminal: how far it is, and what is left and said after Ctrl-C."""

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from holdfast.recording.document import ParquetSource
from holdfast.recording.record import lay
from holdfast.replaying import in_words, replay_recording
from tests.recorded import documents, made

RUN = "from holdfast.cli import main; main()"
INTERRUPTED = f"""
import os, signal
from holdfast.recording import record
def write(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
record.write = write
{RUN}
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("fleet"))


def on_terminal(run: str, *words: str) -> tuple[int, str, str]:
    """Run a command whose errors go to a terminal; return its exit status, its output, and what the terminal got."""
    ours, theirs = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(ours, 4_096):
                seen.append(piece)
        except OSError:  # so a terminal ends that nobody writes to any more
            pass

    reader = threading.Thread(target=read)
    reader.start()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "60", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", run, *words],
        stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL,
        env=environment, text=True, timeout=300, check=False,
    )  # fmt: skip
    os.close(theirs)
    reader.join()
    os.close(ours)
    return done.returncode, done.stdout, b"".join(seen).decode()


def asked(recording: Path, out: Path) -> list[str]:
    given = [f"--{name}={recording / f'{name}.yaml'}" for name in ("rollout", "policy")]
    return ["record", "--from", "parquet", "--file", str(recording / "metrics.parquet"), "--out", str(out), *given]


def test_a_recording_shows_each_step_and_takes_it_away(recording: Path, tmp_path: Path) -> None:
    status, said, seen = on_terminal(RUN, *asked(recording, tmp_path / "out"))
    assert (status, said.splitlines()[-1]) == (0, f"next: holdfast replay {tmp_path / 'out'}")
    assert seen.index("out: reading") < seen.index("out: writing")


def test_a_replay_shows_how_far_its_source_is_read_and_what_it_prints_is_in_the_pipe(
    recording: Path, tmp_path: Path
) -> None:
    lay(tmp_path / "direct", ParquetSource(files=[str(recording / "metrics.parquet")]), documents(recording))
    status, said, seen = on_terminal(RUN, "replay", "--no-store", str(tmp_path / "direct"))
    assert (status, len(said.splitlines())) == (0, len(in_words(replay_recording(recording)).splitlines()))
    reading, writing = (seen.index(f"direct: {step}") for step in ("reading", "writing"))
    assert reading < writing < seen.rindex("direct ")  # which is the bar of the judge


def test_after_an_interrupt_nothing_is_left_and_one_line_is_said(recording: Path, tmp_path: Path) -> None:
    status, said, seen = on_terminal(INTERRUPTED, *asked(recording, tmp_path / "out"))
    assert (status, said) == (130, "")
    assert seen.endswith("interrupted\r\n")
    assert "Traceback" not in seen
    assert list(tmp_path.iterdir()) == []
