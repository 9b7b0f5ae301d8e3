"""Addresses of recipients: their secrets out of the environment, and kept out of whatever is said of them."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from holdfast.errors import BadInput
from rollouts.incidents.plain import line
from rollouts.incidents.response import Response

ADDRESSES_MAX: Final = 200
"""Most addresses of all recipients together: each has a thread of its own."""

_VARIABLE: Final = re.compile(r"\$\{([^{}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARTS: Final = re.compile(r"[/?&=:@,;#|]+")
_ADDRESSED: Final = re.compile(r"\S*://\S+|(?<=url: )\S+|\S+@\S+")
_SECRET_MIN: Final = 3
_SAID_MAX: Final = 300
_HIDDEN: Final = "…"


@dataclass(frozen=True, slots=True)
class Address:
    """Where one recipient is told, the `index`-th way of several. Its `url` is a secret, and never shown."""

    recipient: str
    index: int
    schema: str
    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """What it is called where it is talked about."""
        return f"{self.recipient}[{self.index}]"

    def scrubbed(self, text: str) -> str:
        """Return what was said of it without anything of its address in it.

        Examples
        --------
        >>> address = Address("oncall", 0, "mailto", "mailto://bob:s3cret@mail.example.net?to=ops@example.net")
        >>> address.scrubbed("mail.example.net refused bob, s3cret: 535 5.7.8 no; see https://x.example/y?s3cret")
        '… refused …, …: 535 5.7.8 no; see …'
        """
        parts = {each for part in _PARTS.split(self.url.partition("://")[2]) for each in (part, unquote(part))}
        said = _ADDRESSED.sub(_HIDDEN, text)
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= _SECRET_MIN:
                said = re.sub(re.escape(part), _HIDDEN, said, flags=re.IGNORECASE)
        return line(said, _SAID_MAX)


def addresses_of(
    response: Response, environ: Mapping[str, str] | None = None, *, file: str | None = None
) -> dict[str, list[Address]]:
    """Return the addresses of all recipients by name, `${NAME}` replaced by what the environment says.

    Parameters
    ----------
    response
        The document.
    environ
        The variables; None for those of the process.
    file
        Where the document is from, for errors; else they name the document.

    Raises
    ------
    BadInput
        With each address that is none, and each variable that is missing, one a line; no address is in it.
    """
    variables = os.environ if environ is None else environ
    errors: list[str] = []
    found: dict[str, list[Address]] = {}
    for number, recipient in enumerate(response.recipients):
        if recipient.name in found:
            errors.append(f"recipients[{number}]: found {recipient.name!r} twice; allowed: each name once")
        found[recipient.name] = [
            _address(recipient.name, index, text, variables, f"recipients[{number}].urls[{index}]", errors)
            for index, text in enumerate(recipient.urls)
        ]
    count = sum(map(len, found.values()))
    if count > ADDRESSES_MAX:
        errors.append(f"recipients: found {count} addresses; allowed: at most {ADDRESSES_MAX} of all together")
    if errors:
        raise BadInput("\n".join(f"{file or response.response}: {error}" for error in errors))
    return found


def _address(name: str, index: int, text: str, variables: Mapping[str, str], place: str, errors: list[str]) -> Address:
    for variable in _VARIABLE.findall(text):
        if not _NAME.fullmatch(variable):
            errors.append(f"{place}: found ${{…}} around what is no name of a variable")
        elif not variables.get(variable):
            errors.append(f"{place}: the variable {variable} is not set; allowed: one of the environment that is")
    url = _VARIABLE.sub(lambda found: variables.get(found[1], ""), text)
    schema = url.partition("://")[0].lower()
    if not re.fullmatch(r"[a-z0-9+-]{2,20}", schema) or "://" not in url:
        errors.append(f"{place}: found no address of Apprise; allowed: as in mailtos://… or slack://…")
    if any(not each.isprintable() for each in url):
        errors.append(f"{place}: found a line break or another character that cannot be printed")
    return Address(name, index, schema, url)
