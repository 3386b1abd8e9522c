"""The chapter about NotPanel: many cancels in one call, each with its own outcome, and no webhooks to speak of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.dev.demo.cast import YOU, Cast, Json
from app.dev.demo.scene import Chapter, Scene
from app.dev.demo.sending import AT_ONCE, ask_for_all
from app.dev.demo.stage import WINDOW_S

PENDING = 40
LIMIT = 100
NOTPANEL = Cast("notpanel", "NotPanel", "acme-social", {"reason": "The campaign is off."})


async def one_call(scene: Scene) -> None:
    """Cancels that become due together: of pending orders, one in flight, one that is completed."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    await provider.act("set_keys", keys=[scene.stage.secrets.provider_key])
    await scene.enlist(
        {"key": scene.stage.secrets.provider_key},
        limits={"requests": LIMIT, "per_s": WINDOW_S},
        unknown_orders="send",
    )
    pending = await provider.place_many(PENDING)
    flying, done = await provider.place_many(2)
    await provider.act("start", order_id=flying)
    await provider.act("complete", order_id=done, silent=True)
    ids = dict(zip([*pending, flying, done], await _due_together(scene, [*pending, flying, done]), strict=True))
    refused = await rescind.settled(ids[done])
    voice.seen(f"{done}, completed: {refused['state']}. {refused['detail']}")
    with voice.waiting("Waiting for the panel's status"):
        ended = [await rescind.settled(ids[order]) for order in pending]
    calls = [call for call in await provider.calls() if _names(call, pending)]
    for call in calls:
        number = len(call["order"].split(","))
        voice.call(NOTPANEL.outbound, f"{call['method']} {call['path']}", call["status"], f"orders= with {number} ids")
    in_flight = await rescind.get(f"/v1/cancellations/{ids[flying]}")
    states = Counter(each["state"] for each in ended)
    books = await provider.orders()
    told = _told(calls, books, pending)
    voice.seen(f"That is, by the panel's own count of cancels: {told}.")
    voice.seen(f"Pending: {_counted(states)}. {flying}, in flight: {in_flight['state']}. {in_flight['detail']}")
    await provider.act_aloud("settle", order_id=flying, granted=True)
    with voice.waiting("Waiting for the panel's status"):
        granted = await rescind.settled(ids[flying])
    voice.seen(f"{flying}: {granted['state']}.")
    again = await rescind.wish(done, aloud=True)
    voice.seen(str(again.body.get("detail")))
    scene.claim(f"{PENDING} pending orders: calls that name them", "a cancel, a status", told)
    scene.claim("pending: the cancellations", f"{PENDING} succeeded", _counted(states))
    refunds = sum(books[order]["refunded"] == books[order]["charge"] for order in pending)
    scene.claim("pending: refunded in NotPanel's books", f"{PENDING} of {PENDING}", f"{refunds} of {PENDING}")
    seen = f"{in_flight['state']}, {granted['state']}"
    scene.claim("in flight: before and after upstream grants it", "accepted, succeeded", seen)
    scene.claim(
        "completed: the first and the second wish", "refused, then 409", f"{refused['state']}, then {again.status}"
    )


async def _due_together(scene: Scene, orders: Sequence[str]) -> list[str]:
    """Ask for all of them while the account is paused, and then let it send; returns the cancellations' ids."""
    body = {"account": NOTPANEL.account}
    paused = await scene.rescind.ask("POST", "/v1/pause", {**body, "reason": "the demo collects cancels"})
    scene.voice.call(YOU, "POST /v1/pause", paused.status, NOTPANEL.account)
    ids = await ask_for_all(scene, orders)
    scene.voice.call(YOU, f"{len(ids)} x POST .../cancellations", 202, f"at most {AT_ONCE} at a time")
    resumed = await scene.rescind.ask("POST", "/v1/resume", body)
    scene.voice.call(YOU, "POST /v1/resume", resumed.status, NOTPANEL.account)
    return ids


def _names(call: Json, orders: Sequence[str]) -> bool:
    """Does the call name one of these orders?"""
    return not set(str(call["order"]).split(",")).isdisjoint(orders)


def _told(calls: Sequence[Json], books: dict[str, Json], orders: Sequence[str]) -> str:
    """How often these orders were named. The panel counts by itself how many of the calls were cancels."""
    cancels = sorted({books[order]["cancel_calls"] for order in orders})
    together = all(set(orders) <= set(str(call["order"]).split(",")) for call in calls)
    if together and cancels == [1] and len(calls) == len(("cancel", "status")):
        return "a cancel, a status"
    return f"{len(calls)} calls, {'' if together else 'not '}of all together, cancels of each: {cancels}"


def _counted(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


ONE_CALL = Chapter(
    f"NotPanel: {PENDING + 2} cancels, one call",
    f"NotPanel takes up to {LIMIT} orders in one call, and sends no webhook when an order is placed or canceled. "
    f"{PENDING} pending orders, one in flight and one that is completed become due together: they leave as one call, "
    "and each has its own outcome. What became of them Rescind asks, for all of them together.",
    one_call,
    NOTPANEL,
)
