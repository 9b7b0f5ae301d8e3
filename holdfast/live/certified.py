"""Reading announcements for a judge that demands gate certificates: what an announcement lacks stands in its terms."""

import logging
from collections.abc import Callable
from dataclasses import replace

import msgspec

from holdfast.corpus.certificates import objection
from holdfast.documents import digest
from holdfast.live.settings import Settings
from holdfast.live.terms import terms_of
from rollouts.announced import Announcement, decode
from sinks.signatures import Keys
from streams.live.judging import Terms

log = logging.getLogger(__name__)

_TOLD_MAX = 10_000
"""Most rollouts of which it is remembered what was logged."""


def reader(settings: Settings) -> Callable[[bytes], Terms]:
    """Return what reads announcements for a judge by these settings.

    Without the demand it is `terms_of`. With it, an announcement without a certificate that counts is read all the
    same: its rollout is judged, and stopped if need be, but never advances. Each is logged once.

    Raises
    ------
    BadInput
        If a trusted key cannot be read.
    """
    if not settings.gate.required:
        return terms_of
    keys = Keys.load(settings.trusted_keys)
    told: dict[str, tuple[int, str]] = {}

    def read(raw: bytes) -> Terms:
        terms = terms_of(raw)
        why = objection_to(decode(raw), keys, settings)
        if why is not None and told.get(terms.rollout) != (terms.version, why):
            if len(told) >= _TOLD_MAX:
                del told[next(iter(told))]
            told[terms.rollout] = terms.version, why
            log.error("%s: version %d: its policy may let nothing advance: %s", terms.rollout, terms.version, why)
        return replace(terms, objection=why)

    return read


def objection_to(announcement: Announcement, keys: Keys | None, settings: Settings) -> str | None:
    """Say why the policy of an announcement does not count as gated, or None if it does."""
    signed = announcement.certificate
    return objection(
        None if signed is msgspec.UNSET else signed, digest(announcement.policy), keys, settings.gate.engine
    )
