"""Links between records, from rows that both stores read in the same form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from app.core.event import Event
from app.core.policy.decisions import decision_of
from app.runtime import ids
from app.store.id_bounds import END, first_id
from app.store.links import CancellationLinks, EventLinks

_BEFORE, _AFTER = timedelta(minutes=1), timedelta(minutes=10)
"""Messages of events that are about no order are looked for around the time of the event: no index has only them."""


def message_bounds(event: Event, pk: int) -> tuple[int, int]:
    """Between which ids the messages are that an event of an order caused; `pk` is 0 for one of no order."""
    if pk:
        return 0, END
    return first_id(event.received_at - _BEFORE), first_id(event.received_at + _AFTER)


def links_of_event(event: Event, resting: Iterable[Sequence[Any]], messages: Iterable[Sequence[Any]]) -> EventLinks:
    """Links of an event.

    Args:
        event: the event.
        resting: (id,) of the cancellations that rest on it.
        messages: (id,) of the messages that it caused.
    """
    named = event.data.get("cancellation")
    cancellations = [named] if isinstance(named, str) else []
    return EventLinks(list(dict.fromkeys([*cancellations, *(id for (id,) in resting)])), _shown(ids.MESSAGE, messages))


def links_of_cancellation(
    id: str,
    policy: str | None,
    decisions: Iterable[Event],
    attempts: Sequence[Sequence[Any]],
    messages: Sequence[Sequence[Any]],
) -> CancellationLinks:
    """Links of a cancellation.

    Args:
        id: of the cancellation.
        policy: the policy that requested it, if one did.
        decisions: events by which that policy decided on the order, oldest first.
        attempts: (id,) of its attempts, newest first.
        messages: (id,) of the messages that its steps caused, newest first.
    """
    own = (decision_of(event, policy) for event in decisions) if policy is not None else ()
    return CancellationLinks(
        next((event.id for event in own if event.data.get("cancellation") == id), None),
        _shown(ids.ATTEMPT, reversed(attempts)),
        _shown(ids.MESSAGE, reversed(messages)),
    )


def _shown(kind: str, rows: Iterable[Sequence[Any]]) -> list[str]:
    return [ids.show(kind, id) for (id,) in rows]
