"""The chapters about what Rescind knows: verdicts, webhooks in any order, strangers, appointments, policies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, permutations
from urllib.parse import quote

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app.dev.demo.context import HELD_S, Context, Rescind, Sandbox
from app.dev.demo.providers import (
    BOOKS_APPOINTMENTS,
    KIBO,
    PLANOMATIC,
    SENDS_WEBHOOKS,
    SHOP,
    SUPERLOOP,
    Json,
    Provider,
)

NEAR_H, FAR_H = 20, 72
STEPS = ("await_availability", "schedule_appointment", "post_process")
"""What happens to an order after `order.processed`: four webhooks together."""
HOUSE = {"external_property_id": "demo-house-7", "services": [{"slug": "photos"}]}
PER_HOUR = 2
POLICY: Json = {
    "id": "duplicates",
    "accounts": [PLANOMATIC.account],
    "when": 'order.duplicates.exists(d, d.came == "before" && d.phase != "canceled" && d.canceling == "no") '
    '&& !("keep" in order.tags)',
    "cancel": {"reason": "duplicate_order", "note": "This order was sent twice. The first one stays."},
    "limits": {"per_hour": PER_HOUR},
}


async def connect(context: Context, provider: Provider) -> tuple[Rescind, Sandbox]:
    """Create the provider's account and endpoint, and send its webhooks to Rescind."""
    rescind, sandbox = context.at(provider)
    config = await _superloop_keys(sandbox) if provider is SUPERLOOP else {}
    resources = provider.resources(sandbox.base_url, context.processes.webhook_token, config)
    await rescind.call_aloud("POST", "/v1/apply", {"resources": resources})
    if provider.endpoint is not None:
        await sandbox.send_webhooks()
    return rescind, sandbox


async def cancel_in_time(context: Context) -> None:
    """At each provider: an order is placed, its webhook comes in, it is canceled, and the provider agrees."""
    for provider in SENDS_WEBHOOKS:
        rescind, sandbox = await connect(context, provider)
        if provider is SHOP:
            config, condition = provider.settings["config"], provider.settings["rules"]["conditions"][0]
            context.console.note(f"phases: {', '.join(f'{key}: {phase}' for key, phase in config['phases'].items())}")
            context.console.note(f"cancel: {config['cancel']['method']} {config['cancel']['url']}")
            context.console.note(f"not cancelable ({condition['reason']}) if: {condition['when']}")
        order = await sandbox.place()
        await rescind.received(order, provider.opening)
        await rescind.with_verdict(order)
        lookups = len(sandbox.show(await sandbox.calls(order)))
        opened = await rescind.show(order)
        before = len(await sandbox.calls())
        ended = await rescind.settled(await rescind.cancel(order))
        sandbox.show((await sandbox.calls())[before:])
        await rescind.received(order, *provider.canceled)
        closed, book = await rescind.show(order), (await sandbox.orders())[order]

        seen = f"{lookups} calls, {_stand(opened)}"
        context.claim(f"{provider.title}: {provider.opening} comes in", f"{provider.lookups} calls, open, yes", seen)
        context.claim("the cancellation that was requested", "succeeded", ended["state"])
        books = ", ".join(f"{book[key]}" for key in provider.books)
        context.claim(f"{provider.title}'s books", ", ".join(map(str, provider.books.values())), books)
        context.claim(f"{provider.canceled[0]} comes back", "canceled, no", _stand(closed))


