"""The log of calls that arrived at a simulated provider."""

from __future__ import annotations

import re
from collections import deque
from typing import Any
from urllib.parse import parse_qsl

import msgspec

CALLS_MAX = 200_000

_ORDER_KEYS = ("request_id", "order_id", "order", "orders", "orderID", "orderId", "entityId")
"""The keys of an order's id in the bodies of all providers; the first one present wins."""
_ORDER_IN_PATH = re.compile(r"/orders?/([^/]+)")


class Call(msgspec.Struct):
    """One call to a provider."""

    at: float
    """When it arrived, in unix seconds."""
    method: str
    path: str
    order: str | None
    """The order that it names, if it can be determined."""
    status: int | None = None
    """The status of the response; None before it, and if the connection was cut."""
    fault: str | None = None
    """The fault that was injected."""


class CallLog:
    """The last `CALLS_MAX` calls to one provider, oldest first."""

    def __init__(self) -> None:
        self.total = 0
        self._calls: deque[Call] = deque(maxlen=CALLS_MAX)

    def add(self, call: Call) -> None:
        """Add a call; its status is set later."""
        self.total += 1
        self._calls.append(call)

    def since(self, skipped: int) -> list[Call]:
        """The calls without the first `skipped` ones."""
        forgotten = self.total - len(self._calls)
        return list(self._calls)[max(0, skipped - forgotten) :]


def order_of(path: str, body: bytes) -> str | None:
    """The order that a call names: in its body (JSON or a form), else in its path."""
    fields = _fields(body)
    for key in _ORDER_KEYS:
        value = fields.get(key)
        if isinstance(value, str) or type(value) is int:
            return str(value)
    match = _ORDER_IN_PATH.search(path)
    return match[1] if match else None


def _fields(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return dict(parse_qsl(body.decode("utf-8", "replace")))
    return decoded if isinstance(decoded, dict) else {}
