"""Break glass and the audit log on a real broker: no store, no page, no HTTP; Kafka and the command line alone."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from holdfast.cli import main
from holdfast.control import drill
from holdfast.control.audit_log import Draft, append, append_all, read
from holdfast.live.clients import admin
from holdfast.live.settings import Settings, load_settings
from holdfast.live.topics import create
from holdfast.wall import now
from rollouts.audit import Chain
from rollouts.breakglass import DRILL, REFUSED
from tests.integration.conftest import Kafka
from tests.overrides import PEOPLE, private
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parent.parent.parent
FREEZE = ("freeze_all", "--reason", "packets are lost", "--for", "1h")


class Shell:
    """The command line of several people, on topics of their own; the store that is named does not exist."""

    def __init__(self, bootstrap: str, folder: Path, capsys, monkeypatch) -> None:
        self.folder, self._capsys, self._monkeypatch = folder, capsys, monkeypatch
        prefix = f"t{uuid.uuid4().hex[:10]}"
        (folder / "people.yaml").write_bytes(msgspec.json.encode(PEOPLE))
        document = {
            "kafka": {"bootstrap.servers": bootstrap},
            "prefix": prefix,
            "metrics": [{"topic": f"{prefix}.metrics"}],
            "partitions": 1,
            "people": str(folder / "people.yaml"),
            "clickhouse": {"host": "nowhere.invalid"},
        }
        self.config = folder / "holdfast.yaml"
        self.config.write_bytes(msgspec.yaml.encode(document))
        self.settings: Settings = load_settings(self.config, {})
        for seed in (1, 2, 12, 3, 4, 5, 6):
            (folder / f"{seed}.pem").write_bytes(pem(seed))

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit status, output and errors."""
        self._monkeypatch.setattr(sys, "argv", ["holdfast", *words, "--config", str(self.config)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self._capsys.readouterr()
        return int(str(left.value.code)), out, err

    def glass(self, what: str, *words: str, seed: int = 1) -> tuple[int, str, str]:
        return self.run("breakglass", what, *words, "--key", str(self.folder / f"{seed}.pem"))

    def ask(self, *words: str, seed: int = 1) -> str:
        """Ask for an override, and return its id."""
        status, out, err = self.glass("request", *words, "--json", seed=seed)
        assert (status, err) == (0, "")
        return str(json.loads(out)["override"]["id"])

    def approve(self, identity: str, seed: int) -> int:
        return self.glass("approve", identity[:12], "--yes", seed=seed)[0]

    def statuses(self, *words: str) -> list[str]:
        return [each["status"] for each in json.loads(self.run("breakglass", "list", "--json", *words)[1])["overrides"]]

    def put(self, raw: bytes) -> None:
        """Write to the topic as anybody might who can reach it."""
        producer = Producer({"bootstrap.servers": self.settings.kafka["bootstrap.servers"]})
        producer.produce(self.settings.topics.audit, raw, partition=0)
        assert producer.flush(WAIT_S) == 0

    def die(self, point: str) -> None:
        """Have a writer killed at a point."""
        command = [sys.executable, "-m", "tests.integration.auditing", str(self.config), point]
        assert subprocess.run(command, cwd=ROOT, env=dict(os.environ), check=False, timeout=300).returncode == -9


def pem(seed: int) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return private(seed).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def shell(kafka: Kafka, tmp_path: Path, capsys, monkeypatch) -> Iterator[Shell]:
    made = Shell(kafka.bootstrap, tmp_path, capsys, monkeypatch)
    for name in ("SKEW_SECONDS", "ANSWER_SECONDS"):  # of a drill: a slow machine is no clock that is wrong
        monkeypatch.setattr(drill, name, WAIT_S)
    client = admin(made.settings)
    create(client, made.settings)
    yield made
    names = [name for name in client.list_topics(timeout=WAIT_S).topics if name.startswith(made.settings.prefix)]
    for future in client.delete_topics(names).values():
        future.result()


def entry(number: int):
    def make(chain: Chain, _at: datetime) -> Draft:
        return Draft("ada", "test.entry", "", {"number": number, "after": len(chain.links)})

    return make


# ---------------------------------------------------------------- overrides


def test_an_override_is_asked_for_approved_in_force_and_ends(shell: Shell, monkeypatch) -> None:
    identity = shell.ask(*FREEZE)
    assert shell.statuses() == ["pending"]
    assert shell.approve(identity, 2) == 0
    assert shell.approve(identity, 3) == 0
    assert shell.statuses() == ["in force"]
    later = now() + timedelta(hours=1)
    monkeypatch.setattr("holdfast.wall.now", lambda: later)
    assert (shell.statuses("--all"), shell.statuses()) == (["expired"], [])
    assert shell.run("audit", "verify")[0] == 0


def test_what_is_refused_has_an_exit_status_a_reason_and_an_entry(shell: Shell) -> None:
    identity = shell.ask(*FREEZE)
    status, out, err = shell.glass("approve", identity, "--yes", seed=1)
    assert (status, out) == (3, "")
    assert "cannot approve it too" in err
    assert shell.approve(identity, 2) == 0
    assert shell.approve(identity, 12) == 3
    assert shell.approve(identity, 4) == 3
    assert shell.approve(identity, 5) == 3
    kinds = [link.entry.kind for link in read(shell.settings).links]
    assert kinds.count(REFUSED) == 4
    assert shell.statuses() == ["pending"]


def test_a_key_that_nobody_has_is_told_at_once(shell: Shell) -> None:
    status, _, err = shell.glass("request", *FREEZE, seed=6)
    assert (status, "nobody in the people document has this key" in err) == (2, True)
    assert read(shell.settings).links == []


def test_who_cannot_be_asked_must_say_yes(shell: Shell) -> None:
    identity = shell.ask(*FREEZE)
    assert shell.glass("approve", identity, seed=2)[0] == 2
    assert shell.statuses() == ["pending"]


def test_an_override_is_denied_and_revoked(shell: Shell) -> None:
    first, second = shell.ask(*FREEZE), shell.ask(*FREEZE)
    assert shell.glass("deny", first[:8], "--reason", "it is not", seed=2)[0] == 0
    assert shell.glass("revoke", second[:8], "--reason", "mended", seed=1)[0] == 0
    assert shell.statuses("--all") == ["denied", "revoked"]
    assert shell.run("breakglass", "list")[1] == "nothing is pending or in force\n"


# ---------------------------------------------------------------- the chain


def test_writers_at_the_same_time_make_one_chain(shell: Shell) -> None:
    with ThreadPoolExecutor(3) as pool:
        told = [pool.submit(append, shell.settings, entry(number)) for number in range(3)]
    written = [number for number, future in enumerate(told) if future.exception() is None]
    chain = read(shell.settings)
    assert chain.first_break() is None
    numbers = [link.entry.body["number"] for link in chain.links]
    assert set(written) <= set(numbers)
    assert written
    assert [link.entry.body["after"] for link in chain.links] == list(range(len(numbers)))


@pytest.mark.parametrize(("point", "count"), [("read", 1), ("produced", 1), ("committed", 2)])
def test_a_writer_that_is_killed_leaves_a_whole_chain(shell: Shell, point: str, count: int) -> None:
    shell.die(point)
    link = append(shell.settings, entry(1))
    assert link is not None
    assert link.entry.sequence == count - 1
    chain = read(shell.settings)
    assert (chain.first_break(), len(chain.links)) == (None, count)


def test_a_record_that_was_tampered_with_is_found_and_named(shell: Shell, kafka: Kafka) -> None:
    for number in range(3):
        append(shell.settings, entry(number))
    links = read(shell.settings).links
    shell.settings = msgspec.structs.replace(
        shell.settings, topics=msgspec.structs.replace(shell.settings.topics, audit=f"{shell.settings.prefix}.copy")
    )
    document = msgspec.yaml.decode(shell.config.read_bytes()) | {"topics": {"audit": shell.settings.topics.audit}}
    shell.config.write_bytes(msgspec.yaml.encode(document))
    create(admin(shell.settings), shell.settings)
    from rollouts.audit import encode

    for link in links:
        shell.put(encode(link.entry).replace(b'"number":1', b'"number":7'))
    status, out, _ = shell.run("audit", "verify", "--json")
    proof = json.loads(out)
    assert (status, proof["broken"]["kind"], proof["broken"]["offset"]) == (3, "changed", 2)
    assert "entry 1 at offset 1 has" in proof["broken"]["sentence"]
    assert shell.run("audit", "verify", "--expect-head", links[-1].hash)[0] == 3


def test_a_tail_that_was_cut_is_found_by_its_head_alone(shell: Shell) -> None:
    append(shell.settings, entry(1))
    head = read(shell.settings).head
    assert shell.run("audit", "verify", "--expect-head", head)[0] == 0
    assert shell.run("audit", "verify", "--expect-head", "0" * 64)[0] == 3


def test_junk_on_the_topic_is_told_and_stops_nobody(shell: Shell) -> None:
    identity = shell.ask(*FREEZE)
    shell.put(b"junk")
    assert shell.approve(identity, 2) == 0
    assert shell.approve(identity, 3) == 0
    assert shell.statuses() == ["in force"]
    status, out, _ = shell.run("audit", "verify")
    assert (status, "broken (unreadable)" in out) == (3, True)


def test_entries_that_are_written_together_follow_each_other(shell: Shell) -> None:
    append(shell.settings, entry(0))
    drafts = [Draft("ada", "test.entry", "", {"number": number}) for number in (1, 2, 3)]
    links = append_all(shell.settings, lambda _chain, _at: drafts)
    assert [link.entry.body["number"] for link in links] == [1, 2, 3]
    append(shell.settings, entry(4))
    chain = read(shell.settings)
    assert chain.first_break() is None
    assert [link.entry.body["number"] for link in chain.links] == [0, 1, 2, 3, 4]


def test_entries_have_the_time_of_the_broker(shell: Shell) -> None:
    link = append(shell.settings, entry(1))
    assert link is not None
    assert link.written is not None
    assert abs((link.written - link.entry.time).total_seconds()) < WAIT_S


# ---------------------------------------------------------------- drills


def test_a_drill_writes_that_it_was_held_and_nothing_else(shell: Shell) -> None:
    status, out, _ = shell.glass("drill", "--json")
    checks = {each["name"]: each for each in json.loads(out)}
    assert (status, [name for name, each in checks.items() if not each["works"]]) == (0, [])
    assert [link.entry.kind for link in read(shell.settings).links] == [DRILL]
    assert shell.statuses("--all") == []


def test_a_drill_can_be_held_without_a_trace(shell: Shell) -> None:
    assert shell.glass("drill", "--dry-run")[0] == 0
    assert read(shell.settings).links == []


def test_a_drill_says_what_would_not_have_worked(shell: Shell) -> None:
    people = msgspec.structs.replace(PEOPLE, people=PEOPLE.people[1:])
    (shell.folder / "people.yaml").write_bytes(msgspec.json.encode(people).replace(b'"approvals":2', b'"approvals":1'))
    shell.put(b"junk")
    status, out, _ = shell.glass("drill", seed=1)
    failed = [line for line in out.splitlines() if line.startswith("FAILS")]
    assert status == 3
    assert any("1.pem: nobody in the people document has this key" in line for line in failed)
    assert any("not an entry" in line for line in failed)


def test_a_drill_without_a_broker_says_so(shell: Shell, monkeypatch) -> None:
    monkeypatch.setattr(drill, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr("holdfast.live.topics._ANSWER_SECONDS", 1.0)
    document = msgspec.yaml.decode(shell.config.read_bytes()) | {"kafka": {"bootstrap.servers": "127.0.0.1:1"}}
    shell.config.write_bytes(msgspec.yaml.encode(document))
    status, out, _ = shell.glass("drill")
    assert status == 3
    assert any(line.startswith("FAILS  topic") and "no answer from" in line for line in out.splitlines())
