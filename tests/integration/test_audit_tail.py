"""Writing to a long audit log on a real broker: what is read of it, and what is read when it is not what it was."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from holdfast.control.audit_log import TAIL_RECORDS, AuditLog, Draft, append, append_all, read
from holdfast.live.clients import admin
from holdfast.live.settings import Settings, load_settings
from holdfast.live.topics import create
from rollouts.audit import Chain, encode
from tests.integration.conftest import Kafka
from tests.waiting import WAIT_S

MANY = 3 * TAIL_RECORDS


def drop(settings: Settings) -> None:
    client = admin(settings)
    names = [name for name in client.list_topics(timeout=WAIT_S).topics if name.startswith(settings.prefix)]
    for future in client.delete_topics(names, operation_timeout=WAIT_S).values():
        future.result()


@pytest.fixture
def settings(kafka: Kafka, tmp_path: Path) -> Iterator[Settings]:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    document = {
        "kafka": {"bootstrap.servers": kafka.bootstrap},
        "prefix": prefix,
        "metrics": [{"topic": f"{prefix}.metrics"}],
        "partitions": 1,
    }
    path = tmp_path / "holdfast.yaml"
    path.write_bytes(msgspec.yaml.encode(document))
    made = load_settings(path, {})
    create(admin(made), made)
    yield made
    drop(made)


def drafts(count: int) -> list[Draft]:
    return [Draft("ada", "test.entry", "", {"number": number}) for number in range(count)]


def one(_chain: Chain, _at: datetime) -> Draft:
    return drafts(1)[0]


def some(_chain: Chain, _at: datetime) -> list[Draft]:
    return drafts(1)


def put(settings: Settings, raw: bytes) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka["bootstrap.servers"]})
    producer.produce(settings.topics.audit, raw, partition=0)
    assert producer.flush(WAIT_S) == 0


def test_an_entry_by_the_tail_alone_follows_the_whole_log(settings: Settings) -> None:
    append_all(settings, lambda _chain, _at: drafts(MANY))
    for _ in range(3):
        assert append(settings, one, is_tail_enough=True) is not None
    with AuditLog(settings) as log:
        log.load_tail()
        assert (log.records <= TAIL_RECORDS, len(log.chain.links) < MANY) == (True, True)
        whole = read(settings)
        assert (whole.first_break(), len(whole.links), whole.head) == (None, MANY + 3, log.chain.head)


def test_a_stray_at_the_end_has_the_whole_log_read(settings: Settings) -> None:
    append_all(settings, lambda _chain, _at: drafts(MANY))
    put(settings, encode(read(settings).links[5].entry))
    assert append(settings, one, is_tail_enough=True) is not None
    chain = read(settings)
    assert ([each.kind for each in chain.breaks], len(chain.links), chain.is_whole) == (["doubled"], MANY + 1, True)


def test_a_short_log_is_read_as_a_whole(settings: Settings) -> None:
    assert append(settings, one, is_tail_enough=True) is not None
    assert append(settings, one, is_tail_enough=True) is not None
    assert (read(settings).first_break(), len(read(settings).links)) == (None, 2)


def test_who_writes_again_reads_what_came_since(settings: Settings) -> None:
    append_all(settings, lambda _chain, _at: drafts(MANY))
    with AuditLog(settings) as log:
        append_all(settings, some, log=log)
        append(settings, one)
        before = log.records
        append_all(settings, some, log=log)
        assert log.records - before == 2
        assert len(log.chain.links) == MANY + 3
    assert read(settings).first_break() is None


def test_who_writes_again_begins_anew_with_a_topic_that_was_made_anew(settings: Settings) -> None:
    append_all(settings, lambda _chain, _at: drafts(MANY))
    with AuditLog(settings) as log:
        append_all(settings, some, log=log)
        drop(settings)
        create(admin(settings), settings)
        link = append_all(settings, some, log=log)[0]
        assert link.entry.sequence == 0
    assert (read(settings).first_break(), len(read(settings).links)) == (None, 1)
