"""Several servers, each a process of its own, on one database that is a process, too."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from postgres import PostgresServer
from processes import HANGS_S, Process, lasting_port
from providers import PROVIDER_KEY, until
from servers import ROOT, TOKEN, Api, Server, account_of, endpoint_of

from app.config.settings import Settings
from app.dev.sandbox import Runner, start_sandbox
from app.store import Store
from app.store.opening import open_store
from app.store.postgres.connection import qualified
from app.store.postgres.errors import ERRORS
from handlers.planomatic.simulator import PlanOmatic

SCHEMA = "rescind"
SECRET_KEY = "chaos-secret-0123456789-abcdefghijklmnop"
REQUEST_S = 4.0
"""Time limit of a request of the load: a stopped server answers none."""
LIMIT, PER_S = 6, 2.0
LIMITS = {"requests": LIMIT, "per_s": PER_S, "concurrency": 3}
"""What an account's provider allows; the load comes close to it."""


class ChaosServer(Server):
    """One node. What it needs is in the environment, as on a machine of its own."""

    def __init__(
        self, name: str, folder: Path, session: aiohttp.ClientSession, environment: dict[str, str], prelude: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, session, prelude=prelude)
        self.name, self._more = name, environment
        self.ready_path = "/readyz"
        self._skipped = 0
        self.stopped = False
        """Whether it is held by SIGSTOP."""

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **self._more}

    async def _ready(self) -> bool:
        with suppress(aiohttp.ClientError, TimeoutError):
            return (await self.ask("GET", self.ready_path, key=None)).status == 200
        return False

    @property
    def running(self) -> bool:
        """Whether there is a process, stopped or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def epoch(self) -> int:
        """Of its lease, as its log says; 0 if it owned nothing yet."""
        epochs = re.findall(rb'"epoch": (\d+)', self.log.read_bytes()[self._skipped :])
        return int(epochs[-1]) if epochs else 0

    async def start(self) -> None:
        self._skipped = self.log.stat().st_size if self.log.exists() else 0
        await super().start()

    def signal(self, which: signal.Signals) -> None:
        """Send a signal to the process, which may have ended."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(which)
        if which in (signal.SIGSTOP, signal.SIGCONT):
            self.stopped = which is signal.SIGSTOP

    async def kill(self) -> None:
        self.stopped = False
        await super().kill()


