"""The types of events that Rescind records itself, and the schemas of what they carry in `data`.

Names and meanings stay in logs for ever: a field that is renamed needs a new version and an upcaster
(`app/store/upcast.py`). Fields may be added, with a default. Times are in UTC, RFC 3339.

Facts from a provider have types of the handler's, `facts` and no `data`. So have the three types of `FACT_TYPES`, which
Rescind records for a provider's responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from app.contract import Cancelable
from app.core.cancellation import EVENT_PREFIX, CancellationStep, State
from app.core.policy.model import Mode, Outcome, PolicyState

PROBE_PREFIX = "probe."
PROBE_FAILED = "probe.failed"
PROBE_WANTED = "probe.wanted"
PROBE_ABANDONED = "probe.abandoned"
SENDING_PAUSED = "sending.paused"
SENDING_RESUMED = "sending.resumed"
TAGS_CHANGED = "tags.changed"
TIMES_WITHOUT_OFFSET = "account.times_without_offset"
OPENING_UNREADABLE = "account.opening_unreadable"
BREAKER_OPENED = "breaker.opened"
BREAKER_CLOSED = "breaker.closed"
LIMIT_NEAR = "limit.near"
ENDPOINT_FAILING = "endpoint.failing"
ENDPOINT_SILENT = "endpoint.silent"
SUBSCRIPTION_FAILING = "subscription.failing"
SUBSCRIPTION_DISABLED = "subscription.disabled"
ORDER_ERASED = "order.erased"
RETENTION_PRUNED = "retention.pruned"
POLICY_PREFIX = "policy."
POLICY_DECIDED = "policy.decided"

ORDER_CANCELED = "order.canceled"
ORDER_OBSERVED = "order.observed"
ORDER_PROBED = "order.probed"
FACT_TYPES: Mapping[str, str] = {
    ORDER_CANCELED: "The provider confirmed a cancel.",
    ORDER_OBSERVED: "The response to a cancel call described the order.",
    ORDER_PROBED: "A probe described the order: a snapshot, as of when the probe was sent.",
}
"""Type → meaning, of the facts that Rescind records for a provider's responses."""


class ClauseValue(Struct, frozen=True, omit_defaults=True):
    """One clause of a policy's condition and its value."""

    text: str
    """The clause in CEL, as the policy has it."""
    value: Any
    """True, false, or null where it cannot be evaluated."""
    error: str = ""
    """Why it cannot be evaluated."""


class VerdictSummary(Struct, frozen=True):
    """The verdict that a decision rests on."""

    cancelable: Cancelable
    """Whether the order could be canceled."""
    reason: str
    """A code of the handler's, lower_snake_case."""


class PolicyDecision(PolicyState, frozen=True, omit_defaults=True, kw_only=True):
    """A policy decided on an order. One is recorded when the policy's state differs from that of its last decision."""

    mode: Mode
    """What the policy was allowed to do."""
    clauses: list[ClauseValue]
    """Every clause of the condition, in its order."""
    verdict: VerdictSummary
    """The verdict on the order at that moment."""
    evidence: tuple[str, ...]
    """Ids of the events that the verdict rests on."""


class JoinedDecision(PolicyState, frozen=True, omit_defaults=True, kw_only=True):
    """What one of several policies decided."""

    mode: Mode
    """What the policy was allowed to do."""
    clauses: list[int]
    """Every clause of the condition, in its order: its place in the event's `clauses`."""
    values: list[Any]
    """The values of the clauses: true, false, or null where one cannot be evaluated."""
    errors: tuple[str, ...] = ()
    """Why clauses cannot be evaluated, empty for one that can; absent where all can."""


class PolicyDecisions(Struct, frozen=True, kw_only=True):
    """Several policies decided on an order at the same moment. What they have in common is written once."""

    decisions: list[JoinedDecision]
    """What each decided, as in an event about one policy."""
    clauses: list[str]
    """The texts of their clauses in CEL."""
    verdict: VerdictSummary
    """The verdict on the order at that moment."""
    evidence: tuple[str, ...]
    """Ids of the events that the verdict rests on."""


class ProbeWanted(Struct, frozen=True, omit_defaults=True):
    """The order is to be probed, although no cancellation needs it."""

    reason: str
    """Who asked for it, or which refusal was not foreseen."""
    due_at: datetime | None = None
    """When it is to be sent at the earliest; if absent, at once."""


class ProbeFailed(Struct, frozen=True):
    """A probe that no cancellation needs failed; it is tried again."""

    due_at: datetime
    """When the next try is due."""
    counts: bool
    """Whether this counts towards the number of tries, which is limited; a probe that was throttled does not."""
    detail: str
    """What went wrong, in a sentence."""


class ProbeAbandoned(Struct, frozen=True, omit_defaults=True):
    """The order is not probed any more: the provider does not know it, or cannot be asked."""

    detail: str = ""
    """Why, in a sentence."""


class SendingChange(Struct, frozen=True):
    """Sending was stopped (`paused`) or started again (`resumed`) for a scope. The event's `order` is empty."""

    scope: str
    """`all`, `account:<id>`, `policies` or `policy:<id>`."""
    reason: str
    """Why, in the words of who did it."""
    by: str
    """The name of the API key, or `rescind` where it happened automatically."""


