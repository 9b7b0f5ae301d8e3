"""One message, sent by Apprise to real servers that are well or in trouble."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.notifying.sending import Failed, Senders
from rollouts.incidents.history import Cause, History, Impact, Opened, Resolved
from rollouts.incidents.notices import notices
from rollouts.incidents.wording import words
from tests.notifying.making import NOON, address, history, message, minutes, response
from tests.notifying.servers import Answer, Mood, dropping, endless, free_port, hook, mail, silent, status
from tests.waiting import WAIT_S


@pytest.fixture(scope="module")
def senders() -> Iterator[Senders]:
    """Give what sends, ready to send."""
    made = Senders()
    made.check(address("json://localhost"))
    yield made
    made.close()


def refused(senders: Senders, url: str, seconds: float = WAIT_S) -> Failed:
    with pytest.raises(Failed) as caught:
        senders.send(address(url), message(), seconds)
    return caught.value


def test_a_mail_comes_as_text_and_as_a_page(senders: Senders) -> None:
    with mail() as server:
        senders.send(address(server.url()), message(), WAIT_S)
    (found,) = server.taken
    assert found["Subject"] == "[critical] opened: errors after edge-1 (ams01)"
    assert (found["To"], found["From"]) == ("oncall@example.net", "holdfast@example.net")
    plain, page = found.get_body(("plain",)), found.get_body(("html",))
    assert plain is not None
    assert page is not None
    assert "How much: 12 % of the traffic is in these colos" in plain.get_content()
    assert "<strong>How much:</strong> 12 % of the traffic" in page.get_content()


def test_the_mail_in_the_docs_is_the_one_that_comes(senders: Senders) -> None:
    page = Path(__file__).resolve().parent.parent.parent / "docs" / "notifications.md"
    shown = page.read_text(encoding="utf-8").partition("```\nFrom: ")[2].partition("```")[0]
    head, _, text = f"From: {shown}".partition("\n\n")
    impact = Impact(
        colos=["ams01", "fra02"],
        services=["checkout"],
        metrics=["errors"],
        traffic_share=0.123,
        hosts_share=0.004,
        onset=NOON - minutes(2.5),
    )
    why = "errors in ams01 are 4.1 times as many as in the control"
    verdict = "0" * 32
    cause = Cause(
        rollout="edge-proxy-42", verdict=verdict, sequence=17, action="revert", stage="canary", at=NOON, sentences=[why]
    )
    title = "errors after edge-proxy 42"
    opened = Opened(at=NOON, by="holdfast", title=title, severity="critical", impact=impact, cause=cause)
    document = response({"team": ["json://localhost"]})
    (told,) = notices(History(incident="inc-20260312-0a1b2c3d", events=[opened]), document)
    with mail() as server:
        link = "https://status.example.net/incidents/{incident}"
        senders.send(address(server.url("edge@example.net")), words(told, document, link), WAIT_S)
    (found,) = server.taken
    plain = found.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().split() == text.split()
    for line in head.splitlines():
        name, _, value = line.partition(": ")
        assert name in found
        assert name == "Date" or found[name] == value


def test_a_mail_can_be_told_apart_and_belongs_to_its_incident(senders: Senders) -> None:
    with mail() as server:
        senders.send(address(server.url()), message(), WAIT_S)
    (found,) = server.taken
    assert found["X-Holdfast-Notice"] == message().id
    assert found["References"] == f"<{message().thread}@holdfast>"
    assert found["Auto-Submitted"] == "auto-generated"


def test_a_webhook_gets_what_and_which(senders: Senders) -> None:
    with hook() as server:
        senders.send(address(server.url), message(), WAIT_S)
    ((path, headers, body),) = server.posted
    assert path == "/hooks/s3cr3t-t0ken"
    assert headers["X-Holdfast-Notice"] == message().id
    assert (body["title"], body["message"], body["type"]) == (message().subject, message().plain.strip(), "failure")


def test_a_webhook_may_answer_what_it_likes_if_it_says_200(senders: Senders) -> None:
    with hook(status(200, b"\xff{not json")) as server:
        senders.send(address(server.url), message(), WAIT_S)
    assert len(server.posted) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(500, b"s3cr3t-t0ken and <b>more</b>"), "error=500"),
        (status(410), "error=410"),
        (dropping, "error"),
    ],
)
def test_a_webhook_in_trouble_is_told_of_without_its_secret(senders: Senders, answer: Answer, said: str) -> None:
    with hook(answer) as server:
        error = refused(senders, server.url)
    assert said in str(error)
    assert "s3cr3t" not in str(error)
    assert "hooks" not in str(error)
    assert "127.0.0.1" not in str(error)


def test_a_redirect_is_not_followed(senders: Senders) -> None:
    with hook() as other, hook(status(307, Location=f"http://127.0.0.1:{other.port}/")) as server:
        assert "error=307" in str(refused(senders, server.url))
    assert other.posted == []


@pytest.mark.parametrize("answer", [endless(0.05), endless(0.0), silent])
def test_whoever_does_not_come_to_an_end_is_cut_off(senders: Senders, answer: Answer) -> None:
    with hook(answer) as server:
        error = refused(senders, server.url, 2.0)
    assert re.search("no answer in time|Read timed out|larger than there is room for", str(error))


def test_after_one_that_was_cut_off_the_next_message_goes_out(senders: Senders) -> None:
    with hook(silent) as stuck, hook() as server:
        refused(senders, stuck.url, 1.0)
        senders.send(address(server.url), message(), WAIT_S)
        assert len(server.posted) == 1


@pytest.mark.parametrize("mood", ["refusing", "unknown", "dropping", "slow"])
def test_a_mail_server_in_trouble_is_told_of(senders: Senders, mood: Mood) -> None:
    with mail(mood) as server:
        error = refused(senders, server.url(to="bob@example.net", user="bob:hush@"), 2.0)
    assert str(error)
    assert "hush" not in str(error)
    assert "bob" not in str(error)
    assert server.taken == []


def test_nobody_there_is_told_of_with_the_reason_and_without_the_address(senders: Senders) -> None:
    error = refused(senders, f"json://127.0.0.1:{free_port()}/s3cr3t-t0ken")
    assert "onnection" in str(error)
    assert "s3cr3t" not in str(error)
    assert "127.0.0.1" not in str(error)


def test_an_address_of_which_apprise_knows_nothing_is_not_tried_again(senders: Senders) -> None:
    error = refused(senders, "nosuch://s3cr3t-t0ken/x")
    assert (str(error), error.is_final) == ("Apprise cannot use this address", True)


def test_an_address_can_be_looked_at_without_sending(senders: Senders) -> None:
    with hook() as server:
        senders.check(address(server.url))
    assert server.posted == []
    with pytest.raises(Failed, match="cannot use"):
        senders.check(address("slack://too-short"))


def test_a_pager_keeps_one_alert_for_an_incident_and_closes_it_when_that_is_over(senders: Senders) -> None:
    resolved = Resolved(at=NOON + minutes(5), by="ada", how="reverted")
    document = response({"oncall": ["json://localhost"]})
    told = [words(each, document) for each in notices(history(1, NOON, resolved), document)]
    with hook() as server:
        for each in told:
            senders.send(
                address(f"goalert://127.0.0.1:{server.port}/{'0' * 8}-0000-0000-0000-{'0' * 12}"), each, WAIT_S
            )
    bodies = [body for _, _, body in server.posted]
    assert [body["dedup"] for body in bodies] == [told[0].thread] * 2
    assert [body.get("action") for body in bodies] == [None, "close"]


def test_a_password_goes_to_the_server_and_nowhere_else(senders: Senders) -> None:
    with hook() as server:
        senders.send(address(f"json://bob:hush@127.0.0.1:{server.port}/"), message(), WAIT_S)
    ((_, headers, body),) = server.posted
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"bob:hush"
    assert "hush" not in str(body)


def test_what_is_closed_sends_no_more() -> None:
    made = Senders()
    made.close()
    with pytest.raises(Failed, match="has ended"):
        made.send(address("json://localhost"), message(), 1.0)
