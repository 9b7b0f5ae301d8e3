"""The gate certificate: nothing of it can be changed, and it counts for one policy and one engine."""

import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from detectors.errors import BadInput
from holdfast.corpus.certificates import objection
from holdfast.setting import ENGINE
from rollouts.certificate import (
    GateCertificate,
    GateResults,
    SignedCertificate,
    canonical,
    decode,
    encode,
    signed_bytes,
)
from sinks.signatures import Keys, Signer

POLICY = "sha256:" + "1" * 64
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = Keys({"ci": KEY.public_key(), "other": Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()})
RESULTS = GateResults(
    incidents=8,
    caught=8,
    harmless=12,
    false_alarms=0,
    false_alarms_max=0.2209,
    other_stops=0,
    advanced=12,
    delay_ticks_median=4.5,
    delay_ticks_max=20,
)


def made(**changes: Any) -> SignedCertificate:
    given: dict[str, Any] = {
        "policy": POLICY,
        "policy_name": "edge",
        "against": "sha256:" + "2" * 64,
        "corpus": "sha256:" + "3" * 64,
        "engine": ENGINE,
        "alpha": 0.01,
        "margin_ticks": 3,
        "strict": False,
        "results": RESULTS,
    }
    certificate = GateCertificate(**(given | changes))
    signature = Signer("ci", KEY).signature(signed_bytes(certificate, "ci"))
    return SignedCertificate(certificate=certificate, key_id="ci", signature=signature)


def paths(document: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(document, dict):
        return [found for key, value in document.items() for found in paths(value, (*path, key))]
    return [path]


DOCUMENT: dict[str, Any] = json.loads(encode(made()))


def changed(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value / 2 if 0 < value < 1 else value + 1
        case str() if value.startswith("sha256:"):
            return "sha256:" + "9" * 64
        case _:
            return f"{value}x"


@pytest.mark.parametrize("path", paths(DOCUMENT), ids=".".join)
def test_whatever_is_changed_is_noticed(path: tuple[str, ...]) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    part = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = changed(part[path[-1]])
    policy = document["certificate"]["policy"]
    try:
        why = objection(decode(json.dumps(document).encode(), "c.json"), policy, KEYS, "any")
    except BadInput as error:
        why = str(error)
    assert why is not None


@pytest.mark.parametrize("path", [path for path in paths(DOCUMENT) if len(path) > 1], ids=".".join)
def test_whatever_is_left_out_is_noticed(path: tuple[str, ...]) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    part = document
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    if path[-1] == "passed":  # there is no other value that it could have
        assert decode(json.dumps(document).encode(), "c.json") == made()
    else:
        with pytest.raises(BadInput, match="not a gate certificate"):
            decode(json.dumps(document).encode(), "c.json")


@pytest.mark.parametrize("place", [(), ("certificate",), ("certificate", "results")])
def test_whatever_is_added_is_refused(place: tuple[str, ...]) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    part = document
    for key in place:
        part = part[key]
    part["more"] = 1
    with pytest.raises(BadInput, match="not a gate certificate"):
        decode(json.dumps(document).encode(), "c.json")


def test_it_counts_however_it_is_laid_out() -> None:
    turned = dict(reversed(DOCUMENT.items())) | {"certificate": dict(reversed(DOCUMENT["certificate"].items()))}
    assert objection(decode(json.dumps(turned, indent=7).encode(), "c.json"), POLICY, KEYS) is None


def test_the_bytes_that_are_signed_are_these() -> None:
    certificate = made().certificate
    assert signed_bytes(certificate, "ci") == b"dev.holdfast.gate.v1\nci\n" + canonical(certificate)
    assert canonical(certificate).startswith(b'{"policy":"sha256:1111')
    assert b" " not in canonical(certificate)


@pytest.mark.parametrize(
    ("signed", "policy", "said"),
    [
        (None, POLICY, "it has no gate certificate"),
        (made(), "sha256:" + "8" * 64, "that of another policy"),
        (made(engine="holdfast/0.0.9"), POLICY, f"by the engine holdfast/0.0.9, and here is {ENGINE}"),
        (msgspec.structs.replace(made(), key_id="other"), POLICY, "is not that of this certificate"),
        (msgspec.structs.replace(made(), key_id="nobody"), POLICY, "which is not trusted"),
        (msgspec.structs.replace(made(), key_id="a\nb"), POLICY, "without a line feed"),
        (msgspec.structs.replace(made(), signature="é"), POLICY, "is not that of this certificate"),
    ],
)
def test_what_does_not_count_is_said(signed: SignedCertificate | None, policy: str, said: str) -> None:
    why = objection(signed, policy, KEYS)
    assert why is not None
    assert said in why


def test_where_any_engine_will_do_an_older_one_counts() -> None:
    assert objection(made(engine="holdfast/0.0.9"), POLICY, KEYS, "any") is None


def test_a_file_that_is_far_too_large_is_not_read() -> None:
    with pytest.raises(BadInput, match="larger than 20,000 bytes"):
        decode(b" " * 20_001, "c.json")
