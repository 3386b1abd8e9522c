"""What tests start for real: Rescind, in this process or in one of its own; and who talks to it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec
import postgres
from aiohttp import web
from processes import Process
from providers import PROVIDER_KEY, WAIT_S, until
from yarl import URL

from app.config.settings import Settings
from app.node import Node
from app.store.compression import inflate
from app.web.bodies import BODIES, Bodies
from app.web.connections import LimitedServer
from app.web.server import start_server

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.0/8"
BOOTSTRAP_KEY = "rk_bootstrap-0123456789-abcdefghijkl"
SECRET_KEY = "secret-key-0123456789-abcdefghijklmnop"
TOKEN = "hook-token-0123456789"
ACCOUNT = "acme"
ENDPOINT = "acme-in"
STREAM = "/v1/events/stream"
CANCEL_BODY = {"reason": "client_requested_cancelation", "note": "The client no longer wants it."}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of Rescind's."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.raw)

    def problem(self, status: int, slug: str) -> dict[str, Any]:
        """The answer, which must be this problem."""
        assert (self.status, self.headers["Content-Type"]) == (status, "application/problem+json"), self
        body = self.json
        assert (body["type"], body["status"]) == (f"urn:rescind:problem:{slug}", status), body
        assert body["title"], body
        assert body["detail"], body
        return dict(body)


class Api:
    """A client of one Rescind, wherever it runs."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session

    async def ask(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        key: str | None = BOOTSTRAP_KEY,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request; `path` is percent-encoded already."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key}")
        if json is not None:
            data = msgspec.json.encode(json)
        if isinstance(data, bytes):
            data = BytesIO(data)
        if path.startswith(STREAM) and "follow=" not in path:
            # It would not end by itself, and begins with what comes.
            path += f"{'&' if '?' in path else '?'}follow=false"
            path += "" if "since=" in path else "&since=2000-01-01T00:00:00Z"
        url = URL(self.url + path, encoded=True)
        async with self.session.request(method, url, data=data, headers=sent) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, **more: Any) -> Any:
        """The JSON at `path`, which must be there."""
        reply = await self.ask("GET", path, **more)
        assert reply.status == 200, reply
        return reply.json

    async def hook(self, body: Any, endpoint: str = ENDPOINT, token: str = TOKEN, **more: Any) -> Reply:
        """Deliver a webhook; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.ask("POST", f"/webhooks/{endpoint}?token={token}", data=data, key=None, **more)

    async def tell(self, event: str, order: str, endpoint: str = ENDPOINT, **more: Any) -> str:
        """Deliver an authentic webhook about `order`, which must be accepted; returns its receipt."""
        reply = await self.hook(webhook(event, order, **more), endpoint)
        assert (reply.status, reply.json["status"]) == (200, "accepted"), reply
        return str(reply.json["receipt"])

    async def request_cancel(self, order: str, account: str = ACCOUNT, headers: Any = None, **more: Any) -> Reply:
        """Ask for `order` to be canceled."""
        path = f"/v1/accounts/{account}/orders/{quote(order, safe='')}/cancellations"
        return await self.ask("POST", path, {**CANCEL_BODY, **more}, headers=headers)

    async def cancel(self, order: str, account: str = ACCOUNT, **more: Any) -> str:
        """Ask for `order` to be canceled, which must be taken on; returns the cancellation's id."""
        reply = await self.request_cancel(order, account, **more)
        assert reply.status == 202, reply
        return str(reply.json["id"])

    async def raw(self, payload: bytes, *, half_close: bool = False) -> tuple[int, bytes]:
        """Send bytes as they are; returns the status and the body of the answer, (0, b"") if there was none."""
        url = URL(self.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        reading = asyncio.create_task(_read_answer(reader))
        try:
            with suppress(ConnectionError):
                writer.write(payload)
                await writer.drain()
                if half_close:
                    writer.write_eof()
            async with asyncio.timeout(WAIT_S):
                return await reading
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def receipt_body(self, id: str) -> bytes:
        """The body of a receipt, byte for byte."""
        shown = await self.get(f"/v1/receipts/{id}?raw=true")
        body = b64decode(shown["body_base64"]) if "body_base64" in shown else shown.get("body", "").encode()
        assert len(body) == shown["size"]
        return bytes(body)

    async def cancellation(self, id: str) -> dict[str, Any]:
        return dict(await self.get(f"/v1/cancellations/{id}"))

    async def settled(self, id: str, *states: str) -> dict[str, Any]:
        """The cancellation when it is in one of `states`, or final if none is named."""

        async def look() -> dict[str, Any] | None:
            known = await self.cancellation(id)
            found = known["state"] in states if states else known["final"]
            return known if found else None

        return dict(await until(look, f"{id} in {states or 'a final state'}") or {})

    async def order(self, order: str, account: str = ACCOUNT) -> dict[str, Any]:
        return dict(await self.get(f"/v1/accounts/{account}/orders/{quote(order, safe='')}"))

    async def timeline(self, order: str, account: str = ACCOUNT) -> list[dict[str, Any]]:
        return await self.pages(f"/v1/accounts/{account}/orders/{quote(order, safe='')}/timeline", 500)

    async def states(self, order: str, account: str = ACCOUNT) -> list[str]:
        """The states through which the order's cancellations went, in turn."""
        events = [each["event"]["type"] for each in await self.timeline(order, account) if each["kind"] == "event"]
        return [type.removeprefix("cancellation.") for type in events if type.startswith("cancellation.")]

    async def pages(self, path: str, limit: int) -> list[Any]:
        """All rows of a list, page by page."""
        rows: list[Any] = []
        cursor = ""
        while True:
            mark = "&" if "?" in path else "?"
            page = await self.get(f"{path}{mark}limit={limit}{cursor}")
            assert len(page["data"]) <= limit
            rows += page["data"]
            if not page["has_more"]:
                assert page["next_cursor"] is None
                return rows
            assert len(page["data"]) == limit
            cursor = f"&cursor={page['next_cursor']}"

    async def put(self, kind: str, id: str, body: Any) -> Reply:
        reply = await self.ask("PUT", f"/v1/{kind}/{id}", body)
        assert reply.status in (200, 201), reply
        return reply


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split()[1])
        if status == 100:
            return await _read_answer(reader)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return status, await reader.readexactly(int(length.partition(b":")[2]))
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0, b""


