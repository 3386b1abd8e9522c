"""The rows that changes become: the same values for every database, each for the columns that are named beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from app.core.cancellation import Cancellation
from app.core.event import Event, order_key, split_id
from app.core.outbound.message import Message
from app.core.pauses import Pause
from app.core.policy.decisions import decisions_of
from app.store import codec
from app.store.records import OrderWrite

DELIVERY_STORED = "subscription, message, account, type, sequence, state, due_at, tries, attempts"
"""What is written of a new delivery."""
ORDER_COLUMNS = """account, pk, id, phase, cancelable, reason, fingerprint, opened_at, closes_at, closing_notice,
    next_check_at, last_event_at"""
"""What is written of an order, without its state."""
PAUSE_COLUMNS = "scope, reason, since, by"


def delivery_rows(message: Message) -> Iterator[tuple[Any, ...]]:
    """One pending delivery for each target, due at once unless the target has a schedule."""
    for target in message.targets:
        schedule = target.schedule
        at = codec.micros(message.at if schedule is None else schedule.due_at(message.at, urgent=False))
        sequence = message.order_pk if target.ordered and message.order_pk else None
        yield target.subscription, message.id, message.account, message.type, sequence, "pending", at, 0, "[]"


def name_rows(names: Iterable[tuple[str, str, int]]) -> Iterator[tuple[int, str, str, int]]:
    """(key, account, name, order number)."""
    for account, name, pk in names:
        yield order_key(account, name), account, name, pk


def pause_row(pause: Pause) -> tuple[Any, ...]:
    """The `PAUSE_COLUMNS` of a pause."""
    return pause.scope, pause.reason, codec.micros(pause.since), pause.by


def decision_rows(events: Iterable[tuple[int, Event]]) -> Iterator[tuple[str, int, int, str, str | None]]:
    """(account, order number, event key, policy, outcome) of each decision of a policy."""
    for pk, event in events:
        for decision in decisions_of(event):
            yield event.account, pk, split_id(event.id)[1], decision["policy"], decision.get("outcome")


def order_row(write: OrderWrite) -> tuple[Any, ...]:
    """The `ORDER_COLUMNS` of an order; keeps the aggregate's JSON in `write.state`."""
    order = write.aggregate.order
    write.state = codec.to_json(write.aggregate)
    return (
        order.account,
        write.pk,
        order.id,
        order.phase,
        write.cancelable,
        write.reason,
        write.fingerprint,
        codec.micros_or_none(order.opened_at),
        codec.micros_or_none(write.closes_at),
        write.closing_notice,
        codec.micros_or_none(write.next_check_at),
        codec.micros_or_none(order.last_event_at),
    )


def cancellation_row(pk: int, cancellation: Cancellation) -> tuple[Any, ...]:
    """Id, order number, account, state, policy, time of the request, batch and body."""
    return (
        cancellation.id,
        pk,
        cancellation.account,
        cancellation.state,
        cancellation.policy,
        codec.micros(cancellation.requested_at),
        cancellation.batch,
        codec.to_json(cancellation),
    )
