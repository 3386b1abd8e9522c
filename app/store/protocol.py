"""What a database must do for Rescind; `app.store.sqlite` does it.

The ledger opens one `Transaction` at a time to write. Readers have connections of their own and never wait for a
writer. The store decides nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from app.core.aggregate import Job, OrderAggregate
from app.core.attempt import Attempt, Uptime
from app.core.cancellation import Cancellation
from app.core.event import Event
from app.core.lane.state import LaneState
from app.core.pauses import Pause
from app.store.records import (
    ApiKey,
    Backtest,
    Changes,
    Found,
    Name,
    OrderWrite,
    PolicyUsage,
    Receipt,
    RecheckOrders,
    Resource,
    ResourceChange,
    Searched,
    StoredAnswer,
    StoredOrder,
)


class StoreError(Exception):
    """The database could not do it; nothing of the transaction is kept."""


class StoreConflict(StoreError):
    """The database refused what one submission of the batch may have caused; the others may succeed without it."""


class StoreUnavailable(StoreError):
    """The database as a whole cannot work now (locked, disk full, I/O error, closed, replaced): a retry comes later."""


class Transaction(Protocol):
    """The one writer's view. Everything it reads is locked until the end."""

    async def find(self, names: Sequence[Name], events: Sequence[Event]) -> Found:
        """Look up orders by any of their names, and which of `events` are in the log."""
        ...

    async def history(self, pks: Sequence[int]) -> dict[int, list[Event]]:
        """All events of these orders, oldest in the log first."""
        ...

    async def done(self, policies: Sequence[str], now: datetime) -> dict[str, PolicyUsage]:
        """How many cancellations these policies made in the hour and in the day before `now`, where any."""
        ...

    async def open_orders(self, accounts: Sequence[str], most: int) -> int:
        """How many orders of these accounts are not over; counted no further than `most`."""
        ...

    async def fingerprints(self, pks: Sequence[int]) -> dict[int, int]:
        """The fingerprints that these orders are stored with, where they have one."""
        ...

    async def alike(
        self, account: str, fingerprints: Sequence[int], limit: int
    ) -> list[tuple[int, int, OrderAggregate]]:
        """(fingerprint, number, case) of the orders with one of these fingerprints; at most `limit` for each."""
        ...

    async def stated_names(self, pks: Sequence[int]) -> dict[int, set[str]]:
        """By which names webhooks and probes spoke of these orders: what the provider itself calls them."""
        ...

    async def merge(self, keep: int, drop: int, names: Collection[Name]) -> None:
        """Two orders turned out to be one: give `keep` everything that `drop` has, and delete `drop`.

        `names` are all that lead to `drop`, the shared ones too.
        """
        ...

    async def commit(self, changes: Changes) -> None:
        """Write everything, a few statements for each kind of row, and put it on disk: the end of the transaction."""
        ...


