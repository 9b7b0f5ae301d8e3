"""What holds for every page of the HTTP API, whoever asks and whatever is sent."""

import json
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import httpx2 as httpx
import pytest

from holdfast.api import operations
from holdfast.api.operations import OPERATIONS
from holdfast.api.tokens import SCOPES, Gate, add, make
from holdfast.errors import BadInput, Unreachable
from tests.api.serving import FUTURE, PLAN, POLICY, Room

AT = datetime(2026, 3, 12, tzinfo=UTC)
PAGES = [(each.method, each.path.replace("{rollout}", "bots").replace("{gate}", "rollout")) for each in OPERATIONS]
BODY = {"rollout": PLAN, "policy": POLICY}


@pytest.fixture
def room() -> Room:
    return Room()


def guarded(folder: Path, *scopes, expires: datetime | None = None, **api: object) -> tuple[Room, dict[str, str]]:
    """Make a room that asks for tokens, and the header of one with some scopes."""
    token, kept = make("ci", list(scopes), expires)
    add(folder / "tokens.yaml", kept)
    room = Room(Gate(folder / "tokens.yaml", lambda: AT), tokens="tokens.yaml", **api)
    return room, {"authorization": f"Bearer {token}"}


def is_problem(answer: httpx.Response) -> bool:
    """Tell whether an answer tells of a problem, as it should."""
    found = answer.json()
    return answer.headers["content-type"] == "application/problem+json" and found["status"] == answer.status_code


@pytest.mark.parametrize(("method", "path"), [*PAGES, ("GET", "/openapi.json")])
def test_without_a_token_no_page_is_served(tmp_path: Path, method: str, path: str) -> None:
    room, _ = guarded(tmp_path, *SCOPES)
    answer = room.client.request(method, path, headers={"authorization": "Bearer hf_guessed"})
    assert (answer.status_code, is_problem(answer)) == (401, True)
    assert answer.headers["www-authenticate"] == 'Bearer realm="holdfast"'
    assert room.client.request(method, path).status_code in (401, 413)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_a_token_without_the_scope_is_not_enough(tmp_path: Path, operation) -> None:
    room, header = guarded(tmp_path, *(scope for scope in SCOPES if scope != operation.scope))
    path = operation.path.replace("{rollout}", "bots").replace("{gate}", "rollout")
    answer = room.client.request(operation.method, path, headers=header)
    assert answer.status_code == 403
    assert operation.scope in answer.json()["detail"]


def test_a_token_with_the_scope_is_let_in(tmp_path: Path) -> None:
    room, header = guarded(tmp_path, "rollouts:read")
    assert room.client.get("/v1/rollouts", headers=header).json() == {"rollouts": []}


def test_a_client_that_knows_only_basic_gives_the_token_as_password(tmp_path: Path) -> None:
    room, header = guarded(tmp_path, "rollouts:read")
    token = header["authorization"].removeprefix("Bearer ")
    assert room.client.get("/v1/rollouts", auth=("kayenta", token)).status_code == 200


def test_a_token_that_has_expired_is_none(tmp_path: Path) -> None:
    room, header = guarded(tmp_path, "rollouts:read", expires=AT)
    assert room.client.get("/v1/rollouts", headers=header).status_code == 401


def test_probes_are_open_if_that_is_said(tmp_path: Path) -> None:
    room, _ = guarded(tmp_path, "judge", open_probes=True)
    assert room.client.get("/readyz").json() == {"status": "ready"}
    assert room.client.get("/metrics").status_code == 401


def test_without_tokens_another_name_for_this_machine_is_refused(room: Room) -> None:
    for host in ("evil.example", "evil.example:9480", "127.0.0.1.evil.example", "[", ""):
        assert room.client.get("/v1/rollouts", headers={"host": host}).status_code == 421
    for host in ("localhost", "127.0.0.1:9480", "[::1]:9480"):
        assert room.client.get("/v1/rollouts", headers={"host": host}).status_code == 200


def test_a_body_that_is_too_large_is_refused_whatever_it_says_of_its_length() -> None:
    room = Room(body_bytes_max=1_000)
    assert room.client.post("/judge", content=b"x" * 1_001).status_code == 413

    def drip():
        yield from [b"x" * 600] * 2

    answer = room.client.post("/judge", content=drip())
    assert (answer.status_code, is_problem(answer)) == (413, True)
    assert room.client.post("/judge", content=b"{}", headers={"content-length": "9" * 400}).status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonp"])
@pytest.mark.parametrize("path", ["/judge", "/v1/rollouts", "/v1/plugs/argo", "/v1/rollouts/bots/events"])
def test_another_content_type_is_refused(room: Room, path: str, kind: str) -> None:
    answer = room.client.post(path, content=b"{}", headers={"content-type": kind})
    assert (answer.status_code, is_problem(answer)) == (415, True)


