"""The types of messages to subscribers: what each means, and the schema of its data.

`data` of every message has the members of `Subject`, and beside them those of the schema of its type. Names and
meanings stay for ever: fields may be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from app.contract import Cancelable
from app.core.cancellation import EVENT_PREFIX, State
from app.core.event_types import (
    BREAKER_CLOSED,
    BREAKER_OPENED,
    ENDPOINT_FAILING,
    ENDPOINT_SILENT,
    EVENT_TYPES,
    LIMIT_NEAR,
    SUBSCRIPTION_DISABLED,
    SUBSCRIPTION_FAILING,
    ClauseValue,
    VerdictSummary,
)
from app.core.outbound.message import Message
from app.core.policy.model import Mode, Outcome
from app.core.representation import Cancellation, Verdict

VERDICT_CHANGED = "order.verdict_changed"
CLOSING_SOON = "order.closing_soon"
POLICY_MATCHED = "policy.matched"
POLICY_PROPOSED = "policy.proposed"
POLICY_FAILED = "policy.failed"
POLICY_HALTED = "policy.halted"
POLICY_PAUSED = "policy.paused"
POLICY_RESUMED = "policy.resumed"
ACCOUNT_PAUSED = "account.paused"
ACCOUNT_RESUMED = "account.resumed"
QUARANTINE_ADDED = "quarantine.added"


class Subject(Struct, frozen=True, kw_only=True):
    """What a message is about: members that `data` of every message has."""

    account: str | None
    """The account; null where it is about several or none."""
    order: str | None
    """The order's id; null where it is about no order."""
    event: str | None
    """Id of the event in the log that caused it; null if time did, or a change of the configuration."""
    test: bool = False
    """Whether a person had it sent as an example: nothing of what it says has happened."""


class VerdictBefore(Struct, frozen=True):
    """A verdict as it was before."""

    cancelable: Cancelable
    """Whether the order could be canceled."""
    reason: str | None
    """The reason's code; null if an earlier release recorded it."""
    closes_at: datetime | None
    """When time alone would have closed its window."""


class VerdictChanged(Struct, frozen=True, kw_only=True):
    """Whether an order can be canceled, why, or until when has changed; or it is known for the first time."""

    verdict: Verdict
    """The verdict as it is now."""
    closes_at: datetime | None
    """When time alone closes its window; null: never, as far as is known, or it is closed."""
    previous: VerdictBefore | None
    """What it was before; null for a new order."""


class ClosingSoon(Struct, frozen=True, kw_only=True):
    """Time alone is about to close the window of an order that can be canceled.

    Sent as long before as the subscription's `closing_soon` says; again if the closing time moves, and not if it is
    gone by then.
    """

    closes_at: datetime
    """When the window closes."""
    lead_s: int
    """How long before that the subscription wants to be told (its `closing_soon`), in seconds."""
    verdict: Verdict
    """The verdict as it is now."""


class CancellationChanged(Struct, frozen=True, kw_only=True):
    """A cancellation has reached another state, which is the end of the message's type; or was approved."""

    cancellation: Cancellation
    """The cancellation as it is now."""
    previous_state: State | None
    """The state before; null for a new one."""


class PolicyMatched(Struct, frozen=True, kw_only=True):
    """An order matches a policy, and the policy's moment has come; sent once for each `outcome`."""

    policy: str
    """The policy's id."""
    mode: Mode
    """What it was allowed to do."""
    outcome: Outcome
    """What came of it."""
    detail: str
    """Why, in a sentence."""
    cancellation: str | None
    """The cancellation that it requested, or joined."""
    clauses: list[ClauseValue]
    """Every clause of the condition with its value."""
    verdict: VerdictSummary
    """The verdict on the order at that moment."""
    evidence: tuple[str, ...]
    """Ids of the events that the verdict rests on."""


class PolicyProposed(Struct, frozen=True, kw_only=True):
    """A policy in approve mode wants an order canceled: a person is to approve it."""

    policy: str
    """The policy's id."""
    cancellation: str
    """The cancellation to approve (`POST /v1/cancellations/{id}/approve`) or to revoke."""
    approve_until: datetime
    """Until when it can be approved."""
    reason: str
    """The reason that the provider would be given."""
    note: str | None
    """The note that the provider would be given."""
    clauses: list[ClauseValue]
    """Every clause of the condition with its value."""
    verdict: VerdictSummary
    """The verdict on the order at that moment."""
    evidence: tuple[str, ...]
    """Ids of the events that the verdict rests on."""


class PolicyFailed(Struct, frozen=True, kw_only=True):
    """The condition of a policy cannot be evaluated on an order, or the provider would not take its cancel."""

    policy: str
    """The policy's id."""
    mode: Mode
    """What it was allowed to do."""
    detail: str
    """Why, in a sentence."""
    clauses: list[ClauseValue]
    """Every clause of the condition with its value."""


class PolicyPause(Struct, frozen=True, kw_only=True):
    """A policy, or all policies, may not act any more, or may again."""

    policy: str | None
    """The policy's id; null: all policies."""
    accounts: tuple[str, ...]
    """The accounts that it applies to; empty for all policies."""
    reason: str
    """Why, in the words of who did it."""
    by: str
    """The name of the API key, or `rescind` where it happened automatically."""


