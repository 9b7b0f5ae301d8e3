"""What the API says where it does not do what it was asked: problem details (RFC 9457), without anything internal."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct
from starlette.responses import Response

PROBLEM: Final = "application/problem+json"

_ERRORS_MAX: Final = 100


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was not done. `errors` has one line for each error of a document, with its place."""

    status: int
    title: str
    detail: str
    errors: list[str] = []


class Refused(Exception):
    """Ends the handling of a request with a problem.

    Parameters
    ----------
    status
        Status of the answer.
    detail
        What is wrong and what is allowed, for people.
    errors
        One line for each error of a document.
    headers
        Further headers of the answer.
    rollout
        Which one it is about, where only the body says that.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        errors: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        rollout: str = "",
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, list(errors), dict(headers or {})
        self.rollout = rollout

    def response(self) -> Response:
        """Make the answer."""
        found = self.errors[:_ERRORS_MAX]
        if len(self.errors) > _ERRORS_MAX:
            found.append(f"and {len(self.errors) - _ERRORS_MAX} more errors")
        return problem(self.status, self.detail, found, self.headers)


def problem(status: int, detail: str, errors: Sequence[str] = (), headers: Mapping[str, str] | None = None) -> Response:
    """Make an answer that tells of a problem."""
    body = Problem(status=status, title=HTTPStatus(status).phrase, detail=detail, errors=list(errors))
    return Response(msgspec.json.encode(body), status, headers, PROBLEM)


def answer(value: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """Make an answer in JSON; nobody on the way may keep it, since it may be another one the next moment."""
    kept = {"cache-control": "no-store", "x-content-type-options": "nosniff", **(headers or {})}
    return Response(msgspec.json.encode(value, order="deterministic"), status, kept, "application/json")
