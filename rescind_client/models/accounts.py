"""Classes of accounts."""

from __future__ import annotations

from typing import Any

from rescind_client.model import Model


class Resources(Model, kw_only=True):
    """A page of resources."""

    data: list[dict[str, Any]]
    has_more: bool = False
    next_cursor: str | None = None
    previous_cursor: str | None = None
