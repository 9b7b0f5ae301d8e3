"""Settings: a file, variables over it, every error at once with its place, and nothing overridden in silence."""

from pathlib import Path

import msgspec
import pytest
import yaml
from confluent_kafka import Consumer

from holdfast.commands.config import written
from holdfast.errors import BadInput
from holdfast.live import clients
from holdfast.live.settings import OURS, Loaded, Settings, load, load_settings
from tests.settings_text import EVERYTHING


def loaded(folder: Path, text: str, environ: dict[str, str] | None = None) -> Loaded:
    """Load settings from a file of some text."""
    path = folder / "holdfast.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def errors(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return the lines of the error that settings give, without the folder."""
    with pytest.raises(BadInput) as caught:
        loaded(folder, text, environ)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_without_a_file_and_variables_everything_has_a_default() -> None:
    settings = load_settings(None, {})
    assert (settings.prefix, settings.partitions, settings.sources) == ("holdfast", 12, ["metrics"])


def test_every_setting_of_a_file_counts(tmp_path: Path) -> None:
    found = loaded(tmp_path, EVERYTHING)
    given = yaml.safe_load(EVERYTHING)
    document = msgspec.to_builtins(found.document)
    document["topics"] = {"verdicts": document["topics"]["verdicts"]}
    document["metrics"][0].pop("keyed")
    given["kafka"]["linger.ms"] = "20"
    assert document == given
    settings = found.settings
    assert (settings.session_ms, settings.transaction_ms, settings.retention_ms) == (20_000, 30_000, 604_800_000)
    assert (settings.patience_seconds, settings.heartbeat_seconds) == (60.0, 5.0)


def test_what_is_not_keyed_is_read_from_the_topic_that_is(tmp_path: Path) -> None:
    assert loaded(tmp_path, EVERYTHING).settings.sources == ["edge", "hf.samples.core"]


def test_topics_are_named_after_the_prefix_or_as_they_are_told(tmp_path: Path) -> None:
    topics = loaded(tmp_path, EVERYTHING).settings.topics
    assert (topics.cohort_ticks, topics.verdicts) == ("hf.cohort-ticks", "decisions")


