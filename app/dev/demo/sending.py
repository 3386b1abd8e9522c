"""The chapters about the cancels that Rescind sends: limits, failures, batches, registrations, and kill -9."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from http import HTTPStatus

import aiohttp
import msgspec

from app.dev.demo.context import POLL_S, Context, Rescind
from app.dev.demo.processes import WINDOW_S, until
from app.dev.demo.providers import LIMIT, NOTPANEL, PLANOMATIC, PROVIDER_TIMEOUT_S, SHOPLAZZA, SUPERLOOP, Json
from app.dev.demo.verdicts import connect
from handlers.shoplazza.words import TOPICS

BURST, SHOP_BURST = 250, 60
BAD, GOOD = 8, 12
AMONG = GOOD // 5 + 4
"""The most calls about the bad orders among those about the good ones: one in six, and those already under way."""
PENDING = 40
_CRASH = {"code": 500, "status": "application-crash"}
_PROBED = "indeterminate, succeeded"
FAULTS: tuple[tuple[str, Json, str, str], ...] = (
    (
        "application-crash",
        {"fault": "status", "status": 500, "body": _CRASH},
        "scheduled, sending, succeeded",
        "cancel 500, cancel 200",
    ),
    ("connection reset", {"fault": "reset_after"}, _PROBED, "cancel -, retrieve 200"),
    ("time-out", {"fault": "delay", "seconds": PROVIDER_TIMEOUT_S + 1}, _PROBED, "cancel -, retrieve 200"),
)
"""What goes wrong with a cancel, the states after `sending`, and the calls with their responses."""
LOST_TOPIC = "orders/cancelled"
CANCELS, WEBHOOKS, SENDERS = 160, 600, 4
SENT_BEFORE, ACKNOWLEDGED_BEFORE = 40, 100
"""What must have happened before the kill."""
LATE_S = 0.25
"""The delay of PlanOmatic's responses, so that some calls are under way at the kill."""
PAUSE_S = 0.01
CANCEL, PROBE = PLANOMATIC.cancel_path, "/api/v3/orders/retrieve"
THROTTLED = 429


def most_in_a_window(arrivals: Iterable[float], per_s: float) -> int:
    """The most arrivals in any span of `per_s` seconds."""
    inside: deque[float] = deque()
    most = 0
    # The fullest span can always be moved until it ends with an arrival.
    for moment in sorted(arrivals):
        inside.append(moment)
        while inside[0] <= moment - per_s:
            inside.popleft()
        most = max(most, len(inside))
    return most


def per_second(arrivals: Iterable[float]) -> list[int]:
    """The number of arrivals in each second, counted from the first."""
    moments = sorted(arrivals)
    counts = Counter(int(moment - moments[0]) for moment in moments)
    return [counts[second] for second in range(max(counts, default=-1) + 1)]


async def keep_limits(context: Context) -> None:
    """Many cancels at once; the order of the last one gets an appointment while it is queued to send."""
    for provider, number in ((PLANOMATIC, BURST), (SHOPLAZZA, SHOP_BURST)):
        rescind, sandbox = context.at(provider)
        *orders, overtaken = await sandbox.place_many(number + 1)
        await rescind.with_verdict(overtaken)
        began = time.monotonic()
        ids = await rescind.cancel_all(orders)
        if provider is PLANOMATIC:
            last = await rescind.cancel(overtaken)
            await sandbox.act(provider.booking, order_id=overtaken)
            await rescind.received(overtaken, "appointment.scheduled")
            revoked = await rescind.settled(last)
            context.console.note(f"The last one was queued to send and is {revoked['state']}: {revoked['detail']}")
            seen = f"{revoked['state']}, {len(await sandbox.calls(overtaken))} calls"
            context.claim("a queued cancel whose order gets an appointment", "revoked, 0 calls", seen)
        ended = await rescind.all_settled(ids)
        took_s = time.monotonic() - began
        calls = await sandbox.calls()
        sent = _about(calls, orders)
        seconds = " ".join(map(str, per_second(call["at"] for call in sent)))
        sandbox.show_line(f"{len(sent)} x {sent[0]['method']} .../cancel", _statuses(sent), f"in {took_s:.0f} s")
        context.console.note(f"Arrivals, second by second: {seconds}. Earlier calls count as well.")
        what = f"{provider.title}, cancels requested at once: succeeded"
        context.claim(what, f"{number} of {number}", f"{_succeeded(ended)} of {number}")
        if provider is PLANOMATIC:
            _claim_limit(context, calls, "so far")
        context.claim(f"calls that {provider.title} denied (429)", 0, _denied(calls))


