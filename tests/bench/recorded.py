"""Orders that a real server recorded, from their webhooks to their deliveries: what `big_database` makes many of."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from app.store import codec
from app.store.sqlite.functions import add_functions
from tests.bench.payload import EVENTS, body
from tests.bench.processes import SERVE, free_port, running

TOKEN = "bench-hook-secret-0123456789"
KEY = "bench-api-key-0123456789-0123456789"
PLANO, SHOP = 600, 400
"""Accounts at each of two providers."""
COMPRESSED = {"events": ("body", codec.EVENT_BODY), "orders": ("state", codec.ORDER_STATE)}
"""The columns that are compressed, and their texts in SQL. A recording has the texts, and no dictionaries."""
LONG = 3000
"""Events of the longest order."""
CANCEL_BODIES = {
    "plano": {"reason": "client_requested_cancelation", "note": "The client no longer wants it."},
    "shop": {"reason": "mistake", "note": "Two of the same."},
}
REFUSED = {"plano": "Refuse it.", "shop": "Refuse it."}
WINDOW_H = 24
_SHOP_CONFIG = {
    "api_key": "bench-provider-key",
    "fields": {
        "order": "order.id",
        "event": "event",
        "aliases": "order.number",
        "status": "order.status",
        "opened_at": "order.placed_at",
        "attributes": {"total": "order.total", "customer": "order.customer", "city": "order.city"},
    },
    "phases": {"placed": "open", "shipped": "in_progress", "delivered": "completed", "canceled": "canceled"},
    "events": {
        "placed": {"type": "order.created", "phase": "open"},
        "shipped": {"type": "order.fulfilled", "phase": "in_progress"},
        "delivered": {"type": "order.completed", "phase": "completed"},
        "canceled": {"type": "order.canceled", "phase": "canceled"},
    },
}
_SHOP_RULES = {
    "conditions": [
        {
            "when": f'order.phase == "open" && order.opened_at + duration("{WINDOW_H}h") <= now',
            "cancelable": "no",
            "reason": "too_late",
            "explanation": "The shop cancels within a day.",
            "changes_at": f'order.opened_at + duration("{WINDOW_H}h")',
        }
    ],
    "reasons": ["mistake", "too_slow", "other"],
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of order: what happens to it, in steps that lie hours apart."""

    provider: str
    name: str
    steps: tuple[str, ...]
    """Words of webhooks; `cancel` and `refused` ask for a cancellation."""
    share: int
    is_open: bool = False


KINDS = (
    Kind("plano", "delivered", ("0", "1", "2", "3", "4"), 46),
    Kind("plano", "canceled", ("0", "1", "cancel"), 6),
    Kind("plano", "refused", ("0", "1", "refused", "2", "3", "4"), 2),
    Kind("plano", "forgotten", ("0", "1"), 2, is_open=True),
    Kind("plano", "scheduled", ("0", "1", "2"), 4, is_open=True),
    Kind("plano", "new", ("0",), 2, is_open=True),
    Kind("shop", "delivered", ("placed", "shipped", "delivered"), 28),
    Kind("shop", "canceled", ("placed", "cancel", "canceled"), 6),
    Kind("shop", "placed", ("placed",), 4, is_open=True),
)


@dataclass(slots=True)
class Recording:
    """The rows of one order in a real database, and when each of its steps began (microseconds)."""

    kind: Kind
    number: int
    """Stands in every id and text of the order, and nowhere else."""
    began: list[int] = field(default_factory=list)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def order(self) -> str:
        return str(self.number) if self.kind.provider == "plano" else f"ord_{self.number}"


