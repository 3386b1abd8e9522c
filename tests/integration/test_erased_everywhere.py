"""A person who is planted wherever data can stand, and who is nowhere after an erasure, or once all is old.

Tables are those that the database has: a new one fails the test until `TABLES` says what becomes of it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from integration.test_rebuild import check, gather
from providers import until
from servers import ACCOUNT, CANCEL_BODY, ENDPOINT, Rescind, account_of, endpoint_of, unpacked, webhook

from app.engine.log_verify import verify_erasures
from app.runtime.http_server import EndingRunner
from app.store import codec
from app.store.codec import micros
from app.store.sqlite.functions import add_functions

pytestmark = pytest.mark.sqlite_only("it reads all tables of its file")
PERSON = "Mx-Quibble"
ORDER = "4711"
PATH = f"/v1/accounts/{ACCOUNT}/orders/{ORDER}"
PERIOD = timedelta(days=-1)
"""With this period, all that there is has been there for long enough."""
ALL_STAYS = "ids, names, times, numbers, hashes"
SETTINGS = "what administrators configure: no data of orders"
TABLES = {
    "orders": "attributes are erased",
    "events": "attributes, notes and details are erased",
    "cancellations": "notes and details are erased",
    "attempts": "exchanges and details are expunged",
    "receipts": "query, headers and body are expunged",
    "row_dictionaries": "names of fields that several orders have, and no value",
    "policy_decisions": "names of policies, positions in the log, outcomes",
    "backtest_runs": "names of policies and keys, times, numbers of orders",
    "account_secrets": "sealed: tokens of accounts, no data of orders",
    "pending_rechecks": "names of accounts, times, numbers of orders",
    "row_compression": "how far rows of an earlier release are compressed",
    "receipt_dictionaries": "deleted with the receipts that they are made of",
    "messages": "deleted; free text and snapshot of those that wait",
    "deliveries": "deleted; responses to those that wait",
    "answers": "sealed; deleted with an order of the batch, and after some days",
    "endpoint_refusals": "addresses: deleted when they are old, and the newest few are kept of each endpoint",
    **dict.fromkeys(("names", "shared_aliases", "jobs", "endpoint_counts", "endpoint_states"), ALL_STAYS),
    **dict.fromkeys(("log_blocks", "log_generations", "erasures", "retention", "trace_contexts"), ALL_STAYS),
    **dict.fromkeys(("resources", "resource_changes", "api_keys", "sealed_keys", "console_sessions"), SETTINGS),
    "pauses": "reasons: people's, and what a provider said of an account's credentials",
    "backtests": "reports, which name no values of attributes",
    **dict.fromkeys(("lanes", "subscription_states"), "why nothing is sent: status and error, without the response"),
    "sqlite_sequence": "SQLite's own",
}


def tables(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as db:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def where(folder: Path) -> Iterator[str]:
    """Where the person stands: the rows of each table, what is packed, and every file byte for byte."""
    with closing(sqlite3.connect(f"file:{folder}/rescind.db?mode=ro", uri=True)) as db:
        add_functions(db)
        packed = {"events": codec.EVENT_BODY, "orders": codec.ORDER_STATE}
        for table in sorted(tables(folder / "rescind.db")):
            rows = db.execute(f"SELECT *, {packed.get(table, 0)} FROM {table}").fetchall()  # noqa: S608
            if any(PERSON in value for row in rows for value in map(text_of, row)):
                yield table
        if any(PERSON.encode() in content for (content,) in db.execute("SELECT content FROM receipt_dictionaries")):
            yield "receipt_dictionaries"
    if any(PERSON.encode() in content for content in unpacked(folder)):
        yield "receipts"
    for file in folder.glob("rescind*"):
        if PERSON.encode() in file.read_bytes():
            yield file.name


def text_of(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """A provider and subscriber that names the person in each response, and never does what it is asked for."""

    async def respond(request: web.Request) -> web.Response:
        status = 503 if request.path == "/in" else 429
        body = {"message": f"{PERSON} rang", "error": PERSON}
        return web.json_response(body, status=status, headers={"Retry-After": "3600", "X-Request-Id": PERSON})

    async with serving(respond) as url:
        yield url


@asynccontextmanager
async def serving(respond: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The URL of a server that responds so to whatever is asked."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    runner = EndingRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def plant(rescind: Rescind, echo: str) -> None:
    """Let the person stand in everything that can hold data of an order."""
    await rescind.put("accounts", ACCOUNT, account_of(echo))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    subscription = {"id": "crm", "url": f"{echo}/in", "payload": "full"}
    assert (await rescind.ask("POST", "/v1/subscriptions", subscription)).status == 201
    # Its condition cannot be evaluated, which is recorded with the error.
    policy = {
        "accounts": [ACCOUNT],
        "when": "order.attributes.metadata.name > 3",
        "mode": "shadow",
        "cancel": CANCEL_BODY,
    }
    await rescind.put("policies", "broken", policy)
    about = {"property": {"street": f"1 {PERSON} Street"}, "metadata": {"name": PERSON}, "client": {"name": PERSON}}
    headers = {"X-Customer": PERSON}
    body = webhook("order.processed", ORDER, external_order_id="NH-4711", **about)
    assert (await rescind.hook(body, headers=headers)).json["status"] == "accepted"
    assert (await rescind.hook(body, headers=headers)).json["status"] == "duplicate"
    unreadable = {**body, "event": "order.processed", "occurred_at": PERSON}
    assert (await rescind.hook(unreadable, headers=headers)).json["status"] == "quarantined"
    refused = await rescind.hook(body, token="wrong", headers=headers)
    assert refused.status == 401
    words = {**CANCEL_BODY, "note": f"{PERSON} rang"}
    batch = {"cancellations": [{"account": ACCOUNT, "order": ORDER, **words}]}
    reply = await rescind.ask("POST", "/v1/cancellation-batches", batch, headers={"Idempotency-Key": PERSON})
    assert reply.status == 202, reply
    cancellation = reply.json["results"][0]["cancellation"]

    async def called() -> bool:
        attempted = await count(rescind, "attempts WHERE ended_at IS NOT NULL AND exchanges <> '[]'")
        return attempted > 0 and await count(rescind, "deliveries WHERE attempts <> '[]'") > 0

    await until(called, "a call and a delivery")

    await until(revoker(rescind, cancellation), "the cancellation revoked")
    assert (await rescind.ask("POST", f"{PATH}/tags", {"add": ["vip"], "remove": []})).status < 300


def revoker(rescind: Rescind, cancellation: str) -> Callable[[], Awaitable[bool]]:
    """Revokes it, and says whether it is final: while a call is out, it cannot be revoked."""

    async def is_over() -> bool:
        await rescind.ask("POST", f"/v1/cancellations/{cancellation}/revoke", {})
        return bool((await rescind.get(f"/v1/cancellations/{cancellation}"))["final"])

    return is_over


PLANTED = {"events", "orders", "cancellations", "attempts", "messages", "deliveries", "receipts"}


async def test_every_table_is_decided(rescind: Rescind, tmp_path: Path) -> None:
    assert (await rescind.ask("GET", "/v1/events")).status == 200
    assert tables(tmp_path / "rescind.db") == TABLES.keys()


async def test_the_person_is_nowhere_after_an_erasure(rescind: Rescind, echo: str, tmp_path: Path) -> None:
    await plant(rescind, echo)
    assert set(where(tmp_path)) >= PLANTED
    assert await count(rescind, "answers") == 1
    reply = await rescind.ask("POST", f"{PATH}/erase", {"reason": "request 17"})
    assert reply.status == 200, reply
    assert list(where(tmp_path)) == []
    assert await count(rescind, "answers") == 0
    await still_exact(rescind)


async def test_the_person_is_nowhere_once_all_is_old(rescind: Rescind, echo: str, tmp_path: Path) -> None:
    await plant(rescind, echo)
    assert (await rescind.hook(webhook("order.canceled", ORDER))).json["status"] == "accepted"
    quarantined = (await rescind.get("/v1/receipts?status=quarantined"))["data"]
    assert len(quarantined) == 1

    async def has_refusal() -> bool:
        return await count(rescind, "endpoint_refusals") == 1

    await until(has_refusal, "the refused request")
    retention = rescind.node.retention
    await retention.start(PERIOD, by="ann").wait()
    assert retention.latest is not None
    assert (retention.latest.error, retention.latest.orders) == ("", 1)
    assert retention.latest.messages > 0
    assert await count(rescind, "endpoint_refusals") == 0
    # What waits for a person is kept until that person has decided.
    assert {place.removesuffix("-wal") for place in where(tmp_path)} <= {"receipts", "receipt_dictionaries"}
    await still_exact(rescind)


async def test_a_stored_response_is_kept_for_a_week(rescind: Rescind) -> None:
    named = {"Idempotency-Key": "once"}
    first = await rescind.ask("POST", "/v1/keys", {"name": "ci"}, headers=named)
    retention = rescind.node.retention
    for age, number in ((timedelta(days=6), 1), (timedelta(days=8), 0)):
        aged = "UPDATE answers SET created_at = ?", (micros(datetime.now(UTC) - age),)
        await rescind.node.store._write(lambda db, aged=aged: db.execute(*aged).rowcount)
        await retention.delete_responses()
        assert await count(rescind, "answers") == number
    again = await rescind.ask("POST", "/v1/keys", {"name": "ci"}, headers=named)
    assert first.json["id"] != again.json["id"]


async def count(rescind: Rescind, table: str) -> int:
    """Rows of a table, once what is written in the background is there."""
    [(number,)] = await rescind.node.store._db.fetch(f"SELECT count(*) FROM {table}")  # noqa: S608
    return int(number)


async def still_exact(rescind: Rescind) -> None:
    """The log gives what is stored, and records what was done to it."""
    mismatches, _, _ = await gather(check(rescind.node.store))
    assert mismatches == []
    assert [fault async for fault in verify_erasures(rescind.node.store)] == []


async def test_a_response_that_comes_after_the_erasure_is_not_kept(rescind: Rescind, tmp_path: Path) -> None:
    """The try began with the message as it was, and its receiver repeats what it was sent."""
    await rescind.put("accounts", ACCOUNT, account_of("http://127.0.0.1:1"))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    came, released = asyncio.Event(), asyncio.Event()

    async def respond(request: web.Request) -> web.Response:
        body = await request.read()
        came.set()
        await released.wait()
        return web.Response(status=503, body=body, headers={"X-Request-Id": PERSON, "Retry-After": "3600"})

    async with serving(respond) as url:
        subscription = {"id": "crm", "url": f"{url}/in", "payload": "full"}
        assert (await rescind.ask("POST", "/v1/subscriptions", subscription)).status == 201
        await rescind.tell("order.processed", ORDER, metadata={"name": PERSON})
        await came.wait()
        assert (await rescind.ask("POST", f"{PATH}/erase", {"reason": "request 17"})).status == 200
        released.set()

        async def recorded() -> bool:
            return await count(rescind, "deliveries WHERE attempts LIKE '%503%'") > 0

        await until(recorded, "the response")
    assert list(where(tmp_path)) == []