async def recover(context: Context) -> None:
    """A cancel gets a 500, a broken connection, a response that is too late; it ends all the same, once."""
    rescind, sandbox = context.at(PLANOMATIC)
    orders = await sandbox.place_many(len(FAULTS))
    await rescind.with_verdict(orders[-1])
    # Otherwise the webhook order.canceled would settle it before Rescind has to probe.
    await sandbox.hold_webhooks()
    ids = []
    for order, (_, fault, _, _) in zip(orders, FAULTS, strict=True):
        await sandbox.inject(order=order, **fault)
        ids.append(await rescind.cancel(order))
    await rescind.all_settled(ids)
    for order, (name, _, states, responses) in zip(orders, FAULTS, strict=True):
        calls = sandbox.show(await sandbox.calls(order))
        events = [event["type"].partition(".") for event in await rescind.events(order)]
        seen = ", ".join(state for kind, _, state in events if kind == "cancellation")
        context.claim(f"{name}: the cancellation was", f"scheduled, sending, {states}", seen)
        seen = ", ".join(f"{call['path'].rpartition('/')[2]} {sandbox.outcome(call)}" for call in calls)
        effects = (await sandbox.orders())[order]["cancel_effects"]
        context.claim(f"{name}: calls; cancels with an effect", f"{responses}; 1", f"{seen}; {effects}")
    await sandbox.send_webhooks()
    for order in orders:
        await rescind.received(order, "order.canceled")


async def isolate_failures(context: Context) -> None:
    """Some orders get a 500 whenever they are canceled; then others are canceled."""
    rescind, sandbox = context.at(PLANOMATIC)
    bad, good = await sandbox.place_many(BAD), await sandbox.place_many(GOOD)
    await rescind.with_verdict(good[-1])
    for order in bad:
        await sandbox.inject("status", order=order, status=500, body=_CRASH, times=1000)
    failing = await rescind.cancel_all(bad, "of orders that will get a 500")

    async def all_failed() -> bool:
        return set(bad) <= {call["order"] for call in (await sandbox.calls(path=CANCEL))[-10 * BAD :]}

    await until(all_failed, f"the cancels of {BAD} orders to reach PlanOmatic", "server.log")
    began = time.monotonic()
    ended = await rescind.all_settled(await rescind.cancel_all(good))
    took_s = time.monotonic() - began
    calls = _about(await sandbox.calls(path=CANCEL), [*bad, *good])
    turns = [index for index, call in enumerate(calls) if call["order"] in good]
    among, failed = _about(calls[turns[0] : turns[-1]], bad), _about(calls, bad)
    sandbox.show_line(f"{len(failed)} x POST {CANCEL}", _statuses(failed), "about the bad ones")
    sandbox.show_line(f"{len(turns)} x POST {CANCEL}", 200, f"about the others, all done in {took_s:.1f} s")
    context.claim(f"cancels beside {BAD} orders that get a 500: succeeded", GOOD, _succeeded(ended))
    what = "calls about the bad orders among the others"
    context.claim(what, f"at most {AMONG}", len(among), ok=len(among) <= AMONG)
    await sandbox.clear_faults()
    repaired = await rescind.all_settled(failing)
    context.claim("what had failed, after the repair: succeeded", BAD, _succeeded(repaired))


async def renew_a_token(context: Context) -> None:
    """Several cancels share one token; when it is refused, a new one is fetched."""
    rescind, sandbox = context.at(SUPERLOOP)
    await sandbox.act("expire_tokens")
    orders = [await sandbox.place() for _ in range(4)]
    for order in orders:
        await rescind.with_verdict(order)
    before = len(await sandbox.calls())
    ended = [await rescind.settled(await rescind.cancel(order)) for order in orders[:3]]
    first = sandbox.show((await sandbox.calls())[before:])
    await sandbox.act_aloud("expire_tokens")
    await rescind.settled(await rescind.cancel(orders[3]))
    second = sandbox.show((await sandbox.calls())[before + len(first) :])

    def seen(calls: Sequence[Json]) -> str:
        fetched = sum(call["path"] == "/token" for call in calls)
        return f"{_in_turn([call for call in calls if call['path'] == SUPERLOOP.cancel_path])}; {fetched} token fetched"

    context.claim("3 cancels after a token expired: succeeded", 3, _succeeded(ended))
    context.claim("the responses to them", "401, 200, 200, 200; 1 token fetched", seen(first))
    context.claim("after the next token expired: responses", "401, 200; 1 token fetched", seen(second))


