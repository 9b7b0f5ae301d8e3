"""Who may do what: tokens by their hashes, each with scopes.

A token is 32 random bytes, so that one round of SHA-256 is all that its hash needs: there is nothing to guess. The file
holds hashes alone; a token is shown once, when it is made.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
import threading
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from detectors.policy import Name
from holdfast.api.refusals import Refused
from holdfast.errors import BadInput
from holdfast.located import Problems, join, read
from holdfast.validation import model, validate
from rollouts.document import Timestamp

Scope = Literal[
    "judge",
    "verdicts:read",
    "rollouts:read",
    "rollouts:write",
    "reports:write",
    "webhooks:read",
    "metrics:read",
    "health:read",
    "status:read",
]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

TOKENS_MAX: Final = 1_000
ANYBODY: Final = "anybody on this machine"
"""Who is let in where there is no file of tokens."""

_PREFIX: Final = "hf_"
_BYTES: Final = 32
_PRESENTED_MAX: Final = 200

_log = logging.getLogger(__name__)


class Token(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose a token is, the SHA-256 of it in hexadecimal, what it may do, and until when."""

    name: Name
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", extra={"allowed": "64 small hexadecimal digits"})]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=len(SCOPES))]
    expires: Timestamp | None = None


class Tokens(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file of tokens says."""

    tokens: Annotated[list[Token], Meta(max_length=TOKENS_MAX)]


def digest(token: str) -> str:
    """Return what the file holds of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def make(name: str, scopes: list[Scope], expires: datetime | None = None) -> tuple[str, Token]:
    """Make a token; the first of both is for its owner, the second for the file."""
    token = _PREFIX + secrets.token_urlsafe(_BYTES)
    return token, Token(name=name, sha256=digest(token), scopes=scopes, expires=expires)


def load(path: Path) -> list[Token]:
    """Read a file of tokens.

    Raises
    ------
    BadInput
        With every error of the file, one a line.
    """
    problems = Problems(str(path))
    document = read(path, problems)
    validate(document, model(Tokens), problems)
    names: dict[str, str] = {}
    tokens = document.child("tokens")
    for index, each in enumerate(tokens.items() if tokens else []):
        place, where = each.child("name"), join("tokens", index)
        name = place.string() if place else None
        if place is not None and name in names:
            problems.add(place, f"{where}.name", f"found the name of {names[name]} too; allowed: each name once")
        if name is not None:
            names.setdefault(name, where)
    problems.refuse()
    return msgspec.convert(document.plain(), Tokens).tokens


def add(path: Path, token: Token) -> None:
    """Add a token to a file, which is made if there is none; nobody else may read it.

    Raises
    ------
    BadInput
        If the file is not one of tokens, cannot be written, or has a token of that name.
    """
    known = load(path) if path.exists() else []
    if any(each.name == token.name for each in known):
        message = f"{path}: there is a token of the name {token.name!r} already; allowed: another name"
        raise BadInput(message)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(msgspec.yaml.encode(Tokens(tokens=[*known, token])))
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        message = f"{path}: cannot be written: {error.strerror or error}"
        raise BadInput(message) from error


class Gate:
    """Lets in who has a token with the right scope. The file is read again when it changes.

    Parameters
    ----------
    path
        The file of tokens; None to let everybody in.
    now
        The clock on the wall.

    Raises
    ------
    BadInput
        If the file cannot be used. Later on, one that cannot be used is logged, and the last good one stays in force.
    """

    def __init__(self, path: Path | None, now: Callable[[], datetime]) -> None:
        self._path, self._now = path, now
        self._lock = threading.Lock()
        self._seen = _state(path)
        self._tokens = [] if path is None else load(path)

    @property
    def is_open(self) -> bool:
        """Whether everybody is let in."""
        return self._path is None

    def admit(self, presented: str | None, scope: Scope) -> str:
        """Return whose token was presented.

        Parameters
        ----------
        presented
            The token, or None if there is none.
        scope
            What it must allow.

        Raises
        ------
        Refused
            If there is no such token (401), or it does not allow this (403).
        """
        if self._path is None:
            return ANYBODY
        self._refresh(self._path)
        found = None
        hashed = digest((presented or "")[:_PRESENTED_MAX])
        for each in self._tokens:  # all of them, however soon one fits: the time taken tells nothing
            if hmac.compare_digest(each.sha256, hashed):
                found = each
        if found is None or (found.expires is not None and found.expires <= self._now()):
            detail = "no token that is known and in force; allowed: the header Authorization: Bearer TOKEN"
            raise Refused(HTTPStatus.UNAUTHORIZED, detail, headers={"www-authenticate": 'Bearer realm="holdfast"'})
        if scope not in found.scopes:
            detail = f"the token {found.name!r} does not have the scope {scope}"
            raise Refused(HTTPStatus.FORBIDDEN, detail)
        return found.name

    def _refresh(self, path: Path) -> None:
        with self._lock:
            state = _state(path)
            if state == self._seen:
                return
            self._seen = state
            try:
                self._tokens = load(path)
                _log.info("%s: read again: %d tokens", path, len(self._tokens))
            except BadInput as error:
                _log.error("the last good tokens stay in force: %s", error)


def _state(path: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file does."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)


def presented_in(authorization: str | None) -> str | None:
    """Return the token in a header: of `Bearer`, or the password of `Basic`, for clients that know only that.

    Examples
    --------
    >>> presented_in("Bearer hf_x"), presented_in("basic Om1pbmU="), presented_in("Digest x")
    ('hf_x', 'mine', None)
    """
    scheme, _, rest = (authorization or "").partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return rest or None
    if scheme.lower() != "basic":
        return None
    try:
        _, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or None