async def reject_early(context: Context) -> None:
    """The webhook about an appointment overtakes the one about the order; a cancel is rejected without a call."""
    for provider in BOOKS_APPOINTMENTS:
        rescind, sandbox = context.at(provider)
        await sandbox.hold_webhooks()
        order = str((await sandbox.act("create_order"))["order_id"])
        await sandbox.act_aloud(provider.booking, order_id=order, starts_at=_hours_from_now(NEAR_H))
        placed, booked = await sandbox.take_webhooks()
        # What Superloop's webhooks say of an appointment leaves open how the order stands, so they come in order.
        overtaken = provider is not SUPERLOOP
        if not overtaken:
            await rescind.deliver_aloud(*placed, provider.opening)
        await rescind.deliver_aloud(*booked, "appointment.scheduled")
        rejected = await rescind.request_cancel(order)
        evidence = await rescind.evidence(rejected)
        if overtaken:
            await rescind.deliver_aloud(*placed, provider.opening)
        late = await rescind.show(order)
        calls = len(await sandbox.calls(order))

        seen = f"{rejected.status} {rejected.summary}, {calls} calls"
        context.claim(f"{provider.title}: a cancel, too late", "409 order-not-cancelable, 0 calls", seen)
        seen = f"{(rejected.body.get('verdict') or {}).get('reason')}: {evidence}"
        context.claim("the reason, and the evidence", f"{provider.too_late}: appointment.scheduled", seen)
        if overtaken:
            context.claim(f"{provider.opening} comes late: cancelable", "no", late["verdict"]["cancelable"])


async def close_by_time(context: Context) -> None:
    """An order whose appointment is far can be canceled, until so many hours before it."""
    for provider in BOOKS_APPOINTMENTS[1:]:
        rescind, sandbox = context.at(provider)
        order, starts_at = await sandbox.place(), _hours_from_now(FAR_H)
        await sandbox.act_aloud(provider.booking, order_id=order, starts_at=starts_at)
        await rescind.received(order, "appointment.scheduled")
        verdict = (await rescind.show(order))["verdict"]
        context.console.note(str(verdict["explanation"]))
        closes_at = datetime.fromisoformat(starts_at) - timedelta(hours=provider.cutoff_h)
        moments = [closes_at - timedelta(microseconds=1), closes_at]
        path = f"{rescind.path(order)}/verdict?at="
        either_side = [(await rescind.get(path + quote(at.isoformat())))["cancelable"] for at in moments]

        changes_at = verdict["changes_at"]
        seen = datetime.fromisoformat(starts_at) - datetime.fromisoformat(changes_at) if changes_at else "never"

        what = f"{provider.title}, appointment in {FAR_H} h: yes until before it"
        context.claim(what, timedelta(hours=provider.cutoff_h), seen)
        context.claim("the verdict a microsecond before, and then", "yes, no", ", ".join(either_side))


async def take_any_order(context: Context) -> None:
    """Each order gets the same four webhooks in another sequence, each of them twice."""
    rescind, sandbox = context.at(PLANOMATIC)
    sequences = list(permutations(range(1 + len(STEPS))))
    await sandbox.hold_webhooks()
    orders = await sandbox.place_many(len(sequences))
    for step in STEPS:
        for order in orders:
            await sandbox.act(step, order_id=order)
    # They are held step by step, and within a step order by order.
    held = [body for body, _ in await sandbox.take_webhooks()]
    webhooks = {order: held[index :: len(orders)] for index, order in enumerate(orders)}

    async def deliver_all(order: str, sequence: Sequence[int]) -> list[str]:
        # Each webhook is repeated after the one that follows it.
        repeated = [sequence[0], *chain(*zip(sequence[1:], sequence, strict=False)), sequence[-1]]
        return [(await rescind.deliver(webhooks[order][number])).summary for number in repeated]

    words = list(chain(*await asyncio.gather(*map(deliver_all, orders, sequences))))
    states = {await _state(rescind, order) for order in orders}
    accepted, duplicates = words.count("accepted"), words.count("duplicate")
    rescind.show_webhook(200, f"{accepted} accepted, {duplicates} duplicate", len(words))
    context.console.note(f"Their state is: {' | '.join(states)}")

    half = len(words) // 2
    versions = " and ".join({str(msgspec.json.decode(state)["version"]) for state in states})
    seen = f"{len(states)} state, version {versions}"
    context.claim(f"4 webhooks in all {len(orders)} sequences: they end in", "1 state, version 4", seen)
    context.claim("second deliveries reported as duplicate", f"{half} of {half}", f"{duplicates} of {half}")


