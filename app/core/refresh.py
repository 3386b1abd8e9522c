"""A person wants to know how an order stands: the provider is asked, although no cancellation needs it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from app.contract import Source
from app.core.commands import Command
from app.core.event_types import PROBE_WANTED, ProbeWanted
from app.core.unit_of_work import UnitOfWork


class Refreshed(StrEnum):
    """What comes of it."""

    WANTED = "wanted"
    """The provider is asked as soon as the account's limit lets it be."""
    KNOWN = "known"
    """Only orders never heard of are wanted, and this one was."""
    BUSY = "busy"
    """A cancellation is under way, which asks by itself where it needs to."""
    UNAVAILABLE = "unavailable"
    """The provider cannot be asked."""


class Refresh(Command[Refreshed], frozen=True):
    """A person wants the provider asked how the order stands."""

    by: str
    key: str
    """What tells this question from others."""
    due_at: datetime
    only_new: bool = False
    """Only if nothing was heard of the order, and nobody wants it asked about yet: to repeat it changes nothing."""

    def decide(self, unit: UnitOfWork) -> Refreshed:
        if unit.account.handler.probe is None:
            return Refreshed.UNAVAILABLE
        if self.only_new and unit.aggregate.order.version:
            return Refreshed.KNOWN
        if unit.aggregate.live:
            return Refreshed.BUSY
        if not (self.only_new and unit.aggregate.pending_probe is not None):
            wanted = ProbeWanted(f"Asked for by {self.by}.", self.due_at)
            unit.record(PROBE_WANTED, self.key, Source.OPERATOR, wanted)
        return Refreshed.WANTED
