"""The chapter about Kibo: webhooks that say that something happened, and not what."""

from __future__ import annotations

import msgspec

from app.dev.demo.cast import Cast, Json
from app.dev.demo.clients import Reply, slug
from app.dev.demo.scene import Chapter, Scene
from app.dev.demo.stage import WINDOW_S
from handlers.kibo.simulator import DEFAULT_SECRET, DEFAULT_TENANT

ANSWER_DELAY_S = 4.0
"""So late Kibo answers once, so that there is time to look at what is known meanwhile."""
WHY = "The wrong size."
KIBO = Cast("kibo", "Kibo", "acme-retail", {"reason": "other", "note": WHY})


async def thin_webhooks(scene: Scene) -> None:
    """A new order, an event that leaves open how it stands, a forgery, and a cancel with its explanation."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    await scene.enlist(
        {"tenant": DEFAULT_TENANT},
        verify={"secrets": [DEFAULT_SECRET]},
        limits={"requests": 60, "per_s": WINDOW_S, "concurrency": 2},
    )
    await provider.send_webhooks()
    placed = await provider.act_aloud("create_order")
    entity, order = str(placed["entity_id"]), str(placed["order_id"])
    await rescind.heard(entity, "order.created")
    fetched = await rescind.judged(entity, "yes")
    first_calls = await provider.show_calls(entity)
    await rescind.shown(entity)
    voice.seen(f"Rescind fetched it: status {fetched['provider_status']}, and its orderID is {order}.")

    path = f"/api/v2/order/{order}"
    await provider.befall("delay", path=path, seconds=ANSWER_DELAY_S)
    await provider.act_aloud("update", order_id=order)
    await rescind.heard(entity, "order.updated")
    between = await rescind.shown(entity)
    voice.seen(str(between["verdict"]["explanation"]))
    after = await rescind.judged(entity, "yes")
    provider.tell(await provider.calls(order), {"delay": "answered late"})
    await rescind.shown(entity)

    forged = await _forge(scene, order)
    unharmed = await rescind.shown(entity)

    calls_before = len(await provider.calls())
    silent = await rescind.wish(entity, {"reason": "other"}, aloud=True)
    voice.seen(str(silent.body.get("detail")))
    calls_for_nothing = len(await provider.calls()) - calls_before
    ended = await rescind.settled(await rescind.cancel(entity, aloud=True))
    provider.tell((await provider.calls())[calls_before:])
    book = await provider.book(order)

    seen = f"{len(first_calls)} call, {_stand(fetched)}"
    scene.claim("order.opened comes in, and is looked into", "1 call, open, cancelable yes", seen)
    seen = f"{between['verdict']['cancelable']}, {after['verdict']['cancelable']}"
    scene.claim("order.updated: before and after Kibo's answer", "unknown, yes", seen)
    seen = f"{forged.status} {slug(forged)}, {unharmed['verdict']['cancelable']}"
    scene.claim("a forged order.cancelled: answer, verdict", "401 unauthentic-webhook, yes", seen)
    seen = f"{silent.status} {slug(silent)}, {calls_for_nothing} calls"
    scene.claim("reason other without a note", "422 invalid-request, 0 calls", seen)
    scene.claim("with a note: outcome, and the note at Kibo", f"succeeded: {WHY}", _with_note(ended, book))


async def _forge(scene: Scene, order: str) -> Reply:
    """Bring a webhook of Kibo's with its signature, but with another topic."""
    provider, voice = scene.provider, scene.voice
    await provider.keep_webhooks()
    await provider.act("save", order_id=order)
    [genuine] = await provider.take_webhooks()
    await provider.send_webhooks()
    body = {**msgspec.json.decode(genuine.body), "topic": "order.cancelled"}
    reply = await scene.rescind.deliver(msgspec.json.encode(body), headers=genuine.headers)
    voice.call("somebody > Rescind", f"POST {KIBO.webhook_path}", reply.status, f"{slug(reply)}: order.cancelled")
    return reply


def _stand(order: Json) -> str:
    return f"{order['phase']}, cancelable {order['verdict']['cancelable']}"


def _with_note(ended: Json, book: Json) -> str:
    return f"{ended['state']}: {book['cancel_reason']}"


THIN_WEBHOOKS = Chapter(
    "Kibo: webhooks that say little",
    "A webhook of Kibo's says that something happened to an order, and not how it stands now: its verdict is unknown "
    "until Rescind has fetched it. Forged webhooks are told by their signature. And a cancel for the reason `other` "
    "needs a note: without one it is refused here, before anything is sent.",
    thin_webhooks,
    KIBO,
)
