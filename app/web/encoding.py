"""Responses as JSON, and decoded again for pages: lists row by row, in time slices.

A row may have 100 KB, and a list 500 rows: in one go they would hold up the event loop, and every webhook with it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from app.runtime.time_slice import TimeSlice


async def encoded(body: Any) -> bytes:
    """`body` as JSON."""
    rows = _rows_of(body)
    if rows is None:
        return msgspec.json.encode(body)
    time_slice, parts = TimeSlice(), list[Raw]()
    for row in rows:
        parts.append(row if isinstance(row, Raw) else Raw(msgspec.json.encode(row)))
        await time_slice.pause()
    return msgspec.json.encode(replace(body, data=parts))


async def decoded(body: Any) -> Any:
    """What a client would decode from the JSON of `body`; bytes are JSON already."""
    if isinstance(body, bytes):
        return msgspec.json.decode(body)
    rows = _rows_of(body)
    if rows is None:
        return msgspec.json.decode(msgspec.json.encode(body))
    whole = msgspec.json.decode(msgspec.json.encode(replace(body, data=[])))
    time_slice = TimeSlice()
    for row in rows:
        whole["data"].append(msgspec.json.decode(row if isinstance(row, Raw) else msgspec.json.encode(row)))
        await time_slice.pause()
    return whole


def _rows_of(body: Any) -> list[Any] | None:
    """The rows of a list; None of anything else."""
    rows = getattr(body, "data", None) if isinstance(body, Struct) else None
    return rows if isinstance(rows, list) else None
