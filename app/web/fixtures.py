"""Fixtures: made-up orders on which policies are tested."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field

from app.contract import Order, Source
from app.core.aggregate import OrderAggregate
from app.core.event import Event, internal_event
from app.web.problems import Kind, Problem
from app.web.routes import Body

_SHOWN_ONLY = frozenset({"tags", "verdict", "cancellation"})
"""Members of a shown order that are no fields of the order itself."""


class _GivenEvent(Struct):
    type: str
    occurred_at: datetime | None = None


class Fixture(Body):
    """A made-up order."""

    account: str
    order: dict[str, Any] = Field(description="As the API shows orders. Missing fields are empty.")
    tags: tuple[str, ...] = ()
    duplicates: tuple[dict[str, str], ...] = ()
    event: dict[str, Any] | None = Field(None, description="The event that triggers the policy: `type`, `occurred_at`.")

    def aggregate(self, now: datetime) -> tuple[OrderAggregate, list[Event]]:
        """The order, and the event that triggers policies, if any. Raises `Problem`."""
        unknown = set(self.order) - set(Order.__struct_fields__) - _SHOWN_ONLY
        if unknown:
            raise _invalid(f"an order has no {', '.join(sorted(unknown))}")
        given = {key: value for key, value in self.order.items() if key in Order.__struct_fields__}
        try:
            order = msgspec.convert(
                {"id": "fixture", "version": 1, **given, "account": self.account}, Order, strict=False
            )
            triggers = self._triggers(order, now)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from error
        times = [order.opened_at, order.last_event_at, order.changed_at, *(event.occurred_at for event in triggers)]
        times += [time for visit in order.appointments for time in (visit.starts_at, visit.ends_at)]
        if any(time is not None and time.tzinfo is None for time in times):
            raise _invalid("give times with an offset from UTC, such as Z")
        # Every field needs an event as evidence: a rule without evidence knows nothing.
        evidence = internal_event(self.account, order.id, "", "fixture", now, Source.WEBHOOK, {}).id
        sources = dict.fromkeys(given.keys() & {"phase", "provider_status", "appointments", "attributes"}, evidence)
        order = replace(
            order,
            sources=sources,
            opened_at=order.opened_at or now,
            last_event_at=order.last_event_at or now,
        )
        return OrderAggregate(order, tags=self._tags()), triggers

    def _triggers(self, order: Order, now: datetime) -> list[Event]:
        if self.event is None:
            return []
        given = msgspec.convert(self.event, _GivenEvent, strict=False)
        event = internal_event(self.account, order.id, "", "fixture", now, Source.WEBHOOK, {})
        return [replace(event, type=given.type, occurred_at=given.occurred_at or event.occurred_at)]

    def _tags(self) -> tuple[str, ...]:
        shown = self.order.get("tags", [])
        if not isinstance(shown, list) or not all(isinstance(tag, str) for tag in shown):
            raise _invalid("tags must be a list of strings")
        return tuple(sorted({*self.tags, *shown}))


def _invalid(what: str) -> Problem:
    return Problem(Kind.INVALID, f"The fixture: {what}.", field="fixture")
