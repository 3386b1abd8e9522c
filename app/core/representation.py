"""The JSON of verdicts, orders and cancellations: in responses of the API, and in messages to subscribers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from app import contract
from app.core import aggregate, cancellation
from app.core.cancellation import State, Waiting

_Schema = TypeVar("_Schema", bound=Struct)


def schema_of(schema: type[_Schema], source: Any, **members: Any) -> _Schema:
    """`schema` with these members, and every other one as the attribute of `source` has it."""
    same = {name: getattr(source, name) for name in schema.__struct_fields__ if name not in members}
    return schema(**same, **members)


class Verdict(Struct, kw_only=True):
    """Whether the order can be canceled, why, and until when."""

    cancelable: contract.Cancelable
    """Whether the order can be canceled."""
    reason: str
    """A code of the handler's, lower_snake_case."""
    explanation: str
    """The reason in a sentence."""
    evidence: tuple[str, ...]
    """Ids of the events that it rests on."""
    changes_at: datetime | None
    """When time alone will change it, as far as is known."""
    as_of: datetime
    """The time for which it was judged."""

    @classmethod
    def of(cls, verdict: contract.Verdict, as_of: datetime) -> Verdict:
        """A verdict as judged at `as_of`."""
        return cls(
            cancelable=verdict.cancelable,
            reason=verdict.reason,
            explanation=verdict.explanation,
            evidence=verdict.evidence,
            changes_at=verdict.changes_at,
            as_of=as_of,
        )


class OrderAppointment(Struct):
    """One appointment of an order; `status` is the provider's own string where it has one."""

    id: str
    """The provider's own id."""
    status: str
    """The provider's own string, where it has one."""
    starts_at: datetime | None
    """When it begins, if that is known."""
    ends_at: datetime | None
    """When it ends, if that is known."""


class Order(Struct, kw_only=True):
    """An order with its verdict."""

    account: str
    """Its account."""
    id: str
    """The provider's id."""
    aliases: tuple[str, ...]
    """Every other name by which the order can be looked up."""
    shared_aliases: tuple[str, ...]
    """Those aliases that several orders may carry."""
    phase: contract.Phase
    """Where the order is, in the words of Rescind."""
    provider_status: str | None
    """The provider's own string."""
    opened_at: datetime | None
    """When it was opened."""
    last_event_at: datetime | None
    """When its latest event happened."""
    appointments: list[OrderAppointment]
    attributes: dict[str, Any]
    """The provider's own fields as it spells them; money as strings."""
    tags: tuple[str, ...]
    """What people put on it."""
    version: int
    """How many facts it was made of."""
    anomalies: tuple[str, ...]
    """Ids of the latest events that contradicted a final phase."""
    cancellation: str | None
    """The id of the live cancellation."""
    verdict: Verdict
    """Whether it can be canceled."""
    closes_at: datetime | None
    """When time alone closes its window, if it can be canceled until then."""

    @classmethod
    def of(cls, stored: aggregate.OrderAggregate, verdict: Verdict, closes_at: datetime | None) -> Order:
        """An order with the given verdict, which time alone makes a `no` at `closes_at`."""
        order = stored.order
        return schema_of(
            cls,
            order,
            aliases=tuple(sorted({*order.aliases, *order.shared_aliases})),
            appointments=msgspec.convert(order.appointments, list[OrderAppointment], from_attributes=True),
            tags=stored.tags,
            cancellation=stored.live[0].id if stored.live else None,
            verdict=verdict,
            closes_at=closes_at,
        )


class WaitingFor(Struct, kw_only=True, rename={"what": "for"}):
    """What a cancellation waits for, and until when at the latest."""

    what: str
    """`approval`, `send_slot`, `probe`, `retry`, `throttled`, `credentials`, `result`, `webhook`; or the state of a
    lane that sends nothing."""
    until: datetime | None
    """Until when at the latest."""
    reason: str = ""
    """Why, if something holds up the account."""


class Cancellation(Struct, kw_only=True):
    """One request to cancel one order, and its state."""

    id: str
    """Its id."""
    account: str
    """The account of its order."""
    order: str
    """The order's id."""
    state: State
    """The state that its last step led to."""
    final: bool
    """Whether it stays in that state."""
    reason: str
    """The provider's own word where it has a list of reasons, else free text."""
    note: str | None
    """Free text for the provider."""
    cause: str
    """What its last step was caused by."""
    detail: str
    """A sentence about its last step."""
    evidence: tuple[str, ...]
    """Ids of the events that its last step rests on."""
    waiting: WaitingFor | None
    """What it waits for; null if it is final."""
    attempts: int
    """How many cancel calls were sent."""
    deadline: datetime | None
    """After this it is not sent any more."""
    forced: bool
    """Whether a `no` was overruled."""
    requested_at: datetime
    """When it was requested."""
    requested_by: str
    """The name of the API key, or `policy <id>`."""
    policy: str | None
    """The policy that requested it."""
    batch: str | None
    """The batch that it came with."""
    closes_at: datetime | None
    """When the order's window closes by time alone."""
    send_by: datetime | None
    """`closes_at` less the latency of the provider's calls: not sent after this."""
    expected_at: datetime | None
    """When it was expected to be sent, as forecast at the request."""
    in_time: bool | None
    """Whether the forecast was in time; null if there was none."""
    updated_at: datetime
    """When its last step happened."""
    verdict: Verdict | None
    """The verdict at the request."""

    @classmethod
    def of(cls, stored: cancellation.Cancellation, holdup: WaitingFor | None = None) -> Cancellation:
        """A cancellation; `holdup` is what holds up its account."""
        return schema_of(
            cls,
            stored,
            waiting=_waiting_for(stored, holdup),
            forced=stored.overridden_evidence is not None,
            expected_at=None if stored.final else stored.expected_at,
            verdict=Verdict.of(stored.verdict, stored.requested_at) if stored.verdict else None,
        )


def _waiting_for(stored: cancellation.Cancellation, holdup: WaitingFor | None) -> WaitingFor | None:
    if stored.final:
        return None
    if holdup is not None and stored.waiting not in (Waiting.RESULT, Waiting.APPROVAL):
        return WaitingFor(what=holdup.what, until=holdup.until or stored.deadline, reason=holdup.reason)
    # A due cancellation waits for its turn, which comes before the deadline or not at all.
    until = stored.sendable_until if stored.waiting in (Waiting.SEND_SLOT, Waiting.CREDENTIALS) else stored.due_at
    return WaitingFor(what=stored.waiting, until=until)
