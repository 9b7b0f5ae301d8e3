"""Packages: units of configuration or software by name, kind and digest; their contents are named by what they are."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, get_args

import msgspec

from detectors.errors import BadInput
from rollouts.document import Unit

Kind = Literal["data-file", "flag", "key-value", "software-version"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

CONTENT_BYTES_MAX: Final = 8_000_000
"""Largest content of a unit, in bytes: it travels as one message."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_VERSION: Final = re.compile(r"[\x21-\x7e]{1,200}")


def digest_of(content: bytes) -> str:
    """Name a content by what it is: SHA-256, in lower-case hexadecimal."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def problems(units: Sequence[Unit]) -> list[str]:
    """Say everything that forbids units to be a package.

    Returns
    -------
    list[str]
        One sentence for each: unknown kinds, digests that name no content, names that stand twice or lead out of the
        folder that an agent writes to.
    """
    found = [] if units else ["package: found no unit; allowed: at least one"]
    seen: set[str] = set()
    for index, unit in enumerate(units):
        place = f"package[{index}] ({unit.unit})"
        if unit.kind not in KINDS:
            found.append(f"{place}: kind: found {unit.kind!r}; allowed: {', '.join(KINDS)}")
        if _DIGEST.fullmatch(unit.digest) is None:
            found.append(f"{place}: digest: found {unit.digest!r}; allowed: sha256: and 64 hexadecimal digits")
        if unit.unit in seen:
            found.append(f"{place}: found a second time; allowed: each unit once")
        if not _stays_inside(unit.unit):
            allowed = "a relative path without empty parts, '.' and '..'"
            found.append(f"{place}: unit: found {unit.unit!r}; allowed: {allowed}")
        seen.add(unit.unit)
    for name in sorted(seen):
        inside = next((other for other in sorted(seen) if other.startswith(f"{name}/")), None)
        if inside is not None:
            found.append(f"package: {name!r} and {inside!r} cannot both be; one would be a folder and a file")
    return found


def require(units: Sequence[Unit]) -> None:
    """Refuse units that are no package.

    Raises
    ------
    BadInput
        With everything that `problems` finds, one a line.
    """
    found = problems(units)
    if found:
        raise BadInput("\n".join(found))


def verified(unit: Unit, content: bytes) -> bytes:
    """Return the content of a unit if it is the one that its digest names, and such as its kind has.

    Raises
    ------
    BadInput
        If it is not.
    """
    if len(content) > CONTENT_BYTES_MAX:
        message = f"{unit.unit}: {len(content)} bytes; allowed: at most {CONTENT_BYTES_MAX}"
        raise BadInput(message)
    found = digest_of(content)
    if found != unit.digest:
        message = f"{unit.unit}: the content has the digest {found}; the package says {unit.digest}"
        raise BadInput(message)
    problem = _problem_of(unit.kind, content)
    if problem is not None:
        message = f"{unit.unit}: {problem}"
        raise BadInput(message)
    return content


def stored(contents: Mapping[str, bytes], new: Iterable[bytes]) -> dict[str, bytes]:
    """Add contents to those that are kept, by digest; what is kept never changes."""
    return {**{digest_of(content): content for content in new}, **contents}


def _stays_inside(name: str) -> bool:
    return "\\" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def _problem_of(kind: str, content: bytes) -> str | None:
    """Say why a content is not such as its kind has, or None."""
    match kind:
        case "data-file":
            return None
        case "flag":
            return None if content in (b"true", b"false") else "a flag is the text true or false"
        case "key-value":
            return _no_pairs(content)
        case "software-version":
            fits = _VERSION.fullmatch(content.decode("ascii", errors="replace")) is not None
            return None if fits else "a software version is 1 to 200 visible ASCII characters"
        case _:
            return f"kind: found {kind!r}; allowed: {', '.join(KINDS)}"


def _no_pairs(content: bytes) -> str | None:
    try:
        msgspec.json.decode(content, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "key-value pairs are a JSON object of texts"
    return None
