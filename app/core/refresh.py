"""Refresh: a person has an order probed, although no cancellation needs it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from app.contract import Source
from app.core.commands import Command
from app.core.event_types import PROBE_WANTED, ProbeWanted
from app.core.unit_of_work import UnitOfWork


class Refreshed(StrEnum):
    """The result of `Refresh`."""

    WANTED = "wanted"
    """The order is probed as soon as the account's limit permits."""
    KNOWN = "known"
    """Only new orders are to be probed, and this one is known."""
    BUSY = "busy"
    """A cancellation is live, which probes by itself when it needs to."""
    UNAVAILABLE = "unavailable"
    """The provider cannot be probed."""


class Refresh(Command[Refreshed], frozen=True):
    """A person wants the order probed."""

    by: str
    key: str
    """Identifies this request."""
    due_at: datetime
    only_new: bool = False
    """Only if nothing is known of the order, and no probe is pending: repeating it changes nothing."""

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
