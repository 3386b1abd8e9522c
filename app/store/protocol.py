"""What a database must do for Rescind; `app.store.sqlite` does it.

The ledger opens one `Transaction` at a time to write. Readers have connections of their own and never wait for a
writer. The store decides nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.core.aggregate import Job, OrderAggregate
from app.core.attempt import Attempt, Uptime
from app.core.cancellation import Cancellation
from app.core.event import Event
from app.core.lane.state import LaneState
from app.core.pauses import Pause, Pauses
from app.core.policy.limits import PolicyUsage
from app.store.backtest_runs import BacktestRunStore
from app.store.configuration_protocol import ConfigurationReader, ConfigurationStore
from app.store.delivery_protocol import DeliveryReader, DeliveryStore
from app.store.index_protocol import IndexReader, IndexStore
from app.store.links import LinkReader
from app.store.list_protocol import ListReader
from app.store.log import LogReader, LogStore
from app.store.log_chain import LogChainReader, LogChainStore
from app.store.node_protocol import NodeStore
from app.store.overview import OverviewReader
from app.store.records import (
    Backtest,
    Changes,
    LoggedRow,
    LogMark,
    Lookup,
    Name,
    OrderWrite,
    Receipt,
    StoredOrder,
    Window,
)
from app.store.retention import RetentionReader, RetentionStore
from app.store.sessions import SessionReader, SessionStore
from app.store.traffic import TrafficReader, TrafficStore


class StoreError(Exception):
    """The transaction failed, and nothing of it is stored."""


class StoreConflict(StoreError):
    """The database refused the data of one command of the commit; the other commands may succeed without it."""


class StoreUnavailable(StoreError):
    """The database cannot work now (locked, disk full, I/O error, closed, replaced); retry later."""


class StoreContention(StoreError):
    """Others wrote the same at the same time, or the connection was lost before the commit; try again at once."""


class StoreOutdated(StoreError):
    """The configuration has changed since it was loaded; load it, and try again."""


class AccountInUse(StoreError):
    """An account is to be removed that has cancellations under way."""

    def __init__(self, account: str) -> None:
        super().__init__(f"the account {account} has cancellations under way")
        self.account = account


class StoreFenced(StoreError):
    """The lease of this node has ended, and another may do its work: it must do nothing more."""


class StoreInterrupted(StoreUnavailable):
    """A query exceeded its time limit, or nobody waits for its result any more."""


class SearchIndexDamaged(StoreError):
    """The search index's file is damaged, or was removed or replaced: it is to be discarded, and made anew."""


@dataclass(frozen=True, slots=True)
class Locks:
    """What must not change while a transaction is open, besides the orders that it finds."""

    configuration: int = 0
    """The version of the configuration that it decides by (`Store.configuration_version`); 0: it does not matter."""
    claims: frozenset[str] = frozenset()
    """The accounts of which calls are claimed: their lanes and all pauses stay as they are."""
    limits: bool = False
    """Whether policies with limits may act: of these, `policy_usage` stays as it is."""
    pauses: bool = False
    """Whether something is paused or resumed: no call is claimed meanwhile."""


NO_LOCKS = Locks()


class Transaction(Protocol):
    """An open transaction. What it has read of the orders that it found cannot change until it ends."""

    pauses: Pauses | None
    """What may not be sent; None: what the caller wrote last, as nobody else writes."""
    pauses_version: int
    """Raised by each commit that pauses or resumes; 0 where nobody else writes."""
    owned: frozenset[str] | None
    """The accounts of `Locks.claims` whose lanes are this node's; None: all."""
    limits: bool
    """Whether policies with limits may act."""

    async def find(self, names: Sequence[Name], events: Sequence[Event]) -> Lookup:
        """The orders that have these names, and which of `events` (of one of the names) are in the log.

        The orders are locked until the transaction ends. Raises `StoreContention`.
        """

    async def history(self, pks: Sequence[int]) -> dict[int, list[Event]]:
        """All events of these orders, in the order of the log."""

    async def logged(self, pks: Sequence[int]) -> dict[int, list[LoggedRow]]:
        """The same as stored, with the positions."""

    async def log_marks(self, pks: Sequence[int]) -> dict[int, LogMark]:
        """Order number → the mark of its log, as `Reader.logged` gives it."""

    async def policy_usage(self, policies: Sequence[str], now: datetime) -> dict[str, PolicyUsage]:
        """How many cancellations each policy made in the hour and the day before `now`, if any."""

    async def count_open_orders(self, accounts: Sequence[str], maximum: int) -> int:
        """How many open orders these accounts have, counted up to `maximum`."""

    async def fingerprints(self, pks: Sequence[int]) -> dict[int, int]:
        """The stored fingerprints of these orders; orders without one are left out."""

    async def orders_with_fingerprints(
        self, fingerprints: Mapping[str, Collection[int]], limit: int
    ) -> list[tuple[str, int, int, OrderAggregate]]:
        """(account, fingerprint, order number, aggregate) of the orders with these fingerprints, by account.

        At most `limit` for each. Until the transaction ends, no other one stores an order with one of them.
        """

    async def provider_names(self, pks: Sequence[int]) -> dict[int, set[str]]:
        """The names that the provider uses for each order, in webhooks and probes."""

    async def merge(self, keep: int, drop: int, names: Collection[Name]) -> None:
        """Move everything of order `drop` to order `keep`, and delete `drop`: both turned out to be one order.

        `names` are all names that lead to `drop`, shared ones included.
        """

    async def commit(self, changes: Changes) -> None:
        """Write everything to disk, with a few statements for each kind of row, and end the transaction."""