async def send_one_call(context: Context) -> None:
    """Cancels that become due together: of pending orders, one in progress, one that is completed."""
    rescind, sandbox = await connect(context, NOTPANEL)
    pending = await sandbox.place_many(PENDING)
    started, done = await sandbox.place_many(2)
    await sandbox.act("start", order_id=started)
    await sandbox.act("complete", order_id=done, silent=True)
    orders = [*pending, started, done]
    pause = {"account": NOTPANEL.account, "reason": "the demo collects cancels"}
    await rescind.call_aloud("POST", "/v1/pause", pause, NOTPANEL.account)
    ids = dict(zip(orders, await rescind.cancel_all(orders), strict=True))
    await rescind.call_aloud("POST", "/v1/resume", {"account": NOTPANEL.account}, NOTPANEL.account)
    refused = await rescind.settled(ids[done])
    ended = await rescind.all_settled([ids[order] for order in pending])
    calls = [call for call in await sandbox.calls() if not set(pending).isdisjoint(_named(call))]
    for call in calls:
        sandbox.show_line(f"POST {call['path']}", call["status"], f"names {len(_named(call))} orders")
    accepted = await rescind.get(f"/v1/cancellations/{ids[started]}")
    books = await sandbox.orders()
    context.console.note(f"{done}, completed: {refused['state']}. {refused['detail']}")
    context.console.note(f"{started}, in progress: {accepted['state']}. {accepted['detail']}")
    await sandbox.act_aloud("settle", order_id=started, granted=True)
    granted = await rescind.settled(ids[started])
    again = await rescind.request_cancel(done)
    context.console.note(str(again.body.get("detail")))

    # The panel itself counts how many of the calls were cancels.
    cancels = sorted({books[order]["cancel_calls"] for order in pending})
    whole = all(set(pending) <= set(_named(call)) for call in calls)
    seen = f"{len(calls)} calls{'' if whole else ', not of all'}, cancels of each: {cancels}"
    what = f"{PENDING} pending orders: calls that name them"
    context.claim(what, "2 calls, cancels of each: [1]", seen)
    context.claim("pending: the cancellations that succeeded", PENDING, _succeeded(ended))
    refunds = sum(books[order]["refunded"] == books[order]["charge"] for order in pending)
    context.claim("pending: refunded in NotPanel's books", PENDING, refunds)
    seen = f"{accepted['state']}, {granted['state']}"
    context.claim("in progress: before and after upstream grants it", "accepted, succeeded", seen)
    seen = f"{refused['state']}, then {again.status}"
    context.claim("completed: the first and the second request", "refused, then 409", seen)


