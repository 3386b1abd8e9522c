"""The chapters about what comes in: a cancel in time, one too late, webhooks in any order, and strangers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import msgspec

from app.dev.demo.cast import PLANOMATIC, YOU, Json
from app.dev.demo.clients import slug
from app.dev.demo.scene import LIMIT, Chapter, Scene
from app.dev.demo.stage import WINDOW_S

STEPS = ("await_availability", "schedule_appointment", "post_process")
"""What happens to an order after `order.processed`: four webhooks together."""
PROVIDER_TIMEOUT_S = 3.0


async def cancel_in_time(scene: Scene) -> None:
    """An order is placed, becomes known, is canceled, and the provider agrees."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    await provider.act("set_api_keys", api_keys=[scene.stage.secrets.provider_key])
    await scene.enlist(
        {"api_key": scene.stage.secrets.provider_key, "timeout_s": PROVIDER_TIMEOUT_S},
        verify={"secrets": [scene.stage.secrets.hook_token]},
        limits={"requests": LIMIT, "per_s": WINDOW_S, "concurrency": 8},
    )
    await provider.send_webhooks()
    order = await provider.place()
    await rescind.known(order)
    await rescind.heard(order, "order.processed")
    known = await rescind.shown(order)
    verdict = known["verdict"]
    voice.seen(f"Cancelable: {verdict['cancelable']}. {verdict['explanation']}")
    id = await rescind.cancel(order, aloud=True)
    ended = await rescind.settled(id)
    await provider.show_calls(order)
    await rescind.heard(order, "order.canceled")
    after, book = await rescind.known(order), await provider.book(order)
    voice.seen(f"The cancellation {ended['state']}; PlanOmatic's books say {book['status']}.")
    scene.claim("order.processed comes in: the order is", "open, cancelable yes", _stand(known))
    scene.claim("the cancellation that was asked for", "succeeded", ended["state"])
    scene.claim("PlanOmatic's books: status, effective cancels", "canceled, 1", _booked(book))
    scene.claim("order.canceled comes back: the order is", "canceled, cancelable no", _stand(after))


async def reject_early(scene: Scene) -> None:
    """The webhook that closes the window overtakes the first one; the cancel is refused without a call."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    await provider.keep_webhooks()
    order = await provider.place()
    await provider.act("schedule_appointment", order_id=order)
    processed, scheduled = await provider.take_webhooks()
    await provider.send_webhooks()
    await rescind.bring(scheduled.body)
    reply = await rescind.wish(order, aloud=True)
    evidence = await rescind.evidence(reply)
    voice.seen(str(reply.body.get("detail")))
    await rescind.bring(processed.body)
    late = await rescind.shown(order)
    calls = await provider.calls(order)
    scene.claim(
        "a cancel after appointment.scheduled: answer", "409 order-not-cancelable", f"{reply.status} {slug(reply)}"
    )
    scene.claim("the evidence that the answer names", "appointment.scheduled", evidence)
    scene.claim("order.processed comes late: cancelable", "no", late["verdict"]["cancelable"])
    scene.claim("calls that reached PlanOmatic about this order", 0, len(calls))


async def take_any_order(scene: Scene) -> None:
    """Each of the orders gets the same four webhooks in another succession, each of them twice."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    successions = list(permutations(range(1 + len(STEPS))))
    await provider.keep_webhooks()
    orders = await provider.place_many(len(successions))
    for step in STEPS:
        for order in orders:
            await provider.act(step, order_id=order)
    taken = await provider.take_webhooks()
    await provider.send_webhooks()
    # They come out step by step, and within a step order by order.
    webhooks = {order: taken[number :: len(orders)] for number, order in enumerate(orders)}

    async def bring_all(order: str, succession: Sequence[int]) -> list[str]:
        replies = [await rescind.deliver(webhooks[order][number].body) for number in _with_repeats(succession)]
        return [str(reply.body.get("status", reply.status)) for reply in replies]

    answers = await asyncio.gather(*map(bring_all, orders, successions))
    said = [word for answer in answers for word in answer]
    states = {order: await _state(scene, order) for order in orders}
    different = {msgspec.json.encode(state) for state in states.values()}
    accepted, duplicates = said.count("accepted"), said.count("duplicate")
    calls = f"{len(said)} x POST {PLANOMATIC.webhook_path}"
    voice.call(PLANOMATIC.inbound, calls, 200, f"{accepted} accepted, {duplicates} duplicate")
    state = states[orders[0]]
    voice.seen(
        f"All {len(orders)} orders: {state['phase']}, status {state['provider_status']}, "
        f"cancelable {state['cancelable']} ({state['reason']}), version {state['version']}."
        if len(different) == 1
        else f"{len(different)} different states: {' | '.join(each.decode() for each in sorted(different))}"
    )
    half = len(said) // 2
    scene.claim(
        f"4 webhooks in all {len(orders)} successions: they end in", "1 state, version 4", _count(different, states)
    )
    scene.claim("second deliveries answered as duplicate", f"{half} of {half}", f"{duplicates} of {half}")


