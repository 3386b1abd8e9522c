"""The chapter about policies: canceled without being asked, seen beforehand, and halted by itself."""

from __future__ import annotations

from collections.abc import Sequence

from app.dev.demo.cast import YOU, Json
from app.dev.demo.clients import slug
from app.dev.demo.scene import Chapter, Scene
from app.dev.demo.stage import until

HOUSE = {"external_property_id": "demo-house-7", "services": [{"slug": "photos"}]}
PER_HOUR = 2
POLICY: Json = {
    "id": "duplicates",
    "accounts": ["acme"],
    "when": 'order.duplicates.exists(d, d.came == "before" && d.phase != "canceled" && d.canceling == "no") '
    '&& !("keep" in order.tags)',
    "cancel": {"reason": "duplicate_order", "note": "This order was sent twice. The first one stays."},
    "limits": {"per_hour": PER_HOUR},
}


async def policies(scene: Scene) -> None:
    """Twice the same order, by policy: refused unseen, backtested, then live; and its limit."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    twice = [await provider.place(**HOUSE) for _ in range(2)]
    for order in twice:
        await rescind.judged(order, "yes")
    enforced = {"resources": {"policies": [{**POLICY, "mode": "enforce"}]}}
    unseen = await rescind.ask("POST", "/v1/apply", enforced)
    voice.call(YOU, "POST /v1/apply", unseen.status, slug(unseen))
    report = await _backtest(scene)
    voice.seen(
        f"Over {report['events']} events it would have canceled {report['would_cancel']}, and none has gone yet."
    )

    await rescind.apply(enforced["resources"])
    first = [await _decided(scene, order) for order in twice]
    canceled = await _settled(scene, twice[1:])
    later = [await provider.place(**HOUSE) for _ in range(2)]
    last = [await _decided(scene, order) for order in later]
    await _settled(scene, later[:1])
    halted = await rescind.get("/v1/policies/duplicates")
    voice.seen(f"The policy halted itself: {halted['paused']['reason']}.")
    why = await rescind.get(f"/v1/accounts/acme/orders/{twice[0]}/policies")
    voice.seen(f"Why was order {twice[0]} not canceled? {_clauses(why['data'][0])}")

    scene.claim(
        "a policy that nobody saw at work, enforced", "409 confirmation-needed", f"{unseen.status} {slug(unseen)}"
    )
    scene.claim("its backtest: would cancel, in time", "1, 1", f"{report['would_cancel']}, {report['in_time']}")
    scene.claim("of two orders that are the same", "unmatched, acted", ", ".join(first))
    books = [await provider.book(order) for order in twice]
    scene.claim("PlanOmatic's books on both", "ordered, canceled", ", ".join(book["status"] for book in books))
    scene.claim("the reason it was given", "duplicate_order", canceled[0]["reason"])
    scene.claim(f"two more, at {PER_HOUR} an hour", "acted, held", ", ".join(last))


async def _backtest(scene: Scene) -> Json:
    """Run the policy over what happened so far, as `rescind policies backtest` does; told."""
    path = "/v1/policies/duplicates/backtest"
    begun = await scene.rescind.ask("POST", path, {"policy": POLICY})
    scene.voice.call(YOU, f"POST {path}", begun.status, begun.body["state"])

    async def look() -> Json | None:
        run = await scene.rescind.get(f"{path}s/{begun.body['id']}")
        return run if run["state"] in ("done", "failed") else None

    report: Json = (await until(look, "the backtest to end", "server.log"))["report"]
    return report


async def _decided(scene: Scene, order: str) -> str:
    """What the policy decided on an order, as soon as it has."""
    path = f"/v1/accounts/acme/orders/{order}/policies"

    async def look() -> str | None:
        if await scene.rescind.order(order) is None:
            return None
        (found,) = (await scene.rescind.get(path))["data"]
        return str(found["outcome"]) if found["decided"] else None

    return await until(look, f"a decision on order {order}", f"server.log, GET {path}")


async def _settled(scene: Scene, orders: Sequence[str]) -> list[Json]:
    """The policy's cancellations of these orders, when they have ended."""
    made = (await scene.rescind.get("/v1/cancellations?policy=duplicates"))["data"]
    return [await scene.rescind.settled(each["id"]) for each in made if each["order"] in orders]


def _clauses(told: Json) -> str:
    return "; ".join(f"{each['text']}: {str(each['value']).lower()}" for each in told["clauses"])


BY_POLICY = Chapter(
    "Canceled by policy",
    "Orders are sent twice now and then. A policy in CEL keeps the first of those that are the same to PlanOmatic, and "
    "cancels the later ones. It is not allowed to before somebody has seen what it does: a backtest runs it over the "
    "recorded log. And it halts itself when it does more than it should.",
    policies,
)
