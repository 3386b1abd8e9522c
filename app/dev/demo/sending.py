"""The chapters about the cancels that Rescind sends: limits, failures, batches, registrations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from app.dev.demo.calls import about, claim_limit, denied, in_turn, named, statuses, succeeded
from app.dev.demo.context import HELD_S, Context
from app.dev.demo.processes import until
from app.dev.demo.providers import NOTPANEL, PLANOMATIC, SHOPLAZZA, SUPERLOOP, Json
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
    ("time-out", {"fault": "delay", "seconds": HELD_S}, _PROBED, "cancel -, retrieve 200"),
)
"""What goes wrong with a cancel, the states after `sending`, and the calls with their responses."""
LOST_TOPIC = "orders/cancelled"
CANCEL = PLANOMATIC.cancel_path


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
        if provider is PLANOMATIC:
            # However slow the machine is: all are due at once, and the last one is still queued at its appointment.
            await rescind.call_aloud("POST", "/v1/pause", {"account": provider.account}, "until all are requested")
        ids = await rescind.cancel_all(orders)
        if provider is PLANOMATIC:
            last = await rescind.cancel(overtaken)
            await sandbox.act(provider.booking, order_id=overtaken)
            await rescind.received(overtaken, "appointment.scheduled")
            revoked = await rescind.settled(last)
            await rescind.call_aloud("POST", "/v1/resume", {"account": provider.account})
            context.console.note(f"The last one was queued to send and is {revoked['state']}: {revoked['detail']}")
            seen = f"{revoked['state']}, {len(await sandbox.calls(overtaken))} calls"
            context.claim("a queued cancel whose order gets an appointment", "revoked, 0 calls", seen)
        ended = await rescind.all_settled(ids)
        took_s = time.monotonic() - began
        calls = await sandbox.calls()
        sent = about(calls, orders)
        seconds = " ".join(map(str, per_second(call["at"] for call in sent)))
        sandbox.show_line(f"{len(sent)} x {sent[0]['method']} .../cancel", statuses(sent), f"in {took_s:.0f} s")
        context.console.note(f"Arrivals, second by second: {seconds}. Earlier calls count as well.")
        what = f"{provider.title}, cancels requested at once: succeeded"
        context.claim(what, f"{number} of {number}", f"{succeeded(ended)} of {number}")
        if provider is PLANOMATIC:
            claim_limit(context, calls, "so far")
        context.claim(f"calls that {provider.title} denied (429)", 0, denied(calls))


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
    await sandbox.clear_faults()
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
    # However slow the machine is: the good ones are due at once, and the bad ones get no turns between the requests.
    await rescind.call_aloud("POST", "/v1/pause", {"account": PLANOMATIC.account}, "until all are requested")
    requested = await rescind.cancel_all(good)
    began = time.monotonic()
    await rescind.call_aloud("POST", "/v1/resume", {"account": PLANOMATIC.account})
    ended = await rescind.all_settled(requested)
    took_s = time.monotonic() - began
    calls = about(await sandbox.calls(path=CANCEL), [*bad, *good])
    turns = [index for index, call in enumerate(calls) if call["order"] in good]
    among, failed = about(calls[turns[0] : turns[-1]], bad), about(calls, bad)
    sandbox.show_line(f"{len(failed)} x POST {CANCEL}", statuses(failed), "about the bad ones")
    sandbox.show_line(f"{len(turns)} x POST {CANCEL}", 200, f"about the others, all done in {took_s:.1f} s")
    context.claim(f"cancels beside {BAD} orders that get a 500: succeeded", GOOD, succeeded(ended))
    what = "calls about the bad orders among the others"
    context.claim(what, f"at most {AMONG}", len(among), ok=len(among) <= AMONG)
    await sandbox.clear_faults()
    repaired = await rescind.all_settled(failing)
    context.claim("what had failed, after the repair: succeeded", BAD, succeeded(repaired))


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
        return f"{in_turn([call for call in calls if call['path'] == SUPERLOOP.cancel_path])}; {fetched} token fetched"

    context.claim("3 cancels after a token expired: succeeded", 3, succeeded(ended))
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
    calls = [call for call in await sandbox.calls() if not set(pending).isdisjoint(named(call))]
    for call in calls:
        sandbox.show_line(f"POST {call['path']}", call["status"], f"names {len(named(call))} orders")
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
    whole = all(set(pending) <= set(named(call)) for call in calls)
    seen = f"{len(calls)} calls{'' if whole else ', not of all'}, cancels of each: {cancels}"
    what = f"{PENDING} pending orders: calls that name them"
    context.claim(what, "2 calls, cancels of each: [1]", seen)
    context.claim("pending: the cancellations that succeeded", PENDING, succeeded(ended))
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
