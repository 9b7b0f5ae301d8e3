"""docker-compose.yml and what it mounts: it fits together, and asks for commands, settings and files that exist."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from holdfast.cli import app
from holdfast.documents import load_policy, load_rollout
from holdfast.live.settings import load_settings
from sinks.engine import Engine
from sinks.schema import quoted
from tests.test_verdict_messages import BEAT, MESSAGE

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"] == "holdfast")
COMMANDS = [name for name in OURS if "entrypoint" not in SERVICES[name]]
SQL = (ROOT / "dashboards" / "clickhouse" / "verdicts.sql").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((ROOT / "dashboards" / "verdicts.json").read_text(encoding="utf-8"))


def test_docker_compose_takes_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("`docker compose` is not installed")
    done = subprocess.run(
        [docker, "compose", "config", "--quiet"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("service", COMMANDS)
def test_each_command_and_its_options_exist(service: str) -> None:
    command: Any = typer.main.get_command(app)
    words = list(SERVICES[service]["command"])
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("service", OURS)
def test_each_service_has_settings_that_are_accepted(service: str) -> None:
    settings = load_settings(None, SERVICES[service]["environment"])
    assert settings.kafka == {"bootstrap.servers": "kafka:9092"}


def test_no_two_workers_have_the_same_name() -> None:
    names = [service["environment"].get("HOLDFAST_WORKER") for service in SERVICES.values() if "restart" in service]
    assert len(set(names)) == len(names) == 3


def test_metrics_are_produced_where_they_are_read() -> None:
    command = SERVICES["producer"]["command"]
    settings = load_settings(None, SERVICES["aggregate"]["environment"])
    assert command[command.index("--topic") + 1] in settings.sources


def test_what_a_service_waits_for_is_there() -> None:
    waited = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert waited <= set(SERVICES)


def test_what_is_mounted_is_there() -> None:
    sources = {mount.partition(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert {name for name in sources if name.startswith("./") and not (ROOT / name).exists()} == set()
    assert {name for name in sources if not name.startswith("./")} == set(COMPOSE["volumes"])


def test_images_are_pinned() -> None:
    images = {service["image"] for service in SERVICES.values()} - {"holdfast"}
    assert all(re.fullmatch(r"[\w/-]+:\d+\.\d+[\w.-]*", image) for image in images)


def test_the_broker_is_the_version_that_the_tests_run() -> None:
    assert f"<kafka.version>{SERVICES['kafka']['image'].partition(':')[2]}<" in (
        ROOT / "tests" / "kafka" / "pom.xml"
    ).read_text(encoding="utf-8")


def test_nothing_is_open_to_other_machines() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_fleet_is_the_one_that_is_announced_and_produced(tmp_path: Path) -> None:
    (code,) = SERVICES["fleet"]["command"]
    subprocess.run([sys.executable, "-c", code.replace("/data", str(tmp_path))], cwd=ROOT, check=True)
    _, _, rollout, _, policy = SERVICES["rollout"]["command"]
    waiting = SERVICES["rollout-system"]["command"]
    document = load_rollout(tmp_path / rollout)
    load_policy(tmp_path / policy)
    assert (tmp_path / SERVICES["producer"]["command"][1] / "metrics.parquet").is_file()
    assert (document.rollout, [stage.name for stage in document.stages]) == (
        waiting[2],
        [waiting[waiting.index("--stage") + 1]],
    )


def test_the_dashboard_reads_the_verdict_topic() -> None:
    settings = load_settings(None, SERVICES["judge"]["environment"])
    assert f"kafka_topic_list = '{settings.topics.verdicts}'" in SQL


def test_the_dashboard_shows_verdicts_and_no_heartbeats(tmp_path: Path) -> None:
    """ClickHouse in process stands for the server, and a plain table for the topic."""
    engine = Engine(tmp_path)
    try:
        for statement in re.sub(r"ENGINE = Kafka\nSETTINGS[^;]*", "ENGINE = Memory", SQL).split(";"):
            if re.sub("--.*", "", statement).strip():
                engine.run(statement)
        for message in (MESSAGE, BEAT):
            engine.run(f"INSERT INTO live.messages SELECT {quoted(message.value.decode())}")
        (target,) = DASHBOARD["panels"][0]["targets"]
        engine.run(f"CREATE DATABASE {engine.place.database}")
        shown = engine.read(target["rawSql"], "JSONEachRow")
    finally:
        engine.close()
    assert [json.loads(line) for line in shown.splitlines()] == [
        {
            "rollout": "bots",
            "stage": "canary",
            "time": "2026-03-12 11:20:10.000",
            "sequence": 2,
            "action": "halt",
            "binding": True,
            "colos": ["ams01"],
            "reasons": [],
        }
    ]


def test_the_dashboard_asks_the_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load(
        (ROOT / "dashboards" / "provisioning" / "datasources" / "clickhouse.yaml").read_text(encoding="utf-8")
    )
    (source,) = provisioned["datasources"]
    server = SERVICES["clickhouse"]["environment"]
    (panel,) = DASHBOARD["panels"]
    assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
    assert (source["jsonData"]["username"], source["secureJsonData"]["password"]) == (
        server["CLICKHOUSE_USER"],
        server["CLICKHOUSE_PASSWORD"],
    )
    assert source["jsonData"]["host"] in SERVICES
    assert source["type"] == SERVICES["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_SYNC"]
