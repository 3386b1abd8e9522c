"""Alert rules, dashboard and runbook fit each other and the metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Counter, Gauge, Histogram

from app.cli.doctor import BACKUP_AGE
from app.runtime import metrics

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "observability"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARDS = [json.loads(file.read_text()) for file in sorted((FOLDER / "grafana/dashboards").glob("*.json"))]
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
_ENDS: dict[type[Any], tuple[str, ...]] = {
    Counter: ("_total",),
    Gauge: ("",),
    Histogram: ("_bucket", "_sum", "_count"),
}
_OF_PROMETHEUS = {"job", "instance", "le", "alertname", "alertstate"}


def exported() -> dict[str, set[str]]:
    """Name → labels of every series that `/metrics` shows."""
    found = [metric for metric in vars(metrics).values() if isinstance(metric, tuple(_ENDS))]
    return {f"{metric._name}{end}": {*metric._labelnames} for metric in found for end in _ENDS[type(metric)]}


def panels() -> list[dict[str, Any]]:
    return [panel for dashboard in DASHBOARDS for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for dashboard in DASHBOARDS:
        for variable in dashboard["templating"]["list"]:
            yield variable["name"], variable["query"]
        for annotation in dashboard["annotations"]["list"]:
            yield annotation["name"], annotation["expr"]


def test_an_alert_and_the_doctor_call_a_backup_old_at_the_same_age() -> None:
    (old,) = (rule["expr"] for rule in RULES if rule["alert"] == "RescindBackupOld")
    assert f"> {BACKUP_AGE.total_seconds():.0f} and" in old


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
    assert {name for name in known if name.startswith("rescind_")} == asked


def test_names_are_by_the_conventions_of_prometheus() -> None:
    for name in exported():
        assert re.fullmatch(r"rescind(_[a-z]+)+", name), name
        assert not re.search(r"_(ms|millis|minutes|hours|count_total|kb)\b", name), name


def test_every_alert_has_a_runbook_and_nothing_else_has() -> None:
    assert [rule["alert"] for rule in RULES if not (RUNBOOKS / f"{rule['alert']}.md").exists()] == []
    assert {page.stem for page in RUNBOOKS.iterdir()} == {rule["alert"] for rule in RULES}
    for rule in RULES:
        name, severity = rule["alert"], rule["labels"]["severity"]
        assert severity in ("critical", "warning", "info")
        heading, *parts = re.split(r"^## ", (RUNBOOKS / f"{name}.md").read_text(), flags=re.MULTILINE)
        title, meaning = heading.split("\n\n", 1)
        assert (title, meaning.startswith(f"*{severity}.* ")) == (f"# {name}", True), name
        assert [part.partition("\n")[0] for part in parts] == ["How to see it", "What to do", "How it is tested"], name
        assert min(len(text.split()) for text in (meaning, *parts)) > 6, name
        assert rule["annotations"]["runbook_url"] == f"docs/operations/runbooks/{name}.md"


def test_summaries_of_alerts_are_sentences_and_use_labels_that_the_alert_has() -> None:
    for rule in RULES:
        notes = rule["annotations"]
        assert notes.keys() == {"summary", "description", "runbook_url"}
        used = set(re.findall(r"\$labels\.(\w+)", f"{notes['summary']} {notes['description']}"))
        kept = re.search(r"sum by \(([^)]*)\)", rule["expr"])
        metric = re.search(r"rescind_\w+", rule["expr"])
        of_metric = exported().get(metric[0], set()) if metric else set()
        labels = {*kept[1].split(", ")} if kept else {*of_metric, "job", "instance"}
        assert used <= labels, rule["alert"]
        assert all(notes[name].endswith((".", "}}.")) for name in ("summary", "description")), rule["alert"]


def test_dashboards_have_their_place_and_panels_say_what_they_show_and_what_to_do() -> None:
    assert len({dashboard["uid"] for dashboard in DASHBOARDS}) == len(DASHBOARDS) == 4
    alerts = {rule["alert"] for rule in RULES}
    linked = set()
    for dashboard in DASHBOARDS:
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len({*ids}) == len(ids)
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            cells = {(x, y) for x in columns for y in lines}
            assert not cells & taken, panel["title"]
            assert max(x for x, _ in cells) < 24
            taken |= cells
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        runbooks = [re.search(r"/runbooks/(\w+)\.html$", link["url"]) for link in panel["links"]]
        linked |= {runbook[1] for runbook in runbooks if runbook}
        assert panel["links"] or panel["title"] == "Alerts", panel["title"]
    assert linked == alerts


def test_each_alert_is_tested() -> None:
    tested = "".join((FOLDER / name).read_text() for name in ("alerts_test.yaml", "alerts_days_test.yaml"))
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}",alertstate' not in tested] == []
