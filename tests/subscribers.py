"""Subscribers that receive deliveries, and the workers that send to them, without the rest of a node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self

import msgspec
from aiohttp import web
from providers import WAIT_S, until
from servers import LOOPBACK

from app.config.subscriptions import SubscriptionSpec, make_secret
from app.core.outbound.delivery import Delivery, DeliveryState
from app.core.outbound.message import Message, Target
from app.engine.ledger import Ledger
from app.runtime import ids
from app.runtime.http_server import stop_listening
from app.runtime.outgoing import OutgoingHttp
from app.runtime.redaction import Redactor
from app.store import Changes, Store
from app.store.codec import micros
from app.store.sqlite import open_sqlite
from app.workers.deliveries.manager import Deliveries
from app.workers.deliveries.notice_senders import Senders
from app.workers.deliveries.send import WebhookSender


@dataclass(slots=True)
class Received:
    """One request that a subscriber got."""

    id: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def n(self) -> int:
        """Which message it is, by `Sending.write`."""
        return int(self.json["data"]["n"])


Respond = Callable[[Received], "Awaitable[web.StreamResponse] | web.StreamResponse | int"]


def once(status: int, headers: dict[str, str] | None = None, then: int = 204) -> Respond:
    """Respond so to the first request, and well to the others."""
    left = [web.Response(status=status, headers=headers, text="why")]
    return lambda _received: left.pop() if left else then


def tried(times: int) -> Callable[[Delivery], bool]:
    """Whether a delivery was tried so often."""
    return lambda delivery: len(delivery.attempts) >= times


def is_delivered(delivery: Delivery) -> bool:
    return delivery.state is DeliveryState.DELIVERED


@dataclass(slots=True)
class Subscriber:
    """A server on loopback that receives deliveries."""

    respond: Respond = lambda _received: 204
    received: list[Received] = field(default_factory=list)
    url: str = ""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: Any = None

    @classmethod
    async def start(cls, respond: Respond | None = None) -> Self:
        """Serve; `respond` gives a status or a response."""
        made = cls() if respond is None else cls(respond)
        runner = web.ServerRunner(web.Server(made._handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made._runner = runner
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
        return made

    async def close(self) -> None:
        await stop_listening(self._runner)
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        received = Received(request.headers.get("webhook-id", ""), dict(request.headers), body)
        self.received.append(received)
        self._changed.set()
        response = self.respond(received)
        if isinstance(response, int):
            return web.Response(status=response)
        return response if isinstance(response, web.StreamResponse) else await response

    async def wait_for(self, number: int) -> list[Received]:
        """The first `number` requests."""
        async with asyncio.timeout(WAIT_S):
            while len(self.received) < number:
                self._changed.clear()
                await self._changed.wait()
        return self.received[:number]

    @property
    def numbers(self) -> list[int]:
        """Which messages were received, in turn."""
        return [received.n for received in self.received]


class Sending:
    """A store, a ledger and the workers of subscriptions, with a clock that the test sets."""

    def __init__(self, store: Store, clock: Callable[[], datetime] | None = None) -> None:
        self.now = datetime.now(UTC)
        self.store = store
        self.ledger = Ledger(
            store, _no_account, ids.Ids(), on_commit=lambda done: self.deliveries.wake(done.subscriptions)
        )
        self.redactor = Redactor()
        self.http = OutgoingHttp((ip_network(LOOPBACK),))
        self.specs: dict[str, SubscriptionSpec] = {}
        self.expired: list[str] = []
        self._count = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = clock

    @classmethod
    async def start(cls, directory: Path, senders: Callable[[Self], Senders] | None = None) -> Self:
        """Start; `senders` makes the senders, else all send webhooks."""
        made = cls(await open_sqlite(directory / "deliveries.db"))
        made.deliveries = Deliveries(
            made.store,
            made.ledger,
            ids.Ids(),
            (lambda spec: WebhookSender(spec, made.http, made.redactor)) if senders is None else senders(made).make,
            expire=made._expire,
            kept=timedelta(days=30),
            clock=lambda: made.now,
        )
        await made.deliveries.load()
        made._tasks = [asyncio.create_task(work) for work in (made.ledger.run(), made.deliveries.record())]
        made._looking = asyncio.create_task(made.deliveries.run())
        return made

    deliveries: Deliveries
    _looking: asyncio.Task[None]

    async def stop(self) -> None:
        self._looking.cancel()
        await self.deliveries.drain(0.1)
        await self._tasks[1]
        self.ledger.close()
        await self._tasks[0]
        await self.http.close()
        await self.store.close()

    async def crash(self) -> None:
        """End without recording anything more."""
        slots = [slot for worker in self.deliveries._workers.values() for slot in worker._slots]
        tasks = [self._looking, *self._tasks, *self.deliveries._tasks.values(), *slots]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.http.close()
        await self.store.close()

    def put(self, id: str = "crm", **fields: Any) -> SubscriptionSpec:
        """Create or change a subscription."""
        before = self.specs.get(id)
        given = {"secret": make_secret(), **(before.model_dump(exclude_unset=True) if before else {}), **fields}
        self.specs[id] = spec = SubscriptionSpec.model_validate({"id": id, **given})
        self.deliveries.follow(self.specs)
        return spec

    def remove(self, id: str) -> None:
        del self.specs[id]
        self.deliveries.follow(self.specs)

    async def _expire(self, id: str) -> None:
        self.expired.append(id)
        self.remove(id)

    async def write(self, *orders: int, to: str = "crm", wake: bool = True, ordered: bool | None = None) -> list[int]:
        """Write a message about each of these orders (0: about none); returns the messages' numbers."""
        spec = self.specs[to]
        target = Target(to, spec.ordered if ordered is None else ordered, spec.payload == "full")
        messages = []
        for order in orders:
            self._count += 1
            messages.append(
                Message(
                    id=ids.at(micros(self.now) // 1000) + self._count,
                    account="acme",
                    type="order.verdict_changed",
                    order_pk=order,
                    at=self.now,
                    data=b'{"n":%d,"order":%d}' % (self._count, order),
                    snapshot=b'{"id":"o"}' if target.full else None,
                    targets=(target,),
                )
            )
        async with self.store.transaction() as transaction:
            await transaction.commit(Changes(messages=messages))
        if wake:
            self.deliveries.wake([to])
        return [message.id for message in messages]

    def pass_time(self, **span: float) -> None:
        """Set the clock forward, and let the workers look."""
        self.now += timedelta(**span)
        self.deliveries.wake(self.specs)

    async def delivery(self, message: int, subscription: str = "crm") -> Delivery:
        stored = await self.store.delivery(subscription, message)
        assert stored is not None
        return stored

    async def until(self, message: int, done: Callable[[Delivery], bool], subscription: str = "crm") -> Delivery:
        """The stored delivery, once it is so."""

        async def look() -> Delivery | None:
            stored = await self.delivery(message, subscription)
            return stored if done(stored) else None

        stored = await until(look, "the delivery")
        assert stored is not None
        return stored


def _no_account(account: str) -> Any:
    raise KeyError(account)
