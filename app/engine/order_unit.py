"""One order in one commit: its unit of work, and what the store needs to know of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import field

from app.contract import Phase, Verdict
from app.core.aggregate import job_for
from app.core.outbound.told import NOTHING, Closing, Told, closing
from app.core.policy.decide import next_check_at
from app.core.policy.duplicates import fingerprint_of
from app.core.unit_of_work import UnitOfWork
from app.store import Name, OrderWrite


class OrderUnit(UnitOfWork, kw_only=True):
    """The unit of work of an order that a commit touches."""

    had_job: bool = False
    must_write: bool = False
    """Store it even if no event was emitted: it was merged, or time alone may have changed its verdict."""
    quiet: bool = False
    """Subscribers are told nothing of it."""
    policies_decided: bool = False
    """Policies have looked at it in this commit."""
    recheck_now: bool = False
    """It must be looked at again at once, in a commit of its own."""
    newest_at: datetime | None = None
    """When the newest fact happened, stored or still to be folded; while late facts are looked for."""
    merged: bool = False
    """Another order was merged into it: its aggregate is folded anew from both logs."""
    new_names: set[Name] = field(default_factory=set)
    """Names that lead to it since this commit."""
    former_names: set[str] = field(default_factory=set)
    """Names of the orders that were merged into it in this commit."""
    stated_names: set[str] = field(default_factory=set)
    """Names by which the webhooks of this commit speak of it."""
    stored_shared: frozenset[str] = frozenset()
    """Its shared aliases in the store."""
    told: Told | None = None
    """What subscribers were told of it; None for a new order."""
    listed: tuple[str, Phase, datetime | None] | None = None
    """Its id, phase and time of opening in the store; None for a new order."""
    leads: tuple[timedelta, ...] = ()
    """How long before its window closes subscribers want to be told."""
    closing: Closing = NOTHING
    """What they are to be told of that, as of `write`."""

    @property
    def is_changed(self) -> bool:
        """Whether it must be stored."""
        return bool(self.events) or self.must_write

    def write(self) -> OrderWrite:
        """The order's row."""
        verdict, closes_at = self.verdict(), self.closes_at()
        self.closing = closing(self.told, closes_at, self.leads, self.now)
        fingerprint = fingerprint_of(self)
        return OrderWrite(
            self.number,
            self.aggregate,
            verdict.cancelable,
            self.now if self.recheck_now else next_check_at(self, self.closing.next_at),
            job_for(self.aggregate),
            self.had_job,
            fingerprint,
            evaluated=self.policies_decided or not self.account.policies,
            reason=verdict.reason,
            closes_at=closes_at,
            listed_as_before=fingerprint is None and self._is_listed_as(verdict, closes_at),
            closing_notice=self.closing.notice,
        )

    def _is_listed_as(self, verdict: Verdict, closes_at: datetime | None) -> bool:
        """Whether lists have the stored order as it is now. After what forces a write, all of it is written."""
        told, order = self.told, self.aggregate.order
        return (
            told is not None
            and not self.must_write
            and not told.differs(verdict.cancelable, verdict.reason, closes_at)
            and told.reason is not None
            and self.listed == (order.id, order.phase, order.opened_at)
        )

    def new_shared_aliases(self) -> Iterator[tuple[str, str, int]]:
        """(account, shared alias, order number), where it may be new."""
        for event in self.events:
            for alias in event.facts.shared_aliases:
                if alias not in self.stored_shared:
                    yield event.account, alias, self.number
