"""What stays of rows that are expunged, the same for every database."""

from __future__ import annotations

import json
from typing import Any

from app.core.erasure import ERASED, FREE_TEXT
from app.runtime import ids

_RESPONSE = ("headers", "body")


def without_text(data: str) -> str:
    """The data of a message without free text."""
    return json.dumps(_replaced(json.loads(data)), ensure_ascii=False, separators=(",", ":"))


def without_responses(attempts: str) -> str:
    """The attempts at a delivery without what the receiver responded: it may repeat what it was sent."""
    tried = json.loads(attempts)
    kept = [{name: value for name, value in attempt.items() if name not in _RESPONSE} for attempt in tried]
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def response_key(batch: str, end: int) -> str | None:
    """Where the keys of stored responses to requests for this batch begin, or end; None if none can be stored.

    The batch's id is all of the key's first eight bytes but their last bit (`app.web.batches`).
    """
    try:
        first = ids.read(ids.BATCH, batch) << 1
    except ValueError:
        return None
    return f"{first + 1:016x}g" if end else f"{first:016x}"


def _replaced(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: ERASED if name in FREE_TEXT and isinstance(inner, str) and inner else _replaced(inner)
            for name, inner in value.items()
        }
    return [_replaced(inner) for inner in value] if isinstance(value, list) else value
