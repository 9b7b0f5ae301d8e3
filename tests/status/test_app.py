"""What is asked over HTTP: who may read what, how it comes, and what tricks with paths come to."""

import asyncio
import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from holdfast.api.tokens import Gate, add, make
from holdfast.status.app import App
from holdfast.status.pages import Look
from holdfast.status.settings import Status
from holdfast.status.site import Site
from holdfast.status.streams import Streams
from holdfast.wall import now
from tests.status.samples import NOW, made, name

SITE = Site(made(), Look("Example"), "https://status.example.com", "holdfast", NOW)
PUBLIC = ["/", "/history", "/feed.atom", "/status.json", f"/incidents/{name(1)}", f"/incidents/{name(1)}.json"]
INTERNAL = ["/internal", "/internal.json", f"/internal/incidents/{name(1)}", "/internal/events", "/internal/nothing"]


def client(
    gate: Gate | None = None, site: Site | None = SITE, base: str = "", host: str = "http://localhost", **status: Any
) -> TestClient:
    given = msgspec.convert(status, Status)
    streams = Streams(lambda: site, 0, 1)
    app = App(given, gate or Gate(None, now), lambda: site, streams, Look("Example", base))
    return TestClient(app, base_url=host, raise_server_exceptions=False, follow_redirects=False)


@pytest.mark.parametrize("path", PUBLIC)
def test_everybody_reads_what_is_public_under_any_name(path: str) -> None:
    answer = client(host="https://status.example.com", url="https://status.example.com").get(path)
    assert answer.status_code == 200
    page = SITE.page(path)
    assert page is not None
    assert answer.content == page.body


@pytest.mark.parametrize("path", [*PUBLIC, "/nothing", "/healthz", "/internal"])
def test_every_answer_says_what_a_page_may_do(path: str) -> None:
    headers = client().get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in headers


@pytest.mark.parametrize("path", PUBLIC)
def test_a_head_says_what_a_get_would_and_sends_nothing(path: str) -> None:
    asked = {"accept-encoding": "identity"}
    head, get = client().head(path, headers=asked), client().get(path, headers=asked)
    assert head.content == b""
    assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["etag"] == get.headers["etag"]


