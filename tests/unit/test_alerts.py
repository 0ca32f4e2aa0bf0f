"""Somebody is told when they should look, and not otherwise; and what they are told leads on."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from redis.asyncio import Redis

from bot.metrics import Metrics
from engine.figures import LaneFigures, QueueCollector, QueueFigures
from engine.gauges import Gauges as EngineGauges
from engine.jobs import Cell, Lane
from engine.queue import CAP
from tests.fakes.deployed import DEPLOY
from tests.fakes.linters import linter, run
from trainer.gauges import Gauges as TrainerGauges

PROMETHEUS = DEPLOY / "prometheus"
ALERTS = PROMETHEUS / "alerts.yml"
TESTS = sorted(PROMETHEUS.glob("*_test.yml"))
DASHBOARD = DEPLOY / "grafana" / "yuefu.json"
METRIC = re.compile(r"\b((?:yuefu|process)_\w+)")
LABELLED = re.compile(METRIC.pattern + r"{([^}]*)}")
VALUE = re.compile(r'(\w+)=~?"([^"]*)"')
SAMPLES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}
"""What is asked for of each type of metric."""
RECORDED = re.compile(r"\byuefu:\w+:\w+")
MEANINGS = re.compile(r"^## What each alert means$(.*?)^## ", re.MULTILINE | re.DOTALL)


@cache
def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules() -> list[dict[str, Any]]:
    """Every rule, in the order of the file."""
    return [rule for group in read(ALERTS)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels() -> list[dict[str, Any]]:
    """What the dashboard shows, without the headings of its rows."""
    shown: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in shown if panel["type"] != "row"]


def drawn() -> list[str]:
    """Every expression of the dashboard, as Prometheus would get it."""
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    marks = json.loads(DASHBOARD.read_text())["annotations"]["list"]
    return [
        expr.replace("$__rate_interval", "1m") for expr in (*asked, *(it["expr"] for it in marks))
    ]


def scenarios() -> Iterator[tuple[str, dict[str, Any]]]:
    """What the tests of promtool let happen, by name."""
    for path in TESTS:
        for scenario in read(path)["tests"]:
            yield scenario["name"], scenario


def firing() -> dict[str, list[str]]:
    """Of each alert, the labels with which it fires in the tests of promtool."""
    found: dict[str, list[str]] = {}
    for _, scenario in scenarios():
        for asked in scenario["promql_expr_test"]:
            for sample in asked["exp_samples"]:
                [alert] = re.findall(r'alertname="(\w+)"', sample["labels"])
                found.setdefault(alert, []).append(sample["labels"])
    return found


@dataclass(frozen=True)
class Idle:
    """An engine that serves two models and writes nothing."""

    slots = 64
    rows = 0
    cells = dict.fromkeys(Cell, "champion")
    challengers = dict.fromkeys(Cell, "challenger")


def told() -> list[Metric]:
    """Whatever processes tell."""
    engine, trainer, bot = EngineGauges(), TrainerGauges(), Metrics("telegram")
    engine.show(Idle())
    queue = QueueCollector(Redis())
    empty = LaneFigures(depth=0, pending=0, oldest_s=0.0)
    queue._figures = QueueFigures(lanes=dict.fromkeys(Lane, empty), dead=0)
    engine.registry.register(queue)
    registries = (engine.registry, trainer.registry, bot.registry)
    return [metric for registry in registries for metric in registry.collect()]


def asked_for() -> str:
    """Every expression of alerts and dashboard."""
    return " ".join([*drawn(), *(rule["expr"] for rule in rules())])


# --- what Prometheus is told ---


def test_alerts_and_dashboard_ask_only_for_what_processes_tell():
    there = {f"{metric.name}{end}" for metric in told() for end in SAMPLES.get(metric.type, ("",))}
    assert set(METRIC.findall(asked_for())) <= there


def labelled() -> set[tuple[str, str, str]]:
    """Every value that a label of a metric is known to have."""
    return {
        (sample.name, label, str(value))
        for metric in told()
        for sample in metric.samples
        for label, value in sample.labels.items()
    }


def test_they_ask_only_for_values_of_labels_that_there_are():
    asked = {
        (name, label, value)
        for name, matchers in LABELLED.findall(asked_for())
        for label, values in VALUE.findall(matchers)
        for value in values.split("|")
    }
    # Those of jobs are Prometheus's own.
    assert {it for it in asked if it[1] != "job"} <= labelled()


def test_a_poem_that_takes_over_a_second_is_told_from_others():
    [slow] = [alert for alert in alerts() if alert["alert"] == "YuefuPoemsSlow"]
    assert slow["expr"].startswith("yuefu:poem_seconds:p99 > 1 and")
    assert ("yuefu_answer_seconds_bucket", "le", "1.0") in labelled()


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_when_it_should_and_not_otherwise(tests: Path):
    run(linter("promtool"), "test", "rules", tests)


@pytest.mark.parametrize("kind", ["compose", "systemd"])
def test_prometheus_takes_its_settings_and_the_rules(kind: str):
    run(linter("promtool"), "check", "config", PROMETHEUS / f"prometheus.{kind}.yml")


def test_there_is_no_alert_that_never_fires_in_a_test():
    assert set(firing()) == {alert["alert"] for alert in alerts()}


def test_when_all_is_well_every_metric_that_alerts_go_by_is_there():
    """Else it would prove nothing that none fires then."""
    well = [it for name, it in scenarios() if name.startswith(("In a good hour", "On a good day"))]
    assert all(not asked["exp_samples"] for it in well for asked in it["promql_expr_test"])
    series = " ".join(one["series"] for it in well for one in it["input_series"])
    asked = " ".join(rule["expr"] for rule in rules())
    assert set(METRIC.findall(asked)) <= set(METRIC.findall(series))


def test_a_lane_counts_as_nearly_full_before_it_is():
    [deep] = [alert for alert in alerts() if alert["alert"] == "YuefuQueueDeep"]
    assert CAP / 2 < float(deep["expr"].rpartition("> ")[2]) < CAP
    assert f"at {CAP} people" in deep["annotations"]["description"]


# --- what a person is told ---


def meanings() -> list[str]:
    """The headings under «What each alert means»."""
    [section] = MEANINGS.findall((DEPLOY / "runbook.md").read_text())
    return re.findall(r"^### (\w+)$", section, re.MULTILINE)


def test_the_runbook_tells_what_each_alert_means_and_of_no_other():
    assert meanings() == [alert["alert"] for alert in alerts()]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_what_and_where_to_read_on(alert: dict[str, Any]):
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in {"critical", "warning"}
    told = alert["annotations"]
    assert told.keys() == {"summary", "description", "runbook"}
    assert told["runbook"] == f"deploy/runbook.md#{alert['alert'].lower()}"
    assert told["description"].endswith(".")
    # Whatever they name is there when it fires; but what only some have is asked for by `with`.
    named = re.findall(r"{{ \$labels\.(\w+)", told["summary"] + told["description"])
    for labels in firing()[alert["alert"]]:
        assert all(f' {label}="' in labels for label in named)


# --- the dashboard ---


def test_the_dashboard_shows_what_people_get_first():
    shown = json.loads(DASHBOARD.read_text())["panels"]
    rows = [panel["title"] for panel in shown if panel["type"] == "row"]
    assert rows == ["What people get", "Queue", "Engines", "Platforms", "Nights", "Processes"]
    assert shown[0]["type"] == "row"
    assert len({panel["id"] for panel in shown}) == len(shown)


def test_no_panel_of_the_dashboard_covers_another():
    cells = [
        (x, y)
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path):
    asked = [{"record": f"asked{i}", "expr": expr} for i, expr in enumerate(drawn())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": asked}]}))
    run(linter("promtool"), "check", "rules", file)


def test_what_is_recorded_is_what_alerts_and_dashboard_read():
    read_ = RECORDED.findall(" ".join([*drawn(), *(alert["expr"] for alert in alerts())]))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert set(read_) == recorded
    # Once would not be worth it.
    assert all(read_.count(name) > 1 for name in recorded)


# --- what is asked, and whom ---


def jobs(kind: str) -> dict[str, dict[str, Any]]:
    """What Prometheus asks, by the name under which alerts know it."""
    asked = read(PROMETHEUS / f"prometheus.{kind}.yml")["scrape_configs"]
    return {job["job_name"].removeprefix("yuefu-"): job for job in asked}


def test_in_compose_every_service_of_ours_is_asked_at_its_port():
    ours = {"telegram", "discord", "engine", "trainer"}
    assert ours <= set(read(DEPLOY / "compose.yml")["services"])
    [port] = re.findall(r"YUEFU_LISTEN=0\.0\.0\.0:(\d+)", (DEPLOY / "Dockerfile").read_text())
    assert set(jobs("compose")) == ours
    for name, job in jobs("compose").items():
        [where] = job["dns_sd_configs"]
        assert where["names"] == [name]
        assert where["port"] == int(port)


def test_with_systemd_every_unit_is_asked_where_it_listens():
    for name, job in jobs("systemd").items():
        [unit] = (DEPLOY / "systemd").glob(f"yuefu-{name}*.service")
        [listens] = re.findall(r"^Environment=YUEFU_LISTEN=(.*)$", unit.read_text(), re.MULTILINE)
        [where] = job["static_configs"]
        assert where["targets"] == [listens.replace("%i", "1")]