class Reader(Protocol):
    """Questions that are asked outside of transactions. Lists are newest first unless said otherwise.

    What the door, lanes and timers ask waits for no list and no search; a search ends when its time is over.
    """

    async def case(self, account: str, order: str) -> tuple[int, OrderAggregate] | None:
        """(number, case) of the order that has this name for itself: its id, or a unique alias."""
        ...

    async def carriers(self, account: str, alias: str, limit: int) -> list[str]:
        """Ids of the orders that carry this shared alias, the first seen first."""
        ...

    async def stated_names(self, pk: int) -> set[str]:
        """By which names webhooks and probes spoke of the order: what the provider itself calls it."""
        ...

    async def quarantined_because(self, account: str, parts: Collection[str]) -> bool:
        """Was a webhook of the account, of late, put into quarantine for a reason with one of these parts?"""
        ...

    async def orders(
        self, *, account: str | None, phase: str | None, cancelable: str | None, before: int | None, limit: int
    ) -> Searched[tuple[int, OrderAggregate]]: ...

    def order_pages(self, pk: int) -> AsyncIterator[list[tuple[int, Event]]]:
        """The order's part of the log, oldest first, in pages of (position, event)."""
        ...

    async def order_events(self, pk: int) -> list[Event]: ...

    async def event(self, id: str) -> Event | None: ...

    async def events(
        self,
        *,
        account: str | None,
        order_pk: int | None,
        type: str | None,
        since: datetime | None,
        until: datetime | None,
        text: str | None,
        before: int | None,
        limit: int,
    ) -> Searched[tuple[int, Event]]: ...

    def log(self) -> AsyncIterator[list[tuple[int, int, Event]]]:
        """The whole log, oldest first, in pages of (position, order number, event)."""
        ...

    async def stored_orders(self, after: int, limit: int) -> list[StoredOrder]:
        """The first `limit` orders numbered above `after`, by number, as they stood at one moment."""
        ...

    async def opened(self, account: str, since: datetime, until: datetime, limit: int) -> list[OrderAggregate]:
        """Orders that were opened between these times, the latest first seen first."""
        ...

    async def decisions(self, policy: str, before: int | None, limit: int) -> list[tuple[int, Event]]:
        """What a policy decided."""
        ...

    async def failing_policies(self, policies: Sequence[str]) -> dict[str, Event]:
        """The latest decision of each of these policies whose last few decisions (three at least) all failed."""
        ...

    async def count_orders(self, accounts: Sequence[str]) -> int: ...

    async def every_nth_order(self, accounts: Sequence[str], n: int) -> list[int]:
        """Of the orders of these accounts, by number, the number of each n-th."""
        ...

    async def histories(
        self, accounts: Sequence[str], after: int, until: int, limit: int
    ) -> list[tuple[int, list[Event]]]:
        """Orders of these accounts numbered above `after` up to `until`, by number, each with its part of the log."""
        ...

    async def history_together(self, pks: Sequence[int]) -> list[tuple[int, Event]]:
        """(order number, event) of these orders in the order of the log."""
        ...

    async def receipt(self, id: int) -> Receipt | None: ...

    async def receipts(
        self,
        *,
        account: str | None = None,
        endpoint: str | None = None,
        order_pk: int | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        before: int | None,
        limit: int,
    ) -> Searched[Receipt]: ...

    async def receipt_events(self, receipt: int, limit: int) -> list[Event]:
        """The first events that a receipt became."""
        ...

    async def cancellation(self, id: str) -> Cancellation | None: ...

    async def cancellations(
        self,
        *,
        account: str | None = None,
        order_pk: int | None = None,
        state: str | None = None,
        policy: str | None = None,
        waiting: str | None = None,
        batch: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[tuple[int, Cancellation]]: ...

    async def attempts(self, order_pk: int, limit: int) -> list[Attempt]: ...

    async def jobs(
        self, account: str, due: datetime, limit: int, held: Collection[str] | None = ()
    ) -> list[tuple[int, Job]]:
        """Jobs to be sent: due, not being sent; the most urgent first, then the longest due.

        At most `limit` of those that never failed; and after them, at most as many of those that did.
        What the policies in `held` want sent stays where it is; None: what any policy does.
        """
        ...

    async def deadlines(self, account: str, until: datetime, limit: int) -> list[datetime]:
        """By when the account's jobs that never failed and are not sent are urgent, up to then, the earliest first."""
        ...

    async def latencies_s(self, account: str, limit: int) -> list[float]:
        """How many seconds the latest cancels of an account took, the oldest of them first."""
        ...

    async def batch_states(self, batch: str) -> dict[str, int]:
        """State → how many cancellations of a batch are in it."""
        ...

    async def quiet_orders(self, account: str, before: datetime, limit: int) -> list[tuple[int, str]]:
        """(number, id) of orders that are not over and were last heard of before then, the longest ago first."""
        ...

    async def next_due(self, account: str, after: datetime, held: Collection[str] | None = ()) -> datetime | None: ...

    async def accounts_with_cancellations(self) -> set[str]: ...

    async def overdue(self, now: datetime, limit: int, *, latest: bool = False) -> list[tuple[str, str]]:
        """(account, order) of jobs whose deadline has passed, and of orders that are to be looked at.

        What was due first comes first; or, with `latest`, what was due last.
        """
        ...

    async def next_deadline(self) -> datetime | None:
        """When the next of these will be overdue."""
        ...

    async def interrupted(self) -> list[tuple[str, str]]:
        """(account, order) of cancel calls that were out when the process ended."""
        ...

    async def lapsed(self, now: datetime, limit: int) -> list[tuple[int, str, str]]:
        """(order number, account, order) of cancel calls whose lease has run out, the longest ago first."""
        ...

    async def unfinished_attempts(self) -> list[Attempt]: ...

    async def calls_within(
        self, account: str, span_s: float, now: datetime, up: Uptime | None
    ) -> list[tuple[float, int]]:
        """(how many seconds ago it ended, how many calls) of the attempts that ended within the span.

        What ended within it by either clock, the time of day or the machine's `up`, is taken to be as late as either
        says, and what lies in the future to have ended just now. Of an attempt that is under way the calls before the
        last ended no later than now.
        """
        ...

    async def pauses(self) -> list[Pause]: ...

    async def waiting_probes(self, account: str, most: int) -> tuple[int, datetime | None]:
        """How many orders an account is to be asked about for no cancellation, up to `most`; when the last is due."""
        ...

    async def lane(self, account: str) -> LaneState | None:
        """What an account's lane has learned of its provider, as it was saved last."""
        ...

    async def waiting_for_people(self, most: int) -> dict[str, int]:
        """How many receipts are `quarantined` and how many cancellations wait for `approvals`, counted up to `most`."""
        ...

    async def resources(self) -> list[Resource]: ...

    async def resource_changes(self, limit: int) -> list[ResourceChange]: ...

    async def former_bodies(self, kind: str, id: str) -> list[dict[str, Any]]:
        """What the audit trail has of a resource, without secrets."""
        ...

    async def backtests(self, policy: str, limit: int) -> list[Backtest]: ...

    async def backtested(self, policy: str) -> set[str]:
        """The condition hashes with which a policy was backtested."""
        ...

    async def api_keys(self) -> list[ApiKey]: ...

    async def answer(self, key: str) -> StoredAnswer | None: ...


class Store(Reader, Protocol):
    """A database, open."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """One transaction; the next one waits. Without a commit nothing of it is kept.

        Raises `StoreConflict` or `StoreUnavailable`. Whoever was waiting when the store turned out to be unavailable
        is told so at once, and does not wait for it again.
        """
        ...

    async def prove_writable(self) -> None:
        """Write something harmless and put it on disk. Raises `StoreUnavailable`."""
        ...

    async def save_resources(
        self,
        put: Sequence[Resource],
        removed: Sequence[tuple[str, str]],
        trail: Sequence[ResourceChange],
        awakenings: Sequence[RecheckOrders] = (),
    ) -> None: ...

    async def save_backtest(self, backtest: Backtest) -> None: ...

    async def save_lane(self, account: str, state: LaneState) -> None: ...

    async def save_answer(self, answer: StoredAnswer) -> None: ...

    async def save_key(self, key: ApiKey, answer: StoredAnswer | None) -> None: ...

    async def revoke_key(self, id: str, at: datetime) -> bool: ...

    async def replace_cases(
        self, writes: Sequence[OrderWrite], cancellations: Sequence[tuple[int, Cancellation]]
    ) -> None:
        """For a rebuild: overwrite these cases, their jobs and their cancellations."""
        ...

    async def close(self) -> None: ...
