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
POLICY_PREFIX = "policy."

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


EVENT_TYPES: Mapping[str, type[Struct]] = {
    **{EVENT_PREFIX + state: CancellationStep for state in State},
    **{POLICY_PREFIX + outcome: PolicyDecision for outcome in Outcome},
    PROBE_WANTED: ProbeWanted,
    PROBE_FAILED: ProbeFailed,
    PROBE_ABANDONED: ProbeAbandoned,
    SENDING_PAUSED: SendingChange,
    SENDING_RESUMED: SendingChange,
    TAGS_CHANGED: TagsChanged,
    TIMES_WITHOUT_OFFSET: TimesWithoutOffset,
    OPENING_UNREADABLE: OpeningUnreadable,
}
"""Type → the schema of its `data`."""