def resources(url: str) -> dict[str, Any]:
    """Accounts, endpoints and a subscription, with the provider at `url`."""
    accounts, endpoints = [], []
    config = {
        "plano": {"api_key": "bench-provider-key", "base_url": url},
        "shop": {
            **_SHOP_CONFIG,
            "base_url": url,
            "cancel": {
                "method": "POST",
                "url": "/v1/orders/{{ order.id }}/cancel",
                "body": {"comment": "{{ note }}"},
                "answers": [{"status": 409, "outcome": "refused"}],
            },
        },
    }
    for provider, number in (("plano", PLANO), ("shop", SHOP)):
        for index in range(number):
            id = f"{provider}-{index:04}"
            account = {
                "id": id,
                "provider": "planomatic" if provider == "plano" else "generic",
                "config": config[provider],
                "limits": {"requests": 100_000, "per_s": 1, "concurrency": 8},
            }
            accounts.append(account | ({"rules": _SHOP_RULES} if provider == "shop" else {}))
            verify = {"scheme": "token", "secrets": [TOKEN]}
            endpoints.append({"id": f"{id}-in", "account": id, "verify": verify})
    shops = [account["id"] for account in accounts if account["provider"] == "generic"]
    subscriptions = [
        {"id": "erp", "url": f"{url}/erp", "events": ["cancellation.*"]},
        {"id": "shops", "url": f"{url}/shops", "events": ["order.verdict_changed"], "accounts": shops},
    ]
    return {"accounts": accounts, "endpoints": endpoints, "subscriptions": subscriptions}


def webhook(recording: Recording, step: str) -> bytes:
    """The body of a webhook."""
    if recording.kind.provider == "plano":
        event, status = EVENTS[int(step)]
        return body(recording.number, event, status, order_id=recording.number)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    order = {
        "id": recording.order,
        "number": f"No-{recording.number}",
        "status": step,
        "placed_at": now,
        "total": "49.90",
        "customer": f"name{recording.number} surname{recording.number}",
        "city": "Denver",
    }
    return msgspec.json.encode({"event": step, "order": order})


