"""A store that one process owns and others ask, over a real socket."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from holdfast.live import store_owner
from holdfast.live.store_owner import QUESTION_BYTES_MAX, SOCKET, Owner, ask
from holdfast.live.stores import reading
from sinks.store import Store, StoreBusy, StoreError
from tests.replays import replay
from tests.waiting import WAIT_S


def query(folder: Path, sql: str, form: str) -> bytes:
    with reading(folder) as found:
        return found.reads.read(sql, form)


ROOT = Path(__file__).resolve().parent.parent

OWNER = """
    import sys, time
    from pathlib import Path
    from holdfast.live.store_owner import Owner
    from sinks.store import Store
    from tests.replays import replay
    folder = Path(sys.argv[1])
    with Store(folder) as store:
        replay(store)
        with Owner(store, folder):
            sys.stdout.write("ready\\n")
            sys.stdout.flush()
            time.sleep(3600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def owner(folder: Path) -> Iterator[Owner]:
    with Store(folder) as store:
        replay(store)
        with Owner(store, folder) as opened:
            yield opened


@pytest.fixture
def process(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that owns the folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        [sys.executable, "-c", dedent(OWNER), str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    yield started
    started.kill()
    started.wait()
    started.stdout.close()


class Stranger:
    """Something else that listens in an owner's place."""

    def __init__(self, folder: Path, behave: Callable[[socket.socket], None]) -> None:
        folder.mkdir(exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen()
        self._behave = behave
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self._behave(connection)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()


def test_a_question_is_answered_as_by_the_store_itself(owner: Owner, folder: Path) -> None:
    assert ask(folder, "SELECT count() AS n FROM verdicts", "JSONEachRow") == b'{"n":3}\n'
    assert ask(folder, "SELECT 1 WHERE 0", "CSV") == b""


def test_an_answer_may_be_large(owner: Owner, folder: Path) -> None:
    assert len(ask(folder, "SELECT repeat('x', 1000) FROM numbers(20000)", "TabSeparated")) == 20_020_000


def test_what_the_store_refuses_is_told(owner: Owner, folder: Path) -> None:
    with pytest.raises(StoreError, match="Unknown table expression identifier 'nope'"):
        ask(folder, "SELECT * FROM nope", "CSV")
    with pytest.raises(StoreError, match="only reading is allowed"):
        ask(folder, "INSERT INTO verdicts (id) VALUES ('x')", "CSV")


def test_several_may_ask_at_a_time(owner: Owner, folder: Path) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(ask(folder, "SELECT count() FROM verdicts", "CSV")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"3\n"] * 6


def test_too_many_are_turned_away_with_a_word(owner: Owner, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_owner, "_READ_SECONDS", WAIT_S)
    silent = []
    for _ in range(store_owner._ASKED_AT_ONCE_MAX):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(folder / SOCKET))
        silent.append(connection)
    try:
        with pytest.raises(StoreError, match="too many questions at once"):
            ask(folder, "SELECT 1", "CSV")
    finally:
        for connection in silent:
            connection.close()


def test_a_query_that_takes_too_long_is_given_up(folder: Path) -> None:
    with Store(folder) as store, Owner(store, folder, seconds_max=1):
        with pytest.raises(StoreError, match=r"(?i)timeout"):
            ask(folder, "SELECT sum(sipHash64(number)) FROM system.numbers", "CSV")
        assert ask(folder, "SELECT 1", "CSV") == b"1\n"


def test_the_socket_is_for_its_user_alone(owner: Owner, folder: Path) -> None:
    assert stat.S_IMODE((folder / SOCKET).stat().st_mode) == 0o600


def test_a_question_that_is_too_large_is_refused(owner: Owner, folder: Path) -> None:
    with pytest.raises(StoreError, match=f"allowed: at most {QUESTION_BYTES_MAX:,}"):
        ask(folder, "SELECT '" + "x" * QUESTION_BYTES_MAX + "'", "CSV")
    assert ask(folder, "SELECT 1", "CSV") == b"1\n"


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0\0\0\0\x03abc", b"\0\0\0\0\0\0\0\x63{", b"\x7f" * 8]
)
def test_whatever_else_is_said_does_no_harm(owner: Owner, folder: Path, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / SOCKET))
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) in (b"", b"-")
    assert ask(folder, "SELECT 1", "CSV") == b"1\n"


def test_a_socket_that_is_left_over_is_replaced(folder: Path) -> None:
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / SOCKET))
    with Store(folder) as store, Owner(store, folder):
        assert ask(folder, "SELECT 1", "CSV") == b"1\n"


def test_a_folder_with_a_long_path_has_one_too(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with Store(folder) as store, Owner(store, folder):
        assert ask(folder, "SELECT 1", "CSV") == b"1\n"
        behind = Path(os.path.realpath(folder / SOCKET))
    assert not behind.parent.exists()
    assert not os.path.lexists(folder / SOCKET)


# ---------------------------------------------------------------- a folder that somebody else may own


def test_a_folder_that_nobody_owns_is_opened(folder: Path) -> None:
    with Store(folder) as store:
        replay(store)
    assert query(folder, "SELECT count() FROM verdicts", "CSV") == b"3\n"
    assert not (folder / SOCKET).exists()


def test_the_process_that_owns_a_folder_is_asked(process: "subprocess.Popen[str]", folder: Path) -> None:
    assert query(folder, "SELECT count() FROM verdicts", "CSV") == b"3\n"


def test_the_command_asks_it_too(process: "subprocess.Popen[str]", folder: Path) -> None:
    start = [sys.executable, "-c", "from holdfast.cli import main; main()"]
    asked = [*start, "query", "--data", str(folder), "--format", "CSV"]
    done = subprocess.run(
        [*asked, "SELECT count() FROM verdicts"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    done = subprocess.run([*asked, "SELECT nope"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nope" in done.stderr
    assert "Traceback" not in done.stderr


def test_after_the_owner_was_killed_the_folder_is_opened(process: "subprocess.Popen[str]", folder: Path) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / SOCKET).exists()
    assert query(folder, "SELECT count() FROM verdicts", "CSV") == b"3\n"


def test_an_owner_who_answers_no_questions_is_named(folder: Path) -> None:
    with Store(folder), pytest.raises(StoreBusy, match="in use by another holdfast"):
        query(folder, "SELECT 1", "CSV")


def test_an_owner_who_is_starting_or_ending_is_a_clear_error(folder: Path) -> None:
    with Store(folder):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(folder / SOCKET))
        with pytest.raises(StoreError, match="does not answer; it may be starting or ending"):
            query(folder, "SELECT 1", "CSV")


def test_an_owner_who_ends_in_the_middle_is_a_clear_error(folder: Path) -> None:
    def end_in_the_middle(connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(b"+\0\0\0\0\0\0\1\0abc")

    with (
        Stranger(folder, end_in_the_middle),
        pytest.raises(StoreError, match=r"ended before it had answered: .*3 of 256"),
    ):
        ask(folder, "SELECT 1", "CSV")


def test_an_owner_who_takes_too_long_is_a_clear_error(folder: Path) -> None:
    waited = threading.Event()

    def wait(connection: socket.socket) -> None:
        waited.wait(WAIT_S)

    with Stranger(folder, wait):
        with pytest.raises(StoreError, match=r"did not answer within 0\.1 s"):
            ask(folder, "SELECT 1", "CSV", wait_seconds=0.1)
        waited.set()
