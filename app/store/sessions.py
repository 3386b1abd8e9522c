"""What a database must do for the sessions of the console."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol


class ConsoleSession(NamedTuple):
    """A session that has begun and not ended."""

    id: bytes
    key: str
    """Id of the API key it was begun with."""
    started_at: datetime
    expires_at: datetime


class SessionReader(Protocol):
    """Queries for sessions."""

    async def session_exists(self, id: bytes) -> bool:
        """Whether the session was begun and not ended; it may have expired."""

    async def count_sessions(self, now: datetime) -> dict[str, int]:
        """Key → how many of its sessions are open, for keys that have any."""


class SessionStore(Protocol):
    """Changes of sessions."""

    async def start_session(self, session: ConsoleSession, maximum: int) -> None:
        """Add a session; end those that have expired, and the key's oldest beyond `maximum`."""

    async def end_session(self, id: bytes) -> None:
        """End a session; none is no error."""

    async def end_sessions(self, key: str | None = None) -> int:
        """End all sessions of a key, or all there are; returns how many there were."""