@asynccontextmanager
async def provider(took: Callable[[str, float], None] | None = None) -> AsyncIterator[str]:
    """A provider and a subscriber that answer at once; its URL. `took` is told of each cancel (order, when)."""

    async def cancel(request: web.Request) -> web.Response:
        now, given = time.monotonic(), json.loads(await request.read())
        if took is not None:
            took(request.match_info.get("order") or str(given.get("order_id")), now)
        if "Refuse" in (given.get("notes") or given.get("comment") or ""):
            errors = [{"attr": "order_id", "message": "not cancelable"}]
            if "order" in request.match_info:
                return web.json_response({"error": {"code": "too_late"}}, status=409)
            return web.json_response({"code": 400, "status": "validation-error", "errors": errors}, status=400)
        order = {"order_id": given.get("order_id"), "status": "canceled"}
        return web.json_response({"code": 200, "status": "success", "order": order})

    async def receive(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app = web.Application()
    app.router.add_post("/api/v3/orders/cancel", cancel)
    app.router.add_post("/v1/orders/{order}/cancel", cancel)
    app.router.add_post("/{subscription}", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def environment(database: Path, port: int) -> dict[str, str]:
    """Settings of a server on the database: it may call this machine, and its limits count and let all pass."""
    return {
        "RESCIND_DATABASE_URL": f"sqlite:///{database}",
        "RESCIND_PORT": str(port),
        "RESCIND_BOOTSTRAP_KEY": KEY,
        "RESCIND_ALLOW_NETWORKS": "127.0.0.0/8",
        "RESCIND_KEY_RATE_PER_S": "1000000",
        "RESCIND_ENDPOINT_RATE_PER_S": "1000000",
    }


async def record(database: Path) -> list[Recording]:
    """Let a real server record an order of each kind, a long one, and a webhook that it puts in quarantine."""
    recordings = [Recording(kind, 700_000_001 + index) for index, kind in enumerate(KINDS)]
    port, file = free_port(), database.with_suffix(".json")
    async with provider() as url:
        file.write_text(json.dumps(resources(url)), encoding="utf-8")
        command = [sys.executable, "-c", SERVE, str(file)]
        server = running(command, port, environment(database, port))
        await asyncio.to_thread(server.__enter__)
        try:
            headers = {"Authorization": f"Bearer {KEY}"}
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
                await asyncio.gather(*(_happen(session, recording) for recording in recordings))
                long = Recording(Kind("plano", "long", ("0",), 0), 790_000_001, [time.time_ns() // 1000])
                for number in range(LONG):
                    await _send(session, long, str(number % 2))
                quarantined = Recording(Kind("plano", "quarantined", ("",), 0), 799_000_001, [time.time_ns() // 1000])
                await _post(session, quarantined, b'{"event": "order.lost", "order_id": {}}')
                await _settled(partial(_delivered, session))
        finally:
            await asyncio.to_thread(server.__exit__, None, None, None)
    recordings += [long, quarantined]
    with closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        add_functions(db)
        for recording in recordings:
            recording.rows = _rows(db, recording)
    return recordings


async def _happen(session: aiohttp.ClientSession, recording: Recording) -> None:
    for step in recording.kind.steps:
        await asyncio.sleep(0.5)
        recording.began.append(time.time_ns() // 1000)
        if step in ("cancel", "refused"):
            path = f"/v1/accounts/{recording.kind.provider}-0000/orders/{recording.order}/cancellations"
            fields = CANCEL_BODIES[recording.kind.provider]
            fields = fields if step == "cancel" else {**fields, "note": REFUSED[recording.kind.provider]}
            async with session.post(path, json=fields) as response:
                given = await response.json()
                if response.status != 202:
                    raise RuntimeError(f"{recording.kind}: {response.status} {given}")
            await _settled(partial(_final, session, given["id"]))
        else:
            await _send(session, recording, step)


async def _send(session: aiohttp.ClientSession, recording: Recording, step: str) -> None:
    await _post(session, recording, webhook(recording, step))


async def _post(session: aiohttp.ClientSession, recording: Recording, content: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "User-Agent": "PlanOmatic/3"}
    path = f"/webhooks/{recording.kind.provider}-0000-in"
    async with session.post(path, data=content, headers=headers) as response:
        await response.read()


async def _settled(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await ask():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _final(session: aiohttp.ClientSession, id: str) -> bool:
    async with session.get(f"/v1/cancellations/{id}") as response:
        return bool((await response.json())["final"])


async def _delivered(session: aiohttp.ClientSession) -> bool:
    async with session.get("/v1/subscriptions") as response:
        return not any(subscription["delivery"]["pending"] for subscription in (await response.json())["data"])


def _rows(db: sqlite3.Connection, recording: Recording) -> dict[str, list[dict[str, Any]]]:
    """The rows of an order, by table, oldest first."""

    def select(sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        return [dict(row) for row in db.execute(sql, values)]

    if recording.kind.name == "quarantined":
        return {"receipts": select("SELECT * FROM receipts WHERE status = 'quarantined'", ())}
    (order,) = select("SELECT * FROM orders WHERE id = ?", (recording.order,))
    pk = (order["pk"],)
    by_order = {
        "names": "names WHERE order_pk = ?",
        "shared_aliases": "shared_aliases WHERE order_pk = ?",
        "events": "events WHERE order_pk = ? ORDER BY seq",
        "receipts": "receipts WHERE id IN (SELECT receipt FROM events WHERE order_pk = ?) ORDER BY id",
        "cancellations": "cancellations WHERE order_pk = ? ORDER BY seq",
        "jobs": "jobs WHERE order_pk = ?",
        "attempts": "attempts WHERE order_pk = ? ORDER BY id",
        "messages": "messages WHERE order_pk = ? ORDER BY id",
        "deliveries": "deliveries WHERE message IN (SELECT id FROM messages WHERE order_pk = ?) ORDER BY message",
    }
    found = {table: select(f"SELECT * FROM {rest}", pk) for table, rest in by_order.items()}  # noqa: S608
    found["orders"] = [order]
    for table, (column, text) in COMPRESSED.items():
        number, key = ("pk", "pk") if table == "orders" else ("order_pk", "seq")
        texts = dict(db.execute(f"SELECT {key}, {text} FROM {table} WHERE {number} = ?", pk).fetchall())  # noqa: S608
        for row in found[table]:
            row |= {column: texts[row[key]], "dictionary": None}
    return found
