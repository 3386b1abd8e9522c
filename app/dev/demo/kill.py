"""The chapter about kill -9: the server is killed under load, and nothing is lost or sent twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus

import aiohttp
import msgspec

from app.dev.demo.calls import about, claim_limit, denied, statuses, succeeded
from app.dev.demo.context import HELD_S, POLL_S, Context, Rescind
from app.dev.demo.deliveries import claim_deliveries, come_back, subscribe_while_down
from app.dev.demo.processes import until
from app.dev.demo.providers import PLANOMATIC, Json

CANCELS, WEBHOOKS, SENDERS = 160, 600, 4
SENT_BEFORE, ACKNOWLEDGED_BEFORE = 40, 100
"""What must have happened before the kill."""
LATE_S = 0.25
"""The delay of PlanOmatic's first responses; later ones are held, so that some calls are under way at the kill."""
PAUSE_S = 0.01
CANCEL, PROBE = PLANOMATIC.cancel_path, "/api/v3/orders/retrieve"


async def survive_a_kill(context: Context) -> None:
    """Kill the server while webhooks come in and cancels go out; start it again; compare."""
    rescind, sandbox = context.at(PLANOMATIC)
    account = PLANOMATIC.account
    orders = await sandbox.place_many(CANCELS)
    await rescind.with_verdict(orders[-1])
    await sandbox.hold_webhooks()
    await sandbox.place_many(WEBHOOKS)
    webhooks = [body for body, _ in await sandbox.take_webhooks()]
    # Held until the end: order.canceled would tell the outcome of a cancel that was cut off, without a probe.
    await sandbox.hold_webhooks()
    await sandbox.inject("delay", seconds=LATE_S, times=SENT_BEFORE)
    await sandbox.inject("delay", seconds=HELD_S, times=CANCELS)
    secret = await subscribe_while_down(context)
    # However slow the machine is: cancels are under way when enough webhooks have come in.
    await rescind.call_aloud("POST", "/v1/pause", {"account": account}, "until webhooks come in")
    ids = await rescind.cancel_all(orders)
    acknowledged, left = await _kill_under_load(context, orders, webhooks)
    pid = await context.processes.restart_server()

    async def ready() -> bool:
        return (await rescind.call("GET", "/readyz")).status == HTTPStatus.OK

    await until(ready, "GET /readyz to return 200", "server.log")
    await sandbox.clear_faults()
    come_back(context)
    context.console.note(f"Started again as process {pid}, on the same database.")
    processed = f"/v1/events?account={account}&type=order.processed"
    kept = {event["receipt"] for event in await rescind.rows(processed)} & set(acknowledged)
    redelivered: list[str] = []
    await _deliver_all(rescind, left, redelivered)
    rescind.show_webhook(200, "redelivered", len(redelivered))
    ended = await rescind.all_settled(ids)
    calls = await sandbox.calls()
    sandbox.show_line(f"{len(about(calls, orders, CANCEL))} x POST {CANCEL}", "", "before and after the kill, together")

    await _claim_probes(context, calls, orders)
    await sandbox.send_webhooks()

    async def all_canceled() -> bool:
        events = await rescind.rows(f"/v1/events?account={account}&type=order.canceled")
        return set(orders) <= {event["order"] for event in events if event["source"] == "webhook"}

    await until(all_canceled, f"{CANCELS} webhooks order.canceled", "sandbox.log, GET /v1/events", every_s=POLL_S)
    rescind.show_webhook(200, "accepted: order.canceled", CANCELS)
    number = len(acknowledged)
    context.claim("acknowledged before kill -9: still in the log", f"{number} of {number}", f"{len(kept)} of {number}")
    times = Counter(event["order"] for event in await rescind.rows(processed))
    once = sum(times[str(msgspec.json.decode(webhook)["order_id"])] == 1 for webhook in webhooks)
    context.claim("after redelivery: webhooks in the log exactly once", WEBHOOKS, once)
    context.claim("cancellations that succeeded in the end", CANCELS, succeeded(ended))
    # PlanOmatic refuses a second cancel, so what counts is that none was sent.
    books = await sandbox.orders()
    context.claim("orders that were sent a second cancel", 0, sum(books[order]["cancel_calls"] > 1 for order in orders))
    canceled = sum(books[order]["status"] == "canceled" for order in orders)
    context.claim("orders canceled in PlanOmatic's books", CANCELS, canceled)
    claim_limit(context, calls, "restart included")
    context.claim("calls that PlanOmatic denied (429)", 0, denied(calls))
    await claim_deliveries(context, secret, orders)
    await _claim_rebuild(context)


