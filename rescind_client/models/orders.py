"""Classes of orders."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from msgspec import field

from rescind_client.model import Model

if TYPE_CHECKING:
    Phase = Literal["canceled", "completed", "in_progress", "open", "unknown"]
else:
    Phase = str  # A later server may add values.
"""Where an order is, in our words. A provider's own string is its *status*."""


class OrderAppointment(Model, kw_only=True):
    """One appointment of an order; `status` is the provider's own string where it has one."""

    id: str
    """The provider's own id."""
    status: str
    """The provider's own string, where it has one."""
    starts_at: datetime | None
    """When it begins, if that is known."""
    ends_at: datetime | None
    """When it ends, if that is known."""


if TYPE_CHECKING:
    Cancelable = Literal["no", "unknown", "yes"]
else:
    Cancelable = str  # A later server may add values.
"""May the order still be canceled? What is not known is `unknown`, never `no`."""


class Verdict(Model, kw_only=True):
    """Whether the order can be canceled, why, and until when."""

    cancelable: Cancelable
    """Whether the order can be canceled."""
    reason: str
    """A code of the handler's, lower_snake_case."""
    explanation: str
    """The reason in a sentence."""
    evidence: list[str]
    """Ids of the events that it rests on."""
    changes_at: datetime | None
    """When time alone will change it, as far as is known."""
    as_of: datetime
    """The time for which it was judged."""


class Order(Model, kw_only=True):
    """An order with its verdict."""

    account: str
    """Its account."""
    id: str
    """The provider's id."""
    aliases: list[str]
    """Every other name by which the order can be looked up."""
    shared_aliases: list[str]
    """Those aliases that several orders may carry."""
    phase: Phase
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
    tags: list[str]
    """What people put on it."""
    version: int
    """How many facts it was made of."""
    anomalies: list[str]
    """Ids of the latest events that contradicted a final phase."""
    cancellation: str | None
    """The id of the live cancellation."""
    verdict: Verdict
    """Whether it can be canceled."""
    closes_at: datetime | None
    """When time alone closes its window, if it can be canceled until then."""


class FacetValue(Model, kw_only=True):
    """How many rows have a value."""

    value: str
    count: int
    complete: bool = True
    """False if there are more rows than were counted."""


class Facets(Model, kw_only=True):
    """How many rows there are for a filter."""

    total: int
    complete: bool
    """False if there are more rows than were counted: the newest of the filter, or so many of each value."""
    facets: dict[str, list[FacetValue]]
    """Field → its values: those with most rows first, days the newest first."""


if TYPE_CHECKING:
    State = Literal[
        "accepted",
        "expired",
        "failed",
        "indeterminate",
        "refused",
        "rejected",
        "revoked",
        "scheduled",
        "sending",
        "succeeded",
    ]
else:
    State = str  # A later server may add values.
"""Where a cancellation is."""


class WaitingFor(Model, kw_only=True):
    """What a cancellation waits for, and until when at the latest."""

    for_: str = field(name="for")
    until: datetime | None
    """Until when at the latest."""
    reason: str = ""
    """Why, if something holds up the account."""


class Cancellation(Model, kw_only=True):
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
    evidence: list[str]
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


class Tags(Model, kw_only=True):
    """All tags of an order."""

    tags: list[str]


if TYPE_CHECKING:
    Source = Literal["clock", "operator", "provider", "webhook"]
else:
    Source = str  # A later server may add values.
"""Through which side of the one door an event came."""


class Appointment(Model, kw_only=True):
    """One appointment of an order."""

    id: str
    """The provider's own id."""
    status: str
    """The provider's own string, where it has one."""
    starts_at: datetime | None = None
    """When it begins; None if that is not known."""
    ends_at: datetime | None = None
    """When it ends; None if that is not known."""


class Facts(Model, kw_only=True):
    """What one event states of its order. What it leaves at the default it does not speak of."""

    phase: Phase | None = None
    """The order's phase; `unknown` if this event makes it uncertain."""
    provider_status: str | None = None
    """The order's status in the provider's own words."""
    opened_at: datetime | None = None
    """When the order was placed."""
    appointments: list[Appointment] = field(default_factory=list)
    """Added to the known ones by id, or all there are if `appointments_complete`."""
    appointments_complete: bool = False
    """Whether `appointments` are all that the order has."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """The provider's own fields as it spells them; money as strings."""
    aliases: list[str] = field(default_factory=list)
    """Other names of this very order (unique): each leads to it, and orders with one in common are one order."""
    snapshot: bool = False
    """The provider's present word on the whole order: it may reopen even a closed one."""
    unreadable: list[str] = field(default_factory=list)
    """Fields of these (`opened_at`) that the event states, but not so that they can be read: nothing stands
    in for them, and the account's warnings say so.
    """
    shared_aliases: list[str] = field(default_factory=list)
    """References that several orders may carry: the order can be looked up by them, and nothing more follows."""


class Event(Model, kw_only=True):
    """One fact about one order; about an account as a whole where `order` is empty."""

    id: str
    account: str
    order: str
    """The name by which the event refers to the order; several names may lead to one order."""
    type: str
    occurred_at: datetime
    received_at: datetime
    source: Source
    facts: Facts
    data: dict[str, Any]
    """What was decided, and why, in Rescind's own events, by the schema of the type (`app.core.event_types`)."""
    receipt: str | None


if TYPE_CHECKING:
    JobKind = Literal["cancel", "probe", "registration"]
else:
    JobKind = str  # A later server may add values.
"""What a job does at the provider."""


class Attempt(Model, kw_only=True):
    """An attempt, with what was sent and answered."""

    id: str
    account: str
    order: str
    """The name by which the job refers to the order."""
    kind: JobKind
    cancellation: str | None
    started_at: datetime
    ended_at: datetime | None
    """Null while it is under way."""
    calls: int
    """HTTP calls; those of an attempt at several orders are counted with the first of them."""
    outcome: str
    """`succeeded`, `accepted`, `refused`, `retry`, `unauthorized`, `indeterminate` or `interrupted`; empty
    while it is under way.
    """
    detail: str
    exchanges: list[dict[str, Any]]


class TimelineEntry(Model, kw_only=True):
    """One entry of an order's history."""

    at: datetime
    kind: str
    """`decision` is an event by which a policy decided."""
    event: Event | None = None
    verdict: Verdict | None = None
    attempt: Attempt | None = None
