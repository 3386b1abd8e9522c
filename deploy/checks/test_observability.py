"""Alerts fire on a real server in the state that they are for, and dashboards show it; files fit their programs."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from processes import lasting_port
from programs import DEPLOY, run
from prometheus import Prometheus
from providers import Provider, Side
from provocations import PROVOKED, Disk, Scene
from receivers import Receiver
from servers import BOOTSTRAP_KEY, Rescind, Server

from app import node as nodes
from app.runtime import metrics
from handlers.shoplazza.simulator import Shoplazza

FOLDER = DEPLOY / "observability"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
LATER_S = {"RescindLogNotSealed": 900.0}
"""Alerts whose expression is asked for so much later than the last scrape."""
DASHBOARDS = [json.loads(file.read_text()) for file in sorted((FOLDER / "grafana/dashboards").glob("*.json"))]
DAY_S = 86400.0
SUBJECTS = {alert: subject for alerts in PROVOKED.values() for alert, subject in alerts.items()}


def test_prometheus_and_alertmanager_take_their_configuration(tmp_path: Path) -> None:
    for name in ("alerts.yaml", "prometheus.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "rescind.key").write_text("rk_")
    run("promtool", "check", "config", tmp_path / "prometheus.yml")
    run("amtool", "check-config", FOLDER / "alertmanager.yml")


def test_dashboards_fit_the_schema_of_grafana() -> None:
    """What Grafana's own types do not know is lost when they read and write it."""
    register_default_plugins()
    for dashboard in DASHBOARDS:
        written = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
        assert [*lost(dashboard, written, dashboard["uid"])] == []


def lost(given: Any, written: Any, path: str) -> Iterator[str]:
    """What of a document is missing or different in another."""
    if isinstance(given, dict) and isinstance(written, dict):
        # Of annotations, the schema has only what those of every kind of data source have.
        own = {"titleFormat", "step"} if "/annotations/" in path else set()
        for name in given.keys() - own:
            yield from lost(given[name], written[name], f"{path}/{name}") if name in written else [f"{path}/{name}"]
    elif isinstance(given, list) and isinstance(written, list) and len(given) == len(written):
        for number, (one, other) in enumerate(zip(given, written, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif given != written:
        yield path


def test_every_alert_is_provoked() -> None:
    assert sorted(SUBJECTS) == sorted(rule["alert"] for rule in RULES)


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A node that works, with a simulated provider, a shop and a receiver; and a Prometheus that scrapes it."""
    monkeypatch.setattr(nodes, "DRAIN_S", 0.2)
    folders = {name: tmp_path / name for name in ("node", "server", "prometheus")}
    for folder in folders.values():
        folder.mkdir()
    observe, calm = metrics.LOOP_LAG.observe, pytest.MonkeyPatch()
    calm.setattr(metrics.LOOP_LAG, "observe", lambda _lag: observe(0.0))
    async with aiohttp.ClientSession() as session:
        provider, receiver = await Provider.start(), await Receiver.start()
        shop = await Side.begin("shoplazza", Shoplazza(topics=()))
        disk = Disk(folders["node"], monkeypatch)
        rescind = await Rescind.start(folders["node"], public_url="https://rescind.example.com")
        server, prometheus = Server(folders["server"], session), Prometheus(folders["prometheus"], session)
        try:
            server.port = lasting_port()  # while it is down, nobody else gets what is scraped there
            await server.start()
            await prometheus.start(BOOTSTRAP_KEY, await a_day_before(server))
            made = Scene(rescind, provider, shop, receiver, server, prometheus, disk, tmp_path, calm)
            await made.begin()
            yield made
        finally:
            calm.undo()
            await prometheus.stop()
            await server.kill()
            await rescind.stop()
            for side in (provider, shop, receiver):
                await side.close()


async def a_day_before(server: Server) -> str:
    """What the server shows of its backups, as if it had been scraped so a day before, every minute for a while."""
    shown = (await server.ask("GET", "/metrics")).raw.decode()
    value = re.search(r"^rescind_backup_timestamp_seconds (\S+)$", shown, re.MULTILINE)
    assert value is not None
    labels = f'instance="{server.url.removeprefix("http://")}",job="rescind"'
    times = [time.time() - DAY_S - 60 * minutes for minutes in range(40, 5, -1)]
    samples = (f"rescind_backup_timestamp_seconds{{{labels}}} {value[1]} {at:.3f}\n" for at in times)
    return "# TYPE rescind_backup_timestamp_seconds gauge\n" + "".join(samples) + "# EOF\n"


def asked(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Title → each expression of a dashboard, with values for its variables."""
    values = {"$__rate_interval": "30s", "$job": "rescind", "$account": ".*", "$endpoint": ".*", "$subscription": ".*"}
    found = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", ())]
    found += [(annotation["name"], annotation["expr"]) for annotation in dashboard["annotations"]["list"]]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
            found.append((variable["name"], f"count by ({label}) ({metric})"))
    for title, expression in found:
        yield title, re.sub(r"\$[a-z_]+", lambda variable: values[variable[0]], expression)


async def test_each_alert_fires_in_its_state_only_and_each_panel_shows_something(scene: Scene) -> None:
    prometheus = scene.prometheus
    await prometheus.scrape(scene.rescind.url.removeprefix("http://"))
    await prometheus.has("count_over_time(rescind_queue_requests[1m]) > 2")
    healthy = time.time()
    for provoke in PROVOKED:
        await provoke(scene)
    for rule in RULES:
        name, expression = rule["alert"], rule["expr"]
        assert await prometheus.query(expression, healthy) == [], name
        label, _, value = SUBJECTS[name].partition("=")
        series = await prometheus.has_had(expression, healthy, LATER_S.get(name, 0))
        assert value in {labels.get(label, "") for labels in series}, (name, series)
    for dashboard in DASHBOARDS:
        for title, expression in asked(dashboard):
            assert await prometheus.has_had(expression, healthy), (dashboard["title"], title)
