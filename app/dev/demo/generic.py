"""The chapter about a source of orders that has no handler: what its account's configuration says has to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import yaml

from app.dev.demo.cast import Cast, Json
from app.dev.demo.scene import Chapter, Scene
from app.dev.demo.stage import WINDOW_S
from handlers.generic.simulator import DEFAULT_API_KEY, DEFAULT_SIGNING_SECRET

NEAR_H, FAR_H, CUTOFF_H = 20, 72, 24
FENCE = "```"
SHOP = Cast("generic", "Example shop", "example-shop", {"reason": "mistake", "note": "Two of the same."})


async def without_code(scene: Scene) -> None:
    """Three orders: one is canceled, one has a delivery soon, one has a delivery later."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    account = _example()
    _show(scene, account)
    config = {**account["config"], "base_url": provider.base_url, "api_key": DEFAULT_API_KEY}
    await scene.enlist(
        config,
        verify={"scheme": "standard_webhooks", "secrets": [DEFAULT_SIGNING_SECRET]},
        rules=account["rules"],
        limits={"requests": 60, "per_s": WINDOW_S},
    )
    await provider.send_webhooks()
    order, near, far = [await provider.place() for _ in range(3)]
    await rescind.heard(order, "order.created")
    known = await rescind.shown(order)
    voice.seen(f"Kept of it: {', '.join(f'{key} {value}' for key, value in known['attributes'].items())}.")
    ended = await rescind.settled(await rescind.cancel(order, aloud=True))
    await provider.show_calls(order)
    await rescind.heard(order, "order.canceled")
    book = await provider.book(order)

    now = datetime.now(UTC).replace(microsecond=0)
    for each, hours in ((near, NEAR_H), (far, FAR_H)):
        starts_at = (now + timedelta(hours=hours)).isoformat()
        await provider.act_aloud("book_delivery", order_id=each, starts_at=starts_at)
        await rescind.heard(each, "appointment.scheduled")
    rejected = await rescind.wish(near, aloud=True)
    evidence = await rescind.evidence(rejected)
    voice.seen(str(rejected.body.get("detail")))
    later = await rescind.shown(far)

    scene.claim("order.placed comes in, a CloudEvent: the order is", "open, cancelable yes", _stand(known))
    seen = f"{ended['state']}; {book['status']}"
    scene.claim("a cancel by template; the shop's books", "succeeded; canceled", seen)
    reason = (rejected.body.get("verdict") or {}).get("reason")
    calls = len(await provider.calls(near))
    seen = f"{rejected.status} {reason}, {calls} calls"
    scene.claim(f"a delivery in {NEAR_H} h: a cancel", "409 delivery_near, 0 calls", seen)
    scene.claim("the evidence that the answer names", "appointment.scheduled", evidence)
    seen = _until(later, now + timedelta(hours=FAR_H))
    scene.claim(f"a delivery in {FAR_H} h: yes, until before it", f"yes, {CUTOFF_H} h", seen)


def _example() -> Json:
    """The account in the README of the generic handler: the example that its readers copy."""
    readme = resources.files("handlers.generic").joinpath("README.md").read_text(encoding="utf-8")
    [example] = [part for part in readme.split(FENCE)[1::2] if part.startswith("yaml\n")][:1]
    [account] = yaml.safe_load(example.removeprefix("yaml\n"))["accounts"]
    return dict(account)


def _show(scene: Scene, account: Json) -> None:
    """The parts of the configuration that this chapter is about."""
    config = account["config"]
    condition = account["rules"]["conditions"][0]
    for name, value in (
        ("fields.order", config["fields"]["order"]),
        ("phases", _short(config["phases"])),
        ("cancel", f"{config['cancel']['method']} {config['cancel']['url']}"),
        (f"rules: {condition['reason']}, if", condition["when"]),
    ):
        scene.voice.seen(f"{name}: {value}")


def _short(table: dict[str, Any]) -> str:
    return ", ".join(f"{theirs}: {ours}" for theirs, ours in table.items())


def _stand(order: Json) -> str:
    return f"{order['phase']}, cancelable {order['verdict']['cancelable']}"


def _until(order: Json, starts_at: datetime) -> str:
    verdict = order["verdict"]
    changes_at = verdict["changes_at"]
    hours = (starts_at - datetime.fromisoformat(changes_at)) / timedelta(hours=1) if changes_at else 0
    return f"{verdict['cancelable']}, {hours:g} h"


WITHOUT_CODE = Chapter(
    "A shop that nobody wrote code for",
    "The example of the generic handler's README, as it stands there: where the shop's webhooks (CloudEvents) state "
    "what, what its words mean, when an order can no longer be canceled (CEL), and how to cancel it (a template).",
    without_code,
    SHOP,
)