async def ask_about_thin_webhooks(context: Context) -> None:
    """A webhook that does not say how the order stands; and a cancel that Kibo would not take."""
    rescind, sandbox = context.at(KIBO)
    placed = await sandbox.act_aloud("create_order")
    id, order = str(placed["order_id"]), str(placed["entity_id"])
    await rescind.with_verdict(order)
    # Also a call that is made because no response came is held: nothing is known before the look at it.
    await sandbox.inject("delay", path=f"/api/v2/order/{id}", seconds=HELD_S, times=1000)
    await sandbox.act_aloud("update", order_id=id)
    await rescind.received(order, "order.updated")
    between = await rescind.show(order)
    context.console.note(str(between["verdict"]["explanation"]))
    await sandbox.clear_faults()
    await rescind.with_verdict(order)
    sandbox.show(await sandbox.calls(id), {"delay": "responds late"})
    after = await rescind.show(order)
    before = len(await sandbox.calls())
    silent = await rescind.request_cancel(order, {"reason": "other"})
    context.console.note(str(silent.body.get("detail")))
    calls = len(await sandbox.calls()) - before

    seen = f"{between['verdict']['cancelable']}, {after['verdict']['cancelable']}"
    context.claim("order.updated: before and after Kibo's response", "unknown, yes", seen)
    seen = f"{silent.status} {silent.summary}, {calls} calls"
    context.claim("reason other without a note", "422 invalid-request, 0 calls", seen)


async def refuse_strangers(context: Context) -> None:
    """Forged webhooks leave nothing; an authentic webhook of unknown kind is kept."""
    rescind, _ = context.at(PLANOMATIC)
    forged = msgspec.json.encode({"event": "order.canceled", "order_id": "forged-1", "status": "canceled"})
    stranger = {"Authorization": "Bearer not-the-token"}
    refused = await rescind.deliver_aloud(forged, stranger, "order.canceled", "somebody")
    trace = await rescind.call_aloud("GET", rescind.path("forged-1"))
    retail, sandbox = context.at(KIBO)
    order = await sandbox.place()
    await retail.with_verdict(order)
    await sandbox.hold_webhooks()
    await sandbox.act("save", entity_id=order)
    ((genuine, headers),) = await sandbox.take_webhooks()
    changed = msgspec.json.encode({**msgspec.json.decode(genuine), "topic": "order.cancelled"})
    altered = await retail.deliver_aloud(changed, headers, "order.cancelled", "somebody")
    unharmed = await retail.show(order)
    unknown = msgspec.json.encode({"event": "appointment.weather_hold", "order_id": "654321"})
    kept = await rescind.deliver_aloud(unknown, None, "appointment.weather_hold")
    quarantine = await rescind.rows("/v1/receipts?status=quarantined")
    reasons = [receipt["reason"] for receipt in quarantine if receipt["id"] == kept.body.get("receipt")]
    context.console.note(f"In quarantine: {'; '.join(reasons)}. After a fix: `rescind receipts reprocess`.")

    seen = f"{refused.status} {refused.summary}"
    context.claim("a webhook with a wrong token: response", "401 unauthentic-webhook", seen)
    context.claim("the order that it names", "404 not-found", f"{trace.status} {trace.summary}")
    seen = f"{altered.status} {altered.summary}, {unharmed['verdict']['cancelable']}"
    context.claim("a signed webhook, altered: response, verdict", "401 unauthentic-webhook, yes", seen)
    seen = f"{kept.status} {kept.summary}"
    context.claim("an authentic webhook of unknown kind: response", "202 quarantined", seen)
    context.claim("receipts of it in quarantine", 1, len(reasons))


