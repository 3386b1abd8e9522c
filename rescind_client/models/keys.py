"""Classes of keys."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from rescind_client.model import Model


class Key(Model, kw_only=True):
    """An API key. The secret itself is shown once, in the response that creates it."""

    id: str
    name: str
    scope: str
    created_at: datetime
    created_by: str
    accounts: list[str] | None = None
    """The accounts that it is restricted to."""
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    """Stored every minute."""
    rotated_from: str | None = None
    """The first key of the line, if this one replaced another."""
    revoked_at: datetime | None = None
    sessions: int = 0
    """Open sessions of the console that were begun with it."""
    key: str | None = None


if TYPE_CHECKING:
    Scope = Literal["read", "write", "admin"]
else:
    Scope = str  # A later server may add values.
"""What a key may do; each scope includes those before it."""
