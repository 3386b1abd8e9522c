"""Classes of operation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import field

from rescind_client.model import Model


class Difference(Model, kw_only=True):
    """One entry of a plan: how a resource would change, or has changed."""

    kind: str
    id: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    warnings: list[str] = field(default_factory=list)
    secret: str | None = None


class Plan(Model, kw_only=True):
    """What applying would change, or changed."""

    dry_run: bool
    changes: list[Difference]


class Pause(Model, kw_only=True):
    """Sending is stopped for a scope: `all`, `account:<id>`, `policies` or `policy:<id>`."""

    scope: str
    reason: str
    since: datetime
    by: str


class Paused(Model, kw_only=True):
    """Everything that is paused."""

    paused: list[Pause]


class Resumed(Model, kw_only=True):
    """The pause that was ended, if any, and what is still paused."""

    resumed: list[Pause]
    paused: list[Pause]


class NodeStatus(Model, kw_only=True):
    """The node that answered the request. With SQLite there is one, which owns everything."""

    node: int
    """Its number, 0 to 511: a part of the ids that it draws."""
    epoch: int
    """Of its lease; grows with each. 0 on SQLite."""
    lease_left_s: float | None
    """How long its lease still lasts, unless it is renewed; null on SQLite, where it does not end."""
    draining: bool
    """It gives up what it owns, takes nothing, and is not ready."""
    fault: str
    """What keeps it from working; empty if nothing does."""
    nodes: int
    """How many nodes are alive, this one included."""
    accounts: int
    """Accounts whose lanes it has."""
    subscriptions: int
    """Subscriptions whose deliveries it sends."""
    tasks: list[str]
    """What it does for all nodes."""


class Erased(Model, kw_only=True):
    """What was erased, or would be."""

    account: str
    order: str
    """The order's id."""
    dry_run: bool
    events: int
    """Events whose personal data was erased."""
    receipts: int
    """Receipts whose query, headers and body were expunged."""
    digest: str | None = None
    """As in the event `order.erased`, which records it; null for a dry run."""


class Pruning(Model, kw_only=True):
    """A run that expunges what is old."""

    running: bool
    older_than: datetime
    """What is older than this is expunged."""
    dry_run: bool
    receipts: int
    """Receipts whose query, headers and body were expunged so far, or would be."""
    attempts: int
    """The same of the exchanges of attempts."""
    messages: int
    """The same of messages to subscribers; those that still wait are sent without free text."""
    orders: int
    """Orders whose personal data was erased; in a dry run, all that are over for so long."""
    events: int
    """Events whose personal data was erased; not counted in a dry run."""
    finished_at: datetime | None
    error: str
    """Why it ended early; empty if it did not."""


class LatestPruning(Model, kw_only=True):
    """The run that is under way, or the last one since the server started."""

    latest: Pruning | None


class Finding(Model, kw_only=True):
    """One thing that an operator should know."""

    code: str
    """`paused`, `credentials_refused`, `policy_halted`, `policy_failing`, `breaker_open`, `throttled`,
    `quarantined`, `approvals`, `indeterminate`, `account`, `endpoint_failing`, `endpoint_silent`,
    `public_url`, `keys`, `unread_header`, `registrations`, `subscription_failing`, `subscription_disabled`,
    `search_index`.
    """
    what: str
    """The subject, such as `account acme`."""
    account: str | None = None
    """The account that it concerns, where it is one."""
    state: str
    """`fault`: it needs a person. `notice`: it ends without one, or does no harm."""
    detail: str
    do: str


class Status(Model, kw_only=True):
    """The number of resources, and all findings."""

    version: str
    accounts: int
    endpoints: int
    policies: int
    subscriptions: int
    needs_attention: bool
    """Whether anything needs a person."""
    last_backup_at: datetime | None
    """When the newest verified backup was begun; null if there is none, and on PostgreSQL, which others back up."""
    findings: list[Finding]


class IngestRate(Model, kw_only=True):
    """How much comes in."""

    webhooks: int
    """Webhooks received in the last minute."""
    webhooks_per_s: float
    events_by_minute: list[int] | None
    """Events recorded in each of the last 60 minutes, the oldest first; null for a single account."""


class ClosingHour(Model, kw_only=True):
    """The windows that close in one hour."""

    starts_at: datetime
    ends_at: datetime
    orders: int


class ClosingWindow(Model, kw_only=True):
    """An order whose window time alone will close."""

    account: str
    order: str
    closes_at: datetime
    cancelable: str
    reason: str
    """The reason of the verdict, as of the order's last change."""


class Closing(Model, kw_only=True):
    """Which orders can soon no longer be canceled, by time alone."""

    hours: list[ClosingHour]
    """The next 24 hours, beginning now."""
    complete: bool
    """Whether all were counted; the next ones are in any case."""
    next: list[ClosingWindow]
    """The 20 that close next."""


class CancellationCounts(Model, kw_only=True):
    """Cancellations by state."""

    since: datetime
    live: dict[str, int]
    """Those that are not final, whenever they were requested."""
    final: dict[str, int]
    """Those that are final, of those requested since `since`."""


class LaneOverview(Model, kw_only=True):
    """An account's lane: what it sends and what waits."""

    account: str
    provider: str
    state: str
    """`sending`, `idle`, `paused`, `throttled`, `breaker_open` or `rate_limited`."""
    reason: str
    until: datetime | None
    running: int
    """Calls under way."""
    used: int
    """Calls that count towards the limit now."""
    limit: int
    """Calls per window, as configured or as learned from the provider."""
    due: int
    """Jobs that are due and wait to be sent, up to 10,000."""
    oldest_due_s: float
    """How long the first of them has been due, in seconds; 0 if none is."""
    webhooks: int
    """Webhooks received in the last minute."""


class Lanes(Model, kw_only=True):
    """The lanes of all accounts."""

    total: int
    by_state: dict[str, int]
    due: int
    oldest_due_s: float
    first: list[LaneOverview]
    """The first 100: those that do not send before those that do, then by how long their jobs have been due."""


class Overview(Model, kw_only=True):
    """What happens now, what comes next, and what needs a person."""

    as_of: datetime
    needs_attention: bool
    """Whether a finding is a fault."""
    findings: list[Finding]
    """As of `GET /v1/status`: faults first."""
    ingest: IngestRate
    closing: Closing
    cancellations: CancellationCounts
    lanes: Lanes
