"""Actions carried out by somebody else's program, which is told by HTTP: signed, and acknowledged by id."""

from pathlib import Path
from threading import Event
from typing import Final

import msgspec
from msgspec import Struct

from detectors.policy import duration_ms
from holdfast.api.delivering import Failed, post
from holdfast.api.signing import headers, secrets_in
from holdfast.control.orders import Order
from holdfast.live.deployer_settings import WebhookDeployer
from holdfast.wall import now_ms

ANSWER_BYTES_MAX: Final = 65_536
"""Longest answer; of a longer one nothing is believed."""


class Acknowledged(Struct, frozen=True, kw_only=True):
    """The answer of whoever has taken an action on, and will see it through: the action's id."""

    id: str


class WebhookCarrier:
    """Posts actions.

    Parameters
    ----------
    target
        Where to, and how long an answer may take.

    Raises
    ------
    BadInput
        If the file of secrets cannot be used.
    """

    def __init__(self, target: WebhookDeployer) -> None:
        self._target = target
        self._keys = secrets_in(Path(target.secret))

    def carry(self, order: Order, body: bytes, _called_off: Event, /) -> str:
        """Post an action. A status of success alone says little, as any proxy gives it: the answer has to name the id.

        Raises
        ------
        Failed
            If it is not acknowledged.
        """
        given = {"content-type": "application/json", **headers(self._keys, order.id, now_ms() // 1_000, body)}
        seconds = duration_ms(self._target.timeout) / 1_000
        answer = post(self._target.url, body, given, seconds, ANSWER_BYTES_MAX + 1)
        try:
            named = None if len(answer) > ANSWER_BYTES_MAX else msgspec.json.decode(answer, type=Acknowledged).id
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            named = None
        if named != order.id:
            text = f"the answer does not acknowledge the action; allowed: a JSON object whose id is {order.id}"
            raise Failed(text, "refused")
        return "acknowledged"