def test_the_file_is_named_by_a_variable(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("partitions: 3\n", encoding="utf-8")
    assert load_settings(None, {"HOLDFAST_CONFIG": str(path)}).partitions == 3


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.yaml: cannot be read: no such file"):
        load_settings(tmp_path / "nowhere.yaml", {})


@pytest.mark.parametrize(
    ("name", "value", "path", "expected"),
    [
        ("HOLDFAST_PARTITIONS", "6", ["partitions"], 6),
        ("HOLDFAST_HTTP__PORT", "1", ["http", "port"], 1),
        ("HOLDFAST_WORKER", "007", ["worker"], "007"),
        ("HOLDFAST_PATIENCE", "90s", ["patience"], "90s"),
        ("HOLDFAST_TOPICS__DEAD_LETTERS", "dead", ["topics", "dead_letters"], "dead"),
        ("HOLDFAST_SIGNING", "null", ["signing"], None),
        ("HOLDFAST_SIGNING__ID", "2026", ["signing", "id"], "2026"),
        ("HOLDFAST_TRUSTED_KEYS", "{Team: a.pem}", ["trusted_keys"], {"Team": "a.pem"}),
        ("HOLDFAST_TRUSTED_KEYS__K2", "b.pem", ["trusted_keys"], {"k1": "keys/k1.pem", "k2": "b.pem"}),
        ("HOLDFAST_METRICS", "[{topic: m}]", ["metrics"], [{"topic": "m", "keyed": True}]),
        ("HOLDFAST_KAFKA__SASL_PASSWORD", "0123", ["kafka", "sasl.password"], "0123"),
        ("HOLDFAST_KAFKA__BOOTSTRAP_SERVERS", "b:1", ["kafka", "bootstrap.servers"], "b:1"),
    ],
)
def test_a_variable_stands_above_the_file(
    tmp_path: Path, name: str, value: str, path: list[str], expected: object
) -> None:
    found: object = loaded(tmp_path, EVERYTHING, {name: value}).document
    for key in path:
        assert isinstance(found, dict)
        found = found[key]
    assert found == expected


def test_other_variables_and_those_of_the_tests_are_passed_over() -> None:
    environ = {"HOLD": "x", "PATH": "y", "HOLDFAST_TEST_KAFKA": "here:1"}
    assert load_settings(None, environ).prefix == "holdfast"


def test_all_errors_come_at_once_with_their_places(tmp_path: Path) -> None:
    text = "partitions: 0\npatience: 0s\nmetrics:\n  - topic: a b\n    keyed: maybe\nwurker: x\n"
    environ = {
        "HOLDFAST_HTTP__PORT": "many",
        "HOLDFAST_SIGNING__KEY": "a.pem",
        "HOLDFAST_PARTITION": "3",
        "HOLDFAST_BATCH_MESSAGES": "",
        "HOLDFAST_TRUSTED_KEYS": "{",
    }
    found = errors(tmp_path, text, environ)
    starts = [
        "HOLDFAST_TRUSTED_KEYS:",
        "holdfast.yaml:1: partitions: found 0; allowed: a whole number at least 1",
        'holdfast.yaml:2: patience: found "0s"; allowed: a number and its unit (ms, s, m, h or d), from 100ms to 1d',
        'holdfast.yaml:4: metrics[0].topic: found "a b"; allowed: 1 to 249 letters, digits, dots',
        'holdfast.yaml:5: metrics[0].keyed: found "maybe"; allowed: true or false',
        "holdfast.yaml:6: wurker: unknown key, did you mean worker?; allowed: kafka, metrics,",
        'HOLDFAST_BATCH_MESSAGES: batch_messages: found ""; allowed: a whole number',
        'HOLDFAST_HTTP__PORT: http.port: found "many"; allowed: a whole number at least 0 and at most 65535',
        "HOLDFAST_PARTITION: partition: unknown key, did you mean partitions?; allowed: kafka, metrics,",
        "HOLDFAST_SIGNING__KEY: signing.id: missing;",
    ]
    assert [line[: len(start)] for line, start in zip(found, starts, strict=True)] == starts


def test_a_file_that_is_no_yaml_does_not_hide_the_errors_of_variables(tmp_path: Path) -> None:
    found = errors(tmp_path, "a: [\n", {"HOLDFAST_PARTITIONS": "x"})
    assert [line.partition(":")[0] for line in found] == ["holdfast.yaml", "HOLDFAST_PARTITIONS"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"HOLDFAST_partitions": "3"}, "HOLDFAST_partitions: partitions: allowed: the name in capitals"),
        ({"HOLDFAST_CONFIG": ""}, "HOLDFAST_CONFIG: found nothing"),
        ({"HOLDFAST_METRICS__0__TOPIC": "x"}, "HOLDFAST_METRICS__0__TOPIC: metrics: found a mapping of 1 key"),
        ({"HOLDFAST_WORKER__NAME": "x"}, "HOLDFAST_WORKER__NAME: worker: found a mapping of 1 key"),
        ({"HOLDFAST_WORKER": "x", "HOLDFAST_WORKER__NAME": "x"}, 'HOLDFAST_WORKER__NAME: worker.name: found "x" at'),
        ({"HOLDFAST_HTTP": "port: 1\nhots: x"}, "HOLDFAST_HTTP:2: http.hots: unknown key, did you mean host?"),
        ({"HOLDFAST_KAFKA__GROUP_ID": "x"}, 'HOLDFAST_KAFKA__GROUP_ID: kafka["group.id"]: found "group.id"; holdfast'),
    ],
)
def test_a_variable_that_has_no_place_is_an_error(environ: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(None, environ)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics: [{topic: m}, {topic: m}]", 'found "m", the name of metrics[0].topic too'),
        ("metrics: [{topic: holdfast.verdicts}]", "the name of topics.verdicts too"),
        ("metrics: [{topic: holdfast.samples.m}, {topic: m, keyed: false}]", "the name of metrics[0].topic too"),
        ("topics: {verdicts: x, evidence: x}", "topics.evidence: found"),
        (f"metrics: [{{topic: {'m' * 240}, keyed: false}}]", "would be longer than Kafka allows, 249 characters"),
        ("topics: {verdicts: ..}", "allowed: another name"),
        ("topics: {verdict: x}", "topics.verdict: unknown key, did you mean verdicts?"),
    ],
)
def test_topics_that_cannot_be_are_refused(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in line for line in errors(tmp_path, text))


def test_the_name_of_the_machine_is_held_against_what_kafka_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "my host")
    with pytest.raises(BadInput, match='the name of this machine: worker: found "my host"'):
        load(None, {})


def test_certificates_that_nobody_could_have_signed_are_not_demanded(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, "gate: {required: true}\n")
    assert error.startswith("holdfast.yaml:1: gate.required: found true without trusted_keys; allowed: ")
    assert not loaded(tmp_path, "gate: {required: false}\n").settings.gate.required


def test_values_for_librdkafka_are_taken_as_they_are_written(tmp_path: Path) -> None:
    text = "kafka:\n  sasl.password: 0123\n  ssl.key.password: 2026-01-01\n  sasl.username: no\n  linger.ms: 1_000\n"
    assert list(loaded(tmp_path, text).settings.kafka.values()) == ["0123", "2026-01-01", "no", "1_000"]