async def restore_registrations(context: Context) -> None:
    """A lost registration is restored."""
    rescind, sandbox = context.at(SHOPLAZZA)
    url = f"{context.processes.server_url}{SHOPLAZZA.webhook_path}"

    async def registered() -> int:
        return sum(row["address"] == url for row in (await sandbox.act("list"))["webhooks"])

    async def all_registered() -> int:
        number = await registered()
        return number if number >= len(TOPICS) else 0

    first = await until(all_registered, f"{len(TOPICS)} webhooks to be registered", "server.log")
    sandbox.show_line(f"{first} x POST /openapi/2022-01/webhooks", 200, "since its account was created")
    await sandbox.act_aloud("drop_webhook", topic=LOST_TOPIC)
    left = await registered()
    path = f"/v1/endpoints/{SHOPLAZZA.account}-in/register"
    response = await rescind.call_aloud("POST", path, note="restores what is missing")
    restored = ", ".join(response.body.get("restored", ()))
    context.claim("webhooks registered at first", f"{len(TOPICS)} of {len(TOPICS)}", f"{first} of {len(TOPICS)}")
    seen = f"{left}, then {await registered()}: {restored}"
    context.claim("Shoplazza drops one: registered", f"{len(TOPICS) - 1}, then {len(TOPICS)}: {LOST_TOPIC}", seen)


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
    await sandbox.inject("delay", seconds=LATE_S, times=CANCELS)
    ids = await rescind.cancel_all(orders)
    acknowledged, left = await _kill_under_load(context, orders, webhooks)
    pid = await context.processes.restart_server()

    async def ready() -> bool:
        return (await rescind.call("GET", "/readyz")).status == HTTPStatus.OK

    await until(ready, "GET /readyz to return 200", "server.log")
    await sandbox.clear_faults()
    context.console.note(f"Started again as process {pid}, on the same database.")
    processed = f"/v1/events?account={account}&type=order.processed"
    kept = {event["receipt"] for event in await rescind.rows(processed)} & set(acknowledged)
    redelivered: list[str] = []
    await _deliver_all(rescind, left, redelivered)
    rescind.show_webhook(200, "redelivered", len(redelivered))
    ended = await rescind.all_settled(ids)
    calls = await sandbox.calls()
    sandbox.show_line(
        f"{len(_about(calls, orders, CANCEL))} x POST {CANCEL}", "", "before and after the kill, together"
    )

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
    context.claim("cancellations that succeeded in the end", CANCELS, _succeeded(ended))
    # PlanOmatic refuses a second cancel, so what counts is that none was sent.
    books = await sandbox.orders()
    context.claim("orders that were sent a second cancel", 0, sum(books[order]["cancel_calls"] > 1 for order in orders))
    canceled = sum(books[order]["status"] == "canceled" for order in orders)
    context.claim("orders canceled in PlanOmatic's books", CANCELS, canceled)
    _claim_limit(context, calls, "restart included")
    context.claim("calls that PlanOmatic denied (429)", 0, _denied(calls))
    await _claim_rebuild(context)


async def _claim_probes(context: Context, calls: list[Json], orders: list[str]) -> None:
    """Claim that every cancel that the kill cut off was probed."""
    rescind, sandbox = context.at(PLANOMATIC)
    rows = await rescind.rows(f"/v1/events?account={PLANOMATIC.account}&type=cancellation.indeterminate")
    cut_off = {row["order"] for row in rows if row["data"]["cause"] == "interrupted"} & set(orders)
    probes = _about(calls, cut_off, PROBE)
    probed = {call["order"] for call in probes}
    sandbox.show_line(f"{len(probes)} x POST {PROBE}", _statuses(probes), "how do these stand?")
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

    async def enough_sent() -> bool:
        sent[:] = _about(await sandbox.calls(path=CANCEL), orders)
        return len(sent) >= SENT_BEFORE

    async def under_load() -> bool:
        await enough_sent()
        return len(acknowledged) >= ACKNOWLEDGED_BEFORE and any(call["status"] is None for call in sent)

    await until(enough_sent, f"{SENT_BEFORE} cancels to reach PlanOmatic", "server.log")
    delivering = asyncio.create_task(_deliver_all(rescind, left, acknowledged))
    try:
        what = f"{ACKNOWLEDGED_BEFORE} webhooks to be acknowledged while cancels are under way"
        await until(under_load, what, "server.log", every_s=0.005)
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


def _claim_limit(context: Context, calls: Sequence[Json], extent: str) -> None:
    most = most_in_a_window((call["at"] for call in calls), WINDOW_S)
    what = f"most calls in any {WINDOW_S:g} s, {extent} ({len(calls)} calls)"
    context.claim(what, f"at most {LIMIT}", most, ok=0 < most <= LIMIT)


def _about(calls: Sequence[Json], orders: Iterable[str], path: str | None = None) -> list[Json]:
    """The calls about these orders, to `path` if one is given."""
    wanted = set(orders)
    return [call for call in calls if call["order"] in wanted and path in (None, call["path"])]


def _named(call: Json) -> list[str]:
    return str(call["order"]).split(",")


def _in_turn(calls: Sequence[Json]) -> str:
    return ", ".join(str(call["status"]) for call in calls)


def _statuses(calls: Sequence[Json]) -> str:
    return "/".join(sorted({str(call["status"]) for call in calls}))


def _denied(calls: Sequence[Json]) -> int:
    return sum(call["status"] == THROTTLED for call in calls)


def _succeeded(cancellations: Sequence[Json]) -> int:
    return sum(row["state"] == "succeeded" for row in cancellations)
