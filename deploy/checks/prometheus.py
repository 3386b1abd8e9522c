"""A real Prometheus that scrapes what a check started, by the configuration and the rules in `deploy/observability`."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml
from processes import lasting_port
from programs import DEPLOY, run
from providers import until

FOLDER = DEPLOY / "observability"
Series = tuple[dict[str, str], float]


class Prometheus:
    """A Prometheus of its own, which scrapes every second."""

    def __init__(self, directory: Path, session: aiohttp.ClientSession) -> None:
        self.directory, self._session = directory, session
        self.url = f"http://127.0.0.1:{lasting_port()}"
        self._targets: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, key: str, past: str = "") -> Self:
        """Start it, with `past` in its database: samples with times, in the text format of OpenMetrics."""
        shutil.copy(FOLDER / "alerts.yaml", self.directory)
        (self.directory / "rescind.key").write_text(key)
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        [scrape] = config["scrape_configs"]
        del config["alerting"], scrape["static_configs"]
        scrape["file_sd_configs"] = [{"files": ["targets.json"], "refresh_interval": "1s"}]
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._write_targets()
        data = self.directory / "data"
        if past:
            (self.directory / "past").write_text(past)
            run("promtool", "tsdb", "create-blocks-from", "openmetrics", self.directory / "past", data)
        program = shutil.which("prometheus")
        assert program is not None, "prometheus is not installed: deploy/checks/install-tools installs it"
        # Looks further back than usual, so that an expression can be asked for later than the last scrape.
        options = [f"--storage.tsdb.path={data}", "--query.lookback-delta=1h", "--storage.tsdb.retention.time=10d"]
        options += [f"--web.listen-address={self.url.removeprefix('http://')}", "--config.file=prometheus.yml"]
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - that takes a moment
                [program, *options], cwd=self.directory, stdout=log, stderr=log
            )
        await until(self._ready, f"Prometheus, see {self.directory}/log")
        return self

    async def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait)

    async def scrape(self, target: str) -> None:
        """Scrape this target as well; returns when it was scraped."""
        self._targets.append(target)
        self._write_targets()
        await self.has(f'up{{instance="{target}"}} == 1')

    async def query(self, expression: str, at: float | None = None) -> list[Series]:
        """The series of an expression at a time, now by default."""
        data = {"query": expression, **({} if at is None else {"time": repr(at)})}
        return [(row["metric"], float(row["value"][1])) for row in await self._ask("query", data)]

    async def has(self, expression: str) -> list[Series]:
        """Wait until the expression has series."""
        return await until(lambda: self.query(expression), expression)

    async def has_had(self, expression: str, since: float, ahead_s: float = 0) -> list[dict[str, str]]:
        """Wait until the expression has had series at any second since then; with `ahead_s`, will have had by then."""

        async def look() -> list[dict[str, str]]:
            end = time.time() + ahead_s
            data = {"query": expression, "start": repr(max(since, end - 600)), "end": repr(end), "step": "1"}
            return [row["metric"] for row in await self._ask("query_range", data)]

        return await until(look, expression)

    async def rules(self) -> list[dict[str, Any]]:
        """The rules as Prometheus evaluated them."""
        async with self._session.get(f"{self.url}/api/v1/rules") as answer:
            groups = (await answer.json())["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def _ask(self, what: str, data: dict[str, str]) -> Any:
        async with self._session.post(f"{self.url}/api/v1/{what}", data=data) as answer:
            body = await answer.json()
        assert body["status"] == "success", (data, body)
        return body["data"]["result"]

    def _write_targets(self) -> None:
        written = self.directory / "written"
        written.write_text(json.dumps([{"targets": self._targets}]))
        written.rename(self.directory / "targets.json")

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        with suppress(aiohttp.ClientError):
            async with self._session.get(f"{self.url}/-/ready") as answer:
                return answer.status == 200
        return False
