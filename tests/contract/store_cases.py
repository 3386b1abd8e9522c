"""What the suites of the store share: how one is opened, and small values to store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from threading import enumerate as enumerate_threads
from typing import Any

from postgres import CleanSchema, end_leases, give_back, take_schema
from providers import WAIT_S

from app.contract import Order, Phase, Source
from app.core.aggregate import Job, JobKind, OrderAggregate
from app.core.attempt import Attempt
from app.core.cancellation import Cancellation
from app.core.event import Event, event_id
from app.store import Changes, OrderWrite, Receipt, Store, Window
from app.store.node_protocol import ACCOUNT
from app.store.opening import open_store
from app.store.sqlite import open_sqlite

Opener = Callable[[Path], Awaitable[Store]]
"""Opens the database in a directory, made as needed."""
_schemas: dict[Path, CleanSchema] = {}


async def _open_schema(directory: Path) -> Store:
    """Opens the schema that stands for a directory, for as long as the test runs; it is of the only node alive."""
    if directory not in _schemas:
        _schemas[directory] = await take_schema()
    target = _schemas[directory].target
    await end_leases(target)
    store = await open_store(target)
    await store.join("test", "1")
    await store.take({ACCOUNT + account for account in (A, "other", "third", "b", "")})
    return store


async def forget_schemas() -> None:
    """Undo what the test wrote."""
    while _schemas:
        await give_back(_schemas.popitem()[1])


OPENERS: dict[str, Opener] = {"sqlite": lambda directory: open_sqlite(directory / "store.db"), "postgres": _open_schema}
T0 = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
A = "acme"
ALL = Window(1000)
"""The whole of a short list."""


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def event(order: str, n: int, type: str = "order.opened", account: str = A, **more: Any) -> Event:
    id = event_id(account, order, type, str(n).encode())
    return Event(id, account, order, type, at(n), at(n), Source.WEBHOOK, **more)


def order(id: str, account: str = A, phase: Phase = Phase.OPEN, **more: Any) -> OrderAggregate:
    return OrderAggregate(Order(account=account, id=id, phase=phase, version=1, last_event_at=at(0)), **more)


def job(id: str, due: float = 0, account: str = A, **more: Any) -> Job:
    return Job(account, id, JobKind.CANCEL, at(due), **more)


def new_cancellation(id: str, order: str, account: str = A, **more: Any) -> Cancellation:
    return Cancellation(id, account, order, "because", at(0), at(0), **more)


def write(
    pk: int,
    aggregate: OrderAggregate,
    job: Job | None = None,
    cancelable: str = "yes",
    *,
    had_job: bool = False,
    next_check_at: float | None = None,
) -> OrderWrite:
    return OrderWrite(pk, aggregate, cancelable, None if next_check_at is None else at(next_check_at), job, had_job)


def threads_left(before: Collection[Thread]) -> list[Thread]:
    """Threads that were not there before and do not end, although the event loop stands still meanwhile."""
    others = [thread for thread in enumerate_threads() if thread not in before]
    for thread in others:
        thread.join(WAIT_S)
    return [thread for thread in others if thread.is_alive()]


async def commit(store: Store, **changes: Any) -> None:
    async with store.transaction() as transaction:
        await transaction.find([(account, name) for account, name, _ in changes.get("names", ())], [])
        await transaction.commit(Changes(**changes))


async def place(store: Store, pk: int, id: str, *events: Event, account: str = A, **more: Any) -> None:
    """An order with its name, and events of it."""
    aggregate = more.pop("aggregate", None) or order(id, account)
    writes = [write(pk, aggregate, more.pop("job", None))]
    await commit(store, orders=writes, names=[(account, id, pk)], events=[(pk, each) for each in events], **more)


def receipt(id: int, status: str = "accepted", endpoint: str = "in", **more: Any) -> Receipt:
    given = {"query": [("a", "1"), ("a", "2")], "headers": [("X-A", "\u00e9"), ("x-a", "")], "body": b"\0\xff"}
    return Receipt(id, endpoint, A, at(id), status, **{"reason": "", **given, **more})


def attempt(id: int, pk: int, **more: Any) -> Attempt:
    return Attempt(id, pk, A, "o-1", JobKind.CANCEL, "can_1", at(0), **more)
