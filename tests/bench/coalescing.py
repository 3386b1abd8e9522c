"""How many calls a thousand cancels need where a provider takes up to a hundred orders in one."""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from rich.table import Table

from app.config.settings import Settings
from app.core.cancellation import Cancellation
from app.core.commands import RequestCancel, Requested
from app.dev.sandbox import start_sandbox
from app.node import Node
from handlers.notpanel.simulator import DEFAULT_KEY, NotPanel

ACCOUNT = "bench"
CANCELLATIONS = 1000
ARRIVALS = 50
"""How many requests come at a time in the second run."""
WAIT_S = 120.0


def table() -> Table:
    """Calls for a thousand cancels: all due at once, and as they come in while others are being sent."""
    shown = Table("1,000 cancels at NotPanel", "cancel calls", "calls in all", "seconds", title="Coalescing")
    for name, at_once in (("all due at once", True), (f"coming in by {ARRIVALS}, sent as they come", False)):
        cancels, calls, seconds = asyncio.run(_run(at_once=at_once))
        shown.add_row(name, str(cancels), str(calls), f"{seconds:.1f}")
    return shown


async def _run(*, at_once: bool) -> tuple[int, int, float]:
    panel = NotPanel(requests=1_000_000)
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
        settings = Settings(
            database_url=f"sqlite:///{Path(folder)}/bench.db", allow_networks=(ip_network("127.0.0.0/8"),)
        )
        async with await start_sandbox(port=0, simulators={"notpanel": panel}) as sandbox:
            node = await Node.start(settings)
            try:
                return await _measure(node, panel, f"{sandbox.url}/notpanel", at_once=at_once)
            finally:
                await node.stop()


async def _measure(node: Node, panel: NotPanel, url: str, *, at_once: bool) -> tuple[int, int, float]:
    calls: list[str] = []
    handle = panel.handle

    def counted(request: object, now: float) -> object:
        calls.append("cancel" if b"action=cancel" in request.body else "other")  # type: ignore[attr-defined]
        return handle(request, now)  # type: ignore[arg-type]

    panel.handle = counted  # type: ignore[method-assign,assignment]
    account = {
        "id": ACCOUNT,
        "provider": "notpanel",
        "config": {"base_url": url, "key": DEFAULT_KEY},
        "limits": {"requests": 1_000_000, "per_s": 1.0},
        "unknown_orders": "send",
    }
    await node.apply({"accounts": [account]}, by="bench")
    orders = [str(panel.act({"do": "create_order"}, time.time())["order_id"]) for _ in range(CANCELLATIONS)]
    if at_once:
        await node.pause("all", "until all are in", "bench")
    began = time.perf_counter()
    for first in range(0, CANCELLATIONS, ARRIVALS):
        await asyncio.gather(*(_request_cancel(node, order) for order in orders[first : first + ARRIVALS]))
    if at_once:
        began = time.perf_counter()
        await node.resume("all", "bench")
    async with asyncio.timeout(WAIT_S):
        while await node.store.accounts_with_cancellations():  # noqa: ASYNC110 - polled, with a deadline
            await asyncio.sleep(0.02)
    effects = sum(each["cancel_effects"] for each in panel.act({"do": "list"}, time.time())["orders"])
    if effects != CANCELLATIONS:
        raise RuntimeError(f"{effects} of {CANCELLATIONS} orders were canceled")
    return calls.count("cancel"), len(calls), time.perf_counter() - began


async def _request_cancel(node: Node, order: str) -> None:
    now = datetime.now(UTC)
    asked = Cancellation(
        f"can_{order}", ACCOUNT, order, "bench", now, now, requested_by="bench", deadline=now + timedelta(hours=1)
    )
    result = await node.ledger.execute(RequestCancel(ACCOUNT, order, now, asked))
    if not isinstance(result, Requested):
        raise RuntimeError(f"the cancel of {order} was not accepted: {result}")  # noqa: TRY004 - no type is wrong