@pytest.mark.parametrize("value", ["", "[1]", "{a: b}"])
def test_what_is_no_scalar_is_nothing_for_librdkafka(tmp_path: Path, value: str) -> None:
    assert errors(tmp_path, f"kafka:\n  client.rack: {value}\n")[0].startswith(
        'holdfast.yaml:2: kafka["client.rack"]: found'
    )


@pytest.mark.parametrize("key", sorted(OURS))
def test_a_key_that_correctness_hangs_on_is_refused_with_the_reason(tmp_path: Path, key: str) -> None:
    assert errors(tmp_path, f"kafka:\n  {key}: x\n") == [
        f'holdfast.yaml:2: kafka["{key}"]: found "{key}"; holdfast sets it itself: {OURS[key]}'
        if "." in key
        else f'holdfast.yaml:2: kafka.{key}: found "{key}"; holdfast sets it itself: {OURS[key]}'
    ]


def settings_with(**kafka: str) -> Settings:
    """Make settings with keys of librdkafka, whose dots are written as underscores."""
    return load_settings(None, {f"HOLDFAST_KAFKA__{name.upper()}": value for name, value in kafka.items()})


def test_nothing_that_the_user_says_is_overridden() -> None:
    """What clients set after the user's keys has to be among those that the user may not set."""
    settings = settings_with()
    ours = set(clients.consuming(settings, "g", member="m")) | set(clients.producing(settings, "r"))
    given = load_settings(None, {"HOLDFAST_KAFKA": str(dict.fromkeys(ours - set(OURS), "given"))})
    for config in (clients.consuming(given, "g", member="m"), clients.producing(given, "r"), clients.base(given)):
        assert {name for name, value in config.items() if value != "given"} <= set(OURS)


def test_a_consumer_reads_what_is_committed_and_commits_nothing_itself() -> None:
    config = clients.consuming(settings_with(), "g")
    assert (config["isolation.level"], config["enable.auto.commit"]) == ("read_committed", False)


def test_a_key_that_librdkafka_does_not_know_is_named_with_its_place(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "kafka:\n  bootstrap.servers: a:1\n  linger: 5\n").settings
    with pytest.raises(BadInput, match=r"holdfast\.yaml:3: kafka\.linger: librdkafka says: No such configuration"):
        clients.check(settings)


def test_a_value_that_librdkafka_refuses_is_named_with_its_variable() -> None:
    settings = settings_with(security_protocol="carrier_pigeon")
    with pytest.raises(BadInput, match=r"^HOLDFAST_KAFKA__SECURITY_PROTOCOL: .*carrier_pigeon"):
        clients.admin(settings)


def test_tls_and_sasl_pass_through() -> None:
    settings = settings_with(
        security_protocol="SASL_SSL", sasl_mechanisms="SCRAM-SHA-512", sasl_username="u", sasl_password="p"
    )
    clients.check(settings)
    made: Consumer = clients.consumer(settings, "g")
    made.close()


def test_settings_print_as_yaml_that_says_the_same(tmp_path: Path) -> None:
    found = loaded(tmp_path, EVERYTHING, {"HOLDFAST_KAFKA__SSL_CERTIFICATE_PEM": "one\ntwo: # é"})
    assert yaml.safe_load("\n".join(written(found.document, found.settings.origins))) == unsaid(found.document)


def test_settings_that_were_printed_are_settings_again(tmp_path: Path) -> None:
    found = loaded(tmp_path, EVERYTHING)
    again = loaded(tmp_path, "\n".join(written(found.document, found.settings.origins)))
    assert again.document == unsaid(found.document)


def unsaid(document):
    """Mask the password of the server."""
    return document | {"clickhouse": document["clickhouse"] | {"password": "********"}}


def test_each_printed_value_tells_where_it_comes_from(tmp_path: Path) -> None:
    found = loaded(tmp_path, "partitions: 3\nhttp: {host: h}\n", {"HOLDFAST_HTTP__PORT": "5"})
    path = tmp_path / "holdfast.yaml"
    lines = list(written(found.document, found.settings.origins))
    assert {
        f"partitions: 3  # {path}:1",
        f"  host: h  # {path}:2",
        "  port: 5  # HOLDFAST_HTTP__PORT",
        "replication: 1  # default",
    } <= set(lines)


@pytest.mark.parametrize(
    "key",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
    ],
)
def test_secrets_are_not_printed(tmp_path: Path, key: str) -> None:
    found = loaded(tmp_path, f"kafka:\n  {key}: hunter2\n")
    text = "\n".join(written(found.document, found.settings.origins))
    assert (key in text, "hunter2" in text) == (True, False)
