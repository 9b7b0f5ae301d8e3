"""docker-compose.yml and what it mounts: it fits together, and asks for commands, settings and files that exist."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from dashboards.build import SOURCE, names
from holdfast.cli import app
from holdfast.documents import load_policy, load_rollout
from holdfast.live.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"] == "holdfast")
COMMANDS = [name for name in OURS if "entrypoint" not in SERVICES[name]]
PROVISIONED = ROOT / "dashboards" / "provisioning"


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
    assert len(set(names)) == len(names) == 6


def test_metrics_are_produced_where_they_are_read() -> None:
    command = SERVICES["producer"]["command"]
    settings = load_settings(None, SERVICES["aggregate"]["environment"])
    assert command[command.index("--topic") + 1] in settings.sources


def test_the_api_asks_for_the_token_that_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script,) = SERVICES["token"]["command"]
    _, _, command = script.partition(" || ")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for _ in range(2):  # as a second `up` does
        subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    assert command.split()[0] == "holdfast"
    settings = load_settings(None, SERVICES["serve"]["environment"])
    assert settings.api.tokens == f"/data/{command.split()[-1]}"
    (token,) = yaml.safe_load((tmp_path / command.split()[-1]).read_text(encoding="utf-8"))["tokens"]
    assert token["scopes"] == ["verdicts:read"]
    assert SERVICES["token"]["volumes"] == SERVICES["serve"]["volumes"]


def test_a_port_that_is_published_is_one_that_the_service_listens_on() -> None:
    control, serve = (load_settings(None, SERVICES[name]["environment"]) for name in ("control", "serve"))
    assert SERVICES["control"]["ports"] == [f"127.0.0.1:9466:{control.http.port}"]
    assert SERVICES["serve"]["ports"] == [f"127.0.0.1:{serve.api.port}:{serve.api.port}"]
    assert (control.http.host, serve.api.host) == ("0.0.0.0", "0.0.0.0")


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


def test_the_source_that_is_provisioned_is_the_server_and_the_one_that_panels_ask() -> None:
    provisioned = yaml.safe_load((PROVISIONED / "datasources" / "clickhouse.yaml").read_text(encoding="utf-8"))
    (source,) = provisioned["datasources"]
    server = SERVICES["clickhouse"]["environment"]
    assert {"type": source["type"], "uid": source["uid"]} == SOURCE
    assert (source["jsonData"]["username"], source["secureJsonData"]["password"]) == (
        server["CLICKHOUSE_USER"],
        server["CLICKHOUSE_PASSWORD"],
    )
    assert source["jsonData"]["host"] in SERVICES
    assert source["type"] == SERVICES["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_SYNC"]


def test_grafana_finds_every_dashboard_where_it_is_mounted() -> None:
    (provider,) = yaml.safe_load((PROVISIONED / "dashboards" / "holdfast.yaml").read_text(encoding="utf-8"))[
        "providers"
    ]
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    folder = provider["options"]["path"]
    assert {target: source for source, target in mounts.items()}[folder] == "./dashboards"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.removeprefix(f"{folder}/") in {f"{name}.json" for name in names()}


def test_the_sink_writes_to_the_server_that_is_read() -> None:
    settings = load_settings(None, SERVICES["sink"]["environment"])
    assert settings.clickhouse is not None
    server = SERVICES["clickhouse"]["environment"]
    assert settings.clickhouse.host == "clickhouse"
    assert (settings.clickhouse.user, settings.clickhouse.password) == (
        server["CLICKHOUSE_USER"],
        server["CLICKHOUSE_PASSWORD"],
    )
