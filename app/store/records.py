"""Records that a store reads and writes: plain values, the same for every database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct

from app.core.aggregate import Job, OrderAggregate
from app.core.attempt import Attempt
from app.core.cancellation import Cancellation
from app.core.event import Event
from app.core.outbound.message import Message
from app.core.outbound.told import Told
from app.core.pauses import Pause

T = TypeVar("T")

Rows = list[tuple[Any, ...]]
"""Undecoded rows of a statement."""

Name = tuple[str, str]
"""(account, name of an order): its id or an alias."""


KEY_DIGITS = 16
EVENT_KEYS_MAX = 256
"""A look-up does not give the keys of the events of an order with more events."""


class FoundOrder(Struct, frozen=True, gc=False):
    """A stored order, as a look-up gives it. It is of a few flat values: thousands may be kept in memory."""

    number: int
    state: str
    """The aggregate as stored (`codec.read_aggregate`)."""
    told: Told
    """What subscribers were told of it."""
    keys: str | None
    """The keys of all its events, each in 16 hex digits behind a comma; None if they are too many, or others write."""


def listed_key(id: str) -> str:
    """The key of the event `id`, as `FoundOrder.keys` has it."""
    return f",{id[-KEY_DIGITS:]}"


@dataclass(frozen=True, slots=True)
class Lookup:
    """The stored orders and events that a commit is about."""

    orders: Mapping[Name, FoundOrder]
    """By name, for names that lead to an order."""
    logged: frozenset[str]
    """Ids of the events that are in the log already."""


class Receipt(Struct):
    """One inbound HTTP request as received, without secrets."""

    id: int
    endpoint: str
    account: str
    received_at: datetime
    status: str
    """accepted, duplicate, ignored or quarantined."""
    reason: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    body: bytes
    size: int | None = None
    """The size of the body as received, in bytes; lists are without the body."""
    expunged_at: datetime | None = None
    """When its query, headers and body were expunged."""
    digest: bytes = b""
    """Then, the SHA-256 of the body."""

    def __post_init__(self) -> None:
        if self.size is None:
            self.size = len(self.body)

    def expunge(self, at: datetime) -> None:
        """Expunge query, headers and body."""
        self.digest, self.expunged_at = sha256(self.body).digest(), at
        self.query, self.headers, self.body = [], [], b""


class OrderWrite(Struct):
    """An order to store, with the job that follows from it."""

    pk: int
    aggregate: OrderAggregate
    cancelable: str
    next_check_at: datetime | None
    """When time alone changes `cancelable`, or a policy is to be evaluated."""
    job: Job | None
    had_job: bool
    fingerprint: int | None = None
    """Orders with equal fingerprints are duplicates to the provider; None if no policy reads duplicates."""
    evaluated: bool = True
    """Whether policies were evaluated. If not, an earlier stored `next_check_at` stays."""
    reason: str | None = None
    """The code of the verdict's reason."""
    closes_at: datetime | None = None
    """When time alone closes the window."""
    listed_as_before: bool = False
    """Whether nothing has changed since it was stored that lists go by: verdict, phase, times, names, fingerprint."""
    closing_notice: str | None = None
    """For what `order.closing_soon` was sent (`app.core.outbound.told`); None: as stored."""
    state: str = ""
    """The aggregate as stored, once the store has written it."""


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """All rows of one order, as undecoded columns of `codec`: a rebuild trusts nothing."""

    pk: int
    events: list[tuple[Any, ...]]
    """`EVENT_COLUMNS` of the order's events, oldest first."""
    order: tuple[Any, ...] | None = None
    """(account, id, phase, last_event_at, state)."""
    job: tuple[Any, ...] | None = None
    """`JOB_COLUMNS`."""
    cancellations: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Id → (account, state, body)."""
    account: str = ""
    """Where keys begin with the account."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The first response to an Idempotency-Key."""

    key: str
    digest: bytes
    response: bytes
    """Encrypted."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key; only its hash is stored."""

    id: str
    name: str
    scope: str
    hash: bytes
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None
    accounts: tuple[str, ...] | None = None
    """The accounts that it is restricted to; None: all."""
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    rotated_from: str | None = None
    """Id of the first key of the line, if this one replaced another."""

    @property
    def holder(self) -> str:
        """What stays the same when the key is rotated: the id of the first key."""
        return self.rotated_from or self.id

    def sees(self, account: str) -> bool:
        """Whether the key may use this account."""
        return self.accounts is None or account in self.accounts