class Reader(
    ConfigurationReader,
    DeliveryReader,
    TrafficReader,
    LogReader,
    LogChainReader,
    LinkReader,
    OverviewReader,
    IndexReader,
    RetentionReader,
    SessionReader,
    ListReader,
    Protocol,
):
    """Queries outside of transactions. Lists are newest first unless the method says otherwise.

    Queries of HTTP requests, lanes and timers never wait for lists or searches; a search has a time budget.
    """

    async def order(self, account: str, order: str) -> tuple[int, OrderAggregate] | None:
        """(order number, aggregate) of the order with this id or unique alias."""

    async def orders_sharing_alias(self, account: str, alias: str, limit: int) -> list[str]:
        """Ids of the orders that have this shared alias, oldest first."""

    async def provider_names(self, pk: int) -> set[str]:
        """The names that the provider uses for the order, in webhooks and probes."""

    async def quarantined_because(self, account: str, parts: Collection[str]) -> bool:
        """Whether a recent webhook of the account was quarantined for a reason that contains one of `parts`."""

    def order_pages(self, pk: int) -> AsyncIterator[list[tuple[int, Event]]]:
        """The order's events, oldest first, in pages of (position, event)."""

    async def order_events(self, pk: int) -> list[Event]: ...

    async def event(self, id: str) -> Event | None: ...

    def log(self) -> AsyncIterator[list[tuple[int, int, Event]]]:
        """The whole log, oldest first, in pages of (position, order number, event)."""

    async def stored_orders(self, after: StoredOrder | None, limit: int) -> list[StoredOrder]:
        """The next `limit` orders, after one that was read before, or from the first on, in one snapshot."""

    async def stored_again(self, orders: Sequence[StoredOrder]) -> list[StoredOrder]:
        """What is stored of these orders now, in one snapshot."""

    async def orders_opened(self, account: str, since: datetime, until: datetime, limit: int) -> list[OrderAggregate]:
        """Orders that were opened between these times."""

    async def policy_usage(self, policies: Sequence[str], now: datetime) -> dict[str, PolicyUsage]:
        """As in a transaction: of policies that made none, nothing."""

    async def decisions(self, policy: str, window: Window) -> list[tuple[int, Event]]:
        """The decisions of a policy."""

    async def failing_policies(self, policies: Sequence[str]) -> dict[str, Event]:
        """The latest decision of each of these policies that fails, by `FAILURES_MIN` and `FAILING_DECISIONS`."""

    async def count_orders(self, accounts: Sequence[str]) -> int: ...

    async def every_nth_order(self, accounts: Sequence[str], n: int) -> list[int]:
        """The number of every n-th order of these accounts, by number."""

    async def histories(
        self, accounts: Sequence[str], after: int, until: int, limit: int
    ) -> list[tuple[int, list[Event]]]:
        """Orders of these accounts numbered above `after` up to `until`, by number, each with its events."""

    async def history_together(self, pks: Sequence[int]) -> list[tuple[int, Event]]:
        """(order number, event) of these orders, in the order of the log."""

    async def receipt(self, id: int) -> Receipt | None: ...

    async def receipt_events(self, receipt: int, limit: int) -> list[Event]:
        """The first events that were parsed from a receipt."""

    async def cancellation(self, id: str) -> Cancellation | None: ...

    async def attempts(self, order_pk: int, limit: int) -> list[Attempt]: ...

    async def attempt(self, id: int) -> Attempt | None: ...

    async def jobs(
        self, account: str, due: datetime, limit: int, held_policies: Collection[str] | None = ()
    ) -> list[tuple[int, Job]]:
        """Due jobs that are not being sent: the most urgent first, then the longest due.

        At most `limit` that never failed, and after them at most `limit` that did. Cancels of `held_policies` are left
        out; with None, those of all policies.
        """

    async def deadlines(self, account: str, until: datetime, limit: int) -> list[datetime]:
        """When the account's unsent jobs that never failed become urgent, up to `until`, the earliest first."""

    async def latencies_s(self, account: str, limit: int) -> list[float]:
        """Durations of the account's latest cancel calls, the oldest first."""

    async def batch_states(self, batch: str, accounts: Collection[str] | None = None) -> dict[str, int]:
        """State → number of cancellations of the batch in it, of these accounts or all."""

    async def quiet_orders(self, account: str, before: datetime, limit: int) -> list[tuple[int, str]]:
        """(order number, id) of open orders without events since `before`, the longest ago first."""

    async def next_due(
        self, account: str, after: datetime, held_policies: Collection[str] | None = ()
    ) -> datetime | None: ...

    async def accounts_with_cancellations(self) -> set[str]: ...

    async def overdue(self, now: datetime, limit: int, *, latest: bool = False) -> list[tuple[str, str]]:
        """(account, order) of jobs past their deadline and of orders due for a check, the longest overdue first.

        With `latest`, the most recently due first.
        """

    async def next_deadline(self) -> datetime | None:
        """When the next of them is overdue."""

    async def interrupted_calls(self, accounts: Collection[str] | None = None) -> list[tuple[str, str]]:
        """(account, order) of cancel calls that are under way, of these accounts or of all that this node owns."""

    async def lapsed_claims(self, now: datetime, limit: int) -> list[tuple[int, str, str]]:
        """(order number, account, order) of cancel calls whose claim has expired, the longest ago first."""

    async def unfinished_attempts(self, accounts: Collection[str] | None = None) -> list[Attempt]:
        """Attempts whose end was not recorded, of these accounts or of all that this node owns."""

    async def calls_within(
        self, account: str, period_s: float, now: datetime, up: Uptime | None
    ) -> list[tuple[float, int]]:
        """(age in seconds, number of calls) of the attempts that ended within the last `period_s` seconds.

        An attempt counts if it ended within it by the time of day or by the machine's monotonic clock `up`; its
        age is the smaller of the two, and 0 if it ended in the future. Of an attempt that is under way, all calls but
        the last have ended, and count with age 0.
        """

    async def pauses(self) -> list[Pause]: ...

    async def queued_probes(self, account: str, maximum: int) -> tuple[int, datetime | None]:
        """Probes of the account that no cancellation waits for: (how many, up to `maximum`; when the last is due)."""

    async def lane(self, account: str) -> LaneState | None:
        """What the account's lane has learned of its provider, as saved last."""

    async def lanes(self) -> dict[str, LaneState]:
        """Account → what its lane has learned, as saved last; without those whose lanes have learned nothing."""

    async def orders_under_way(self) -> dict[str, int]:
        """Account → how many of its orders a call is under way for; without those that have none."""

    async def heard_since(self, account: str, since: datetime) -> bool:
        """Whether a webhook of the account was recorded since then."""

    async def account_secrets(self, account: str) -> bytes | None:
        """What the account's flows keep durably, encrypted; None if nothing."""

    async def counts_for_review(self, maximum: int, account: str | None = None) -> dict[str, int]:
        """How many receipts are `quarantined`, and cancellations need `approvals` or are `indeterminate` for a person.

        Each is counted up to `maximum`; with `account` only that one's, among the latest of all accounts.
        """

    async def backtests(self, policy: str, window: Window) -> list[Backtest]: ...

    async def backtested_conditions(self, policy: str) -> set[str]:
        """The condition hashes with which the policy was backtested on at least one event."""


