"""The chapter about Shoplazza: webhooks that are registered by API, a status with two meanings, a leaky bucket."""

from __future__ import annotations

import time

from app.dev.demo.cast import YOU, Cast, Json
from app.dev.demo.scene import Chapter, Scene
from app.dev.demo.sending import THROTTLED, all_settled, ask_for_all
from app.dev.demo.stage import WINDOW_S, until
from handlers.shoplazza.simulator import DEFAULT_ACCESS_TOKEN, DEFAULT_CLIENT_SECRET
from handlers.shoplazza.words import TOPICS

BURST = 60
BUCKET = 40
LOST = "orders/cancelled"
SHOPLAZZA = Cast("shoplazza", "Shoplazza", "acme-shop", {"reason": "Ordered twice"})


async def registrations(scene: Scene) -> None:
    """Webhooks are registered, one is lost and restored; a paid order is canceled; and then many at once."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    await scene.enlist(
        {"shop_domain": "acme", "access_token": DEFAULT_ACCESS_TOKEN},
        verify={"secrets": [DEFAULT_CLIENT_SECRET]},
        kept=True,
        limits={"burst": BUCKET, "rate_per_s": BUCKET / WINDOW_S, "concurrency": 8},
    )
    await provider.send_webhooks()
    registered = await _registered(scene, len(TOPICS))
    voice.call(SHOPLAZZA.outbound, f"{registered} x POST /openapi/2022-01/webhooks", 200, "one for each topic")
    await provider.act_aloud("drop_webhook", topic=LOST)
    left = len(await _listed(scene))
    path = f"/v1/endpoints/{SHOPLAZZA.endpoint}/register"
    reply = await rescind.ask("POST", path)
    restored = ", ".join(reply.body.get("restored", ()))
    voice.call(YOU, f"POST {path}", reply.status, f"restored: {restored}")
    voice.seen("Without being asked, Rescind looks every hour.")

    order = await provider.place(paid=True)
    await rescind.heard(order, "order.paid")
    ended = await rescind.settled(await rescind.cancel(order, aloud=True))
    await provider.show_calls(order)
    for type in ("order.canceled", "order.completed"):
        await rescind.heard(order, type)
    after, book = await rescind.shown(order), await provider.book(order)
    voice.seen(f"The cancellation {ended['state']}. Shoplazza says {book['status']}, Rescind says {after['phase']}.")

    scene.claim("webhooks registered: at first", f"{len(TOPICS)} of {len(TOPICS)}", f"{registered} of {len(TOPICS)}")
    seen = f"{left}, then {len(await _listed(scene))}: {restored}"
    scene.claim("Shoplazza drops one: registered", f"{len(TOPICS) - 1}, then {len(TOPICS)}: {LOST}", seen)
    seen = f"{book['status']}, {after['phase']}"
    scene.claim("paid and canceled: at Shoplazza, at Rescind", "finished, canceled", seen)
    await _burst(scene)


async def _burst(scene: Scene) -> None:
    """More cancels than the bucket holds."""
    provider, voice = scene.provider, scene.voice
    orders = await provider.place_many(BURST)
    await scene.rescind.judged(orders[-1], "yes")
    began = time.monotonic()
    ids = await ask_for_all(scene, orders)
    voice.call(YOU, f"{len(ids)} x POST .../cancellations", 202, "all taken on")
    ended = await all_settled(scene, ids)
    calls = await provider.calls()
    mine = sum(call["order"] in set(orders) for call in calls)
    took_s = time.monotonic() - began
    voice.call(SHOPLAZZA.outbound, f"{mine} x POST .../cancel", 200, f"in {took_s:.0f} s, as the bucket leaks")
    succeeded = sum(row["state"] == "succeeded" for row in ended.values())
    denied = sum(call["status"] == THROTTLED for call in calls)
    seen = f"{succeeded} succeeded, {denied} denied"
    scene.claim(f"{BURST} cancels, a bucket of {BUCKET} (429)", f"{BURST} succeeded, 0 denied", seen)


async def _listed(scene: Scene) -> list[Json]:
    """The webhooks in the shop's own books that lead to Rescind."""
    webhooks = (await scene.provider.act("list"))["webhooks"]
    return [each for each in webhooks if each["address"] == f"{scene.stage.server_url}{SHOPLAZZA.webhook_path}"]


async def _registered(scene: Scene, number: int) -> int:
    """How many webhooks are registered, as soon as so many are."""

    async def look() -> int:
        found = len(await _listed(scene))
        return found if found >= number else 0

    return await until(look, f"{number} webhooks to be registered", "server.log")


REGISTRATIONS = Chapter(
    "Shoplazza: lost registrations, and `finished`",
    "Shoplazza sends the webhooks that are registered through its API, and forgets a registration whose deliveries "
    "fail for two days. Rescind registers them, and again what is missing. A paid order that is canceled ends as "
    "`finished`, the same word as one that was delivered: Rescind tells the two apart. And Shoplazza's limit is a "
    f"leaky bucket: {BUCKET} calls at once, and then as many as leak out of it.",
    registrations,
    SHOPLAZZA,
)
