"""A day of history for the example server: events that are hours apart, by servers whose clock is behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from moved_clock import prelude
from providers import Provider
from servers import Api, Server

SHOP_ORDER = "ord_2"
"""Its delivery was booked, called off and booked again."""
CANCELED = "654298"
"""It was canceled, at the second try."""
REJECTED = "654299"
"""It was scheduled, so that its cancel was rejected; then the appointment was open again."""
_CONTENT = {"Content-Type": "application/cloudevents+json"}
_HOUR = timedelta(hours=1)


async def record(directory: Path, provider: Provider, configure: Callable[[Api, Provider], Awaitable[None]]) -> None:
    """Let the day pass."""
    await provider.create(CANCELED, REJECTED)
    async with aiohttp.ClientSession() as session:
        for hours, happen in ((26, _placed), (19, _booked), (11, _scheduled), (7, _canceled), (4, _called_off)):
            server = Server(directory, session, prelude=prelude(-hours * _HOUR))
            await server.start()
            try:
                await configure(server, provider)
                await happen(server, provider, datetime.now(UTC) - hours * _HOUR)
            finally:
                await server.stop()


async def _placed(server: Server, _provider: Provider, now: datetime) -> None:
    for order in (CANCELED, REJECTED):
        await server.tell("order.processed", order, at=now)
    await deliver(server, SHOP_ORDER, "order.placed", now)


async def _booked(server: Server, _provider: Provider, now: datetime) -> None:
    await server.tell("appointment.awaiting_availability", CANCELED, at=now)
    await deliver(server, SHOP_ORDER, "delivery.booked", now, 30)


async def _scheduled(server: Server, _provider: Provider, now: datetime) -> None:
    starts = (now + 40 * _HOUR).isoformat()
    await server.tell("appointment.scheduled", REJECTED, at=now, appointment_id="a-1", starts_at=starts)
    assert (await server.request_cancel(REJECTED)).status == 409


async def _canceled(server: Server, provider: Provider, now: datetime) -> None:
    await provider.fault("status", status=500)
    await server.settled(await server.cancel(CANCELED))
    await deliver(server, SHOP_ORDER, "delivery.called_off", now, 18)


async def _called_off(server: Server, _provider: Provider, now: datetime) -> None:
    await server.tell("appointment.awaiting_reschedule", REJECTED, at=now, appointment_id="a-1")
    await deliver(server, SHOP_ORDER, "delivery.booked", now, 5.5)


async def deliver(api: Api, order: str, step: str, now: datetime, closes_in_h: float = 0.0) -> None:
    """Deliver a webhook of the shop; its orders can be canceled until a day before their delivery."""
    begins = now + (24 + closes_in_h) * _HOUR
    state = "booked" if step == "delivery.booked" else "called_off"
    delivery = {"id": "d-1", "state": state, "from": begins.isoformat(), "until": (begins + 4 * _HOUR).isoformat()}
    data: dict[str, Any] = {"id": order, "number": order.replace("ord_", "no-"), "deliveries": [delivery]}
    if step == "order.placed":
        data.update(placed_at=now.isoformat(), status="placed", deliveries=[])
    event = {"specversion": "1.0", "id": f"{order}-{step}-{now:%H%M%S%f}", "source": "/shop"}
    body = {**event, "type": f"com.example.shop.{step}", "time": now.isoformat(), "data": {"order": data}}
    reply = await api.hook(msgspec.json.encode(body), "shop-in", headers=_CONTENT)
    assert reply.status == 200, reply
