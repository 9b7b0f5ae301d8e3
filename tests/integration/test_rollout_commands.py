"""`holdfast rollout` and `holdfast verdict wait` against a real broker."""

import json
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import yaml

from holdfast.cli import main
from sinks.messages import Message
from sinks.signatures import Signer
from tests.integration.test_subscribe import signed
from tests.integration.topics import publish, topic
from tests.test_following import beat, verdict
from tests.test_signatures import private
from tests.waiting import WAIT_S

POLICY = {"policy": "edge", "metrics": [{"name": "busy", "gauge": "cpu", "worse": "increase", "breach": "halt"}]}
STAGES = [{"name": name, "canary": {"cohort": name}, "bake": "30m"} for name in ("canary", "region")]
PLAN = {"rollout": "bots", "started": "2026-03-12T11:20:00Z", "stages": STAGES}
FUTURE = "2099-03-12T11:20:00Z"


class Shell:
    """Runs the command line against topics of its own."""

    def __init__(self, folder: Path, bootstrap: str, verdicts: str, capsys, monkeypatch) -> None:
        self.folder, self.bootstrap, self.verdicts = folder, bootstrap, verdicts
        self._capsys, self._monkeypatch = capsys, monkeypatch
        (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit status, output and errors."""
        self._monkeypatch.setattr(sys, "argv", ["holdfast", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self._capsys.readouterr()
        return int(str(left.value.code)), out, err

    def submit(self, *options: str, **changes: object) -> tuple[int, str, str]:
        """Submit the plan, with changes."""
        path = self.folder / "rollout.yaml"
        path.write_text(yaml.safe_dump({**PLAN, **changes}))
        return self.run("rollout", "submit", str(path), "--policy", str(self.folder / "policy.yaml"), *options)

    def wait(self, *options: str, stage: str = "canary") -> tuple[int, str, str]:
        """Wait for a verdict on a stage."""
        patient = ("--stale-after", f"{WAIT_S:g}s")  # options that come later go before
        return self.run("verdict", "wait", "bots", "--stage", stage, *patient, *options)

    def tell(self, *messages: Message) -> None:
        """Put messages on the verdict topic."""
        publish(self.bootstrap, self.verdicts, messages)


@pytest.fixture
def shell(kafka, tmp_path: Path, capsys, monkeypatch) -> Iterator[Shell]:
    number = uuid.uuid4().hex
    monkeypatch.setenv("HOLDFAST_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setenv("HOLDFAST_TOPICS__ROLLOUTS", f"r-{number}")
    monkeypatch.setenv("HOLDFAST_TOPICS__VERDICTS", f"v-{number}")
    with (
        topic(kafka.bootstrap, f"r-{number}", cleanup="compact"),
        topic(kafka.bootstrap, f"v-{number}") as verdicts,
    ):
        yield Shell(tmp_path, kafka.bootstrap, verdicts, capsys, monkeypatch)


def test_a_rollout_is_submitted_told_of_and_shown(shell: Shell) -> None:
    assert shell.submit() == (0, "bots: announced, version 1\n", "")
    told = shell.run("rollout", "event", "bots", "started", "--stage", "region", "--at", "2026-03-12T12:00:00+01:00")
    assert told[0] == 2  # it would be before the canary's start
    told = shell.run("rollout", "event", "bots", "started", "--stage", "region", "--at", "2026-03-12T13:00:00+01:00")
    assert told == (0, "bots: started at 2026-03-12T12:00:00Z, version 2\n", "")
    assert shell.run("rollout", "show", "bots")[1].splitlines() == [
        "bots: version 2, policy edge, enforce",
        "    canary: from 2026-03-12T11:20:00Z, bake 30m",
        "    region: from 2026-03-12T12:00:00Z, bake 30m",
    ]


def test_a_rollout_is_finished(shell: Shell) -> None:
    shell.submit()
    told = shell.run("rollout", "event", "bots", "finished", "--at", "2026-03-12T15:00:00Z")
    assert told == (0, "bots: finished at 2026-03-12T15:00:00Z, version 2\n", "")
    assert shell.run("rollout", "show", "bots")[1].endswith("    finished at 2026-03-12T15:00:00Z\n")


def test_the_whole_document_is_shown_as_json(shell: Shell) -> None:
    shell.submit()
    document = json.loads(shell.run("rollout", "show", "bots", "--json")[1])
    assert (document["version"], document["rollout"]["rollout"], document["events"]) == (1, "bots", [])


def test_all_rollouts_are_listed(shell: Shell) -> None:
    shell.submit()
    shell.submit(rollout="cats", started=FUTURE, mode="shadow")
    assert shell.run("rollout", "list")[1].splitlines() == [
        "bots: version 1, policy edge, enforce: canary",
        "cats: version 1, policy edge, shadow: not started",
    ]
    (first, second) = json.loads(shell.run("rollout", "list", "--json")[1])
    assert first["stages"] == [
        {"stage": "canary", "start": "2026-03-12T11:20:00Z"},
        {"stage": "region", "start": None},
    ]
    assert (first["stage"], second["stage"], second["finished"]) == ("canary", None, None)


def test_the_same_rollout_again_changes_nothing(shell: Shell) -> None:
    shell.submit()
    assert shell.submit() == (0, "bots: announced, version 1\n", "")


def test_another_rollout_of_the_same_name_is_refused(shell: Shell) -> None:
    shell.submit()
    status, _, said = shell.submit(mode="shadow")
    assert status == 2
    assert "rollout.yaml: bots is announced already, in version 1, with another plan or policy; allowed: " in said


def test_what_has_not_started_is_replaced_if_asked_for(shell: Shell) -> None:
    shell.submit(started=FUTURE)
    assert shell.submit("--replace", started=FUTURE, mode="shadow")[1] == "bots: announced, version 2\n"


def test_what_has_started_is_not_replaced(shell: Shell) -> None:
    shell.submit()
    status, _, said = shell.submit("--replace", mode="shadow")
    assert (status, said.startswith("bots: started at 2026-03-12T11:20:00Z; allowed: ")) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rollout show bots", "bots: not announced; `holdfast rollout submit` announces it"),
        ("rollout event bots started --stage canary", "bots: not announced; "),
        ("rollout event bots paused", "event: found 'paused'; allowed: started or finished"),
        ("rollout event bots finished --at noon", "--at: found 'noon'; allowed: a time with its zone"),
        ("verdict wait bots --stage canary", "bots: --stage: found 'canary'; no such rollout is announced"),
        ("verdict wait bots --stage canary --timeout 1", "--timeout: found '1'; a duration is a number and its unit"),
        ("verdict wait bots --stage canary --stale-after 0s", "--stale-after: found '0s'; allowed: longer than 0"),
    ],
)
def test_bad_input_is_told(shell: Shell, words: str, said: str) -> None:
    status, _, errors = shell.run(*words.split())
    assert (status, errors[: len(said)]) == (2, said)


def test_a_plan_that_names_another_policy_is_refused(shell: Shell) -> None:
    status, _, said = shell.submit(policy="other")
    assert (status, "rollout.yaml: policy: found 'other', but " in said) == (2, True)


def test_errors_of_a_document_are_all_told(shell: Shell) -> None:
    status, _, said = shell.submit(mode="loud", stages=[*STAGES, STAGES[0]])
    assert (status, len(said.splitlines())) == (2, 2)


def test_brokers_that_do_not_answer_are_told(shell: Shell, monkeypatch) -> None:
    monkeypatch.setenv("HOLDFAST_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr("holdfast.live.announcing.Announcements.load.__defaults__", (0.5,))
    status, _, said = shell.run("rollout", "list")
    assert (status, said.startswith("no broker answers: ")) == (2, True)


@pytest.mark.parametrize(
    ("messages", "options", "status"),
    [
        ([verdict(1, 1), verdict(2, 2, action="advance"), beat(2, 3)], [], 0),
        ([verdict(1, 1), verdict(2, 2, action="halt")], [], 10),
        ([verdict(1, 1), verdict(2, 2, action="advance"), verdict(3, 3, action="revert")], [], 11),
        ([verdict(1, 1), beat(1, 2)], ["--timeout", "300ms"], 12),
        ([verdict(1, 1), beat(1, 2)], ["--stale-after", "300ms"], 13),
        ([], ["--stale-after", "300ms"], 13),
        ([verdict(1, 1), beat(1, 2, finished=True)], [], 14),
    ],
    ids=["advance", "halt", "revert", "timeout", "silence", "never heard", "finished"],
)
def test_waiting_ends_with_a_status_of_its_own(
    shell: Shell, messages: Sequence[Message], options: list[str], status: int
) -> None:
    shell.submit()
    shell.tell(*messages, verdict(1, 1, "cats", action="revert"))
    assert shell.wait(*options)[0] == status


def test_a_decision_that_comes_later_ends_waiting(shell: Shell) -> None:
    shell.submit()
    shell.tell(verdict(1, 1))
    later = threading.Timer(1.0, shell.tell, [verdict(2, 2, action="advance")])
    later.start()
    assert shell.wait()[0] == 0
    later.join()


def test_a_stop_of_an_earlier_stage_ends_waiting_for_a_later_one(shell: Shell) -> None:
    shell.submit()
    shell.tell(verdict(1, 1, action="halt"))
    assert shell.wait(stage="region")[0] == 10


def test_an_advance_of_an_earlier_stage_does_not_end_waiting_for_a_later_one(shell: Shell) -> None:
    shell.submit()
    shell.tell(verdict(1, 1, action="advance"))
    assert shell.wait("--timeout", "300ms", stage="region")[0] == 12


def test_a_verdict_is_found_however_far_back_it_is(shell: Shell, monkeypatch) -> None:
    monkeypatch.setattr("holdfast.live.waiting._WINDOW_MESSAGES", 5)
    shell.submit()
    shell.tell(verdict(1, 1, action="advance"), *[beat(1, tick) for tick in range(2, 60)])
    assert shell.wait()[0] == 0


def test_a_stop_of_which_only_a_heartbeat_is_left_ends_waiting(shell: Shell) -> None:
    shell.submit()
    last = msgspec.json.decode(beat(3, 4).value)
    last["data"]["action"] = "revert"
    shell.tell(Message(b"bots", msgspec.json.encode(last), beat(3, 4).headers))
    assert shell.wait()[0] == 11


def test_what_is_not_trusted_decides_nothing_and_is_named(shell: Shell, tmp_path: Path, monkeypatch) -> None:
    signer = Signer.load(private(tmp_path, "march", 1), "march")
    monkeypatch.setenv("HOLDFAST_TRUSTED_KEYS", f"{{march: {tmp_path / 'march.pub'}}}")
    shell.submit()
    advance = signed(verdict(2, 2, action="advance"), signer)
    shell.tell(signed(verdict(1, 1), signer), verdict(2, 2, action="revert"), advance)
    status, out, _ = shell.wait("--json")
    assert status == 0
    assert json.loads(out)["untrusted"].endswith("@1: not signed; allowed: a signature by one of the keys march")


def test_the_reasons_are_told_in_words_and_as_json(shell: Shell) -> None:
    shell.submit()
    shell.tell(verdict(1, 7, action="halt"))
    assert shell.wait()[1].splitlines() == [
        "bots: canary: halt: stop here, and have a person look",
        "    verdict 1 of 1970-01-01T00:01:10Z on canary: halt (baking)",
    ]
    report = json.loads(shell.wait("--json")[1])
    assert (report["outcome"], report["exit"], report["verdict"]["sequence"]) == ("halt", 10, 1)


def test_nobody_waits_for_a_rollout_that_binds_nobody(shell: Shell) -> None:
    shell.submit(mode="shadow")
    status, _, said = shell.wait()
    assert (status, said.startswith("bots: mode: found shadow, whose verdicts bind nobody")) == (2, True)