async def refuse_strangers(scene: Scene) -> None:
    """A webhook with a wrong token leaves nothing; an authentic one that nobody knows is kept."""
    rescind, voice = scene.rescind, scene.voice
    forged = {"event": "order.canceled", "order_id": "forged-1", "status": "canceled"}
    refused = await rescind.bring(msgspec.json.encode(forged), token="not-the-token")  # noqa: S106 - the point of it
    trace = await rescind.order("forged-1")
    unheard = {"event": "appointment.weather_hold", "order_id": "654321"}
    kept = await rescind.bring(msgspec.json.encode(unheard))
    quarantine = await rescind.everything("/v1/receipts?status=quarantined")
    voice.call(YOU, "GET /v1/receipts?status=quarantined", 200, f"{len(quarantine)} receipt")
    reasons = [each["reason"] for each in quarantine if each["id"] == kept.body.get("receipt")]
    voice.seen(f"In quarantine: {'; '.join(reasons)}. `rescind receipts reprocess` reads it again after a fix.")
    scene.claim("a webhook with a wrong token: answer", "401 unauthentic-webhook", f"{refused.status} {slug(refused)}")
    scene.claim(
        "a webhook with a wrong token: what it leaves", "nothing", "nothing" if trace is None else trace["phase"]
    )
    scene.claim(
        "an authentic webhook of unknown kind: answer",
        "202 quarantined",
        f"{kept.status} {kept.body.get('status')}",
    )
    scene.claim(
        "an authentic webhook of unknown kind: in quarantine", "once", "once" if len(reasons) == 1 else len(reasons)
    )


def _stand(order: Json) -> str:
    return f"{order['phase']}, cancelable {order['verdict']['cancelable']}"


def _booked(book: Json) -> str:
    return f"{book['status']}, {book['cancel_effects']}"


def _with_repeats(succession: Sequence[int]) -> list[int]:
    """Each number twice, its first time in this succession and its second time among the later ones."""
    mixed: list[int] = []
    for place, number in enumerate(succession):
        mixed.append(number)
        if place:
            mixed.append(succession[place - 1])
    return [*mixed, succession[-1]]


async def _state(scene: Scene, order: str) -> dict[str, Any]:
    """What is to be the same for all of these orders: everything but their names and times."""
    known = await scene.rescind.known(order)
    verdict = known["verdict"]
    types = {event["id"]: event["type"] for event in await scene.rescind.events(order)}
    return {
        "phase": known["phase"],
        "provider_status": known["provider_status"],
        "cancelable": verdict["cancelable"],
        "reason": verdict["reason"],
        "evidence": [types[id] for id in verdict["evidence"]],
        "appointments": [each["status"] for each in known["appointments"]],
        "version": known["version"],
    }


def _count(different: set[bytes], states: dict[str, dict[str, Any]]) -> str:
    versions = sorted({str(state["version"]) for state in states.values()})
    return f"{len(different)} state, version {' and '.join(versions)}"


CANCEL_IN_TIME = Chapter(
    "An order is canceled in time",
    "Rescind hears of an order by PlanOmatic's webhook, knows from PlanOmatic's rules that it can still be canceled, "
    "and cancels it when asked. Whether that worked, PlanOmatic's own books say.",
    cancel_in_time,
)
REJECT_EARLY = Chapter(
    "Too late, and known at once",
    "The order has got its appointment, so PlanOmatic cancels it no more; and the webhook that says so overtakes the "
    "one that says the order exists. The cancel is rejected at once, with its evidence, and without a call.",
    reject_early,
)
TAKE_ANY_ORDER = Chapter(
    "Webhooks twice, and in any order",
    "24 orders get the same four webhooks in the 24 possible successions, and each webhook twice. An order's state "
    "depends on which events there were, and never on when they came or how often.",
    take_any_order,
)
REFUSE_STRANGERS = Chapter(
    "Strangers, and what nobody understands",
    "A webhook that does not prove who sent it is refused. One that does, but says something unheard of, is "
    "acknowledged and kept for a person to look at: nothing authentic is dropped.",
    refuse_strangers,
)
