"""Making the engine's topics on a real broker: what is missing, nothing that is there, and no silence about it."""

import time
import uuid
from collections.abc import Iterator

import msgspec
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.errors import BadInput, Unreachable
from holdfast.live import clients
from holdfast.live.settings import Settings, load_settings
from holdfast.live.topics import create, require, standings
from tests.integration.conftest import Kafka
from tests.waiting import WAIT_S


@pytest.fixture
def environ(kafka: Kafka) -> dict[str, str]:
    """Give settings whose topics nobody else has."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    return {
        "HOLDFAST_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "HOLDFAST_PREFIX": prefix,
        "HOLDFAST_PARTITIONS": "2",
        "HOLDFAST_METRICS": f"[{{topic: {prefix}.keyed}}, {{topic: {prefix}.loose, keyed: false}}]",
    }


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return load_settings(None, environ)


@pytest.fixture
def client(settings: Settings) -> Iterator[AdminClient]:
    """Give a client; the topics are taken away at the end."""
    made = clients.admin(settings)
    yield made
    names = [name for name in made.list_topics(timeout=WAIT_S).topics if name.startswith(settings.prefix)]
    for future in made.delete_topics(names).values() if names else []:
        future.result()


def make(client: AdminClient, topic: NewTopic) -> None:
    """Make one topic, as somebody else might have."""
    client.create_topics([topic])[topic.topic].result()
    while topic.topic not in client.list_topics(timeout=WAIT_S).topics:
        time.sleep(0.05)


def ran(environ: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run `holdfast topics create`; return its status and what it wrote."""
    done = CliRunner().invoke(app, ["topics", "create", *arguments], env=environ)
    return done.exit_code, done.stdout, done.stderr


def test_all_topics_are_made_as_the_engine_needs_them(client: AdminClient, settings: Settings) -> None:
    create(client, settings)
    require(client, settings)
    assert len(standings(client, settings)) == 2 + 1 + 15


def test_those_that_are_made_already_are_left_alone(client: AdminClient, settings: Settings) -> None:
    create(client, settings)
    assert create(client, settings) == []


def test_the_journal_checkpoints_and_verdicts_have_as_many_partitions(client: AdminClient, settings: Settings) -> None:
    create(client, settings)
    topics = client.list_topics(timeout=WAIT_S).topics
    names = settings.topics
    assert {len(topics[name].partitions) for name in (names.cohort_ticks, names.checkpoints, names.verdicts)} == {2}


def test_what_differs_is_named_and_not_changed(
    environ: dict[str, str], client: AdminClient, settings: Settings
) -> None:
    name = settings.topics.checkpoints
    make(client, NewTopic(name, 3, 1, config={"cleanup.policy": "delete"}))
    status, _, said = ran(environ)
    differences = "partitions 3, wanted 2, cleanup.policy delete, wanted compact"
    assert (status, said) == (2, f"topic {name}: {differences}; it was left as it is\n")
    assert len(client.list_topics(name, timeout=WAIT_S).topics[name].partitions) == 3


def test_more_than_is_wanted_is_no_difference(client: AdminClient, settings: Settings) -> None:
    config = {"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": "9000000"}
    make(client, NewTopic(settings.topics.verdicts, 2, 1, config=config))
    assert not [each for each in standings(client, settings) if each.differences]


def test_what_is_kept_too_short_or_too_small_is_a_difference(client: AdminClient, settings: Settings) -> None:
    config = {"cleanup.policy": "delete", "retention.ms": "1000", "max.message.bytes": "1000"}
    make(client, NewTopic(settings.topics.verdicts, 2, 1, config=config))
    assert [each.differences for each in standings(client, settings) if each.differences] == [
        ("retention.ms 1000, wanted at least 2592000000", "max.message.bytes 1000, wanted at least 8388608")
    ]


def test_a_metrics_topic_is_as_its_owner_made_it(client: AdminClient, settings: Settings) -> None:
    make(client, NewTopic(settings.metrics[0].topic, 5, 1, config={"cleanup.policy": "compact"}))
    create(client, settings)
    require(client, settings)


def test_a_dry_run_makes_nothing(environ: dict[str, str], client: AdminClient, settings: Settings) -> None:
    status, printed, _ = ran(environ, "--dry-run")
    assert (status, printed.count("would be made")) == (0, 18)
    assert not [name for name in client.list_topics(timeout=WAIT_S).topics if name.startswith(settings.prefix)]


def test_the_command_tells_what_it_made(environ: dict[str, str], client: AdminClient, settings: Settings) -> None:
    make(client, NewTopic(settings.metrics[0].topic, 5, 1))
    status, printed, _ = ran(environ, "--partitions", "1")
    assert (status, printed.count("there already"), printed.count(" made")) == (0, 1, 17)
    assert len(client.list_topics(timeout=WAIT_S).topics[settings.topics.cohort_ticks].partitions) == 1


def test_more_replicas_than_brokers_is_an_error_that_names_each_topic(client: AdminClient, settings: Settings) -> None:
    with pytest.raises(BadInput) as caught:
        create(client, msgspec.structs.replace(settings, replication=90))
    assert len(str(caught.value).splitlines()) == 18


def test_nobody_works_on_topics_that_are_missing(client: AdminClient, settings: Settings) -> None:
    with pytest.raises(BadInput, match=f"topic {settings.topics.verdicts}: there is none"):
        require(client, settings)


def test_a_broker_that_does_not_answer_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.live.topics._ANSWER_SECONDS", 0.2)
    away = msgspec.structs.replace(settings, kafka={"bootstrap.servers": "127.0.0.1:1"})
    with pytest.raises(Unreachable, match=r"kafka: no answer from 127\.0\.0\.1:1: "):
        standings(clients.admin(away), away)
