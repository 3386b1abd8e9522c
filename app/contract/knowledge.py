"""What is known of an order, and what follows from it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct


class Phase(StrEnum):
    """Where an order is, in our words. A provider's own string is its *status*."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"


class Appointment(Struct, frozen=True, omit_defaults=True, gc=False):
    """One appointment of an order."""

    id: str
    """The provider's own id."""
    status: str
    """The provider's own string, where it has one."""
    starts_at: datetime | None = None
    """When it begins; None if that is not known."""
    ends_at: datetime | None = None
    """When it ends; None if that is not known."""


class Facts(Struct, frozen=True, omit_defaults=True, gc=False):
    """What one event states of its order. What it leaves at the default it does not speak of."""

    phase: Phase | None = None
    """The order's phase; `unknown` if this event makes it uncertain."""
    provider_status: str | None = None
    """The order's status in the provider's own words."""
    opened_at: datetime | None = None
    """When the order was placed."""
    appointments: tuple[Appointment, ...] = ()
    """Added to the known ones by id, or all there are if `appointments_complete`."""
    appointments_complete: bool = False
    """Whether `appointments` are all that the order has."""
    attributes: dict[str, Any] = {}
    """The provider's own fields as it spells them; money as strings."""
    aliases: tuple[str, ...] = ()
    """Other names of this very order (unique): each leads to it, and orders with one in common are one order."""
    snapshot: bool = False
    """The provider's present word on the whole order: it may reopen even a closed one."""
    unreadable: tuple[str, ...] = ()
    """Fields of these (`opened_at`) that the event states, but not so that they can be read: nothing stands in for
    them, and the account's warnings say so."""
    shared_aliases: tuple[str, ...] = ()
    """References that several orders may carry: the order can be looked up by them, and nothing more follows."""


class Order(Struct, frozen=True, omit_defaults=True, gc=False):
    """The fold of an order's events: the same for any arrival order of the same events."""

    account: str
    id: str
    aliases: tuple[str, ...] = ()
    phase: Phase = Phase.UNKNOWN
    provider_status: str | None = None
    opened_at: datetime | None = None
    last_event_at: datetime | None = None
    appointments: tuple[Appointment, ...] = ()
    attributes: dict[str, Any] = {}
    version: int = 0
    """How many events were folded; 0 is an order never heard of."""
    sources: dict[str, str] = {}
    """Field → id of the event that last set it: what verdicts cite as evidence."""
    anomalies: tuple[str, ...] = ()
    """Ids of events that contradict a final phase; they are kept, and changed nothing."""
    changed_at: datetime | None = None
    """When an event last said something else than was known."""
    shared_aliases: tuple[str, ...] = ()
    """References that it may have in common with other orders. No call at the provider names it by one."""

    def evidence(self, *fields: str) -> tuple[str, ...]:
        """Ids of the events behind `fields`, without repeats, in the order given."""
        return tuple(dict.fromkeys(self.sources[name] for name in fields if name in self.sources))


class Cancelable(StrEnum):
    """May the order still be canceled? What is not known is `unknown`, never `no`."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Verdict(Struct, frozen=True, omit_defaults=True):
    """A handler's judgment of an order at one moment."""

    cancelable: Cancelable
    """Whether the order can be canceled."""
    reason: str
    """A code of the handler's, lower_snake_case, stable over releases."""
    explanation: str = ""
    """The reason in a sentence."""
    evidence: tuple[str, ...] = ()
    """Ids of the events that it rests on."""
    changes_at: datetime | None = None
    """When time alone will change this verdict; None if only an event can."""
