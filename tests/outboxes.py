"""A ledger with subscriptions, whose clock stands still until it is set, and what was written for them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from app.config.secrets import Vault
from app.config.store import ConfigStore
from app.contract import Appointment, Facts, ParsedEvent, Phase, Source
from app.core.cancellation import Cancellation
from app.core.commands import Command, RecordEvents, RequestCancel
from app.core.event import to_event
from app.core.outbound.message import Message
from app.core.outbound.types import OUTBOUND_TYPES, Subject, data_of, payload
from app.engine.committed import Committed
from app.engine.ledger import Ledger
from app.runtime import ids
from app.runtime.ids import Ids
from app.runtime.redaction import Redactor
from app.store import codec
from app.store.sqlite import SqliteStore, open_sqlite
from app.workers.timers import Timers

SHOP = "shop"
T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
_SCENARIO = json.loads(
    (Path(__file__).parents[1] / "handlers" / "generic" / "fixtures" / "_scenario.json").read_text(encoding="utf-8")
)
CLOSING = timedelta(hours=24)
"""So long before an appointment the window of its order closes."""


def account(id: str = SHOP, **more: Any) -> dict[str, Any]:
    return {"id": id, "provider": "generic", "config": _SCENARIO["config"], "rules": _SCENARIO["rules"], **more}


@dataclass
class Office:
    """A process with its clock, and the path of its database."""

    path: Path
    now: datetime = T0
    committed: list[Committed] = field(default_factory=list)
    _keys: int = 0

    async def start(self) -> None:
        self.store: SqliteStore = await open_sqlite(self.path)
        self.config = ConfigStore(self.store, Vault(["k" * 32]), Redactor())
        await self.config.load()
        self.ids = Ids()
        self.ledger = Ledger(
            self.store,
            self.config.view,
            self.ids,
            accounts_of=self.config.accounts_of,
            router=lambda: self.config.router,
            on_commit=self.committed.append,
        )
        await self.ledger.load()
        self.timers = Timers(self.store, self.ledger, lambda: self.now)
        self._running = asyncio.create_task(self.ledger.run())

    async def stop(self) -> None:
        self.ledger.close()
        await self._running
        await self.store.close()

    async def apply(self, *subscriptions: dict[str, Any], prune: bool = False, **resources: Any) -> None:
        """Put resources in force."""
        given = {"subscriptions": [{"url": "https://crm.example/", **body} for body in subscriptions], **resources}
        await self.config.apply(given, by="test", now=self.now, confirm=True, prune=prune)

    async def tell(
        self, order: str, phase: Phase | None = Phase.OPEN, *, booked: datetime | None = None, **more: Any
    ) -> None:
        """The provider sends an event of an order; `booked`: its appointment begins then."""
        await self.record(self.told(order, phase, booked=booked, **more))

    def told(
        self,
        order: str,
        phase: Phase | None = Phase.OPEN,
        *,
        booked: datetime | None = None,
        at: datetime | None = None,
        account: str = SHOP,
        **facts: Any,
    ) -> RecordEvents:
        self._keys += 1
        appointments = () if booked is None else (Appointment("1", "booked", booked),)
        stated = Facts(phase=phase, appointments=appointments, appointments_complete=booked is not None, **facts)
        parsed = ParsedEvent(order, "order.told", str(self._keys).encode(), stated, at or self.now)
        event = to_event(parsed, account, self.now, Source.WEBHOOK, None)
        return RecordEvents(account, order, self.now, (event,))

    async def request(self, order: str, *, account: str = SHOP, **more: Any) -> str:
        """A person requests a cancel; returns its id."""
        id = ids.show(ids.CANCELLATION, self.ids.next())
        asked = Cancellation(id, account, order, "mistake", self.now, self.now, requested_by="ann")
        await self.record(RequestCancel(account, order, self.now, asked, **more))
        return id

    async def record(self, *commands: Command[Any]) -> list[Any]:
        """Record commands in one transaction."""
        return await self.ledger.execute_all(commands)

    async def strike(self, now: datetime | None = None) -> None:
        """The clock is set, and the timers look until nothing is due any more."""
        self.now = now or self.now
        while await self.store.overdue(self.now, 1):
            await self.timers._fire_due()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as db, db:
            return db.execute(sql, values).fetchall()

    def messages(self, subscription: str | None = None) -> list[Message]:
        """All messages, in the order of their ids; those that a subscription received."""
        sql = f"""SELECT {codec.MESSAGE_COLUMNS} FROM messages WHERE id IN
                  (SELECT message FROM deliveries WHERE ? IN (subscription, '')) ORDER BY id"""  # noqa: S608
        messages = [codec.read_message(row) for row in self.rows(sql, subscription or "")]
        for message in messages:
            check(message)
        return messages

    def said(self, subscription: str | None = None) -> list[tuple[str, str | None]]:
        """(type, order) of all messages."""
        return [(message.type, read(message)["order"]) for message in self.messages(subscription)]

    def forget(self) -> None:
        """Delete all messages."""
        self.rows("DELETE FROM messages")
        self.rows("DELETE FROM deliveries")


def read(message: Message) -> dict[str, Any]:
    """`data` of a message."""
    return dict(msgspec.json.decode(message.data))


def check(message: Message) -> None:
    """A message is what the registry says of its type."""
    data, schema = read(message), OUTBOUND_TYPES[message.type].schema
    assert msgspec.json.decode(data_of(msgspec.convert(data, Subject), msgspec.convert(data, schema))) == data
    assert data["account"] == (message.account or None)
    assert data["test"] or data["event"] == message.cause
    assert msgspec.json.decode(payload(message, full=True))["type"] == message.type


@asynccontextmanager
async def office(path: Path, *subscriptions: dict[str, Any], **resources: Any) -> AsyncIterator[Office]:
    """A running office with one account, `SHOP`, and these subscriptions."""
    made = Office(path)
    await made.start()
    try:
        await made.apply(*subscriptions, **{"accounts": [account()], **resources})
        yield made
    finally:
        await made.stop()
