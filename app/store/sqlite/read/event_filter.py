"""What the events of a list have in common, as conditions of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from app.core.event_types import EVENT_TYPES, POLICY_DECIDED, POLICY_PREFIX
from app.store import codec
from app.store.sqlite.read.search import Where

_DECISIONS = [type for type in EVENT_TYPES if type.startswith(POLICY_PREFIX)]
_OF_TYPE = f"""(type GLOB ? OR type = '{POLICY_DECIDED}' AND EXISTS (
    SELECT 1 FROM json_each({codec.EVENT_BODY}, '$.data.decisions') AS decided
    WHERE '{POLICY_PREFIX}' || json_extract(decided.value, '$.outcome') GLOB ?
    AND coalesce(json_extract(decided.value, '$.policy') = ?, TRUE)))"""
"""The type of an event, or the type that a decision in it would have as an event of its own."""
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
        if self.looks_into_decisions:
            values = [value for glob in self.types for value in (glob, glob, self.policy)]
            where.all_of(f"({' OR '.join([_OF_TYPE] * len(self.types))})", values)
        else:
            where.any_of("type GLOB ?", self.types)
        where.add("received_at >= ?", codec.micros_or_none(self.since))
        where.add("received_at < ?", codec.micros_or_none(self.until))
        if self.text is not None:
            where.all_of(_HAS_TEXT, [self.text])
        return where

    @property
    def looks_into_decisions(self) -> bool:
        """Whether types of single decisions are wanted, which events with several decisions may have as well."""
        wanted = {type for type in _DECISIONS for glob in self.types if fnmatchcase(type, glob)}
        return bool(wanted) and POLICY_DECIDED not in wanted

    @property
    def indexed_types(self) -> Sequence[str]:
        """Types of all events that the filter may have, as the search index has them."""
        return (*self.types, POLICY_DECIDED) if self.looks_into_decisions else self.types

    @property
    def by_index(self) -> bool:
        """Whether the search index serves it, and not one of the log's own indexes."""
        return (self.order_pk, self.policy, self.receipt) == (None, None, None)