class TagsChanged(Struct, frozen=True):
    """A person put tags on the order, or took some off."""

    add: tuple[str, ...]
    """Tags that were put on."""
    remove: tuple[str, ...]
    """Tags that were taken off."""
    tags: tuple[str, ...]
    """All that the order had then, sorted."""
    by: str
    """The name of the API key."""


class TimesWithoutOffset(Struct, frozen=True):
    """Webhooks of the account state times without an offset. Recorded once for an account; its `order` is empty."""


class OpeningUnreadable(Struct, frozen=True):
    """Webhooks of the account state when orders were opened in a way that cannot be read. Its `order` is empty."""

    version: int
    """The account's version at the time: it is recorded once for each."""


class BreakerOpened(Struct, frozen=True):
    """The provider fails for all orders of the account: until it recovers, only single trials are sent."""

    reason: str
    """What the breaker saw."""


class BreakerClosed(Struct, frozen=True):
    """The provider works again: the account's calls are sent as before."""

    opened_at: datetime | None
    """When the breaker opened; null if that was in an earlier process."""


class LimitNear(Struct, frozen=True):
    """Four fifths of a limit are used: the account's calls at its provider, or the cancels of a policy.

    Recorded once until the use was below that for a while.
    """

    limit: str
    """`requests` (the calls of the account's lane), or a policy's `per_hour` or `per_day`."""
    used: int
    """How much was used within `period_s`."""
    maximum: int
    """How much may be used within `period_s`, as configured or as learned from the provider's denials."""
    period_s: float
    """Length of the period, in seconds."""
    policy: str | None = None
    """The policy whose limit it is; null for an account's."""


class EndpointFailing(Struct, frozen=True):
    """Requests to an endpoint are refused again and again, and none is accepted."""

    endpoint: str
    """Its id."""
    cause: str
    """Why the latest was refused."""
    failures: int
    """How many were refused since the last accepted one."""
    since: datetime
    """When the first of them came."""


class EndpointSilent(Struct, frozen=True):
    """Nothing was received by an endpoint for unusually long."""

    endpoint: str
    """Its id."""
    last_received_at: datetime | None
    """When the last request came; null if none ever did."""


class SubscriptionFailing(Struct, frozen=True):
    """Deliveries to a subscription have failed for long; it will be disabled."""

    subscription: str
    """Its id."""
    since: datetime
    """When the first of these failures happened."""
    failures: int
    """How many deliveries in a row failed."""
    error: str
    """The latest failure, in words."""
    disabled_at: datetime
    """When it will be disabled, if nothing is delivered before."""


class SubscriptionDisabled(Struct, frozen=True):
    """A subscription was disabled automatically; its messages are held until it is enabled again."""

    subscription: str
    """Its id."""
    reason: str
    """Why, in a sentence."""


class OrderErased(Struct, frozen=True):
    """The personal data of the order was erased on request; facts stayed. Repeated webhooks bring nothing back."""

    by: str
    """The name of the API key."""
    reason: str
    """Why, in the words of who asked for it; it should name nobody."""
    events: int
    """Events of the order whose content was erased."""
    receipts: int
    """Receipts whose query, headers and body were expunged."""
    digest: str
    """SHA-256 in hex over position, former leaf and new leaf of each of these events (`app.core.log_chain`)."""


class RetentionPruned(Struct, frozen=True):
    """Data that is older than the retention period was expunged. The event's `order` is empty."""

    older_than: datetime
    """What is older than this was expunged."""
    by: str
    """The name of the API key, or `rescind` where the schedule did it."""
    receipts: int = 0
    """Receipts whose query, headers and body were expunged."""
    attempts: int = 0
    """Attempts at calls whose exchanges were expunged."""
    messages: int = 0
    """Messages to subscribers that were deleted; those that still wait stay, without free text and snapshot."""
    orders: int = 0
    """Orders that were over, whose personal data was erased."""
    events: int = 0
    """Events of these orders whose content was erased."""
    digest: str = ""
    """SHA-256 in hex over position, former leaf and new leaf of each of these events (`app.core.log_chain`)."""


EVENT_TYPES: Mapping[str, type[Struct]] = {
    **{EVENT_PREFIX + state: CancellationStep for state in State},
    **{POLICY_PREFIX + outcome: PolicyDecision for outcome in Outcome},
    POLICY_DECIDED: PolicyDecisions,
    PROBE_WANTED: ProbeWanted,
    PROBE_FAILED: ProbeFailed,
    PROBE_ABANDONED: ProbeAbandoned,
    SENDING_PAUSED: SendingChange,
    SENDING_RESUMED: SendingChange,
    TAGS_CHANGED: TagsChanged,
    TIMES_WITHOUT_OFFSET: TimesWithoutOffset,
    OPENING_UNREADABLE: OpeningUnreadable,
    BREAKER_OPENED: BreakerOpened,
    BREAKER_CLOSED: BreakerClosed,
    LIMIT_NEAR: LimitNear,
    ENDPOINT_FAILING: EndpointFailing,
    ENDPOINT_SILENT: EndpointSilent,
    SUBSCRIPTION_FAILING: SubscriptionFailing,
    SUBSCRIPTION_DISABLED: SubscriptionDisabled,
    ORDER_ERASED: OrderErased,
    RETENTION_PRUNED: RetentionPruned,
}
"""Type → the schema of its `data`."""
