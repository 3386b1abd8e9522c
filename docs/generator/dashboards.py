"""The dashboards for Grafana: what each panel shows stands in `generator.panels_of_…`, its place and its looks here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from generator.panels import Dashboard, Panel
from generator.panels_of_sending import DELIVERIES, LANES
from generator.panels_of_state import INGEST, ON_CALL

DASHBOARDS = (ON_CALL, INGEST, LANES, DELIVERIES)
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
FOLDER = "deploy/observability/grafana/dashboards"
_VARIABLES = {
    "account": "rescind_lane_open",
    "endpoint": "rescind_webhooks_total",
    "subscription": "rescind_subscription_up",
}


def files() -> dict[str, Callable[[], str]]:
    """Path → what makes the file."""
    return {f"{FOLDER}/{dashboard.uid}.json": partial(_file, dashboard) for dashboard in DASHBOARDS}


def _file(dashboard: Dashboard) -> str:
    return json.dumps(document(dashboard), indent=1, ensure_ascii=False) + "\n"


def document(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard as Grafana reads it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["rescind"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "graphTooltip": 1,
        "links": [
            {
                "title": "Rescind",
                "type": "dashboards",
                "tags": ["rescind"],
                "asDropdown": True,
                "keepTime": True,
                "includeVars": True,
                "icon": "external link",
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": [*_variables(dashboard)]},
        "annotations": {"list": [*_annotations()]},
        "panels": [*_placed(dashboard)],
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "type": "datasource", "label": "Data source", "query": "prometheus"}
    yield _query("job", "Job", "label_values(rescind_queue_requests, job)")
    for name in dashboard.variables:
        many = {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
        yield _query(name, name.capitalize(), f'label_values({_VARIABLES[name]}{{job="$job"}}, {name})', **many)
    for name, label, url in (
        ("console", "Console", "http://127.0.0.1:8700"),
        ("docs", "Documentation", "http://127.0.0.1:8000"),
    ):
        yield {"name": name, "type": "textbox", "label": label, "query": url, "current": {"text": url, "value": url}}


def _query(name: str, label: str, query: str, **more: Any) -> dict[str, Any]:
    # Asked for anew when the time range changes: accounts come and go.
    return {
        "name": name,
        "type": "query",
        "label": label,
        "datasource": SOURCE,
        "query": query,
        "refresh": 2,
        "sort": 1,
        **more,
    }


def _annotations() -> Iterator[dict[str, Any]]:
    for name, color, expression, title in (
        ("Alerts", "red", 'ALERTS{alertname=~"Rescind.*",alertstate="firing"}', "{{alertname}}"),
        ("Starts", "blue", 'changes(process_start_time_seconds{job="$job"}[2m]) > 0', "started: {{instance}}"),
        (
            "Versions",
            "green",
            'rescind_build_info{job="$job"} unless on (instance, version) rescind_build_info{job="$job"} offset 5m',
            "version {{version}}",
        ),
    ):
        yield {
            "name": name,
            "datasource": SOURCE,
            "enable": True,
            "iconColor": color,
            "expr": expression,
            "titleFormat": title,
            "step": "60s",
        }


def _placed(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """The panels, row by row, each row as full as it can be."""
    x, y, height, number = 0, 0, 0, 0
    for row, panels in dashboard.rows.items():
        number, y = number + 1, y + height
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        yield {"id": number, "type": "row", "title": row, "gridPos": place, "collapsed": False, "panels": []}
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            x, height = x + panel.width, max(height, panel.height)


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.worse_than is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.worse_than}]
        defaults |= {"thresholds": {"mode": "absolute", "steps": steps}, "color": {"mode": "thresholds"}}
    if panel.type == "timeseries":
        defaults |= {"min": 0, "color": {"mode": "palette-classic"}}
    return {
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": [*_targets(panel)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.type],
        "links": [*_links(panel.runbooks, panel.console)],
    }


def _targets(panel: Panel) -> Iterator[dict[str, Any]]:
    for letter, (expression, legend) in zip("ABCDEFGH", panel.queries, strict=False):
        target = {"refId": letter, "datasource": SOURCE, "expr": expression, "legendFormat": legend}
        yield target | ({} if panel.type == "timeseries" else {"instant": True, "range": False})


def _links(runbooks: Sequence[str], console: str) -> Iterator[dict[str, Any]]:
    for alert in runbooks:
        url = f"${{docs}}/operations/runbooks/{alert}.html"
        yield {"title": f"Runbook: {alert}", "url": url, "targetBlank": True}
    if console:
        yield {"title": "Console", "url": f"${{console}}{console}", "targetBlank": True}


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
        "justifyMode": "auto",
        "orientation": "auto",
    },
}
