"""Webhooks for the bench: PlanOmatic V3 bodies of about 1 KB, five events an order, orders interleaved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

EVENTS = (
    ("order.processed", "new_request"),
    ("appointment.awaiting_availability", "scheduling"),
    ("appointment.scheduled", "scheduled"),
    ("order.post_processing", "post_processing"),
    ("order.delivered", "delivered"),
)
INTERLEAVED = 200
"""Orders that are in the works at the same time."""
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def bodies(orders: int, first: int = 1) -> list[bytes]:
    """Bodies of five webhooks for each of `orders` orders, in the order in which a provider would send them."""
    made = []
    for block in range(first, first + orders, INTERLEAVED):
        ids = range(block, min(block + INTERLEAVED, first + orders))
        for step, (event, status) in enumerate(EVENTS):
            at = _BEGIN + timedelta(minutes=step)
            made += [body(order, event, status, at + timedelta(milliseconds=order)) for order in ids]
    return made


def body(order: int, event: str, status: str, at: datetime | None = None, order_id: int | None = None) -> bytes:
    """One body; by default of an event that happens now, with an `order_id` that follows from the order's number."""
    return msgspec.json.encode(
        {
            "event": event,
            "occurred_at": at or datetime.now(UTC),
            "order_id": 500_000 + order if order_id is None else order_id,
            "request_id": f"req-{order:09d}",
            "status": status,
            "external_property_id": f"prop-{order}",
            "billing_entity_slug": "northern-homes",
            "external_order_id": f"NH-{order:08d}",
            "metadata": {"agent": "a-117", "region": "mountain-west", "listing": f"L{order}"},
            "property": {
                "location": {
                    "street": f"{order} Larimer Street",
                    "street2": None,
                    "city": "Denver",
                    "state": "CO",
                    "postal_code": "80202",
                    "latitude": 39.7516,
                    "longitude": -104.9977,
                }
            },
            "services": [{"slug": "photos-25"}, {"slug": "floor-plan"}],
            "property_access": {
                "type": "lockbox",
                "instructions": "Lockbox on the left rail. Lights on, blinds open, cars out of the driveway.",
                "contact": {"name": "Front desk", "phone": "+1 303 555 0100", "email": "desk@northern-homes.example"},
            },
            "links": {"order": f"https://orders.northern-homes.example/o/{order}"},
        }
    )