class Watcher:
    """Looks at the tables of a PostgreSQL while others write, as a person with psql would."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lock = asyncio.Lock()

    async def fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        """Rows; none while the database is down."""
        async with self._lock:
            return await self._fetch(sql, *values)

    async def _fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url, timeout=3, command_timeout=5)
            rows: list[asyncpg.Record] = await self._connection.fetch(qualified(sql, SCHEMA), *values)
        except ERRORS:
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            return []
        return rows

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


class Cluster:
    """A database, its nodes, and a simulated provider for each account."""

    def __init__(
        self,
        folder: Path,
        session: aiohttp.ClientSession,
        postgres: PostgresServer | None,
        url: str = "",
        previous: Path | None = None,
    ) -> None:
        """Prepare; without `postgres` there is one node, on SQLite.

        Args:
            folder: for what the nodes write.
            session: for requests to them.
            postgres: the server; it is started if it does not run.
            url: what the nodes are given where that is another.
            previous: the checkout of an earlier release, which makes the schema, and which all nodes run at first.
        """
        self.folder, self.session, self.postgres = folder, session, postgres
        self.previous = previous
        self.url = url or (postgres.url if postgres else f"sqlite:///{folder}/rescind.db")
        self.nodes: list[ChaosServer] = []
        self.watcher = Watcher(self.url) if postgres else None
        self.simulators: dict[str, PlanOmatic] = {}
        self._sandbox: Runner | None = None

    async def start(self, nodes: int, accounts: int, preludes: tuple[str, ...], limits: Mapping[str, Any]) -> None:
        """Start everything, with so many accounts."""
        names = [f"a{n}" for n in range(accounts)]
        self.simulators = {name: PlanOmatic(api_keys=(PROVIDER_KEY,), requests=1_000_000) for name in names}
        self._sandbox = await start_sandbox(port=0, simulators=self.simulators)
        if self.postgres is not None and not self.postgres.running:
            await asyncio.to_thread(self.postgres.start)
        if self.previous is not None:
            await self.command("--version")  # what forks the new release takes seconds to start: not under load
            code, said = await self.command("migrate", root=self.previous)
            assert code == 0, said
        for number in range(nodes):
            folder = self.folder / f"node-{number}"
            prelude = preludes[number] if preludes else ""
            self.nodes.append(ChaosServer(f"node-{number}", folder, self.session, self.environment, prelude))
            self.nodes[-1].port = lasting_port()  # while it is down, nobody else gets what is sent to it
            if prelude:
                self.nodes[-1].ready_path = "/healthz"  # by its clock it is not fit to get requests
            self.nodes[-1].root = self.previous or ROOT
            await self.nodes[-1].start()
        for name in names:
            account = account_of(f"{self._sandbox.url}/{name}", limits=dict(limits), config={"timeout_s": 10.0})
            await self.nodes[0].put("accounts", name, account)
            await self.nodes[0].put("endpoints", f"{name}-in", endpoint_of(name))
        await self.knows(f"{names[-1]}-in")

    async def knows(self, endpoint: str) -> None:
        """Wait until all nodes know an endpoint."""
        for node in self.nodes:

            async def served(node: Api = node) -> bool:
                reply = await node.ask("POST", f"/webhooks/{endpoint}?token={TOKEN}", data=b"{}", key=None)
                return reply.status not in (401, 404, 503)

            await until(served, f"{node.url} to know {endpoint}")

    @property
    def environment(self) -> dict[str, str]:
        """Of a server, or of another command on the same database."""
        if self.postgres is None:
            return {"RESCIND_DATABASE_URL": self.url, "RESCIND_SECRET_KEY": SECRET_KEY}
        return {
            "RESCIND_DATABASE_URL": self.url,
            "RESCIND_DATABASE_SCHEMA": SCHEMA,
            "RESCIND_MIGRATE": "false" if self.previous else "true",
            "RESCIND_SECRET_KEY": SECRET_KEY,
        }

    @property
    def sandbox_url(self) -> str:
        assert self._sandbox is not None
        return self._sandbox.url

    async def calls(self, account: str) -> list[dict[str, Any]]:
        """What arrived at an account's provider, oldest first."""
        async with self.session.get(f"{self.sandbox_url}/_sandbox/{account}/calls") as answer:
            found: list[dict[str, Any]] = (await answer.json())["data"]
            return found

    async def fault(self, account: str, **fault: Any) -> None:
        """Let something go wrong with the next call to an account's provider."""
        async with self.session.post(f"{self.sandbox_url}/_sandbox/{account}/faults", json=fault) as answer:
            assert answer.status == 201, await answer.text()

    async def open_store(self) -> Store:
        """The database as a program beside the nodes sees it."""
        environment = {name.removeprefix("RESCIND_").lower(): value for name, value in self.environment.items()}
        return await open_store(Settings(**environment).database)

    async def command(self, *arguments: str, root: Path = ROOT, prelude: str = "") -> tuple[int, str]:
        """Run `rescind` on the same database; returns its exit code and all that it wrote."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RESCIND_")}
        environment = kept | self.environment
        process = Process(arguments, env=environment, cwd=self.folder, root=root, prelude=prelude)
        code = await asyncio.to_thread(process.wait, HANGS_S)
        return code, process.written("out") + process.written("err")

    async def start_node(self, node: ChaosServer) -> None:
        """Start a node, again and again while the database is down."""
        began = time.monotonic()
        while True:
            try:
                await node.start()
            except AssertionError:
                if time.monotonic() > began + HANGS_S:
                    raise
                await node.kill()
                await asyncio.sleep(0.5)
            else:
                return

    async def close(self) -> None:
        for node in self.nodes:
            await node.kill()
        if self.watcher is not None:
            await self.watcher.close()
        if self._sandbox is not None:
            await self._sandbox.close()
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.remove)