class AccountPause(Struct, frozen=True, kw_only=True):
    """Sending was stopped or started again for an account, or for all where `account` is null. Ingest goes on."""

    reason: str
    """Why, in the words of who did it."""
    by: str
    """The name of the API key, or `rescind` where it happened automatically."""


class QuarantineAdded(Struct, frozen=True, kw_only=True):
    """An authentic webhook could not be understood, and is kept in quarantine."""

    receipt: str
    """Its receipt (`GET /v1/receipts/{id}`), which can be reprocessed after a fix."""
    endpoint: str
    """The endpoint that received it."""
    reason: str
    """Why it could not be understood."""
    received_at: datetime
    """When it was received."""


@dataclass(frozen=True, slots=True)
class OutboundType:
    """A type of messages to subscribers."""

    name: str
    description: str
    """When it is sent, in a sentence."""
    schema: type[Struct]
    """The schema of `data`, without the members of `Subject`."""
    urgent: bool = False
    """Whether it is sent to people at once, in quiet hours too."""


_URGENT_STATES = (State.REFUSED, State.EXPIRED, State.FAILED)
"""A cancel that was asked for does not happen."""
_STATES: Mapping[State, str] = {
    State.REJECTED: "Rescind rejected a cancel: the order cannot be canceled. Nothing was sent.",
    State.SCHEDULED: "A cancel was requested, is to be sent again, or was approved; `waiting` says what it waits for.",
    State.SENDING: "A cancel call is under way.",
    State.ACCEPTED: "The provider took a cancel on, and has not finished.",
    State.SUCCEEDED: "A cancel succeeded: the order is canceled.",
    State.REFUSED: "The provider refused a cancel, or does not know the order.",
    State.INDETERMINATE: "Whether a cancel took effect is not known; a probe, a webhook or a person decides.",
    State.REVOKED: "A cancel was not sent: it was revoked, or the order closed or was canceled before.",
    State.EXPIRED: "A cancel was not sent: its deadline has passed.",
    State.FAILED: "A cancel was given up: every attempt failed, or its outcome could not be learned.",
}


def _notice(type: str, description: str, *, urgent: bool = True) -> OutboundType:
    """A message that says what an event in the log does, about an account or about none."""
    return OutboundType(type, description, EVENT_TYPES[type], urgent)


_TYPES = (
    OutboundType(
        VERDICT_CHANGED,
        "Whether an order can be canceled, why, or until when has changed; or a new order is known.",
        VerdictChanged,
    ),
    OutboundType(CLOSING_SOON, "Time alone is about to close the window of an order.", ClosingSoon, urgent=True),
    *(
        OutboundType(EVENT_PREFIX + state, description, CancellationChanged, state in _URGENT_STATES)
        for state, description in _STATES.items()
    ),
    OutboundType(POLICY_MATCHED, "An order matches a policy, and the policy's moment has come.", PolicyMatched),
    OutboundType(POLICY_PROPOSED, "A policy asks a person to approve a cancel.", PolicyProposed, urgent=True),
    OutboundType(POLICY_FAILED, "A policy cannot be evaluated on an order.", PolicyFailed),
    OutboundType(POLICY_HALTED, "A policy reached a limit and halted itself.", PolicyPause, urgent=True),
    OutboundType(POLICY_PAUSED, "A person paused a policy, or all.", PolicyPause),
    OutboundType(POLICY_RESUMED, "A policy, or all, may act again.", PolicyPause),
    OutboundType(ACCOUNT_PAUSED, "Sending was stopped for an account, or for all.", AccountPause, urgent=True),
    OutboundType(ACCOUNT_RESUMED, "Sending was started again for an account, or for all.", AccountPause),
    _notice(BREAKER_OPENED, "A provider fails for all orders of an account."),
    _notice(BREAKER_CLOSED, "A provider that failed works again.", urgent=False),
    _notice(LIMIT_NEAR, "Four fifths of a limit of an account or of a policy are used.", urgent=False),
    OutboundType(QUARANTINE_ADDED, "An authentic webhook could not be understood.", QuarantineAdded),
    _notice(ENDPOINT_FAILING, "Requests to an endpoint are refused again and again."),
    _notice(ENDPOINT_SILENT, "An endpoint has received nothing for unusually long."),
    _notice(SUBSCRIPTION_FAILING, "Deliveries to a subscription have failed for long."),
    _notice(SUBSCRIPTION_DISABLED, "A subscription was disabled automatically; its messages are held."),
)
OUTBOUND_TYPES: Mapping[str, OutboundType] = {type.name: type for type in _TYPES}
"""Name → type, in the order of the documentation."""

_encode = msgspec.json.Encoder().encode


def data_of(subject: Subject, body: Struct | dict[str, Any]) -> bytes:
    """`data` of a message as JSON: the members of `subject`, then those of `body`."""
    first, rest = _encode(subject), _encode(body)
    return first if rest == b"{}" else first[:-1] + b"," + rest[1:]


def payload(message: Message, full: bool = False) -> bytes:
    """The body of a delivery, by Standard Webhooks: `type`, `timestamp` and `data`.

    With `full`, `data` has also `snapshot`: the order as it was then, as `GET /v1/accounts/{account}/orders/{order}`
    shows it; null where the message is about no order.
    """
    data = message.data
    if full:
        data = data[:-1] + b',"snapshot":' + (message.snapshot or b"null") + b"}"
    return b'{"type":%b,"timestamp":%b,"data":%b}' % (_encode(message.type), _encode(message.at), data)
