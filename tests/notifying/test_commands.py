"""`holdfast notify`, as a person runs it: who hears what, and a test message to real servers."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.errors import BadInput
from holdfast.notifying.trying import heard
from rollouts.incidents.response import Response, Rule, Step
from tests.notifying.making import response
from tests.notifying.servers import free_port, hook, mail

RUNNER = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with settings that name a response document."""
    settings = {"response": {"document": str(tmp_path / "response.yaml")}}
    (tmp_path / "holdfast.yaml").write_bytes(msgspec.yaml.encode(settings))
    return tmp_path


def ran(folder: Path, document: Response, *arguments: str) -> tuple[int, str, str]:
    (folder / "response.yaml").write_bytes(msgspec.yaml.encode(document))
    found = RUNNER.invoke(app, ["notify", *arguments, "--config", str(folder / "holdfast.yaml")])
    return found.exit_code, found.stdout, found.stderr


def test_a_test_message_says_that_it_is_a_drill_and_how_long_it_took(folder: Path) -> None:
    with mail() as server, hook() as web:
        status, out, err = ran(folder, response({"ops": [server.url(), web.url]}), "test", "ops")
    assert (status, err) == (0, "")
    assert [line.rpartition(" in ")[0] for line in out.splitlines()] == ["ops[0]: sent", "ops[1]: sent"]
    assert server.taken[0]["Subject"] == "[DRILL] [minor] opened: test message: nothing has happened (test01)"
    assert web.posted[0][2]["message"].startswith("This is a drill")


def test_one_that_does_not_arrive_is_told_of_without_its_address(folder: Path) -> None:
    with hook() as web:
        urls = [f"json://127.0.0.1:{free_port()}/s3cr3t-t0ken", web.url]
        status, out, err = ran(folder, response({"ops": urls}), "test", "ops")
    assert status == 1
    assert err.startswith("ops[0]: not sent: ")
    assert "s3cr3t" not in err
    assert out.startswith("ops[1]: sent in ")


def test_somebody_unknown_is_an_error_that_names_the_others(folder: Path) -> None:
    (folder / "response.yaml").write_bytes(msgspec.yaml.encode(response({"ops": ["json://x"], "lab": ["json://x"]})))
    with pytest.raises(BadInput, match="nobody: no such recipient; there are: ops, lab"):
        RUNNER.invoke(
            app, ["notify", "test", "nobody", "--config", str(folder / "holdfast.yaml")], catch_exceptions=False
        )


def test_the_list_says_who_hears_what_and_whose_address_is_none(folder: Path) -> None:
    document = response({"ops": ["json://localhost/s3cr3t-t0ken"], "lab": ["slack://s3cr3t"]})
    status, out, _ = ran(folder, document, "list")
    assert status == 1
    assert out.splitlines() == [
        "ops[0]  json://  ok  hears: critical/major/minor",
        "lab[0]  slack://  Apprise cannot use this address  hears: critical/major/minor",
    ]
    _, out, _ = ran(folder, document, "list", "--json")
    assert [msgspec.json.decode(line)["error"] for line in out.splitlines()] == [
        None,
        "Apprise cannot use this address",
    ]


def test_what_somebody_hears_is_said_in_words() -> None:
    document = Response(
        response="r",
        rules=[Rule(tell=["a"], severities=["critical"], services=["dns"]), Rule(tell=["a"], colos=["ams*", "fra*"])],
        escalation=[Step(after="5m", tell=["b"]), Step(after="10m", tell=["a"])],
        drills=["c"],
    )
    assert heard("a", document) == [
        "critical of dns",
        "critical/major/minor of ams* fra*",
        "step 2 of the escalation",
    ]
    assert [heard(name, document) for name in "bcd"] == [["step 1 of the escalation"], ["drills"], ["nothing"]]
