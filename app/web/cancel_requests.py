"""What requests to cancel have in common, alone or in a batch: their fields, their checks and their forecast."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field

from app.config.models import WORDS_CHARS_MAX
from app.config.resolve import Account
from app.contract import InvalidCancel
from app.core.cancellation import Cancellation
from app.core.commands import RequestCancel
from app.node import Node
from app.web.fields import Moment, Text
from app.web.lookup import probable_name
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call

ORDER_ID_MAX = 200
DEADLINE_MAX = timedelta(days=36500)
QUEUE_MAX = 20_000
"""Waiting cancellations that a forecast considers at most, the most urgent first."""


class CancelFields(Body):
    """The fields of a request to cancel an order."""

    reason: Text = Field(
        "",
        max_length=WORDS_CHARS_MAX,
        description="One of the provider's reasons, if it has a list; else free text. The provider decides whether it "
        "is required, and its length.",
    )
    note: Text | None = Field(
        None,
        max_length=WORDS_CHARS_MAX,
        description="Free text. Required if the provider requires it, refused if the provider takes none.",
    )
    deadline: Moment | None = Field(None, description="Not sent after this time.")

    def deadline_at(self, account: Account, now: datetime) -> datetime:
        """The deadline, by default the account's."""
        return self.deadline or now + timedelta(hours=account.spec.deadline_h)


def check_order_id(account: Account, order: str) -> None:
    """Raise `Problem` for what cannot be an order's id."""
    if not 0 < len(order) <= ORDER_ID_MAX or not order.isprintable():
        raise Problem(Kind.INVALID, f"The order id must have 1 to {ORDER_ID_MAX} printable characters.", field="order")
    try:
        account.handler.check_order(order)
    except InvalidCancel as error:
        raise Problem(Kind.INVALID, f"The order id {order!r}: {error}.", field=error.field) from error


def check_cancel(account: Account, fields: CancelFields, now: datetime) -> None:
    """Raise `Problem` for a cancel that the provider would refuse as it is written, or whose deadline is invalid."""
    if account.view.no_cancel is not None:
        raise Problem(Kind.INVALID, f"Account {account.spec.id}: {account.view.no_cancel}", field="account")
    try:
        account.handler.check(fields.reason, fields.note, account.view.rules)
    except InvalidCancel as error:
        raise Problem(Kind.INVALID, f"The field {error.field}: {error}.", field=error.field) from error
    deadline = fields.deadline_at(account, now)
    if deadline <= now:
        raise Problem(Kind.INVALID, "The field deadline: it is in the past.", field="deadline")
    if deadline > now + DEADLINE_MAX:
        detail = f"The field deadline: at most {DEADLINE_MAX.days // 365} years ahead."
        raise Problem(Kind.INVALID, detail, field="deadline")


def cancel_command(
    call: Call, account: Account, order: str, fields: CancelFields, now: datetime, *, force: bool = False, **more: Any
) -> RequestCancel:
    """The command that requests this cancel; `more` are further fields of its cancellation."""
    asked = Cancellation(
        account=account.spec.id,
        order=order,
        reason=fields.reason,
        note=fields.note,
        requested_at=now,
        updated_at=now,
        requested_by=call.key.name,
        deadline=fields.deadline_at(account, now),
        **more,
    )
    return RequestCancel(asked.account, order, now, asked, force)


async def check_name(node: Node, account: str, order: str) -> None:
    """Raise `Problem` if no order has this name, but another one is probably meant.

    A cancel by the bare id would cancel another order, or none.
    """
    name = await probable_name(node, account, order)
    if name is not None:
        detail = (
            f"No event of order {order!r} of account {account!r} has been received, but there is an order {name!r}: "
            f"cancel it by that name, or set force if another order {order!r} is meant."
        )
        raise Problem(Kind.NOT_FOUND, detail, field="order")


async def forecast(
    node: Node, account: Account, orders: Sequence[str], deadlines: Sequence[datetime], now: datetime
) -> list[datetime | None]:
    """When the cancel of each of these orders, all requested now, would be sent; None if that is not known."""
    latency = timedelta(seconds=node.latency_s(account.spec.id))
    stored_orders = await asyncio.gather(*(node.store.order(account.spec.id, order) for order in orders))
    urgent = []
    for stored, deadline in zip(stored_orders, deadlines, strict=True):
        closes_at = account.view.closes_at(stored[1].order, now) if stored else None
        urgent.append(deadline if closes_at is None else min(deadline, closes_at - latency))
    waiting = await node.store.deadlines(account.spec.id, max(urgent), QUEUE_MAX)
    # Of equally urgent cancellations, those that wait already are sent first.
    queue = sorted(
        [(deadline, -1) for deadline in waiting] + [(deadline, index) for index, deadline in enumerate(urgent)]
    )
    times = await node.duties.expected(account.spec.id, [deadline for deadline, _ in queue])
    expected: list[datetime | None] = [None] * len(orders)
    for (_, index), at in zip(queue, times or (), strict=times is not None):
        if index >= 0:
            expected[index] = at
    return expected
