"""How notices are sent, and for how long that is tried."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from detectors.policy import duration_ms
from holdfast.live.durations import between
from holdfast.located import Place, Problems


def _linked(text: str) -> None:
    if "{" in text.replace("{incident}", ""):
        message = "allowed: an address in which {incident} stands for the incident's id"
        raise ValueError(message)


class Notify(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How notices are sent.

    `timeout` is that of one attempt, `backoff` the first pause and `backoff_max` the longest. A notice that could not
    be sent within `age_max` of what it tells is given up. `link` is where more can be read.
    """

    attempts: Annotated[int, Meta(ge=1, le=20)] = 6
    timeout: Annotated[str, between("1s", "1m")] = "10s"
    backoff: Annotated[str, between("10ms", "1m")] = "2s"
    backoff_max: Annotated[str, between("10ms", "10m")] = "1m"
    age_max: Annotated[str, between("1m", "7d")] = "6h"
    link: (
        Annotated[
            str,
            Meta(
                max_length=500,
                pattern=r"^https?://[!-~]+$",
                extra={"allowed": "an address of http or https in printable ASCII", "parse": _linked},
            ),
        ]
        | None
    ) = None


def notify_rule(document: Place, problems: Problems) -> None:
    """Note that what was sent would be forgotten before it is too old to be sent."""
    given, kept = document.child("notify"), document.child("retention")
    age = given.child("age_max") if given else None
    try:
        age_ms = duration_ms((age.string() if age else None) or msgspec.structs.asdict(Notify())["age_max"])
        kept_ms = duration_ms((kept.string() if kept else None) or "30d")
    except ValueError:
        return  # has an error of its own
    if age_ms > kept_ms:
        text = "longer than `retention`, after which it is forgotten what was sent; allowed: at most that"
        problems.add(age or kept or document, "notify.age_max", text)
