"""What the pods would run, run as processes with the same settings; and what they have, by the measured capacity."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import jsonschema
import kubernetes_validate
import pytest
from dockerfile import read
from manifests import KUBERNETES, OVERLAYS, Resource, containers, data, of_kind, pod, server
from processes import Process
from programs import DEPLOY, run
from providers import until
from servers import Server

from app.core.capacity import Load, needs

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "m": 1e-3, "": 1.0}
YEARS = 2
"""How long the volumes last that are asked for."""


def quantity(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\D*)", str(text)).groups()
    return float(number) * UNITS[unit]


def test_resources_are_those_of_the_measured_capacity() -> None:
    needed = needs(Load(orders_per_day=1000, connections=4096))
    for overlay in OVERLAYS:
        given = server(overlay)["resources"]
        assert quantity(given["limits"]["memory"]) > 1.5 * needed.memory_bytes, "the cache of files counts, too"
        assert quantity(given["requests"]["cpu"]) > needs(Load(orders_per_day=100_000)).cores
        assert "cpu" not in given["limits"]
    data_size, backups_size = (
        quantity(claim["spec"]["resources"]["requests"]["storage"])
        for claim in of_kind("overlays/sqlite", "StatefulSet")["spec"]["volumeClaimTemplates"]
    )
    command = sidecar("overlays/sqlite")["command"]
    kept = int(command[command.index("--keep") + 1])
    assert needed.disk_bytes(365 * YEARS) < data_size
    assert needed.database_bytes(365) * (kept + 1) < backups_size, "the new one is there before the oldest goes"


def test_the_image_fits() -> None:
    stage = read((DEPLOY / "docker" / "Dockerfile").read_text())[-1]
    image = dict(stage.steps) | stage.said
    for overlay in OVERLAYS:
        context = pod(overlay)["spec"]["securityContext"]
        assert image["USER"] == f"{context['runAsUser']}:{context['runAsGroup']}"
        (program,) = {container["command"][0] for container in containers(overlay)}
        assert f"PATH={Path(program).parent}:" in image["ENV"]
        probe = server(overlay)["startupProbe"]
        minutes = probe["failureThreshold"] * probe["periodSeconds"] // 60
        assert f"--start-period={minutes}m " in image["HEALTHCHECK"], "migrations take as long there"
    mounts = {mount["mountPath"] for container in containers("example") for mount in container["volumeMounts"]}
    assert {*json.loads(image["VOLUME"])} <= mounts, "where it writes"


def sidecar(overlay: str) -> Resource:
    (found,) = (container for container in containers(overlay) if container["name"] == "backup")
    assert found["restartPolicy"] == "Always", "else it would have to end before the server starts"
    return found


class Pod(Server):
    """The server's container of the example, as a process on this machine's addresses and files."""

    def environment(self) -> Mapping[str, str]:
        return self._environment()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RESCIND_")}
        given = data("example", "ConfigMap", "rescind-settings") | secrets()
        here = {"RESCIND_DATABASE_URL": f"sqlite:///{self.directory}/rescind.db", "RESCIND_HOST": "127.0.0.1"}
        return kept | given | here | {"RESCIND_PORT": "0", "RESCIND_DRAIN_S": "0"}


def secrets() -> dict[str, str]:
    lines = (KUBERNETES / "example" / "secrets.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Pod]:
    resource_file = tmp_path / "rescind.yaml"
    resource_file.write_text(data("example", "ConfigMap", "rescind-config")["rescind.yaml"])
    async with aiohttp.ClientSession() as session:
        started = Pod(tmp_path, session, apply_file=resource_file)
        await started.start()
        try:
            yield started
        finally:
            await started.kill()


async def test_the_containers_run(running: Pod, tmp_path: Path) -> None:
    given = secrets()
    probed = {probe["httpGet"]["path"] for probe in server("example").values() if "httpGet" in probe}
    assert probed == {"/healthz", "/readyz"}
    for path in probed:
        assert (await running.ask("GET", path, key=None)).status == 200
    (endpoint,) = of_kind("example", "ServiceMonitor")["spec"]["endpoints"]
    scraped = await running.ask("GET", endpoint["path"], key=given["RESCIND_BOOTSTRAP_KEY"])
    assert b"rescind_queue_requests" in scraped.raw
    event = {"event": "order.processed", "order_id": "o-1"}
    received = await running.hook(event, endpoint="acme-photos-in", token=given["ACME_HOOK_SECRET"])
    assert (received.status, received.json["status"]) == (200, "accepted")
    backups = tmp_path / "backups"
    backups.mkdir()
    words = [str(backups) if word == "/backups" else word for word in sidecar("example")["command"][1:]]
    process = Process(words, env=running.environment(), cwd=tmp_path)

    async def backed_up() -> bool:
        return "verified" in process.written("out")

    try:
        await until(backed_up, "a backup")
        assert len([*backups.glob("rescind-*.db")]) == 1
        assert not [*backups.glob("*.key")], "the key is in the secret"
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
    assert await running.stop() == 0


def test_the_pod_that_restores_has_the_volumes() -> None:
    stateful_set = of_kind("example", "StatefulSet")
    script = KUBERNETES / "example" / "restore_pod.py"
    restoring = json.loads(run(sys.executable, script, text=json.dumps(stateful_set)))
    kubernetes_validate.validate(restoring, "1.34", strict=True)
    spec = restoring["spec"]
    (container,) = spec["containers"]
    assert container["command"] == ["/opt/rescind/bin/rescind", "restore", "--from", "/backups", "--force"]
    assert container["securityContext"] == server("example")["securityContext"]
    assert spec["securityContext"] == stateful_set["spec"]["template"]["spec"]["securityContext"]
    claims = {volume.get("persistentVolumeClaim", {}).get("claimName") for volume in spec["volumes"]}
    assert {"data-rescind-0", "backups-rescind-0"} <= claims
    assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in spec["volumes"]}
    named = run(sys.executable, script, "rescind-20300131T021500Z.db", text=json.dumps(stateful_set))
    command = json.loads(named)["spec"]["containers"][0]["command"]
    assert command[1:] == ["restore", "/backups/rescind-20300131T021500Z.db", "--force"]
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        kubernetes_validate.validate({**restoring, "spec": {**spec, "volume": []}}, "1.34", strict=True)
