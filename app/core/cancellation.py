"""The life of a cancellation, as one table.

A cancellation is the fold of its own events. Each event names a *cause*; the table says to which
state a cause leads from which. An event's type is `cancellation.` and the state it led to, and its
data carry whatever else changed. The diagram in the documentation is drawn from `TRANSITIONS`.

    scheduled ──claimed──▶ sending ──result──▶ succeeded, refused, failed
        ▲                     │  └──────────▶ accepted ──────▶ succeeded, refused
        └───────retry─────────┴─no result──▶ indeterminate ─probe─▶ succeeded, refused, scheduled
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, get_type_hints

from msgspec import UNSET, Struct, UnsetType, ValidationError, convert, defstruct, to_builtins
from msgspec.structs import replace

from app.contract import OpenEnum, Source, Verdict
from app.core.event import Event, event_id, internal_event

EVENT_PREFIX = "cancellation."


class State(StrEnum):
    """Where a cancellation is."""

    REJECTED = "rejected"
    """Rejected by Rescind: the order cannot be canceled. Nothing was sent."""
    SCHEDULED = "scheduled"
    """To be sent; `waiting` says what it waits for."""
    SENDING = "sending"
    """The cancel call is under way."""
    ACCEPTED = "accepted"
    """The provider took the cancel on, and has not finished."""
    SUCCEEDED = "succeeded"
    """The order is canceled."""
    REFUSED = "refused"
    """The provider refused the cancel, or does not know the order."""
    INDETERMINATE = "indeterminate"
    """Whether the cancel call took effect is not known; a probe, a webhook or a person decides."""
    REVOKED = "revoked"
    """Not sent: revoked, or the order closed or was canceled before."""
    EXPIRED = "expired"
    """Not sent: its deadline has passed."""
    FAILED = "failed"
    """Given up: every attempt failed, or its outcome could not be learned."""


_STATES = {state.value: state for state in State}
NEWER = "A newer release of Rescind took a step that this one does not know."
FINAL = frozenset({State.REJECTED, State.SUCCEEDED, State.REFUSED, State.REVOKED, State.EXPIRED, State.FAILED})


class Cause(OpenEnum):
    """What moves a cancellation from state to state."""

    REQUESTED = "requested"
    """A person asked for it."""
    PROPOSED = "proposed"
    """A policy in approve mode asked for it."""
    APPROVED = "approved"
    """A person approved what a policy proposed."""
    RETIMED = "retimed"
    """The time at which the order's window closes changed."""
    NOT_CANCELABLE = "not_cancelable"
    """The verdict on the order is `no`."""
    CLAIMED = "claimed"
    """A lane took it to send it now."""
    WINDOW_CLOSED = "window_closed"
    """An event closed the order's window before it was sent."""
    CONDITION_ENDED = "condition_ended"
    """The policy's condition no longer held before it was sent."""
    REVOKE_REQUESTED = "revoke_requested"
    """A person revoked it."""
    DEADLINE_PASSED = "deadline_passed"
    """Its deadline has passed."""
    ORDER_CANCELED = "order_canceled"
    """The order is known to be canceled."""
    ORDER_CLOSED = "order_closed"
    """The order is known to be past canceling."""
    TOOK_EFFECT = "took_effect"
    """An earlier call, whose outcome was not known, had canceled the order."""
    STILL_CANCELABLE = "still_cancelable"
    """A probe shows that an earlier call had no effect, and that the order can still be canceled."""
    PROBED = "probed"
    """A probe shows that the order can be canceled."""
    PROBE_INCONCLUSIVE = "probe_inconclusive"
    """A probe did not settle it."""
    PROBE_FAILED = "probe_failed"
    """A probe brought no result."""
    ORDER_UNKNOWN = "order_unknown"
    """The provider does not know the order."""
    SUCCEEDED = "succeeded"
    """The provider reported success."""
    ACCEPTED = "accepted"
    """The provider took the cancel on."""
    REFUSED = "refused"
    """The provider refused the cancel."""
    RESTORED = "restored"
    """It comes from a backup, and may have been sent after that was taken; it waits on as before."""
    OUTCOME_UNCERTAIN = "outcome_uncertain"
    """It would have ended or been sent, but an earlier call may have taken effect."""
    RETRY = "retry"
    """The call failed, or was held back before it left; it is tried again."""
    THROTTLED = "throttled"
    """The provider asked for fewer calls."""
    UNAUTHORIZED = "unauthorized"
    """The provider refused the credentials."""
    NO_RESPONSE = "no_response"
    """No response came, and the call may have taken effect."""
    INTERRUPTED = "interrupted"
    """The process or the attempt ended while the call was under way."""
    ATTEMPTS_USED_UP = "attempts_used_up"
    """The last of the attempts or probes failed."""
    RESOLVED_SUCCEEDED = "resolved_succeeded"
    """A person recorded that the order was canceled."""
    RESOLVED_REFUSED = "resolved_refused"
    """A person recorded that the order was not canceled."""