@pytest.mark.parametrize("path", PUBLIC)
def test_what_a_reader_has_already_is_not_sent_again(path: str) -> None:
    etag = client().get(path).headers["etag"]
    again = client().get(path, headers={"if-none-match": f'"x", {etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client().get(path, headers={"if-none-match": '"x"'}).status_code == 200


def test_who_takes_gzip_is_sent_gzip() -> None:
    with client().stream("GET", "/", headers={"accept-encoding": "br, gzip;q=0.8"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "accept-encoding"
    page = SITE.page("/")
    assert page is not None
    assert gzip.decompress(raw) == page.body


@pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0", "gzip; q=0.0", "", "gzipped"])
def test_who_takes_no_gzip_is_sent_none(accepted: str) -> None:
    assert "content-encoding" not in client().get("/", headers={"accept-encoding": accepted}).headers


TRICKS = [
    "/incidents/../internal",
    "/incidents/%2e%2e/internal",
    "/incidents/..%2finternal",
    "/%69nternal",
    "//internal",
    "/./internal",
    "/incidents//internal",
    "/internal%00",
    "/incidents/%00",
    f"/incidents/{name(1)}%00",
    f"/incidents/{name(1)}/",
    f"/incidents/{name(1)}%0d%0aset-cookie:x",
    f"/incidents/{name(90)}",
    f"/incidents/{name(91)}.json",
    "/incidents/..\\..\\etc\\passwd",
    "/incidents/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/incidents/%c0%ae%c0%ae/",
    "/incidents/%ef%bc%8e%ef%bc%8e/",
    "/incidents/inc-2026031%d9%a2-00000001",
    "/static/../../holdfast.yaml",
    "/incidents/" + "a" * 8_000,
    "/index.html",
    "/.git/config",
    "/INTERNAL",
]


@pytest.mark.parametrize("path", TRICKS, ids=range(len(TRICKS)))
def test_a_trick_with_a_path_is_no_page(path: str) -> None:
    assert raw(client(), path)[0] == 404


def raw(asked: TestClient, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Ask for a path as it stands: clients put paths in order before they send them."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("latin-1", "replace"),
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("203.0.113.7", 1),
    }

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    application: Any = asked.app
    asyncio.run(application(scope, receive, send))
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_any_path_is_a_known_page_or_none(path: str) -> None:
    status, body = raw(client(host="http://status.example.com", url="https://status.example.com"), f"/{path}")
    assert status in (200, 403, 404, 503)
    asked = f"/{path}".partition("?")[0]
    assert status != 200 or asked in SITE.public or asked == "/healthz"
    assert b"zebra" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_pages_are_only_read(method: str) -> None:
    answer = client().request(method, "/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", INTERNAL)
def test_what_is_internal_is_for_this_machine_alone_without_tokens(path: str) -> None:
    for other in (
        client(host="http://status.example.com"),
        client(url="https://status.example.com"),
        client(host="http://127.0.0.1.example.com"),
    ):
        answer = other.get(path)
        assert (answer.status_code, b"zebra" in answer.content) == (403, False)


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-real-ip", "via", "x-forwarded-host"])
def test_what_came_through_a_proxy_is_not_from_this_machine(header: str) -> None:
    assert client().get("/internal", headers={header: "x"}).status_code == 403
    assert client().get("/internal").status_code == 200


def test_what_is_internal_is_nowhere_kept_on_the_way() -> None:
    assert client().get("/internal").headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in client().get("/internal.json").headers


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "tokens.yaml"
    token, kept = make("ann", ["status:read"])
    add(path, kept)
    add(path, make("other", ["health:read"])[1])
    return path, token


@pytest.mark.parametrize("path", INTERNAL)
def test_with_tokens_what_is_internal_asks_for_one(tokens: tuple[Path, str], path: str) -> None:
    asked = client(Gate(tokens[0], now), host="https://status.example.com")
    answer = asked.get(path)
    assert (answer.status_code, b"zebra" in answer.content) == (401, False)
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_a_browser_sends_the_token_as_a_password(tokens: tuple[Path, str]) -> None:
    path, token = tokens
    asked = client(Gate(path, now), host="https://status.example.com", url="https://status.example.com")
    assert asked.get("/internal", auth=("", token)).status_code == 200
    assert asked.get("/internal", headers={"authorization": f"Bearer {token}"}).status_code == 200
    assert asked.get("/internal", auth=("ann", f"{token}x")).status_code == 401


def test_a_token_for_something_else_is_not_enough(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    token, kept = make("other", ["health:read"])
    add(path, kept)
    assert client(Gate(path, now)).get("/internal", headers={"authorization": f"Bearer {token}"}).status_code == 403


def test_before_anything_is_known_there_is_no_page_and_a_reader_comes_again() -> None:
    for path in ("/", "/status.json", "/feed.atom", "/incidents/inc-20260312-0a1b2c3d", "/internal.json"):
        answer = client(site=None).get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert client(site=None).get("/healthz").status_code == 200


def test_a_page_below_a_path_is_found_with_and_without_it() -> None:
    asked = client(base="/status", url="https://example.com/status")
    for path in ("/status/", "/status", "/", "/status/status.json"):
        assert asked.get(path).status_code == 200
    assert asked.get("/statusinternal").status_code == 404


def test_others_may_read_json_and_the_feed_from_their_pages_and_nothing_else() -> None:
    assert client().get("/status.json").headers["access-control-allow-origin"] == "*"
    assert client().get("/feed.atom").headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in client().get("/").headers


def test_where_nobody_can_subscribe_there_is_no_such_page() -> None:
    assert client().post("/subscribe", data={"address": "a@example.com"}).status_code == 404
    assert client().get("/confirm/x").status_code == 404


def test_a_query_changes_nothing() -> None:
    assert client().get("/?x=<script>").content == client().get("/").content


def test_no_more_readers_than_there_is_room_for_are_kept_up_to_date() -> None:
    answer = client().get("/events")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


def test_an_error_of_our_own_says_nothing_of_itself() -> None:
    def broken() -> Site:
        message = "zebra"
        raise RuntimeError(message)

    app = App(Status(), Gate(None, now), broken, Streams(broken, 1, 1), Look("Example"))
    answer = TestClient(app, raise_server_exceptions=False).get("/")
    assert (answer.status_code, b"zebra" in answer.content) == (500, False)


def test_the_samples_are_of_one_moment() -> None:
    assert datetime(2026, 3, 12, 14, 2, 30, tzinfo=UTC) == NOW
