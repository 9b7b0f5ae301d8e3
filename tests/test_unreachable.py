"""Whatever Kafka's client refuses or cannot reach is one line on standard error and exit status 2, from any command."""

import sys
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from holdfast.cli import kafka_says, main

NOBODY = "kafka: {bootstrap.servers: '127.0.0.1:1'}\n"


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["holdfast", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    return printed.err


@pytest.mark.parametrize("words", [["deadletters", "list"], ["deadletters", "redrive", "--all"]])
def test_brokers_that_do_not_answer(tmp_path: Path, monkeypatch, capsys, words):
    config = tmp_path / "holdfast.yaml"
    config.write_text(NOBODY, encoding="utf-8")
    said = told(monkeypatch, capsys, *words, "--config", str(config))
    assert said.startswith("kafka: ")
    assert said.count("\n") == 1


def test_a_setting_that_the_client_does_not_know(tmp_path: Path, monkeypatch, capsys):
    config = tmp_path / "holdfast.yaml"
    config.write_text("kafka: {bootstrap.server: '127.0.0.1:1'}\n", encoding="utf-8")
    said = told(monkeypatch, capsys, "rollout", "list", "--config", str(config))
    assert 'No such configuration property: "bootstrap.server"' in said
    assert said.count("\n") == 1


def test_what_did_not_come_from_kafka_is_not_put_into_its_mouth():
    assert kafka_says(RuntimeError("kafka")) is None
    assert "gone" in str(kafka_says(KafkaException(KafkaError(KafkaError._TRANSPORT, "gone"))))
