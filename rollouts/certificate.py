"""The gate certificate: that a policy has passed its gate, signed. It travels with the announcement of a rollout.

What is signed are these three, one after the other with a line feed (0x0A) between them:

1. the text `dev.holdfast.gate.v1`,
2. the name of the key,
3. the member `certificate`, as `canonical` writes it: JSON with its keys in the order of this model and no blanks.

The first two may hold no line feed, so that no two certificates have the same signed bytes.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from detectors.errors import BadInput
from detectors.policy import Name

DOMAIN: Final = b"dev.holdfast.gate.v1"
BYTES_MAX: Final = 20_000
"""Largest certificate that is read, in bytes; one has about a kilobyte."""

Sha256 = Annotated[
    str,
    Meta(pattern=r"^sha256:[0-9a-f]{64}$", extra={"allowed": "sha256: and 64 lower-case hexadecimal digits"}),
]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class GateResults(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the policy made of the corpus.

    `caught` of the `incidents`; of the `harmless` recordings those that were stopped on evidence (`false_alarms`), that
    were stopped for another cause, and that were let go on. `false_alarms_max` is what the share of false alarms is at
    most, with 95 % confidence (one-sided, Clopper-Pearson); delays are in ticks from the onset, null if nothing was
    caught.
    """

    incidents: Count
    caught: Count
    harmless: Count
    false_alarms: Count
    false_alarms_max: Share
    other_stops: Count
    advanced: Count
    delay_ticks_median: float | None
    delay_ticks_max: int | None


class GateCertificate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """That a policy passed its gate.

    `policy` and `against` are digests of policies by content, `corpus` is that of the recordings; `against` is null if
    the truth alone was the yardstick. `engine` is the version that judged. `strict` says that the share of false alarms
    was shown to be at most `alpha`.
    """

    policy: Sha256
    policy_name: Name
    against: Sha256 | None
    corpus: Sha256
    engine: Name
    alpha: Share
    margin_ticks: Count
    strict: bool
    results: GateResults
    passed: Literal[True] = True


class SignedCertificate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A gate certificate with its signature (Ed25519, in base64) and the name of the key that made it."""

    certificate: GateCertificate
    key_id: Name
    signature: Annotated[str, Meta(min_length=1, max_length=200)]


_DECODER: Final = msgspec.json.Decoder(SignedCertificate)


def canonical(certificate: GateCertificate) -> bytes:
    """Write a certificate the one way in which it is signed."""
    return msgspec.json.encode(certificate)


def signed_bytes(certificate: GateCertificate, key_id: str) -> bytes:
    """Return what is signed.

    Raises
    ------
    BadInput
        If the name of the key holds a line feed.
    """
    if "\n" in key_id:
        msg = f"key_id: found {key_id!r}; allowed: a name without a line feed"
        raise BadInput(msg)
    return b"\n".join([DOMAIN, key_id.encode(), canonical(certificate)])


def encode(signed: SignedCertificate) -> bytes:
    """Write a certificate with its signature as JSON, for people and for `decode`."""
    return msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n"


def decode(raw: bytes, place: str) -> SignedCertificate:
    """Read a certificate with its signature; whether that is right is checked by whoever has keys.

    Parameters
    ----------
    raw
        JSON.
    place
        Names where it came from, in errors.

    Raises
    ------
    BadInput
        If it is none.
    """
    if len(raw) > BYTES_MAX:
        msg = f"{place}: larger than {BYTES_MAX:,} bytes; allowed: a gate certificate"
        raise BadInput(msg)
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{place}: not a gate certificate: {error}; `holdfast gate --certificate FILE` writes one"
        raise BadInput(msg) from error
