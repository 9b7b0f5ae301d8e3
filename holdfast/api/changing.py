"""Announcing rollouts over HTTP: thin over `holdfast.live.announcing`, and idempotent by content."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from detectors.policy import Name, Policy
from holdfast.api.refusals import Refused
from holdfast.commands.rollout import Overview
from holdfast.documents import understood
from holdfast.errors import BadInput
from holdfast.located import Place, Problems
from holdfast.validation import model, validate
from rollouts.announced import Announcement, EventName, announce, replaced, same, with_event
from rollouts.document import Rollout, Timestamp

KEYS: Final = ("rollout", "policy", "replace")


class Submission(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rollout, and the policy that judges it; `replace` puts them in the place of what has not started."""

    rollout: Rollout
    policy: Policy
    replace: bool = False


class _Kept(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a submission whose values are looked at by themselves."""

    replace: bool = False


class Told(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened to a rollout, and since when; without `at`, since now."""

    event: EventName
    stage: Name | None = None
    at: Timestamp | None = None


class Written(Struct, frozen=True, kw_only=True):
    """What is announced of a rollout by now; `changed` is false if it said so before."""

    rollout: str
    version: Annotated[int, Meta(ge=1)]
    changed: bool


class Listed(Struct, frozen=True, kw_only=True):
    """All rollouts that are announced, by name."""

    rollouts: list[Overview]


def submission(document: Place) -> Submission:
    """Read a submission.

    Raises
    ------
    Refused
        With every error of it (422).
    """
    parts = document.mapping()
    errors: list[str] = []
    problems = Problems("body")
    for key in parts.keys() - set(KEYS):
        problems.add(parts[key], key[:80], f"unknown key; allowed: {', '.join(KEYS)}")
    for key in ("rollout", "policy"):
        if key not in parts:
            problems.add(document, key, "missing; allowed: the document")
    rest = Place({key: parts[key] for key in ("replace",) if key in parts}, document.line, document.column)
    validate(rest, model(_Kept), problems)
    try:
        problems.refuse()
    except BadInput as error:
        errors += str(error).splitlines()
    if "rollout" in parts and "policy" in parts:
        try:
            plan, policy = understood(parts["rollout"], parts["policy"])
            if plan.policy is not None and plan.policy != policy.policy:
                text = f"found {plan.policy!r}, but the policy is {policy.policy!r}; allowed: that one"
                errors.append(f"rollout: policy: {text}")
        except BadInput as error:
            errors += str(error).splitlines()
        else:
            if not errors:
                return Submission(rollout=plan, policy=policy, replace=rest.plain() == {"replace": True})
    raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "the documents cannot be used", errors, rollout=_named(parts))


def _named(parts: Mapping[str, Place]) -> str:
    """Return the rollout that a submission with errors is about; empty if it does not say so."""
    plan = parts.get("rollout")
    name = None if plan is None else plan.child("rollout")
    try:
        return "" if name is None else msgspec.convert(name.string(), Name)
    except msgspec.ValidationError:
        return ""


def announcement(before: Announcement | None, wanted: Submission, now: datetime) -> Announcement:
    """Make what is announced after a submission.

    Raises
    ------
    Refused
        If something else is announced under the name, and may not be replaced (409).
    """
    if before is None:
        return announce(wanted.rollout, wanted.policy)
    if not wanted.replace and not same(before, wanted.rollout, wanted.policy):
        detail = (
            f"{wanted.rollout.rollout} is announced already, in version {before.version}, with another plan or policy; "
            "allowed: the same, another name, or replace: true if it has not started"
        )
        raise Refused(HTTPStatus.CONFLICT, detail, rollout=wanted.rollout.rollout)
    try:
        return replaced(before, wanted.rollout, wanted.policy, now)
    except BadInput as error:
        raise Refused(HTTPStatus.CONFLICT, str(error), rollout=wanted.rollout.rollout) from error


def told(before: Announcement | None, rollout: str, event: Told, now: datetime) -> Announcement:
    """Make what is announced after an event.

    Raises
    ------
    Refused
        If the rollout is not announced (404), or the event cannot be (409).
    """
    if before is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"{rollout}: not announced")
    try:
        return with_event(before, event.event, event.stage, event.at or now)
    except BadInput as error:
        raise Refused(HTTPStatus.CONFLICT, str(error)) from error
