"""Faults between a caller and a provider, injected on demand, one call at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

Processed = Literal["before", "after", "never"]

_PROCESSED: dict[str, Processed] = {
    "delay": "before",
    "status": "never",
    "reset_before": "never",
    "reset_after": "before",
    "wrong_json": "before",
    "slow_body": "before",
}
_POSSIBLE: dict[str, tuple[Processed, ...]] = {"delay": ("before", "after"), "status": ("never", "before")}


class Fault(BaseModel):
    """A fault of the next `times` calls.

    - `delay`: the response is `seconds` late, or until the faults are removed.
    - `status`: the response is `status`, `headers` and `body` instead.
    - `reset_before`: the connection is cut before the provider processes the call.
    - `reset_after`: the provider processes the call, and the connection is cut without a response.
    - `wrong_json`: the provider processes the call, and its response ends in the middle of the JSON.
    - `slow_body`: half of the response, and `seconds` later the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fault: Literal["delay", "status", "reset_before", "reset_after", "wrong_json", "slow_body"]
    path: str | None = None
    """The path of the calls, without the provider; None is any."""
    order: str | None = None
    """An order that the calls name, also among several; None is any."""
    times: int = Field(1, ge=1)
    status: int = Field(500, ge=200, le=599)
    body: Any = None
    """A string is sent unchanged, None is no body, anything else is sent as JSON."""
    headers: dict[str, str] = {}
    seconds: float = Field(2.0, ge=0, le=3600)
    processed: Processed | None = None
    """When the provider processes the call: before the fault, after it, or never. Only for `delay` (`before` or
    `after`) and `status` (`never` or `before`); of the other faults it is fixed."""

    @model_validator(mode="after")
    def _check_processed(self) -> Self:
        possible = _POSSIBLE.get(self.fault, ())
        if self.processed is not None and self.processed not in possible:
            choice = " or ".join(possible) or "nothing: leave it out"
            raise ValueError(f"for {self.fault} processed can be {choice}")
        return self

    @property
    def timing(self) -> Processed:
        """When the provider processes the call."""
        return self.processed or _PROCESSED[self.fault]

    @property
    def raw_body(self) -> bytes:
        """`body` in bytes."""
        if self.body is None:
            return b""
        return self.body.encode() if isinstance(self.body, str) else msgspec.json.encode(self.body)


class FaultQueue:
    """The faults that wait for their calls, in order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Fault, int]] = deque()
        self._removed = asyncio.Event()

    def add(self, fault: Fault) -> None:
        """Inject `fault` into the next calls that it matches."""
        self._waiting.append((fault, fault.times))

    def clear(self) -> None:
        """Remove all faults; responses that are delayed are sent now."""
        self._waiting.clear()
        self._removed.set()
        self._removed = asyncio.Event()

    async def delay(self, delay: Awaitable[object]) -> None:
        """Wait until `delay` ends or the faults are removed."""
        waits = [asyncio.ensure_future(delay), asyncio.ensure_future(self._removed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def take(self, path: str, order: str | None = None) -> Fault | None:
        """The fault of this call, if any; `order` is the order that it names, or several separated by commas."""
        named = {None} if order is None else {None, order, *order.split(",")}
        for index, (fault, left) in enumerate(self._waiting):
            if fault.path in (None, path) and fault.order in named:
                if left > 1:
                    self._waiting[index] = (fault, left - 1)
                else:
                    del self._waiting[index]
                return fault
        return None
