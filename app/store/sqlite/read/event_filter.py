"""What the events of a list have in common, as conditions of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.store import codec
from app.store.sqlite.read.search import Where

_HAS_TEXT = f"has_text({codec.EVENT_BODY}, name, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What the events of a list have in common."""

    account: str | None = None
    order_pk: int | None = None
    types: Sequence[str] = ()
    source: str | None = None
    policy: str | None = None
    receipt: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None

    def where(self) -> Where:
        """The conditions of the log."""
        where = Where(account=self.account, source=self.source)
        where.any_of("type GLOB ?", self.types)
        where.add("received_at >= ?", codec.micros_or_none(self.since))
        where.add("received_at < ?", codec.micros_or_none(self.until))
        if self.text is not None:
            where.all_of(_HAS_TEXT, [self.text])
        return where

    @property
    def by_index(self) -> bool:
        """Whether the search index serves it, and not one of the log's own indexes."""
        return (self.order_pk, self.policy, self.receipt) == (None, None, None)
