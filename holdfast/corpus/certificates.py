"""Gate certificates: made when a policy has passed its gate, and held against what they are shown for."""

from pathlib import Path

from detectors.errors import BadInput
from holdfast.corpus.contenders import Contender
from holdfast.corpus.gating import Gate, Rules
from holdfast.corpus.loading import Corpus
from holdfast.live.gate_settings import EngineRule
from holdfast.setting import ENGINE
from rollouts.certificate import BYTES_MAX, GateCertificate, GateResults, SignedCertificate, decode, signed_bytes
from sinks.signatures import Keys, Signer


def certify(
    gate: Gate, rules: Rules, corpus: Corpus, contender: Contender, against: Contender | None, signer: Signer
) -> SignedCertificate:
    """Certify that a policy has passed its gate."""
    assert gate.passed
    new = gate.new
    certificate = GateCertificate(
        policy=contender.digest,
        policy_name=contender.policy.policy,
        against=against.digest if against else None,
        corpus=corpus.digest,
        engine=ENGINE,
        alpha=rules.alpha,
        margin_ticks=rules.margin_ticks,
        strict=rules.strict,
        results=GateResults(
            incidents=new.caught.total,
            caught=new.caught.count,
            harmless=new.alarms.total,
            false_alarms=new.alarms.count,
            false_alarms_max=gate.alarms.high,
            other_stops=new.others.count,
            advanced=new.advanced.count,
            delay_ticks_median=new.delay_ticks,
            delay_ticks_max=new.delay_ticks_max,
        ),
    )
    signature = signer.signature(signed_bytes(certificate, signer.key_id))
    return SignedCertificate(certificate=certificate, key_id=signer.key_id, signature=signature)


def load_certificate(file: Path) -> SignedCertificate:
    """Read a certificate from a file.

    Raises
    ------
    BadInput
        If it cannot be read, or is none.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(BYTES_MAX + 1)
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror or error}"
        raise BadInput(msg) from error
    return decode(raw, str(file))


def objection(
    signed: SignedCertificate | None, policy_digest: str, keys: Keys | None, engine_rule: EngineRule = "same"
) -> str | None:
    """Say why a policy does not count as one that has passed its gate, or None if it does.

    Parameters
    ----------
    signed
        The certificate that came with it, if any did.
    policy_digest
        The policy's.
    keys
        The trusted keys; None if it is not asked who signed.
    engine_rule
        Which engine it must have been judged by.
    """
    if signed is None:
        return "it has no gate certificate"
    certificate = signed.certificate
    if keys is not None:
        try:
            keys.check(signed_bytes(certificate, signed.key_id), signed.key_id, signed.signature, "certificate")
        except BadInput as error:
            return f"its gate certificate does not count: {error}"
    if certificate.policy != policy_digest:
        return f"its gate certificate is that of another policy, {certificate.policy}"
    if engine_rule == "same" and certificate.engine != ENGINE:
        return f"its gate certificate is by the engine {certificate.engine}, and here is {ENGINE}"
    return None
