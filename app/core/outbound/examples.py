"""Examples of messages: in the documentation, and sent where a person asks for a test."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from app.contract import Cancelable, Phase
from app.core.cancellation import EVENT_PREFIX, FINAL, Cause, State, Waiting
from app.core.event_types import (
    BREAKER_CLOSED,
    BREAKER_OPENED,
    ENDPOINT_FAILING,
    ENDPOINT_SILENT,
    LIMIT_NEAR,
    SUBSCRIPTION_DISABLED,
    SUBSCRIPTION_FAILING,
    BreakerClosed,
    BreakerOpened,
    ClauseValue,
    EndpointFailing,
    EndpointSilent,
    LimitNear,
    SubscriptionDisabled,
    SubscriptionFailing,
    VerdictSummary,
)
from app.core.outbound import types
from app.core.outbound.message import Message, Target
from app.core.outbound.types import Subject, data_of
from app.core.pauses import BY_ITSELF
from app.core.policy.model import Mode, Outcome
from app.core.representation import Cancellation, Order, OrderAppointment, Verdict, WaitingFor

ACCOUNT, ORDER, POLICY = "acme-photos", "PMO-1042", "unscheduled-48h"
NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
"""When all examples happened."""
_EVENT = "evt_5f1c7a3d9b2e486044e1a9c05b7d3f28"
_CANCELLATION = "can_0d39a8f1e2004001"
_CLOSES_AT = NOW + timedelta(hours=1)
_OPEN = Verdict(
    cancelable=Cancelable.YES,
    reason="status_open",
    explanation="The provider still takes cancels while the order is scheduled.",
    evidence=(_EVENT,),
    changes_at=_CLOSES_AT,
    as_of=NOW,
)
_CLOSED = Verdict(
    cancelable=Cancelable.NO,
    reason="appointment_passed",
    explanation="The appointment has begun.",
    evidence=(_EVENT,),
    changes_at=None,
    as_of=NOW,
)
_SUMMARY = VerdictSummary(Cancelable.YES, "status_open")
_CLAUSES = [ClauseValue('order.phase == "open"', value=True), ClauseValue("size(order.appointments) == 0", value=True)]
_CAUSES = {
    State.REJECTED: (Cause.NOT_CANCELABLE, "The appointment has begun.", None),
    State.SCHEDULED: (Cause.REQUESTED, "", None),
    State.SENDING: (Cause.CLAIMED, "", State.SCHEDULED),
    State.ACCEPTED: (Cause.ACCEPTED, "The provider queued the cancel.", State.SENDING),
    State.SUCCEEDED: (Cause.SUCCEEDED, "", State.SENDING),
    State.REFUSED: (Cause.REFUSED, "HTTP 409: the photographer is on the way", State.SENDING),
    State.INDETERMINATE: (Cause.NO_RESPONSE, "No response within 30 s.", State.SENDING),
    State.REVOKED: (Cause.REVOKE_REQUESTED, "Revoked by support.", State.SCHEDULED),
    State.EXPIRED: (Cause.DEADLINE_PASSED, "Its deadline has passed.", State.SCHEDULED),
    State.FAILED: (Cause.ATTEMPTS_USED_UP, "HTTP 500 at the last of 30 attempts.", State.SENDING),
}


def _cancellation(state: State) -> types.CancellationChanged:
    cause, detail, previous = _CAUSES[state]
    waits = Waiting.RESULT if state is State.SENDING else Waiting.SEND_SLOT
    if state in (State.ACCEPTED, State.INDETERMINATE):
        waits = Waiting.PROBE
    cancellation = Cancellation(
        id=_CANCELLATION,
        account=ACCOUNT,
        order=ORDER,
        state=state,
        final=state in FINAL,
        reason="client_requested_cancelation",
        note="Sold before the shoot",
        cause=cause,
        detail=detail,
        evidence=(_EVENT,) if state is State.REJECTED else (),
        waiting=None if state in FINAL else WaitingFor(what=waits, until=NOW + timedelta(minutes=1)),
        attempts=0 if previous in (None, State.SCHEDULED) else 1,
        deadline=NOW + timedelta(hours=72),
        forced=False,
        requested_at=NOW,
        requested_by="support",
        policy=None,
        batch=None,
        closes_at=_CLOSES_AT,
        send_by=_CLOSES_AT - timedelta(seconds=1),
        expected_at=None,
        in_time=None,
        updated_at=NOW,
        verdict=_CLOSED if state is State.REJECTED else _OPEN,
    )
    return types.CancellationChanged(cancellation=cancellation, previous_state=previous)


def _policy_pause(reason: str, by: str) -> types.PolicyPause:
    return types.PolicyPause(policy=POLICY, accounts=(ACCOUNT,), reason=reason, by=by)


BODIES: Mapping[str, Struct] = {
    types.VERDICT_CHANGED: types.VerdictChanged(
        verdict=_CLOSED,
        closes_at=None,
        previous=types.VerdictBefore(cancelable=Cancelable.YES, reason="status_open", closes_at=NOW),
    ),
    types.CLOSING_SOON: types.ClosingSoon(closes_at=_CLOSES_AT, lead_s=3600, verdict=_OPEN),
    **{EVENT_PREFIX + state: _cancellation(state) for state in State},
    types.POLICY_MATCHED: types.PolicyMatched(
        policy=POLICY,
        mode=Mode.ENFORCE,
        outcome=Outcome.ACTED,
        detail="The order is being canceled.",
        cancellation=_CANCELLATION,
        clauses=_CLAUSES,
        verdict=_SUMMARY,
        evidence=(_EVENT,),
    ),
    types.POLICY_PROPOSED: types.PolicyProposed(
        policy=POLICY,
        cancellation=_CANCELLATION,
        approve_until=NOW + timedelta(hours=24),
        reason="client_requested_cancelation",
        note="Not scheduled within 48 hours",
        clauses=_CLAUSES,
        verdict=_SUMMARY,
        evidence=(_EVENT,),
    ),
    types.POLICY_FAILED: types.PolicyFailed(
        policy=POLICY,
        mode=Mode.ENFORCE,
        detail="order.attributes has no key 'region'.",
        clauses=[ClauseValue('order.attributes.region == "north"', None, "there is no key 'region'")],
    ),
    types.POLICY_HALTED: _policy_pause("its limit of 20 in an hour is reached", BY_ITSELF),
    types.POLICY_PAUSED: _policy_pause("reviewing last night's cancels", "ops"),
    types.POLICY_RESUMED: _policy_pause("resumed", "ops"),
    types.ACCOUNT_PAUSED: types.AccountPause(reason="HTTP 401: the API key was revoked", by=BY_ITSELF),
    types.ACCOUNT_RESUMED: types.AccountPause(reason="resumed", by="ops"),
    BREAKER_OPENED: BreakerOpened("5 calls in a row did not reach the provider"),
    BREAKER_CLOSED: BreakerClosed(NOW - timedelta(minutes=7)),
    LIMIT_NEAR: LimitNear("requests", 80, 100, 60.0),
    types.QUARANTINE_ADDED: types.QuarantineAdded(
        receipt="rcp_0d39a8f1e2004002",
        endpoint="acme-photos-in",
        reason="the body has no field `status`",
        received_at=NOW,
    ),
    ENDPOINT_FAILING: EndpointFailing("acme-photos-in", "the signature does not match", 12, NOW - timedelta(minutes=5)),
    ENDPOINT_SILENT: EndpointSilent("acme-photos-in", NOW - timedelta(hours=26)),
    SUBSCRIPTION_FAILING: SubscriptionFailing("crm", NOW - timedelta(days=3), 41, "HTTP 503", NOW + timedelta(days=2)),
    SUBSCRIPTION_DISABLED: SubscriptionDisabled("crm", "The receiver answered 410 Gone."),
}
"""Type → the body of an example; with `subject` it is `data`."""
_NOTICES = frozenset(name for name in BODIES if not name.startswith(("order.", EVENT_PREFIX, "policy.")))
_WITHOUT_ORDER = _NOTICES | {types.POLICY_HALTED, types.POLICY_PAUSED, types.POLICY_RESUMED}
SNAPSHOT = Order(
    account=ACCOUNT,
    id=ORDER,
    aliases=("88213",),
    shared_aliases=(),
    phase=Phase.OPEN,
    provider_status="scheduled",
    opened_at=NOW - timedelta(days=2),
    last_event_at=NOW - timedelta(hours=3),
    appointments=[OrderAppointment("88213", "scheduled", _CLOSES_AT, _CLOSES_AT + timedelta(hours=1))],
    attributes={"total": "249.00", "city": "Denver"},
    tags=(),
    version=3,
    anomalies=(),
    cancellation=None,
    verdict=_OPEN,
    closes_at=_CLOSES_AT,
)
"""The order that the examples are about."""


def subject(type: str, account: str | None = ACCOUNT, *, test: bool = False) -> Subject:
    """What an example is about; of an account's own, if one is given."""
    order = None if type in _WITHOUT_ORDER else ORDER
    event = None if type in (types.CLOSING_SOON, types.QUARANTINE_ADDED) else _EVENT
    return Subject(account=account, order=order, event=event, test=test)


def example(type: str) -> dict[str, Any]:
    """An example of a whole payload, full, for the documentation."""
    return dict(msgspec.json.decode(types.payload(message(0, type, NOW, ACCOUNT), full=True)))


def message(
    id: int, type: str, at: datetime, account: str | None, targets: tuple[Target, ...] = (), *, test: bool = False
) -> Message:
    """A message with an example; the account of its subject may be a real one, the rest is made up."""
    about = subject(type, account, test=test)
    return Message(
        id=id,
        account=account or "",
        type=type,
        cause=None,
        at=at,
        data=data_of(about, BODIES[type]),
        snapshot=None if about.order is None else msgspec.json.encode(SNAPSHOT),
        targets=targets,
    )