_S, _C = State, Cause

TRANSITIONS: dict[tuple[State | None, Cause], State] = {
    # A cancel is requested.
    (None, _C.REQUESTED): _S.SCHEDULED,
    (None, _C.PROPOSED): _S.SCHEDULED,
    (None, _C.NOT_CANCELABLE): _S.REJECTED,
    # It waits for a person's approval, for its place in the lane, or for a probe to tell whether it may be sent.
    (_S.SCHEDULED, _C.APPROVED): _S.SCHEDULED,
    (_S.SCHEDULED, _C.RETIMED): _S.SCHEDULED,
    (_S.SCHEDULED, _C.RESTORED): _S.SCHEDULED,
    (_S.SCHEDULED, _C.CLAIMED): _S.SENDING,
    (_S.SCHEDULED, _C.PROBED): _S.SCHEDULED,
    (_S.SCHEDULED, _C.PROBE_INCONCLUSIVE): _S.SCHEDULED,
    (_S.SCHEDULED, _C.PROBE_FAILED): _S.SCHEDULED,
    (_S.SCHEDULED, _C.ORDER_UNKNOWN): _S.REFUSED,
    (_S.SCHEDULED, _C.NOT_CANCELABLE): _S.REJECTED,
    (_S.SCHEDULED, _C.WINDOW_CLOSED): _S.REVOKED,
    (_S.SCHEDULED, _C.CONDITION_ENDED): _S.REVOKED,
    (_S.SCHEDULED, _C.ORDER_CANCELED): _S.REVOKED,
    (_S.SCHEDULED, _C.TOOK_EFFECT): _S.SUCCEEDED,
    (_S.SCHEDULED, _C.OUTCOME_UNCERTAIN): _S.INDETERMINATE,
    (_S.SCHEDULED, _C.REVOKE_REQUESTED): _S.REVOKED,
    (_S.SCHEDULED, _C.DEADLINE_PASSED): _S.EXPIRED,
    (_S.SCHEDULED, _C.ATTEMPTS_USED_UP): _S.FAILED,
    # The call is under way; or only the call for its token is, and then the window may still close.
    (_S.SENDING, _C.SUCCEEDED): _S.SUCCEEDED,
    (_S.SENDING, _C.ORDER_CANCELED): _S.SUCCEEDED,
    (_S.SENDING, _C.ACCEPTED): _S.ACCEPTED,
    (_S.SENDING, _C.REFUSED): _S.REFUSED,
    (_S.SENDING, _C.RETRY): _S.SCHEDULED,
    (_S.SENDING, _C.THROTTLED): _S.SCHEDULED,
    (_S.SENDING, _C.UNAUTHORIZED): _S.SCHEDULED,
    (_S.SENDING, _C.WINDOW_CLOSED): _S.REVOKED,
    (_S.SENDING, _C.DEADLINE_PASSED): _S.EXPIRED,
    (_S.SENDING, _C.ATTEMPTS_USED_UP): _S.FAILED,
    (_S.SENDING, _C.NO_RESPONSE): _S.INDETERMINATE,
    (_S.SENDING, _C.INTERRUPTED): _S.INDETERMINATE,
    (_S.SENDING, _C.OUTCOME_UNCERTAIN): _S.INDETERMINATE,
    # Whether it took effect is unknown: a probe, a webhook or a person decides.
    (_S.INDETERMINATE, _C.ORDER_CANCELED): _S.SUCCEEDED,
    (_S.INDETERMINATE, _C.ORDER_CLOSED): _S.REFUSED,
    (_S.INDETERMINATE, _C.REFUSED): _S.REFUSED,
    (_S.INDETERMINATE, _C.RETRY): _S.SCHEDULED,
    (_S.INDETERMINATE, _C.STILL_CANCELABLE): _S.SCHEDULED,
    (_S.INDETERMINATE, _C.PROBE_INCONCLUSIVE): _S.INDETERMINATE,
    (_S.INDETERMINATE, _C.PROBE_FAILED): _S.INDETERMINATE,
    (_S.INDETERMINATE, _C.ATTEMPTS_USED_UP): _S.FAILED,
    (_S.INDETERMINATE, _C.RESOLVED_SUCCEEDED): _S.SUCCEEDED,
    (_S.INDETERMINATE, _C.RESOLVED_REFUSED): _S.REFUSED,
    # The provider took it on.
    (_S.ACCEPTED, _C.ORDER_CANCELED): _S.SUCCEEDED,
    (_S.ACCEPTED, _C.ORDER_CLOSED): _S.REFUSED,
    (_S.ACCEPTED, _C.PROBE_INCONCLUSIVE): _S.ACCEPTED,
    (_S.ACCEPTED, _C.PROBE_FAILED): _S.ACCEPTED,
    (_S.ACCEPTED, _C.ATTEMPTS_USED_UP): _S.FAILED,
    (_S.ACCEPTED, _C.RESOLVED_SUCCEEDED): _S.SUCCEEDED,
    (_S.ACCEPTED, _C.RESOLVED_REFUSED): _S.REFUSED,
}


