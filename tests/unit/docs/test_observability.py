"""Alert rules, dashboard and runbook fit each other and the metrics that there are."""

from __future__ import annotations

import json
import re
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
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
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
    shown_otherwise |= {"rescind_event_loop_lag_seconds_sum", "rescind_event_loop_lag_seconds_count"}
    shown_otherwise |= {"rescind_build_info", "rescind_database_size_bytes"}
    assert {name for name in known if name.startswith("rescind_")} - asked <= shown_otherwise


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
    tested = "".join((FOLDER / name).read_text() for name in ("alerts_test.yaml", "alerts_days_test.yaml"))
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}",alertstate' not in tested] == []
