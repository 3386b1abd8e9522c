"""Contexts of traces: what waits in the database continues the trace of its cause. Written only while tracing is on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol


class TraceReader(Protocol):
    """The part of the store that reads them."""

    async def trace_contexts(self, ids: Sequence[str]) -> dict[str, str]:
        """Id of a cancellation or message → its context as `traceparent`, of those that have one."""


class TraceStore(Protocol):
    """The part of the store that deletes them; commits write them (`Changes.traces`)."""

    async def delete_trace_contexts(self, prefix: str, until: datetime, limit: int) -> bool:
        """Delete those of the first ids with this prefix that were drawn before `until`; whether there may be more."""
