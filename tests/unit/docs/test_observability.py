"""Alert rules, dashboard and runbook fit each other and the metrics that there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Counter, Gauge, Histogram

from app.runtime import metrics

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "observability"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RUNBOOK = (ROOT / "docs" / "operations" / "alerts.md").read_text()
PROMTOOL = shutil.which("promtool")
_ENDS: dict[type[Any], tuple[str, ...]] = {
    Counter: ("_total",),
    Gauge: ("",),
    Histogram: ("_bucket", "_sum", "_count"),
}
_OF_PROMETHEUS = {"job", "instance", "le"}


def exported() -> dict[str, set[str]]:
    """Name → labels of every series that `/metrics` shows."""
    found = [metric for metric in vars(metrics).values() if isinstance(metric, tuple(_ENDS))]
    return {f"{metric._name}{end}": {*metric._labelnames} for metric in found for end in _ENDS[type(metric)]}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["name"], variable["query"]


def test_every_metric_and_label_that_is_asked_for_is_exported() -> None:
    known = exported()
    asked = set()
    for name, expression in expressions():
        used = set(re.findall(r"\brescind_\w+", expression))
        assert used <= known.keys(), name
        asked |= used
        labels = {
            label for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in listed.split(", ")
        }
        labels |= set(re.findall(r"(\w+)=~?\"", expression))
        assert labels <= set().union(_OF_PROMETHEUS, *(known[metric] for metric in used)), name
    shown_otherwise = {"rescind_webhooks_unauthentic_total", "rescind_commit_requests_bucket"}
    shown_otherwise |= {"rescind_commit_seconds_sum", "rescind_commit_seconds_count"}
    shown_otherwise |= {"rescind_backup_timestamp_seconds"}
    assert {name for name in known if name.startswith("rescind_")} - asked <= shown_otherwise


def test_names_are_by_the_conventions_of_prometheus() -> None:
    for name in exported():
        assert re.fullmatch(r"rescind(_[a-z]+)+", name), name
        assert not re.search(r"_(ms|millis|minutes|hours|count_total|kb)\b", name), name


def test_every_alert_has_a_runbook_entry_and_nothing_else_has() -> None:
    sections = {
        part.partition("\n")[0]: part.partition("\n")[2] for part in re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    }
    assert [*sections] == [rule["alert"] for rule in RULES]
    for rule in RULES:
        text = sections[rule["alert"]]
        meaning, _, rest = text.partition("How to see it:")
        seeing, _, doing = rest.partition("What to do:")
        assert min(len(meaning.split()), len(seeing.split()), len(doing.split())) > 3, rule["alert"]
        assert f"*{rule['labels']['severity']}.*" in meaning
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["runbook"] == f"docs/operations/alerts.md#{rule['alert'].lower()}"


def test_the_dashboard_begins_with_what_is_late_and_each_panel_has_its_place() -> None:
    assert DASHBOARD["panels"][0]["title"] == "What is late"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_each_alert_is_tested() -> None:
    tested = (FOLDER / "alerts_test.yaml").read_text()
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}",alertstate' not in tested] == []


# Where there is no promtool (Debian: prometheus), it is not collected; in continuous integration it fails.
if PROMTOOL or os.environ.get("CI"):

    def test_prometheus_takes_rules_and_expressions(tmp_path: Path) -> None:
        assert PROMTOOL is not None, "install prometheus"
        rules = [
            {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
            for number, (_, expression) in enumerate(expressions())
            if not expression.startswith(("label_values", "prometheus"))
        ]
        (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        for command in (
            ("check", "rules", FOLDER / "alerts.yaml"),
            ("check", "rules", tmp_path / "panels.yaml"),
            ("test", "rules", FOLDER / "alerts_test.yaml"),
        ):
            done = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
