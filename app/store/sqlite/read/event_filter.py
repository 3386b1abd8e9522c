"""What the events of a list have in common, as conditions of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.store import codec
from app.store.sqlite.read.search import Where
from app.store.sqlite.text import text_query

_HAS_TEXT = "CASE WHEN {} THEN has_text(body, name, ?) ELSE 0 END"
_MAY_HAVE = """(length(body) <> length(CAST(body AS BLOB)) OR length(name) <> length(CAST(name AS BLOB))
    OR instr(lower(body), ?) OR instr(lower(name), ?))"""
"""Almost all events that do not have a text in ASCII as it stands are told apart without parsing their JSON."""


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
            query = text_query(self.text)
            literals = () if query is None else query.literals
            may_have = " AND ".join([_MAY_HAVE] * len(literals)) or "1"
            values = [literal for literal in literals for _ in range(2)]
            where.all_of(_HAS_TEXT.format(may_have), [*values, self.text])
        return where

    @property
    def by_index(self) -> bool:
        """Whether the search index serves it, and not one of the log's own indexes."""
        return (self.order_pk, self.policy, self.receipt) == (None, None, None)
