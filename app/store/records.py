"""What goes into a database and comes out of it: plain values, the same for every database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct

from app.core.aggregate import Job, OrderAggregate
from app.core.attempt import Attempt
from app.core.cancellation import Cancellation
from app.core.event import Event
from app.core.pauses import Pause

T = TypeVar("T")

Name = tuple[str, str]
"""(account, order id): any of the names of an order."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is stored of the orders and events that a batch is about."""

    cases: Mapping[Name, tuple[int, OrderAggregate]]
    """Name → (the order's number in the store, its case), for the names that are known."""
    seen: frozenset[str]
    """Ids of events that are in the log already."""


class Receipt(Struct):
    """One inbound HTTP request, as received but for secrets."""

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


@dataclass(frozen=True, slots=True)
class OrderWrite:
    """A case to be stored."""

    pk: int
    aggregate: OrderAggregate
    cancelable: str
    next_check_at: datetime | None
    """When time alone will change `cancelable`, or a policy is to be weighed."""
    job: Job | None
    had_job: bool
    fingerprint: int | None = None
    """What makes it the same as others to the provider, if a policy asks for that."""
    weighed: bool = True
    """Did policies look at it? If not, a time at which they were to look stays."""


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """Everything that is stored of one order, as columns of `codec`, undecoded: a rebuild trusts nothing."""

    pk: int
    events: list[tuple[Any, ...]]
    """`EVENT_COLUMNS` of the order's part of the log, oldest first."""
    order: tuple[Any, ...] | None = None
    """(account, id, phase, last_event_at, state)."""
    job: tuple[Any, ...] | None = None
    """`JOB_COLUMNS`."""
    cancellations: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Id → (account, state, body)."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The first answer to a request that came with an Idempotency-Key."""

    key: str
    digest: bytes
    answer: bytes
    """Encrypted."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key; only its hash is kept."""

    id: str
    name: str
    scope: str
    hash: bytes
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """An account, an endpoint …: a version of it, its body encrypted."""

    kind: str
    id: str
    version: int
    updated_at: datetime
    updated_by: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One line of the audit trail; `body` holds no secrets."""

    kind: str
    id: str
    version: int
    at: datetime
    by: str
    action: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backtest:
    """A backtest that came to its end."""

    id: int
    policy: str
    condition_hash: str
    at: datetime
    by: str
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecheckOrders:
    """Orders of an account that are not over are to be looked at: all, or those of one fingerprint but one."""

    account: str
    at: datetime
    fingerprint: int | None = None
    but: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyUsage:
    """How many cancellations a policy made."""

    in_hour: int = 0
    in_day: int = 0


class Searched(list[T]):
    """What a search found, and how far it came."""

    def __init__(self, found: Iterable[T] = (), beyond: int | None = None) -> None:
        super().__init__(found)
        self.beyond = beyond
        """Where the next search goes on, if the time for this one was over before the list was full; else None."""
        self.until: datetime | None = None
        """Back to when it came, then."""


@dataclass(slots=True)
class Changes:
    """Everything that one transaction writes."""

    cases: list[OrderWrite] = field(default_factory=list)
    names: list[tuple[str, str, int]] = field(default_factory=list)
    """(account, name, order number), where new."""
    shared_aliases: list[tuple[str, str, int]] = field(default_factory=list)
    """(account, shared alias, order number), where it may be new."""
    events: list[tuple[int, Event]] = field(default_factory=list)
    """(order number, event), in the order of the log."""
    receipts: list[Receipt] = field(default_factory=list)
    reprocessed: list[Receipt] = field(default_factory=list)
    """Stored receipts with a new status and reason."""
    cancellations: list[tuple[int, Cancellation]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    """Begun or ended; an ended one takes the place of itself as it began."""
    pauses: list[Pause] = field(default_factory=list)
    resumes: list[str] = field(default_factory=list)
    awakenings: list[RecheckOrders] = field(default_factory=list)
    """Done after the rest."""