@dataclass(frozen=True, slots=True)
class Resource:
    """The current version of an account, endpoint, subscription or policy; its body is encrypted."""

    kind: str
    id: str
    version: int
    updated_at: datetime
    updated_by: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One entry of the audit trail; `body` holds no secrets."""

    kind: str
    id: str
    version: int
    at: datetime
    by: str
    action: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backtest:
    """A finished backtest."""

    id: int
    policy: str
    condition_hash: str
    """Hash of what decides in the policy as it was tested."""
    at: datetime
    by: str
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecheckOrders:
    """Re-check an account's open orders: all, or one duplicate group except `but`; or only those that close."""

    account: str
    at: datetime
    fingerprint: int | None = None
    but: int | None = None
    closing_lead: timedelta | None = None
    """Instead of at `at`, so long before the window of an order closes by time alone; other orders are left out."""


Position = int | tuple[int | str, ...]
"""Where a row stands in a list: what the list is ordered by."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a list to query: rows next to a position."""

    limit: int
    position: Any = None
    """A `Position` of the list; None: its beginning."""
    newer: bool = False
    """The rows before the position in the list (in most lists the newer ones), instead of those after it."""


class SearchResult(list[T]):
    """The rows that a search found, in the order of the list, and where to resume if its time budget ran out."""

    def __init__(self, rows: Iterable[T] = (), resume: Position | None = None) -> None:
        super().__init__(rows)
        self.resume = resume
        """Search on from this position in the same direction; None if the search is complete or the page full."""
        self.searched_until: datetime | None = None
        """The time of the oldest row searched, if the search is to be resumed."""


class LoggedRow(NamedTuple):
    """An event of the log as stored."""

    position: int
    columns: tuple[Any, ...]
    """`EVENT_COLUMNS` of `codec`."""


class LogMark(NamedTuple):
    """What differs whenever the log of an order does: events are only appended, moved by a merge, or erased."""

    events: int
    last: int
    """Position of the last one; 0 without any."""
    erasures: int
    """How often one was erased."""


@dataclass(frozen=True, slots=True)
class ErasedEvent:
    """An event whose content is replaced."""

    position: int
    body: str
    """The new content, as stored."""
    before: bytes
    """Its leaf in the log's hash chain, as it was (`app.core.log_chain`)."""
    after: bytes
    by: str
    """Id of the event that records the erasure."""
    account: str
    order: int
    """The number of its order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expunged:
    """What is expunged beside the log."""

    at: datetime
    receipts: tuple[int, ...] = ()
    """Receipts whose query, headers and body are expunged; a digest of the body stays."""
    retire: bool = False
    """Look for dictionaries that are made of these receipts."""
    orders: tuple[int, ...] = ()
    """Orders of whose attempts the exchanges and details are expunged."""
    attempts: tuple[int, ...] = ()
    """The same of these."""
    messages: tuple[int, ...] = ()
    """These with their deliveries; of one that is still to be delivered, free text and the order as it was."""
    positions: tuple[tuple[str, int], ...] = ()
    """(what, position): how far the schedule has come."""


@dataclass(slots=True)
class Changes:
    """Everything that one transaction writes."""

    orders: list[OrderWrite] = field(default_factory=list)
    names: list[tuple[str, str, int]] = field(default_factory=list)
    """(account, name, order number); new names only."""
    shared_aliases: list[tuple[str, str, int]] = field(default_factory=list)
    """(account, shared alias, order number); may be stored already."""
    events: list[tuple[int, Event]] = field(default_factory=list)
    """(order number, event), in the order of the log."""
    receipts: list[Receipt] = field(default_factory=list)
    reprocessed: list[Receipt] = field(default_factory=list)
    """Stored receipts that get a new status and reason."""
    cancellations: list[tuple[int, Cancellation]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    """Begun or ended; an ended one replaces the row of its beginning."""
    pauses: list[Pause] = field(default_factory=list)
    resumes: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    """With their targets: one delivery is written for each."""
    traces: dict[str, str] = field(default_factory=dict)
    """Id of a cancellation or message → the context of the trace that it continues; the first one stays."""
    rechecks: list[RecheckOrders] = field(default_factory=list)
    """Applied after the rest."""
    erased: list[ErasedEvent] = field(default_factory=list)
    expunged: list[Expunged] = field(default_factory=list)
