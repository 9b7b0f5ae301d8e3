"""What people ask of control, and what it answers: records on its topic, under keys that no rollout can have."""

import time
import uuid
from typing import Final

import msgspec
from msgspec import Struct

from detectors.policy import Policy
from holdfast.control.board import Board
from holdfast.errors import BadInput, Unreachable
from holdfast.live.clients import producer
from holdfast.live.settings import Settings
from rollouts.inputs import Command
from rollouts.plans import Plan

ASKED: Final = b"\x1fasked/"
ANSWERED: Final = b"\x1fanswered/"
NOTED: Final = b"\x1fnoted/"
"""What was refused, as long as it is not on the audit topic."""

_ANSWER_S: Final = 30.0


class Submission(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="asked", tag="submission"):
    """A plan to be released, and the policy that judges it."""

    plan: Plan
    policy: Policy
    by: str


class Instruction(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="asked", tag="instruction"):
    """A command for a rollout."""

    rollout: str
    command: Command


class Answer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What became of it; `refused` says why nothing did."""

    refused: str | None = None


Asked = Submission | Instruction
_ASKED: Final[msgspec.json.Decoder[Asked]] = msgspec.json.Decoder(Asked)
_ANSWER: Final = msgspec.json.Decoder(Answer)


def decode(raw: bytes) -> Asked:
    """Read what was asked.

    Raises
    ------
    BadInput
        If it is nothing that can be.
    """
    try:
        return _ASKED.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not to be understood: {error}"
        raise BadInput(message) from error


def ask(settings: Settings, asked: Asked, timeout_s: float = _ANSWER_S) -> None:
    """Ask control for something, and wait for its answer.

    Raises
    ------
    BadInput
        If it refuses.
    Unreachable
        If it does not answer in time; it may still do what was asked.
    """
    name = uuid.uuid4().hex.encode()
    topic = settings.topics.control
    with Board(settings, topic) as board:
        answers = dict(board.load())
        writer = producer(settings)
        writer.produce(topic, key=ASKED + name, value=msgspec.json.encode(asked))
        if writer.flush(timeout_s):
            message = f"{topic}: the brokers have not taken it in {timeout_s:g} s"
            raise Unreachable(message)
        end = time.monotonic() + timeout_s
        while (found := answers.get(ANSWERED + name)) is None:
            if time.monotonic() > end:
                message = f"no answer in {timeout_s:g} s: is `holdfast control` running?"
                raise Unreachable(message)
            answers = dict(board.poll(0.2))
        writer.produce(topic, key=ANSWERED + name, value=None)
        writer.flush(timeout_s)
    refused = _ANSWER.decode(found).refused
    if refused is not None:
        raise BadInput(refused)
