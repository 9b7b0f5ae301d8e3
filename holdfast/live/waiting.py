"""Waiting for the decision on one stage of one rollout: the latest verdict first, then what comes."""

import time
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from holdfast.errors import Unreachable
from holdfast.live.announcing import no_answer, partitions_of
from holdfast.live.clients import consumer
from holdfast.live.following import Following, Place
from holdfast.live.heard import Heard, Outcome, Waited
from holdfast.live.partitioner import partition_of
from holdfast.live.reading import PARTITION_END
from holdfast.live.settings import Settings
from holdfast.live.subscription import message_of
from sinks.signatures import Keys

_WINDOW_MESSAGES: Final = 10_000
"""How far back is looked first; eight times as far each time that it is not enough."""

_BATCH_MESSAGES: Final = 1_000
_POLL_S: Final = 0.25
_ANSWER_S: Final = 30.0


def wait(settings: Settings, rollout: str, stage: str, timeout_s: float, stale_after_s: float) -> Waited:
    """Wait for a binding decision on a stage.

    Parameters
    ----------
    settings
        Brokers, the verdict topic and the trusted keys.
    rollout, stage
        What is waited for.
    timeout_s
        How long to wait, in seconds.
    stale_after_s
        How long the engine may say nothing new about the rollout, in seconds.

    Raises
    ------
    BadInput
        If there is no verdict topic, or a trusted key cannot be read.
    """
    end = time.monotonic() + timeout_s
    keys = Keys.load(settings.trusted_keys) if settings.trusted_keys else None
    reader = consumer(settings, f"{settings.prefix}-wait")
    try:
        return _Waiter(settings, reader, rollout, stage, stale_after_s, keys).wait(end)
    except Unreachable:
        return Waited("stale", None, None)
    finally:
        reader.close()


class _Waiter:
    def __init__(
        self, settings: Settings, reader: Consumer, rollout: str, stage: str, stale_after_s: float, keys: Keys | None
    ) -> None:
        self._topic, self._rollout, self._stage = settings.topics.verdicts, rollout, stage
        self._reader, self._stale_after_s, self._keys = reader, stale_after_s, keys
        self._following = Following(stale_after_s, keys)
        self._heard = Heard(stage)

    def wait(self, end: float) -> Waited:
        self._look_back(end)
        while (outcome := self._outcome(end)) is None:
            self._read(min(_POLL_S, self._stale_after_s / 4))
        heard = self._heard
        return Waited(outcome, heard.stop or heard.newest, heard.untrusted)

    def _outcome(self, end: float) -> Outcome | None:
        heard = self._heard
        if heard.outcome is not None:
            return heard.outcome
        if self._following.is_finished(self._rollout):
            return "finished"
        if heard.is_silent:
            return "stale"
        return "timeout" if time.monotonic() >= end else None

    def _look_back(self, end: float) -> None:
        """Read the end of the partition, from as far back as the newest verdict on the stage is."""
        found = partitions_of(self._reader, self._topic, min(_ANSWER_S, self._stale_after_s))
        number = partition_of(self._rollout.encode(), len(found))
        try:
            low, high = self._reader.get_watermark_offsets(TopicPartition(self._topic, number), timeout=_ANSWER_S)
        except KafkaException as error:
            raise no_answer(error) from error
        window = _WINDOW_MESSAGES
        while True:
            first = max(low, high - window)
            self._following, self._heard = Following(self._stale_after_s, self._keys), Heard(self._stage)
            self._following.expect(self._rollout, time.monotonic())
            self._reader.assign([TopicPartition(self._topic, number, first)])
            while not self._read(_POLL_S) and self._outcome(end) != "timeout" and not self._heard.is_silent:
                pass
            if first <= low or self._heard.is_known or self._heard.stop is not None:
                return
            window *= 8

    def _read(self, wait_s: float) -> bool:
        """Take what is there, and tell whether it was the end."""
        is_end = False
        records: list[Any] = self._reader.consume(_BATCH_MESSAGES, wait_s)
        now_s, key = time.monotonic(), self._rollout.encode()
        for record in records:
            error = record.error()
            if error is not None:
                is_end |= error.code() == PARTITION_END
                if error.fatal():
                    raise KafkaException(error)
            elif record.key() == key:
                place = Place(self._topic, record.partition() or 0, record.offset() or 0)
                for event in self._following.take(message_of(record), place, now_s):
                    self._heard.take(event)
        if is_end or not records:
            for event in self._following.silent(now_s):
                self._heard.take(event)
        return is_end
