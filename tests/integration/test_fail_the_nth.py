"""The Nth request to PostgreSQL fails, for N = 1, 2, 3 and so on until an order passes from webhook to cancel unharmed.

By default each fault harms each ninth request, from another first one on; with `RESCIND_TEST_FAULTS=all` it harms all.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import postgres
import pytest
from postgres_proxy import Fault, PostgresProxy
from providers import WAIT_S, Provider, until
from servers import ACCOUNT, ENDPOINT, SECRET_KEY, Reply, Rescind, account_of, endpoint_of, webhook

from app.engine.rebuild import check

REQUESTS_MAX = 150
# Not that it is sent: a claim that grew too old before its first byte is given back.
ONCE = ("order.processed", "cancellation.succeeded", "order.canceled")
FAULTS = list(Fault)
LIMIT_S = 2.0
"""What a connection over which nothing comes holds up, in these tests."""
STEP = 1 if os.environ.get("RESCIND_TEST_FAULTS") == "all" else 9


async def accepted(ask: Any) -> Reply:
    """The first answer that is not "later", as whoever sends webhooks asks again."""

    async def look() -> Reply | None:
        reply: Reply = await ask()
        return reply if reply.status not in (409, 503) else None

    reply = await until(look, "an answer that is not 503")
    assert reply is not None
    return reply


async def pass_one(rescind: Rescind, provider: Provider, order: str) -> None:
    """One order from its webhook to its cancel; whoever gets 503 asks again."""
    await provider.create(order)
    told = webhook("order.processed", order)
    received = await accepted(lambda: rescind.hook(told))
    assert (received.status, received.json["status"]) == (200, "accepted"), received
    wanted = await accepted(lambda: rescind.request_cancel(order, headers={"Idempotency-Key": order}))
    assert wanted.status == 202, wanted

    async def settled() -> str | None:
        shown = await rescind.ask("GET", f"/v1/cancellations/{wanted.json['id']}")
        return shown.json["state"] if shown.status == 200 and shown.json["final"] else None

    state = await until(settled, f"{order} settled")
    assert state == "succeeded"
    assert await provider.effects(order) == 1
    assert len(await provider.calls(order=order)) == 1
    # Asked on a connection that may have broken meanwhile.
    timeline = await accepted(lambda: rescind.ask("GET", f"/v1/accounts/{ACCOUNT}/orders/{order}/timeline"))
    types = [row["event"]["type"] for row in timeline.json["data"] if row["kind"] == "event"]
    assert {type: types.count(type) for type in ONCE} == dict.fromkeys(ONCE, 1), types
    receipt = await accepted(lambda: rescind.ask("GET", f"/v1/receipts/{received.json['receipt']}"))
    assert receipt.status == 200, receipt


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
async def test_whatever_request_fails_nothing_is_lost_and_nothing_done_twice(
    fault: Fault, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = postgres.new_target()
    async with PostgresProxy.before(target.url) as proxy:
        rescind = await Rescind.start(
            tmp_path,
            database_url=proxy.url,
            database_direct_url=target.url,
            database_schema=target.schema,
            secret_key=SECRET_KEY,
            migrate=True,
        )
        try:
            await rescind.put("accounts", ACCOUNT, account_of(provider.url))
            await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
            await pass_one(rescind, provider, "o-0")
            if fault is Fault.STALL:
                for name in ("connection.STATEMENT_S", "transaction.LEDGER_S", "nodes.HEARTBEAT_LINE_S"):
                    monkeypatch.setattr(f"app.store.postgres.{name}", LIMIT_S)
            harmed = list[str]()
            for number in range(1 + FAULTS.index(fault) % STEP, REQUESTS_MAX, STEP):
                proxy.fail(fault, number)
                try:
                    async with asyncio.timeout(WAIT_S):
                        await pass_one(rescind, provider, f"o-{number}")
                except BaseException as error:
                    error.add_note(f"harmed as request {number}: {proxy.harmed}")
                    raise
                if not proxy.harmed:
                    break
                harmed.append(proxy.harmed)
            proxy.fail(None)
            assert len(harmed) >= 16 // STEP, harmed
            assert number < REQUESTS_MAX - STEP, "no order passed unharmed"
            assert await rescind.node.store.unfinished_attempts() == []
            assert await rescind.node.store.interrupted_calls() == []
            async for progress in check(rescind.node.store):
                assert progress.mismatches == []
        finally:
            await rescind.stop()
