"""A broker that wants TLS and a password: what the settings say reaches every client of every role."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.test_together import HOLDFAST
from tests.kafka.broker import Broker, NoBroker, free_ports
from tests.live.engine import announced
from tests.prometheus.certificates import Authority
from tests.waiting import WAIT_S, until

PASSWORD = "correct horse"
SECURE = """
listeners={open},SECURE://127.0.0.1:{port}
advertised.listeners={advertised},SECURE://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
inter.broker.listener.name=PLAINTEXT
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={store}
listener.name.secure.sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
    user_holdfast="{password}";
"""


def secured(broker: Broker, folder: Path) -> dict[str, str]:
    """Have a broker that is not started yet listen for clients with a password too; return what these must say."""
    ours = Authority.founded(folder, "brokers")
    pair = ours.signed("broker")
    store = folder / "store.pem"
    store.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
    properties = broker.folder / "server.properties"
    said = dict(line.split("=", 1) for line in properties.read_text().splitlines() if "=" in line)
    (port,) = free_ports(1)
    given = SECURE.format(
        open=said["listeners"], advertised=said["advertised.listeners"], port=port, store=store, password=PASSWORD
    )
    properties.write_text(properties.read_text() + given)  # of a key that comes twice the last one counts
    return {
        "bootstrap.servers": f"127.0.0.1:{port}",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(ours.file),
        "sasl.mechanisms": "PLAIN",
        "sasl.username": "holdfast",
        "sasl.password": PASSWORD,
    }


@pytest.fixture
def kafka_settings(tmp_path: Path) -> Iterator[dict[str, str]]:
    try:
        broker = Broker()
        said = secured(broker, tmp_path)
        with broker:
            yield said
    except NoBroker as missing:
        if "CI" in os.environ:
            pytest.fail(str(missing))
        pytest.skip(str(missing))


def written(path: Path, kafka: dict[str, str]) -> Path:
    other = {"patience": "1s", "partitions": 2, "http": {"port": 0}, "data": str(path.parent / "data")}
    path.write_text(yaml.safe_dump({"kafka": kafka, **other}), encoding="utf-8")
    return path


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HOLDFAST, *words], check=False, capture_output=True, text=True, timeout=WAIT_S)


def test_all_that_is_typed_works_with_tls_and_a_password_and_says_so_without(tmp_path, bad, kafka_settings):
    config = ["--config", str(written(tmp_path / "holdfast.yaml", kafka_settings))]
    made = typed("topics", "create", *config)
    assert made.returncode == 0, made.stderr
    played = typed("produce", str(bad), "--submit", "--speed", "max", *config)
    assert played.returncode == 0, played.stderr
    name, stage = announced(bad).rollout.rollout, announced(bad).rollout.stages[0].name
    with (
        (tmp_path / "run.log").open("wb") as log,
        subprocess.Popen([*HOLDFAST, "run", *config], stdout=log, stderr=log, start_new_session=True) as engine,
    ):
        try:
            waited = typed("verdict", "wait", name, "--stage", stage, "--timeout", f"{WAIT_S:.0f}s", *config)
            assert waited.returncode == 11, waited.stderr + (tmp_path / "run.log").read_text()
            count = ("query", "SELECT count() > 0 FROM verdicts", "--format", "CSV", *config)
            until(lambda: typed(*count).stdout.strip() == "1", (tmp_path / "run.log").read_text)
        finally:
            engine.terminate()
            engine.wait(WAIT_S)
    assert engine.returncode == 0
    listed = typed("deadletters", "list", *config)
    assert (listed.returncode, listed.stdout) == (0, "")
    wrong = written(tmp_path / "wrong.yaml", kafka_settings | {"sasl.password": "battery staple"})
    refused = typed("topics", "create", "--config", str(wrong))
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert PASSWORD not in made.stderr + played.stderr + waited.stderr + refused.stderr
    assert PASSWORD not in (tmp_path / "run.log").read_text()