@pytest.mark.parametrize("path", ["/judge", "/v1/rollouts", "/v1/plugs/argo", "/v1/plugs/flagger/rollout"])
@pytest.mark.parametrize(
    "body",
    [b"[" * 200_000, b'{"canaryConfig":' * 100_000, b"\xff\xfe", b"{", b"", b"NaN", b'{"a":"\xed\xa0\x80"}', b"\x00"],
    ids=["deep list", "deep mapping", "no utf-8", "open", "empty", "constant", "surrogate", "null"],
)
def test_what_is_no_json_is_refused(room: Room, path: str, body: bytes) -> None:
    answer = room.client.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code in (400, 422), is_problem(answer)) == (True, True)


def test_a_document_that_is_nested_deeply_is_refused_before_it_is_looked_at(room: Room) -> None:
    for kind, text in (("json", '{"rollout":' * 900 + "1" + "}" * 900), ("yaml", "[" * 900 + "]" * 900)):
        answer = room.client.post("/v1/rollouts", content=text, headers={"content-type": f"application/{kind}"})
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "path",
    ["/", "//", "/v1", "/v1/rollouts/", "/v1/rollouts/a/../b", "/judge/", "/JUDGE", "/v1/rollouts//events",
     "/v1/rollouts/a/b", "/%2e%2e/etc/passwd", "/v1%2Frollouts"],
)  # fmt: skip
def test_there_are_no_other_paths(room: Room, path: str) -> None:
    request = httpx.Request("GET", "http://localhost/")
    request.url = request.url.copy_with(raw_path=path.encode())
    answer = room.client.send(request)
    assert (answer.status_code, is_problem(answer), "location" in answer.headers) == (404, True, False)


def test_a_name_may_hold_whatever_a_name_may_if_it_is_quoted(room: Room) -> None:
    name = "a/b ü?#%2F;../x"
    assert room.submit(rollout=name).status_code == 201
    quoted = "a%2Fb%20%C3%BC%3F%23%252F%3B..%2Fx"
    assert room.get(f"/v1/rollouts/{quoted}")["rollout"]["rollout"] == name


@pytest.mark.parametrize("name", ["%00", "%0d%0aset-cookie:x", "%ff", "a" * 201, "%1b[2J"])
def test_names_that_cannot_be_are_refused(room: Room, name: str) -> None:
    answer = room.client.get(f"/v1/rollouts/{name}")
    assert (answer.status_code, "set-cookie" in answer.headers) == (400, False)


def test_another_method_is_refused_with_those_that_there_are(room: Room) -> None:
    answer = room.client.delete("/v1/rollouts")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    answer = room.client.get("/judge")
    assert (answer.status_code, answer.headers["allow"], is_problem(answer)) == (405, "POST", True)


@pytest.mark.parametrize("query", ["rollout=bots&stage=canary&stage=region", "rollout=bots&stag=canary", "rollout=%ff",
                                   "rollout=bots&stage=", "rollout=bots", "stage=%00&rollout=bots",
                                   "&".join(f"a{number}=1" for number in range(30))])  # fmt: skip
def test_a_query_that_cannot_be_meant_is_refused(room: Room, query: str) -> None:
    room.submit()
    answer = room.client.get(f"/v1/plugs/argo?{query}")
    assert (answer.status_code, is_problem(answer)) == (400, True)