async def _claim_probes(context: Context, calls: list[Json], orders: list[str]) -> None:
    """Claim that every cancel that the kill cut off was probed."""
    rescind, sandbox = context.at(PLANOMATIC)
    rows = await rescind.rows(f"/v1/events?account={PLANOMATIC.account}&type=cancellation.indeterminate")
    cut_off = {row["order"] for row in rows if row["data"]["cause"] == "interrupted"} & set(orders)
    probes = about(calls, cut_off, PROBE)
    probed = {call["order"] for call in probes}
    sandbox.show_line(f"{len(probes)} x POST {PROBE}", statuses(probes), "how do these stand?")
    what, seen = "cancels cut off by the kill: probed", f"{len(probed)} of {len(cut_off)}"
    context.claim(what, "all, 1 or more", seen, ok=0 < len(cut_off) == len(probed))


async def _kill_under_load(
    context: Context, orders: Sequence[str], webhooks: Sequence[bytes]
) -> tuple[list[str], list[bytes]]:
    """Kill the server; returns the receipts of the webhooks it acknowledged, and the webhooks that are left."""
    rescind, sandbox = context.at(PLANOMATIC)
    sent: list[Json] = []
    acknowledged: list[str] = []
    left = list(webhooks)

    async def webhooks_come() -> bool:
        return len(acknowledged) >= ACKNOWLEDGED_BEFORE

    async def cancels_go() -> bool:
        sent[:] = about(await sandbox.calls(path=CANCEL), orders)
        return len(sent) >= SENT_BEFORE and any(call["status"] is None for call in sent)

    delivering = asyncio.create_task(_deliver_all(rescind, left, acknowledged))
    try:
        await until(webhooks_come, f"{ACKNOWLEDGED_BEFORE} webhooks to be acknowledged", "server.log", every_s=0.005)
        await rescind.call_aloud("POST", "/v1/resume", {"account": PLANOMATIC.account})
        what = f"{SENT_BEFORE} cancels to reach PlanOmatic, and some of them to be under way"
        await until(cancels_go, what, "server.log", every_s=0.005)
        pid = context.processes.kill_server()
    except BaseException:
        delivering.cancel()
        raise
    await delivering
    under_way = sum(call["status"] is None for call in sent)
    sandbox.show_line(f"{len(sent) - under_way} x POST {CANCEL}", 200, "before the kill")
    sandbox.show_line(f"{under_way} x POST {CANCEL}", "-", "under way at the kill")
    rescind.show_webhook(200, "acknowledged", len(acknowledged))
    context.console.note(f"kill -9 {pid}")
    return acknowledged, left


async def _deliver_all(rescind: Rescind, left: list[bytes], acknowledged: list[str]) -> None:
    """Deliver webhooks, several at a time, until the server is gone; `left` keeps what it did not acknowledge."""
    waiting = list(left)

    async def deliver() -> None:
        while waiting:
            webhook = waiting.pop(0)
            try:
                response = await rescind.deliver(webhook)
            except (aiohttp.ClientError, OSError):
                return
            if response.summary in ("accepted", "duplicate"):
                acknowledged.append(response.body["receipt"])
                left.remove(webhook)
            await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(deliver() for _ in range(SENDERS)))


async def _claim_rebuild(context: Context) -> None:
    """Recompute all orders from the log, and compare with what is stored."""
    code, output = await context.processes.command("rebuild", "--check", "--json")
    try:
        different = msgspec.json.decode(output[output.find("{") : output.rfind("}") + 1])["found"]
    except msgspec.DecodeError:
        different = f"exit code {code}"
    context.console.call("you", "rescind rebuild --check", code, "recomputes all orders from the log")
    context.claim("all providers' orders: different when recomputed", 0, different)
