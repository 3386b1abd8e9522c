"""Requests of the public `cloudevents` package, by both of its APIs, are accepted by the provider `generic`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion as conversion_1
from cloudevents.v1.http import CloudEvent as CloudEvent1
from servers import Reply, Rescind

SHOP, HOOK, TOKEN = "example-shop", "example-shop-in", "a-token-of-the-shop-0123"
SCENARIO = json.loads(
    (Path(__file__).parents[2] / "handlers" / "generic" / "fixtures" / "_scenario.json").read_text(encoding="utf-8")
)
OPENED_AT = datetime(2026, 3, 2, 16, 0, 0, 250_000, tzinfo=UTC)
BATCH = {"content-type": "application/cloudevents-batch+json"}


def placed(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attributes and data of an event. The source holds what binary mode must percent-encode."""
    attributes = {
        "id": f"evt {number}",
        "source": 'https://shop.example/Größe "XL" 100%',
        "type": "com.example.shop.order.placed",
        "subject": f"orders/{number}",
        "time": OPENED_AT,
        "datacontenttype": "application/json",
        "partitionkey": "7",
    }
    return attributes, {"order": {"id": f"ord_{number}", "status": "placed", "placed_at": "2026-03-02T16:00:00Z"}}


def event(number: int) -> CloudEvent:
    return CloudEvent(*placed(number))


def event_1(number: int) -> CloudEvent1:
    """The same event by the older API of the package, which takes times as text."""
    attributes, data = placed(number)
    return CloudEvent1({**attributes, "time": "2026-03-02T16:00:00.250000Z"}, data)


async def test_requests_of_the_package_are_accepted_and_count_once(rescind: Rescind) -> None:
    config = {**SCENARIO["config"], "base_url": "http://127.0.0.1:9"}
    await rescind.put("accounts", SHOP, {"provider": "generic", "config": config, "unknown_orders": "send"})
    await rescind.put("endpoints", HOOK, {"account": SHOP, "verify": {"scheme": "token", "secrets": [TOKEN]}})

    async def send(headers: Mapping[str, str], body: bytes) -> Reply:
        return await rescind.hook(body, HOOK, TOKEN, headers=headers)

    def batch(*numbers: int) -> bytes:
        # The package composes no batches; one is a JSON array of its events.
        return b"[%s]" % b",".join(JSONFormat().write(event(number)) for number in numbers)

    binary, structured = to_binary_event(event(1)), to_structured_event(event(2))
    requests = [
        (binary.headers, binary.body),
        (structured.headers, structured.body),
        conversion_1.to_binary(event_1(3)),
        conversion_1.to_structured(event_1(4)),
        (BATCH, batch(5)),
        (BATCH, batch(6, 7, 8)),
    ]
    for headers, body in requests:
        reply = await send(headers, body)
        assert (reply.status, reply.json["status"]) == (200, "accepted"), (headers, reply)
    for number in range(1, 9):
        order = await rescind.order(f"ord_{number}", SHOP)
        assert (order["phase"], order["provider_status"]) == ("open", "placed")
        [stored] = (await rescind.get(f"/v1/events?account={SHOP}&order=ord_{number}"))["data"]
        assert stored["occurred_at"] == "2026-03-02T16:00:00.250000Z"
    for headers, body in requests:
        assert (await send(headers, body)).json["status"] == "duplicate"
    # An event is the same one in whatever mode it comes again.
    for number in range(1, 9):
        other = to_structured_event(event(number)) if number % 2 else to_binary_event(event(number))
        assert (await send(other.headers, other.body)).json["status"] == "duplicate", number
