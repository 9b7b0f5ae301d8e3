"""Addresses: secrets come out of the environment, and get into nothing that is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import BadInput
from holdfast.notifying.addresses import ADDRESSES_MAX, Address, addresses_of
from holdfast.notifying.orders import Order, Reply, encoded
from tests.notifying.making import address, response

URL = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops?footer=no"


def errors(urls: dict[str, list[str]], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(BadInput) as caught:
        addresses_of(response(urls), environ or {})
    return str(caught.value).splitlines()


def test_a_variable_stands_for_what_the_environment_says() -> None:
    urls = ["mailtos://${USER_1}:${PASS}@mail.example.net", "json://localhost"]
    found = addresses_of(response({"oncall": urls}), {"USER_1": "bob", "PASS": "hush"})["oncall"]
    assert [each.url for each in found] == ["mailtos://bob:hush@mail.example.net", "json://localhost"]
    assert [each.name for each in found] == ["oncall[0]", "oncall[1]"]
    assert found[0].schema == "mailtos"


def test_each_missing_variable_is_named_and_nothing_of_the_address_is() -> None:
    assert errors({"a": ["slack://${TOKEN}/s3cret"], "b": ["json://localhost", "json://${EMPTY}/"]}, {"EMPTY": ""}) == [
        "test: recipients[0].urls[0]: the variable TOKEN is not set; allowed: one of the environment that is",
        "test: recipients[1].urls[1]: the variable EMPTY is not set; allowed: one of the environment that is",
    ]


@pytest.mark.parametrize("url", ["", "no address, s3cret", "://s3cret", "s3cret@example.net", "js on://s3cret"])
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    (error,) = errors({"a": [url]})
    assert error == "test: recipients[0].urls[0]: found no address of Apprise; allowed: as in mailtos://… or slack://…"


def test_a_variable_cannot_bring_a_line_break() -> None:
    (error,) = errors({"a": ["json://${HOST}"]}, {"HOST": "localhost\r\nX-Evil: 1"})
    assert error.endswith("found a line break or another character that cannot be printed")


def test_what_is_no_name_of_a_variable_is_refused() -> None:
    assert "around what is no name of a variable" in errors({"a": ["json://${a b}/"]})[0]


def test_addresses_have_a_bound() -> None:
    urls = {f"r{number}": ["json://localhost"] * 20 for number in range(11)}
    assert errors(urls) == [f"test: recipients: found 220 addresses; allowed: at most {ADDRESSES_MAX} of all together"]


def test_an_address_is_not_shown() -> None:
    assert URL not in repr(address(URL))
    assert "T1JJ3T3L2" not in repr(address(URL)) + repr(Order(number=1, url=URL, seconds=1.0))


@pytest.mark.parametrize(
    "said",
    [
        "(host='hooks.slack.com', port=443): with url: /services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ (x)",
        f"Could not load Slack URL: {URL}",
        "invalid token tiiajkdnlazkcoxridevi7fq",
        "see https://hooks.slack.com/services/T1JJ3T3L2?x=1",
    ],
)
def test_nothing_of_an_address_is_left_in_what_is_said(said: str) -> None:
    scrubbed = address(URL).scrubbed(said)
    for part in ("T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ", "tiiajkdnlazkcoxridevi7fq", "/services"):
        assert part not in scrubbed


def test_a_secret_is_hidden_as_it_is_written_and_as_it_is_meant() -> None:
    there = address("mailto://bob:p%40ss%2Fword@mail.example.net")
    assert "word" not in there.scrubbed("login failed for bob with p@ss/word and p%40ss%2Fword")


def test_the_reason_is_left() -> None:
    there = address("mailto://bob:hush@mail.example.net?to=ops@example.net")
    said = "{'ops@example.net': (550, b'5.1.1 ops@example.net: no such user here')} [Errno 111] Connection refused"
    assert "550" in there.scrubbed(said)
    assert "no such user here" in there.scrubbed(said)
    assert "[Errno 111] Connection refused" in there.scrubbed(said)


@given(st.text(max_size=2_000))
def test_what_is_said_is_one_line_with_a_bound_whatever_it_was(text: str) -> None:
    said = Address("a", 0, "json", URL).scrubbed(text)
    assert len(said) <= 300
    assert len(said.splitlines()) <= 1


@given(st.text(max_size=2_000) | st.just("\ud800" * 500) | st.just("\x00" * 2_000))
def test_a_reply_is_written_in_one_piece(text: str) -> None:
    assert len(encoded(Reply(number=1, error=text))) < 4_096