async def cancel_by_policy(context: Context) -> None:
    """The same order twice: the policy is refused untested, backtested, enforced; and stopped by its limit."""
    rescind, sandbox = context.at(PLANOMATIC)
    twice = [await sandbox.place(**HOUSE) for _ in range(2)]
    for order in twice:
        await rescind.with_verdict(order)
    enforced = {"resources": {"policies": [{**POLICY, "mode": "enforce"}]}}
    untested = await rescind.call_aloud("POST", "/v1/apply", enforced)
    path = f"/v1/policies/{POLICY['id']}"
    run = (await rescind.call_aloud("POST", f"{path}/backtest", {"policy": POLICY})).body["id"]
    ended = ("done", "failed")
    backtest = f"{path}/backtests/{run}"
    report = await rescind.when(backtest, lambda row: row["state"] in ended and row["report"], "the backtest to end")
    context.console.note(
        f"Over {report['events']} events it would have canceled {report['would_cancel']}, and none is canceled yet."
    )
    await rescind.call_aloud("POST", "/v1/apply", enforced)
    first = [await _decision(rescind, order) for order in twice]
    ((canceled,), books) = await _by_policy(rescind, twice[1:]), await sandbox.orders()
    later = [await sandbox.place(**HOUSE) for _ in range(2)]
    last = [await _decision(rescind, order) for order in later]
    await _by_policy(rescind, later[:1])
    context.console.note(f"The policy stopped itself: {(await rescind.get(path))['paused']['reason']}.")
    (why,) = (await rescind.get(f"{rescind.path(twice[0])}/policies"))["data"]
    clauses = "; ".join(f"{clause['text']}: {str(clause['value']).lower()}" for clause in why["clauses"])
    context.console.note(f"Why was order {twice[0]} not canceled? {clauses}")

    context.claim("an untested policy, enforced", "409 confirmation-needed", f"{untested.status} {untested.summary}")
    context.claim("its backtest: would cancel, in time", "1, 1", f"{report['would_cancel']}, {report['in_time']}")
    context.claim("of two orders that are the same", "unmatched, acted", ", ".join(first))
    context.claim(
        "PlanOmatic's books on both", "ordered, canceled", ", ".join(books[order]["status"] for order in twice)
    )
    context.claim("the reason that PlanOmatic was given", "duplicate_order", canceled["reason"])
    context.claim(f"two more, at {PER_HOUR} an hour", "acted, held", ", ".join(last))


async def _superloop_keys(sandbox: Sandbox) -> Json:
    """Make a pair of keys: Superloop gets the public one, and checks with it who asks for a token."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    await sandbox.act("set_public_key", public_key=public)
    return {"private_key": private, "token_url": f"{sandbox.base_url}/token"}


def _hours_from_now(hours: int) -> str:
    return (datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours)).isoformat()


def _stand(order: Json) -> str:
    return f"{order['phase']}, {order['verdict']['cancelable']}"


async def _state(rescind: Rescind, order: str) -> str:
    """What must be the same for orders with the same webhooks: everything but their names and times."""
    row = await rescind.get(rescind.path(order))
    types = {event["id"]: event["type"] for event in await rescind.events(order)}
    state = {key: row[key] for key in ("phase", "provider_status", "version")}
    state |= {key: row["verdict"][key] for key in ("cancelable", "reason")}
    state["evidence"] = [types[id] for id in row["verdict"]["evidence"]]
    state["appointments"] = [appointment["status"] for appointment in row["appointments"]]
    return msgspec.json.encode(state).decode()


async def _decision(rescind: Rescind, order: str) -> str:
    """The policy's decision on an order, as soon as there is one; where its condition is false there is none."""

    def outcome(page: Json) -> str | None:
        (decision,) = page["data"]
        # What is recorded: beside it stands what the policy made of the order a moment before, where it was read first.
        if decision["decided"]:
            return str(decision["decided"][-1]["outcome"])
        return "unmatched" if decision["outcome"] == "unmatched" else None

    return str(await rescind.when(f"{rescind.path(order)}/policies", outcome, f"a decision on order {order}"))


async def _by_policy(rescind: Rescind, orders: Sequence[str]) -> list[Json]:
    """The policy's cancellations of these orders, when they have ended."""
    rows = (await rescind.get(f"/v1/cancellations?policy={POLICY['id']}"))["data"]
    return [await rescind.settled(row["id"]) for row in rows if row["order"] in orders]
