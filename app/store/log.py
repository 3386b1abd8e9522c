"""Following the log: every event once, in the order of the log, from a cursor that survives restarts.

A cursor is opaque outside of the store. It names the generation of the log and the position of an event in it: a
database that is restored from a backup begins a new generation, as other events follow there at the same positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple, Protocol

from app.core.event import Event

PAGE_BYTES = 1 << 20
"""A page ends after about so many bytes, whatever its limit: they are decoded in one go."""


class CursorFault(Enum):
    """Why the log cannot be followed from a cursor."""

    UNREADABLE = "unreadable"
    """It is no cursor."""
    OTHER_LOG = "other_log"
    """Its generation is not this log's: the database was restored from a backup, or is another one."""
    PRUNED = "pruned"
    """Events after it were pruned."""


class LogCursorError(Exception):
    """The log cannot be followed from this cursor without a gap."""

    def __init__(self, fault: CursorFault, message: str, resume: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.resume = resume
        """The cursor before the first event that is new to the follower, or the end of the log if that is not known."""


class LogEntry(NamedTuple):
    """An event in the log."""

    cursor: str
    """Follow the log from here to get what comes after this event."""
    order_pk: int
    """The number of its order, at present; 0 if it is about none."""
    event: Event


@dataclass(frozen=True, slots=True)
class LogPage:
    """The next events of the log."""

    entries: list[LogEntry]
    cursor: str
    """Where the next page begins."""
    at_end: bool
    """Whether there were no more events when it was read."""


class LogReader(Protocol):
    """The part of the store about following the log."""

    async def follow(self, cursor: str, limit: int) -> LogPage:
        """The first events after `cursor`, oldest first: at most `limit`, and fewer if they are large.

        An event that is committed later comes in a later page, on every database. Raises `LogCursorError`.
        """

    async def log_start(self) -> str:
        """The cursor before the first event that is left."""

    async def log_end(self) -> str:
        """The cursor after the last event."""

    async def log_since(self, since: datetime) -> str:
        """A cursor before all events that were received at `since` or later, and few others."""


class LogStore(Protocol):
    """What changes the log as a whole."""

    async def begin_log_generation(self, at: datetime) -> None:
        """Begin a new generation, for a database that was restored: cursors of the present one are refused."""