def webhook(event: str, order: str, at: datetime | float | None = None, **more: Any) -> dict[str, Any]:
    """The body of a PlanOmatic webhook."""
    moment = datetime.fromtimestamp(at, UTC) if isinstance(at, float) else at or datetime.now(UTC)
    return {"event": event, "order_id": order, "occurred_at": moment.isoformat(), **more}


def account_of(provider: str, **more: Any) -> dict[str, Any]:
    """An account at the provider that answers at this URL; calls that are held end by nothing but their release."""
    config = {"base_url": provider, "api_key": PROVIDER_KEY, "timeout_s": 120.0, **more.pop("config", {})}
    return {"provider": "planomatic", "config": config, **more}


def endpoint_of(account: str, **more: Any) -> dict[str, Any]:
    """An endpoint of an account, which takes `TOKEN`."""
    return {"account": account, "verify": {"scheme": "token", "secrets": [TOKEN]}, **more}


def execute_sql(directory: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a statement on the database in `directory`, which is committed at once; placeholders are `$1`."""
    if postgres.for_servers():
        return postgres.execute_sql(postgres.target_of(directory), sql, *values)
    with closing(sqlite3.connect(directory / "rescind.db", isolation_level=None)) as db:
        return db.execute(sql, {str(place): value for place, value in enumerate(values, 1)}).fetchall()


def stored_in(directory: Path) -> bytes:
    """Every byte that the database in `directory` has on disk (on PostgreSQL, in rows), and its receipts unpacked."""
    if postgres.for_servers():
        rows = postgres.rows_of(postgres.target_of(directory))
    else:
        rows = [file.read_bytes() for file in directory.glob("rescind.db*")]
    return b"".join([*rows, *unpacked(directory)])


def unpacked(directory: Path) -> Iterator[bytes]:
    """The content of every receipt in the database in `directory`."""
    dictionary = "(SELECT content FROM receipt_dictionaries AS used WHERE used.id = dictionary)"
    if postgres.for_servers():
        dictionary = "NULL::bytea"
    sql = f"SELECT body, {dictionary} FROM receipts WHERE dictionary IS NOT NULL"  # noqa: S608 - ours
    for packed, content in execute_sql(directory, sql):
        yield inflate(packed, content or b"")


def database_in(directory: Path) -> dict[str, Any]:
    """The settings for the database in a directory: a file, or a schema that stands for it."""
    if not postgres.for_servers():
        return {"database_url": f"sqlite:///{directory}/rescind.db"}
    return {**postgres.settings_for(postgres.target_of(directory)), "secret_key": SECRET_KEY}


def settings_for(directory: Path, **more: Any) -> Settings:
    """Settings of a Rescind that lives in `directory`."""
    given = {**database_in(directory), "bootstrap_key": BOOTSTRAP_KEY, "port": 0, **more}
    return Settings(**{"allow_networks": (ip_network(LOOPBACK),), **given})


class Rescind(Api):
    """A Rescind in this process, with its web server on loopback."""

    def __init__(self, node: Node, runner: web.AppRunner, url: str, session: aiohttp.ClientSession) -> None:
        super().__init__(url, session)
        self.node, self._runner = node, runner

    @classmethod
    async def start(cls, directory: Path, **settings: Any) -> Self:
        node = await Node.start(settings_for(directory, **settings))
        runner, url = await start_server(node)
        return cls(node, runner, url, aiohttp.ClientSession())

    def later(self, by: timedelta) -> None:
        """From now on it is so much later for the timers, which fire what is due by then."""
        self.node.timers._clock = lambda: datetime.now(UTC) + by
        self.node.timers.wake()

    @property
    def bodies(self) -> Bodies:
        """The budget of request bodies."""
        assert self._runner.app is not None
        return self._runner.app[BODIES]

    @property
    def server(self) -> LimitedServer:
        """The server that accepts connections."""
        server = self._runner.server
        assert isinstance(server, LimitedServer)
        return server

    async def stop(self) -> None:
        await self.session.close()
        await self._runner.cleanup()
        await self.node.stop()


class Server(Api):
    """A Rescind in a process of its own, on the database in `directory`. `prelude` is Python that it runs first."""

    def __init__(
        self, directory: Path, session: aiohttp.ClientSession, apply_file: Path | None = None, prelude: str = ""
    ) -> None:
        super().__init__("", session)
        self.directory, self._apply_file, self.prelude = directory, apply_file, prelude
        self.log = directory / "server.log"
        self._process: Process | None = None
        self.port = 0
        self.root = ROOT
        """The checkout whose release runs."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the process, and wait until it is ready."""
        skipped = self.log.stat().st_size if self.log.exists() else 0
        self._spawn()
        self.url = await until(lambda: self._listening(skipped), f"listening, see {self.log}")
        await until(self._ready, f"/readyz, see {self.log}")

    async def fails_to_start(self) -> int:
        """Start the process, which must end by itself; returns its exit code."""
        self._spawn()
        assert self._process is not None
        process, self._process = self._process, None
        try:
            return await asyncio.to_thread(process.wait)
        except TimeoutError:
            process.kill()
            process.wait()
            raise

    def _spawn(self) -> None:
        arguments = ["serve", *(["--apply", str(self._apply_file)] if self._apply_file else [])]
        environment, prelude = self._environment(), self.prelude
        with self.log.open("ab") as log:
            self._process = Process(
                arguments, env=environment, cwd=self.directory, stdout=log, stderr=log, prelude=prelude, root=self.root
            )

    async def stop(self) -> int:
        """Ask it to end by SIGTERM; returns its exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it at once by SIGKILL."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(how)
        return await asyncio.to_thread(process.wait)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RESCIND_")}
        return {
            **kept,
            **{f"RESCIND_{name.upper()}": str(value) for name, value in database_in(self.directory).items()},
            "RESCIND_PORT": str(self.port),
            "RESCIND_BOOTSTRAP_KEY": BOOTSTRAP_KEY,
            "RESCIND_ALLOW_NETWORKS": LOOPBACK,
        }

    async def _listening(self, skipped: int) -> str:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended: {self.log.read_text()[skipped:][-2000:]}"
        for line in self.log.read_bytes()[skipped:].splitlines():
            with suppress(msgspec.DecodeError):
                said = msgspec.json.decode(line)
                if isinstance(said, dict) and said.get("event") == "listening":
                    return str(said["url"])
        return ""

    async def _ready(self) -> bool:
        try:
            return (await self.ask("GET", "/readyz", key=None)).status == 200
        except aiohttp.ClientError:
            return False
