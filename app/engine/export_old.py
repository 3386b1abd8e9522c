"""Export of what retention will expunge, as JSON Lines."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec

from app.runtime import ids
from app.store import Reader, Receipt

PAGE = 500
_encode = msgspec.json.Encoder().encode


async def old_data(reader: Reader, before: datetime, *, again: bool) -> AsyncIterator[bytes]:
    """A line for each receipt, attempt and event that a run with this time expunges, oldest first.

    Args:
        reader: the store.
        before: what is older is expunged.
        again: the run looks at all data, and not only at what became old since the last one.
    """
    positions = {} if again else await reader.retention_positions()
    last = ids.at(round(before.timestamp() * 1000))
    position = positions.get("receipts", 0)
    while (part := await reader.old_rows("receipts", position, last, PAGE)).read:
        position = part.position
        for id in part.ids:
            receipt = await reader.receipt(id)
            if receipt is not None:
                yield _line("receipt", _receipt(receipt))
    position = positions.get("attempts", 0)
    while (part := await reader.old_rows("attempts", position, last, PAGE)).read:
        position = part.position
        for attempt in await reader.attempts_at(part.ids):
            shown = {name: getattr(attempt, name) for name in _ATTEMPT}
            yield _line("attempt", {"id": ids.show(ids.ATTEMPT, attempt.id), "call": attempt.kind, **shown})
    position = positions.get("events", 0)
    while (orders := await reader.old_orders(position, before, PAGE)).read:
        position = orders.position
        for account, order, _ in orders.orders:
            stored = await reader.order(account, order)
            async for page in reader.order_pages(stored[0] if stored else 0):
                for _, event in page:
                    yield _line("event", msgspec.to_builtins(event))


_ATTEMPT = ("account", "order", "cancellation", "started_at", "ended_at", "outcome", "detail", "exchanges")


def _receipt(receipt: Receipt) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": ids.show(ids.RECEIPT, receipt.id),
        "endpoint": receipt.endpoint,
        "account": receipt.account,
        "received_at": receipt.received_at,
        "status": receipt.status,
        "reason": receipt.reason,
        "query": receipt.query,
        "headers": receipt.headers,
    }
    try:
        return shown | {"body": receipt.body.decode()}
    except UnicodeDecodeError:
        return shown | {"body_base64": b64encode(receipt.body).decode()}


def _line(kind: str, row: dict[str, Any]) -> bytes:
    return _encode({"kind": kind, **row}) + b"\n"
