"""What a store counts for the overview of an installation. Every count is bounded, and found by an index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct


class Backlog(Struct, frozen=True):
    """What an account's lane has to send."""

    due: int
    """Jobs that are due, up to the maximum that was asked for."""
    oldest_due_at: datetime | None
    """Since when the first of them is due."""
    received: int
    """Receipts since the time that was asked for, up to the maximum."""


class ClosingWindow(Struct, frozen=True):
    """An order whose window time alone will close."""

    account: str
    order: str
    closes_at: datetime
    cancelable: str
    reason: str
    """The reason of the verdict, as of the order's last change."""


class Waits(Struct, frozen=True):
    """What waits for an outcome or for a person; None: nothing does."""

    indeterminate_since: datetime | None
    """When the call was made whose outcome has been unknown for longest."""
    approval_since: datetime | None
    """When the first cancellation that waits for approval was proposed."""
    approval_expires_at: datetime | None
    """When the first of those expires."""


class OverviewReader(Protocol):
    """Queries for the overview. With `account`, only what concerns that account."""

    async def backlogs(
        self, accounts: Sequence[str], now: datetime, since: datetime, maximum: int
    ) -> dict[str, Backlog]:
        """Account → the jobs that are due at `now`, and the receipts since `since`."""

    async def closing_windows(
        self, since: datetime, until: datetime, parts: int, account: str | None, maximum: int
    ) -> tuple[list[int], bool]:
        """(how many windows close in each of so many equal parts of this time; whether all were counted).

        In each part at most `maximum` are counted.
        """

    async def next_to_close(self, now: datetime, account: str | None, limit: int) -> list[ClosingWindow]:
        """The orders whose windows close next, the first of them first."""

    async def cancellations_by_state(
        self, live: Sequence[str], final: Sequence[str], since: datetime, account: str | None, maximum: int
    ) -> dict[str, int]:
        """State → how many cancellations are in it: of `live` all, of `final` those requested since `since`.

        Each is counted up to `maximum`.
        """

    async def closing_cancels(self, due: datetime, until: datetime, maximum: int) -> dict[str, int]:
        """Account → cancels that have been due since `due` or before, and may not be sent any more after `until`.

        Of all accounts together, the `maximum` that expire first are looked at; only accounts that have any are named.
        """

    async def waits(self, maximum: int) -> Waits:
        """Since when cancellations wait for an outcome or for approval; of each, the first `maximum` are looked at."""

    async def events_recorded(self, moments: Sequence[datetime]) -> list[int]:
        """How many events the log got between each of these times, which ascend, and the next; the last: until now."""