class Waiting(StrEnum):
    """What a cancellation that is not final waits for (guarantee I5); `due_at` says until when."""

    APPROVAL = "approval"
    """A person's approval."""
    SEND_SLOT = "send_slot"
    """Its place in the account's lane."""
    PROBE = "probe"
    """A probe's result."""
    RETRY = "retry"
    """The time of the next try."""
    THROTTLED = "throttled"
    """The end of the pause that the provider asked for."""
    CREDENTIALS = "credentials"
    """Credentials that the provider accepts; the account is paused."""
    RESULT = "result"
    """The result of the call that is under way."""
    WEBHOOK = "webhook"
    """A webhook, as the provider cannot be probed."""
    NOTHING = "nothing"
    """Nothing."""


class Cancellation(Struct, frozen=True, omit_defaults=True):
    """One request to cancel one order."""

    id: str
    """Its id."""
    account: str
    """The account of its order."""
    order: str
    """The order's id, as the request names it."""
    reason: str
    """The provider's own word where it has a list of reasons, else free text."""
    requested_at: datetime
    """When it was requested."""
    updated_at: datetime
    """When its last step happened."""
    note: str | None = None
    """Free text for the provider."""
    requested_by: str = ""
    """The name of the API key, or `policy <id>`."""
    deadline: datetime | None = None
    """After this it is not sent any more."""
    overridden_evidence: tuple[str, ...] | None = None
    """With `force`: the evidence of the `no` that was overruled. Only new evidence stops it."""
    state: State = State.SCHEDULED
    """The state that the last step led to."""
    waiting: Waiting = Waiting.SEND_SLOT
    """What it waits for, until `due_at`."""
    due_at: datetime | None = None
    """When the next step is due."""
    cause: Cause = Cause.REQUESTED
    """What the last step was caused by."""
    detail: str = ""
    """A sentence about the last step."""
    evidence: tuple[str, ...] = ()
    """Ids of the events that the last step rests on."""
    attempts: int = 0
    """How many cancel calls were sent."""
    last_attempt: str = ""
    """Id of the attempt that was sent last; only its result counts. Empty in the oldest logs."""
    failures: int = 0
    """Tries since the last progress, of calls or probes; their number is limited."""
    lost_calls: int = 0
    """Calls whose outcome was not known; their number is limited as well."""
    may_have_applied: bool = False
    """An earlier call failed at the provider in a way that may have taken effect all the same."""
    refusal_distrusted: bool = False
    """A refusal since the last lost call was not believed; the next one is."""
    ambiguous_failures: int = 0
    """Failures at the provider that may also mean that the order cannot be canceled."""
    ambiguous_since: datetime | None = None
    """When the first of these failures happened."""
    others_unanswered: bool = True
    """Since then no cancel of another order of the account was answered."""
    revoke_requested: bool = False
    """Revoked while an earlier call may have taken effect: it ends once a probe shows that it did not."""
    step: int = 0
    """The number of its last step."""
    verdict: Verdict | None = None
    """The verdict that the request was judged by."""
    request_digest: str = ""
    """A digest of the request, if it came with an Idempotency-Key."""
    policy: str | None = None
    """The policy that requested it."""
    batch: str | None = None
    """The batch that it came with."""
    expected_at: datetime | None = None
    """When it was expected to be sent, at the time of the request; null if that could not be told."""
    closes_at: datetime | None = None
    """When time alone closes the order's window."""
    send_by: datetime | None = None
    """`closes_at`, less the duration of the provider's recent calls: sent later, it would come too late."""

    @property
    def sendable_until(self) -> datetime | None:
        """After this it is not sent any more."""
        return min((time for time in (self.deadline, self.send_by) if time is not None), default=None)

    @property
    def in_time(self) -> bool | None:
        """Whether it will be sent in time, as estimated at its request; None: unknown, or it is final."""
        if self.expected_at is None or self.final:
            return None
        return self.sendable_until is None or self.expected_at < self.sendable_until

    def is_out(self, attempt: str) -> bool:
        """Whether the call of this attempt is under way."""
        return self.state is State.SENDING and self.last_attempt in ("", attempt)

    @property
    def final(self) -> bool:
        """Whether it is in a final state."""
        return self.state in FINAL


