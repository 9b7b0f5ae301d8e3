"""The table of what can be asked over HTTP: what routes, checks of scopes and the description are made from."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from prometheus_client.exposition import generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from holdfast.api import applying, changing, gates, kayenta
from holdfast.api.asking import JSON, YAML, Asked, decoded, document, named, only
from holdfast.api.delivering import TargetStates
from holdfast.api.kayenta_model import JudgeRequest, JudgeResult
from holdfast.api.refusals import Refused, answer
from holdfast.api.services import Services
from holdfast.api.tokens import Scope
from holdfast.commands.rollout import overview
from holdfast.control.reaching import NotUnderControl
from holdfast.errors import BadInput, Unreachable
from holdfast.wall import now
from rollouts.announced import Announcement
from rollouts.blast import Blast

SILENT_SECONDS_MAX: Final = 120.0

Handler = Callable[[Services, Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a query."""

    name: str
    description: str
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked.

    `answers` are descriptions and bodies by status, beside those that every operation has. `token_in_body` says that
    the token may stand in the body's metadata, for clients that cannot set headers. `change` is what it changes, in a
    word: what of it is refused is on the audit topic.
    """

    method: Literal["GET", "POST"]
    path: str
    name: str
    summary: str
    scope: Scope
    handle: Handler
    answers: Mapping[int, tuple[str, Any]]
    parameters: tuple[Parameter, ...] = ()
    body: type | None = None
    kinds: tuple[str, ...] = (JSON,)
    problems: tuple[int, ...] = ()
    token_in_body: bool = False
    produces: str = JSON
    change: str = ""


async def _judge(_services: Services, asked: Asked) -> Response:
    request = decoded(asked, JudgeRequest)
    try:
        return answer(await run_in_threadpool(kayenta.judge, request))
    except BadInput as error:
        detail = "the request does not fit together"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, detail, str(error).splitlines()) from error


async def _list(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    found, at = dict(services.known()), now()
    return answer(changing.Listed(rollouts=[overview(found[name], at) for name in sorted(found)]))


async def _show(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    return answer(services.announced(asked.path["rollout"]))


async def _submit(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    wanted = await run_in_threadpool(lambda: changing.submission(document(asked)))
    at, seen = now(), _Seen()
    name = wanted.rollout.rollout
    made = await _changed(services, name, lambda before: seen.make(before, changing.announcement(before, wanted, at)))
    status = HTTPStatus.CREATED if seen.before is None else HTTPStatus.OK
    return answer(changing.Written(rollout=name, version=made.version, changed=made is not seen.before), status)


async def _tell(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    event, name, at, seen = decoded(asked, changing.Told), asked.path["rollout"], now(), _Seen()
    made = await _changed(services, name, lambda before: seen.make(before, changing.told(before, name, event, at)))
    return answer(changing.Written(rollout=name, version=made.version, changed=made is not seen.before))


class _Seen:
    """Remembers what a change was made on."""

    before: Announcement | None = None

    def make(self, before: Announcement | None, made: Announcement) -> Announcement:
        self.before = before
        return made


async def _changed(services: Services, name: str, make: Callable[[Announcement | None], Announcement]) -> Announcement:
    try:
        return await run_in_threadpool(services.rollouts.change, name, make)
    except (BadInput, Unreachable) as error:  # what is wrong with the request was refused by `make`
        detail = f"{name}: not known to be written: the brokers did not take it; the same may be sent again"
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"retry-after": "5"}) from error


async def _report(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    given = decoded(asked, applying.Reported)
    return answer(await run_in_threadpool(lambda: applying.take(given, services.keep_reports)))


async def _reach(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    try:
        return answer(await run_in_threadpool(lambda: services.reach(asked.path["rollout"])))
    except NotUnderControl as error:
        raise Refused(HTTPStatus.NOT_FOUND, str(error)) from error
    except (BadInput, Unreachable) as error:
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"retry-after": "5"}) from error


async def _verdict(services: Services, asked: Asked) -> Response:
    only(asked.query, ("stage",))
    stage = named(asked.query, "stage") if "stage" in asked.query else None
    name = asked.path["rollout"]
    return answer(gates.opinion_of(name, stage, services.opinion(name, stage)))


def _asked_stage(asked: Asked) -> tuple[str, str]:
    """Return the rollout and the stage that are asked about, in the query or in the body."""
    if asked.body:
        only(asked.query, ())
        found = decoded(asked, gates.StageAsked)
        return found.rollout, found.stage
    only(asked.query, ("rollout", "stage"))
    return named(asked.query, "rollout"), named(asked.query, "stage")


async def _argo(services: Services, asked: Asked) -> Response:
    return answer(gates.argo(services.opinion(*_asked_stage(asked))))


async def _spinnaker(services: Services, asked: Asked) -> Response:
    return answer(gates.spinnaker(services.opinion(*_asked_stage(asked))))


async def _flagger(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    gate, rollout, stage = gates.flagger_asks(asked.path["gate"], decoded(asked, gates.FlaggerPayload))
    return answer(gates.flagger(gate, services.opinion(rollout, stage)))


async def _webhooks(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    return answer(TargetStates(webhooks=[each.state for each in services.targets]))


async def _metrics(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    kind = "text/plain; version=0.0.4; charset=utf-8"
    return Response(generate_latest(services.telemetry.registry), media_type=kind)


async def _alive(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    silent = sorted(name for name, seconds in services.silences.items() if seconds() > SILENT_SECONDS_MAX)
    return _state(not silent, "alive", f"silent: {', '.join(silent)}")


async def _ready(services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    why = services.board.doubt
    if services.rollouts.current() is None:
        why = "the rollouts topic was not read to its end yet"
    return _state(why is None, "ready", why or "")


def _state(is_good: bool, good: str, bad: str) -> Response:
    if not is_good:
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, bad)
    return answer({"status": good})


_STAGE: Final = (
    Parameter("rollout", "Name of the rollout."),
    Parameter("stage", "Name of the stage whose decision is asked for."),
)
_ARGO_ANSWER: Final = {200: ("A measurement; only a stage shown to be healthy is `Successful`.", gates.ArgoMeasurement)}
_SPINNAKER_ANSWER: Final = {200: ("How far the stage is.", gates.SpinnakerProgress)}

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        "POST",
        "/judge",
        "judge",
        "Judge samples of both sides, as Kayenta's remote judge.",
        "judge",
        _judge,
        {200: ("What became of each metric, and of the whole.", JudgeResult)},
        body=JudgeRequest,
    ),
    Operation(
        "GET",
        "/v1/rollouts",
        "listRollouts",
        "List the rollouts that are announced.",
        "rollouts:read",
        _list,
        {200: ("All rollouts, by name.", changing.Listed)},
        problems=(503,),
    ),
    Operation(
        "POST",
        "/v1/rollouts",
        "submitRollout",
        "Announce a rollout; the same again changes nothing.",
        "rollouts:write",
        _submit,
        {
            200: ("It was announced already, or was replaced.", changing.Written),
            201: ("It is announced.", changing.Written),
        },
        body=changing.Submission,
        kinds=(JSON, YAML),
        problems=(409, 503),
        change="announcement",
    ),
    Operation(
        "GET",
        "/v1/rollouts/{rollout}",
        "showRollout",
        "Show what is announced of a rollout.",
        "rollouts:read",
        _show,
        {200: ("The announcement.", Announcement)},
        problems=(404, 503),
    ),
    Operation(
        "POST",
        "/v1/rollouts/{rollout}/events",
        "tellEvent",
        "Tell that a stage has started, or that the rollout is finished; the same again changes nothing.",
        "rollouts:write",
        _tell,
        {200: ("What is announced by now.", changing.Written)},
        body=changing.Told,
        problems=(404, 409, 503),
        change="event",
    ),
    Operation(
        "POST",
        "/v1/reports",
        "reportApplied",
        "Report what hosts have, as agents do on the topic.",
        "reports:write",
        _report,
        {200: ("They are kept.", applying.Taken)},
        body=applying.Reported,
        problems=(503,),
        change="reports",
    ),
    Operation(
        "GET",
        "/v1/rollouts/{rollout}/reach",
        "showReach",
        "Show what a rollout under control has reached, what it could reach next, and what keeps it from that.",
        "rollouts:read",
        _reach,
        {200: ("What it has reached.", Blast)},
        problems=(404, 503),
    ),
    Operation(
        "GET",
        "/v1/rollouts/{rollout}/verdict",
        "showVerdict",
        "Say what is known of a stage, with the verdict and its reasons.",
        "verdicts:read",
        _verdict,
        {200: ("What is known.", gates.StageOpinion)},
        parameters=(Parameter("stage", "The stage; without it, the rollout as a whole.", is_required=False),),
        problems=(404,),
    ),
    Operation(
        "GET",
        "/v1/plugs/argo",
        "argoMetric",
        "Measure a stage for Argo Rollouts' web metric.",
        "verdicts:read",
        _argo,
        _ARGO_ANSWER,
        parameters=_STAGE,
        problems=(404,),
    ),
    Operation(
        "POST",
        "/v1/plugs/argo",
        "argoMetricOfBody",
        "The same, asked in a body.",
        "verdicts:read",
        _argo,
        _ARGO_ANSWER,
        body=gates.StageAsked,
        problems=(404,),
    ),
    Operation(
        "POST",
        "/v1/plugs/flagger/{gate}",
        "flaggerGate",
        "Open or close a gate of Flagger's.",
        "verdicts:read",
        _flagger,
        {200: ("It is open.", gates.FlaggerOpen)},
        body=gates.FlaggerPayload,
        problems=(404, 409),
        token_in_body=True,
    ),
    Operation(
        "GET",
        "/v1/plugs/spinnaker",
        "spinnakerStage",
        "Tell Spinnaker's webhook stage how far a stage is.",
        "verdicts:read",
        _spinnaker,
        _SPINNAKER_ANSWER,
        parameters=_STAGE,
        problems=(404,),
    ),
    Operation(
        "POST",
        "/v1/plugs/spinnaker",
        "spinnakerStageOfBody",
        "The same, asked in a body.",
        "verdicts:read",
        _spinnaker,
        _SPINNAKER_ANSWER,
        body=gates.StageAsked,
        problems=(404,),
    ),
    Operation(
        "GET",
        "/v1/webhooks",
        "listWebhooks",
        "Tell what became of events that are sent out.",
        "webhooks:read",
        _webhooks,
        {200: ("Each target.", TargetStates)},
    ),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        "Metrics for Prometheus.",
        "metrics:read",
        _metrics,
        {200: ("Metrics.", str)},
        produces="text/plain",
    ),
    Operation(
        "GET",
        "/healthz",
        "alive",
        "Tell whether everything in the process goes round.",
        "health:read",
        _alive,
        {200: ("It does.", dict[str, str])},
        problems=(503,),
    ),
    Operation(
        "GET",
        "/readyz",
        "ready",
        "Tell whether both topics were read to their end.",
        "health:read",
        _ready,
        {200: ("They were.", dict[str, str])},
        problems=(503,),
    ),
)
PROBES: Final = ("/healthz", "/readyz")
