"""Pulling: how a subscription without a URL gets its messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

from aiohttp import web
from msgspec import Struct
from pydantic import Field

from app.config.scope import Scope
from app.config.subscriptions import SubscriptionSpec
from app.core.outbound.delivery import Delivery
from app.core.outbound.types import CLOSING_SOON, payload
from app.runtime import ids
from app.web import examples, resources
from app.web.auth import require_in_force
from app.web.deliveries import MESSAGE
from app.web.examples import example
from app.web.lookup import missing
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, RouteTable
from app.web.subscriptions import SUBSCRIPTION, require_subscription
from app.workers.deliveries.send import signer_of

ROUTES = RouteTable(resources.TAGS["subscriptions"], id=examples.SUBSCRIPTION)
STOPPING: web.AppKey[asyncio.Event] = web.AppKey("stopping", asyncio.Event)
"""Set when the server stops: nobody waits any longer."""
LOOK_S = 1.0
"""Between two looks at the queue: a message that became due again wakes nobody."""
_NO_SUBSCRIPTION = missing("subscriptions", examples.SUBSCRIPTION)
_PUSHED = Problem(
    Kind.INVALID, "Subscription 'crm' has a url, to which its messages are sent: only one without a url is pulled."
)


class PullBody(Body):
    """How many messages to take, and how long to wait for one."""

    limit: int = Field(20, ge=1, le=100, description="Maximum number of messages.")
    wait_s: float = Field(
        0, ge=0, le=30, allow_inf_nan=False, description="How long to wait for a message if there is none, in seconds."
    )
    visible_after_s: float = Field(
        60,
        ge=1,
        le=43_200,
        allow_inf_nan=False,
        description="Messages that are not acknowledged within so many seconds are given again.",
    )


class AckBody(Body):
    """The messages that were processed."""

    messages: list[str] = Field(min_length=1, max_length=1000, description="Their ids.")


class PulledMessage(Struct):
    """A message as it would be sent: the same headers, the same body."""

    id: str
    headers: dict[str, str]
    """Those of Standard Webhooks, with the signatures."""
    body: str
    """The JSON that is signed, byte for byte."""


class Pulled(Struct):
    """The messages that were pulled; acknowledge them."""

    data: list[PulledMessage]


class Acknowledged(Struct):
    """How many messages were acknowledged."""

    acknowledged: int
    """Those that were pending until then."""


example(PullBody(limit=20, wait_s=20))
example(AckBody(messages=[MESSAGE]))
example(Acknowledged(1))
example(
    Pulled(
        [
            PulledMessage(
                MESSAGE,
                {
                    "Content-Type": "application/json",
                    "webhook-id": MESSAGE,
                    "webhook-timestamp": "1772444700",
                    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
                },
                f'{{"type":"{CLOSING_SOON}","timestamp":"2026-03-02T09:45:00Z","data":{{}}}}',
            )
        ]
    )
)


@ROUTES.post(SUBSCRIPTION + "/pull", Scope.WRITE, problems=[_NO_SUBSCRIPTION, _PUSHED])
async def pull_messages(call: Call, id: str, body: PullBody) -> Pulled:
    """Take the next messages of a subscription without a URL, signed as if they were sent.

    A message is given again until it is acknowledged, so process each id once.
    """
    stopping, end = call.request.app[STOPPING], monotonic() + body.wait_s
    while True:
        require_in_force(call.node.keys, call.key)
        spec, now = _require_pulled(call, id), datetime.now(UTC)
        if is_gone(call.request):
            return Pulled([])  # Nobody would acknowledge them.
        due_at = (await call.node.store.deliveries_due_at([id])).get(id)
        if _may_be_pulled(call, spec) and due_at is not None and due_at <= now:
            visible_at = now + timedelta(seconds=body.visible_after_s)
            taken = await call.node.store.pull_deliveries(id, now, visible_at, body.limit)
            if taken:
                return Pulled(_signed(spec, taken, now))
        left_s = end - monotonic()
        if left_s <= 0 or stopping.is_set():
            return Pulled([])
        await _wait(call, id, min(left_s, LOOK_S))


@ROUTES.post(SUBSCRIPTION + "/ack", Scope.WRITE, problems=[_NO_SUBSCRIPTION, _PUSHED])
async def acknowledge_messages(call: Call, id: str, body: AckBody) -> Acknowledged:
    """Acknowledge messages that were pulled: they are not given again."""
    _require_pulled(call, id)
    try:
        numbers = [ids.read(ids.MESSAGE, message) for message in body.messages]
    except ValueError as error:
        raise Problem(Kind.INVALID, f"The field messages: {error}.", field="messages") from error
    return Acknowledged(await call.node.store.acknowledge_deliveries(id, numbers))


def end_at_shutdown(app: web.Application) -> None:
    """End the requests that wait for messages when the server stops."""
    stopping = app[STOPPING] = asyncio.Event()

    async def stop(_: web.Application) -> None:
        stopping.set()

    app.on_shutdown.append(stop)


def _require_pulled(call: Call, id: str) -> SubscriptionSpec:
    spec = require_subscription(call, id)
    if spec.url is not None:
        detail = f"Subscription {id!r} has a url, to which its messages are sent: only one without a url is pulled."
        raise Problem(Kind.INVALID, detail)
    return spec


def _may_be_pulled(call: Call, spec: SubscriptionSpec) -> bool:
    """Whether it is enabled, and what a removed subscription of the same id left is deleted."""
    return spec.enabled and not call.node.deliveries.state(spec.id).purge_until


async def _wait(call: Call, id: str, timeout_s: float) -> None:
    """Wait until the subscription gets a message, the server stops, or so long."""
    waits = {
        asyncio.ensure_future(call.node.deliveries.arrival(id, timeout_s)),
        asyncio.ensure_future(call.request.app[STOPPING].wait()),
    }
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def is_gone(request: web.Request) -> bool:
    """Whether the client has closed the connection."""
    return request.transport is None or request.transport.is_closing()


def _signed(spec: SubscriptionSpec, deliveries: Sequence[Delivery], now: datetime) -> list[PulledMessage]:
    signer, pulled = signer_of(spec), []
    for delivery in deliveries:
        id, body = ids.show(ids.MESSAGE, delivery.message.id), payload(delivery.message, spec.payload == "full")
        headers = {"Content-Type": "application/json", **signer.headers(id, body, now)}
        pulled.append(PulledMessage(id, headers, body.decode()))
    return pulled