CancellationChanges = defstruct(
    "CancellationChanges",
    [(name, hint | UnsetType, UNSET) for name, hint in get_type_hints(Cancellation).items()],
    frozen=True,
)
"""The fields of a cancellation, each of which may be absent."""


class CancellationStep(Struct, frozen=True):
    """A step of a cancellation: the data of its event, whose type names the state that it led to."""

    cancellation: str
    """Its id."""
    step: int
    """The number of the step; the first is 1."""
    cause: Cause
    """What moved it."""
    changes: CancellationChanges  # type: ignore[valid-type]  # the checker does not follow `defstruct`
    """The fields of the cancellation that changed; in the first step, all that are not at their defaults."""


def advance(cancel: Cancellation, cause: Cause, now: datetime, source: Source = Source.CLOCK, **changes: Any) -> Event:
    """The event that moves `cancel` on by `cause`, with the other fields that change.

    What it waits for, until when, and the detail are of one state only: they end with it.
    """
    state = TRANSITIONS[(cancel.state, cause)]
    passing = {"waiting": Waiting.NOTHING, "due_at": None, "detail": ""}
    return _step(cancel, state, cause, now, source, {**passing, **changes})


def begin(request: Cancellation, cause: Cause, now: datetime, **changes: Any) -> Event:
    """The first event of a cancellation; `request` holds what was requested."""
    return _step(request, TRANSITIONS[(None, cause)], cause, now, Source.OPERATOR, {**to_builtins(request), **changes})


def apply(cancel: Cancellation | None, event: Event) -> Cancellation | None:
    """The cancellation after `event`; as it was, where that is no next step of it.

    A newer release may have taken steps that the table here does not have. Their type says to which state they led,
    and what they changed is taken over. Where that cannot be read, it may be why nothing is to be sent: then it waits
    for nothing, until a person or an event moves it on.
    """
    data = event.data
    cause, number = Cause(data["cause"]), data["step"]
    state = TRANSITIONS.get((cancel.state if cancel else None, cause))
    if state is None:
        if number != (cancel.step if cancel else 0) + 1 or (cancel is not None and cancel.final):
            return cancel
        state = _STATES.get(event.type.removeprefix(EVENT_PREFIX))
    before = to_builtins(cancel) if cancel else {}
    step = {"cause": cause, "step": number, "updated_at": event.occurred_at}
    try:
        return convert({**before, **data["changes"], **step, "state": state}, Cancellation, strict=False)
    except ValidationError:
        if cancel is None:
            return None
        return replace(cancel, state=state or cancel.state, waiting=Waiting.NOTHING, due_at=None, detail=NEWER, **step)


def cancellation_of(event: Event) -> str | None:
    """The id of the cancellation that `event` is a step of, if it is one."""
    return event.data.get("cancellation") if event.type.startswith(EVENT_PREFIX) else None


def step_ids(cancel: Cancellation, limit: int) -> list[str]:
    """The ids of the events of its latest steps, the oldest first."""
    first = max(1, cancel.step - limit + 1)
    return [step_id(cancel, step) for step in range(first, cancel.step + 1)]


def step_id(cancel: Cancellation, step: int) -> str:
    """The id of the event of a step."""
    # The step is part of the id and the state is not: no two different next steps can both be recorded.
    return event_id(cancel.account, cancel.order, EVENT_PREFIX, f"{cancel.id}\0{step}".encode())


def _step(
    cancel: Cancellation, state: State, cause: Cause, now: datetime, source: Source, changes: dict[str, Any]
) -> Event:
    step = cancel.step + 1
    data = CancellationStep(cancel.id, step, cause, CancellationChanges(**changes))
    event = internal_event(cancel.account, cancel.order, EVENT_PREFIX + state, "", now, source, data)
    return replace(event, id=step_id(cancel, step))