def test_an_error_of_our_own_tells_nothing_of_the_inside(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    room.rollouts.error = RuntimeError("secret inside")
    answer = room.submit()
    assert (answer.status_code, "secret" in answer.text, is_problem(answer)) == (500, False, True)
    assert "secret inside" in caplog.text


@pytest.mark.parametrize("error", [Unreachable("kafka-7.internal is away"), BadInput("no topic internal")])
def test_brokers_that_are_away_are_told_without_their_names(room: Room, error: Exception) -> None:
    room.rollouts.error = error
    answer = room.submit()
    assert (answer.status_code, "internal" in answer.text, answer.headers["retry-after"]) == (503, False, "5")


def test_beyond_the_bound_requests_are_turned_away(room: Room) -> None:
    for guard in room.app.__closure__ or ():
        starlette = guard.cell_contents
        for route in getattr(starlette, "routes", []):
            route.app._room._value = 0
    answer = room.client.get("/v1/rollouts")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert room.services.telemetry.registry.get_sample_value("holdfast_api_turned_away_total") == 1


def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(services, asked):
        import asyncio

        await asyncio.sleep(60)

    slow = operations.Operation("GET", "/slow", "slow", "Slow.", "judge", never, {})
    monkeypatch.setattr("holdfast.api.app.OPERATIONS", (slow,))
    answer = Room(timeout="100ms").client.get("/slow")
    assert (answer.status_code, answer.json()["detail"]) == (503, "not done in 0.1 s")


def test_answers_are_not_to_be_kept_by_anybody_on_the_way(room: Room) -> None:
    answer = room.client.get("/v1/rollouts")
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_requests_are_counted_by_operation(room: Room) -> None:
    room.submit()
    room.client.get("/v1/rollouts/bots")
    text = room.client.get("/metrics").text
    assert 'holdfast_api_requests_total{path="/v1/rollouts/{rollout}",status="200"} 1.0' in text


def test_ready_is_whoever_knows_both_topics(room: Room) -> None:
    assert room.get("/readyz") == {"status": "ready"}
    room.rollouts.is_known = False
    assert room.client.get("/readyz").status_code == HTTPStatus.SERVICE_UNAVAILABLE
    room.rollouts.is_known = True
    room.board.unheard("the verdict topic is not heard: away")
    assert room.client.get("/readyz").json()["detail"] == "the verdict topic is not heard: away"


def test_alive_is_a_server_whose_threads_go_round(room: Room) -> None:
    assert room.get("/healthz") == {"status": "alive"}
    room.services.silences["api-verdicts"] = lambda: 121.0  # type: ignore[index]
    assert room.client.get("/healthz").json()["detail"] == "silent: api-verdicts"


def test_webhooks_tell_what_became_of_their_events(room: Room) -> None:
    (found,) = room.get("/v1/webhooks")["webhooks"]
    assert (found["name"], found["undelivered"]) == ("chat", 0)


def test_a_rollout_is_announced_shown_and_listed(room: Room) -> None:
    answer = room.submit()
    assert (answer.status_code, answer.json()) == (201, {"rollout": "bots", "version": 1, "changed": True})
    assert room.get("/v1/rollouts/bots")["policy"]["policy"] == "edge"
    (one,) = room.get("/v1/rollouts")["rollouts"]
    assert (one["rollout"], one["stage"], one["finished"]) == ("bots", "canary", None)


def test_the_same_again_changes_nothing_and_something_else_is_refused(room: Room) -> None:
    room.submit()
    again = room.submit()
    assert (again.status_code, again.json()["changed"]) == (200, False)
    assert room.submit(mode="shadow").status_code == 409


def test_what_has_not_started_is_replaced_if_asked_for(room: Room) -> None:
    room.submit(started=FUTURE)
    body = {"rollout": {**PLAN, "started": FUTURE, "mode": "shadow"}, "policy": POLICY, "replace": True}
    assert room.client.post("/v1/rollouts", json=body).json() == {"rollout": "bots", "version": 2, "changed": True}
    room.submit(rollout="cats")
    body["rollout"] = {**PLAN, "rollout": "cats", "mode": "shadow"}
    assert room.client.post("/v1/rollouts", json=body).status_code == 409


def test_yaml_is_read_too_and_errors_name_its_lines(room: Room) -> None:
    text = "policy:\n  policy: edge\n  metrics: []\nrollout:\n  rollout: bots\n  started: soon\n"
    answer = room.client.post("/v1/rollouts", content=text, headers={"content-type": "application/yaml"})
    errors = answer.json()["errors"]
    assert answer.status_code == 422
    assert any(line.startswith('rollout:6: started: found "soon"') for line in errors)
    assert any(line.startswith("policy:3: metrics: found an empty list") for line in errors)


def test_all_errors_of_a_submission_come_at_once(room: Room) -> None:
    body = {"rollout": {**PLAN, "policy": "other"}, "policy": POLICY, "replace": "yes", "force": 1}
    errors = room.client.post("/v1/rollouts", json=body).json()["errors"]
    assert [line.partition(";")[0] for line in errors] == [
        "body: force: unknown key",
        'body: replace: found "yes"',
        "rollout: policy: found 'other', but the policy is 'edge'",
    ]


def test_a_key_that_stands_twice_is_refused(room: Room) -> None:
    text = json.dumps(BODY)[:-1] + ', "rollout": 1}'
    answer = room.client.post("/v1/rollouts", content=text, headers={"content-type": "application/json"})
    assert (answer.status_code, "'rollout' stands there twice" in answer.text) == (400, True)


def test_an_event_is_told_and_the_same_again_changes_nothing(room: Room) -> None:
    room.submit()
    event = {"event": "started", "stage": "region", "at": "2026-03-12T12:00:00Z"}
    first, again = (room.client.post("/v1/rollouts/bots/events", json=event).json() for _ in range(2))
    assert (first, again["changed"]) == ({"rollout": "bots", "version": 2, "changed": True}, False)


def test_an_event_that_cannot_be_is_refused(room: Room) -> None:
    assert room.client.post("/v1/rollouts/bots/events", json={"event": "finished"}).status_code == 404
    room.submit()
    answer = room.client.post("/v1/rollouts/bots/events", json={"event": "started", "stage": "moon"})
    assert (answer.status_code, "unknown" in answer.text or "moon" in answer.text) == (409, True)
    assert room.client.post("/v1/rollouts/bots/events", json={"event": "paused"}).status_code == 422


def test_until_the_topic_was_read_nothing_is_said_to_be_missing(room: Room) -> None:
    room.rollouts.is_known = False
    assert room.client.get("/v1/rollouts/bots").status_code == 503
    assert room.get("/v1/plugs/argo", rollout="bots", stage="canary")["result"] == "Inconclusive"