class Store(
    Reader,
    ConfigurationStore,
    BacktestRunStore,
    DeliveryStore,
    TrafficStore,
    LogStore,
    LogChainStore,
    IndexStore,
    RetentionStore,
    SessionStore,
    NodeStore,
    Protocol,
):
    """An open database."""

    single_writer: bool
    """Whether nobody else can write: then what was read and written once need not be looked up again."""
    orders_replaced: int
    """How often orders were written otherwise than in a transaction, since it was opened."""

    writers: int
    """How many transactions may be open at once; one more waits until one ends."""

    @property
    def log_delay_s(self) -> float:
        """How long those who follow the log have waited for a transaction that is open; 0.0 if for none."""

    def transaction(self, locks: Locks = NO_LOCKS) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction. Without a commit nothing is stored.

        Raises `StoreConflict`, `StoreContention`, `StoreOutdated`, `StoreFenced` or `StoreUnavailable`. When one
        transaction finds the store unavailable, those that wait may fail at once instead of waiting for the same fault
        in turn.
        """

    async def prove_writable(self) -> None:
        """Write something harmless to disk. Raises `StoreUnavailable`."""

    async def save_backtest(self, backtest: Backtest) -> None: ...

    async def save_lane(self, account: str, state: LaneState) -> None: ...

    async def save_account_secrets(self, account: str, sealed: bytes) -> None:
        """Replace what the account's flows keep durably; on disk when this returns.

        Raises `StoreFenced` if the account is not this node's, `StoreConflict` if it was removed.
        """

    async def recheck_step(self, limit: int) -> bool:
        """Let the timers check some of the orders that wait for it after a change; False if there are none."""

    async def replace_orders(
        self,
        writes: Sequence[OrderWrite],
        cancellations: Sequence[tuple[int, Cancellation]],
        read: Sequence[StoredOrder] = (),
    ) -> bool:
        """Overwrite these orders, their jobs and their cancellations, for a rebuild.

        Writes nothing, and returns False, if one of `read` is not stored any more as it was read.
        """

    async def close(self) -> None: ...
