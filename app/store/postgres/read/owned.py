"""Queries that give only what this node owns."""

from __future__ import annotations

from typing import Any

from app.store.postgres.connection import Queries

# A subquery for each row, and no join: rows are read by the index of their time, and few are of others.
OWNED = "($1::bigint IS NULL OR (SELECT epoch FROM @ownership WHERE subject = 'account:' || account) = $1)"
"""The condition that the account of a row is this node's; $1 is the epoch of its lease, null without a lease."""


class OwnedQueries(Queries):
    """Knows the lease of this node."""

    lease: Any = None

    @property
    def epoch(self) -> int | None:
        """The epoch of this node's lease; None without one: then it owns everything."""
        return None if self.lease is None else self.lease.epoch
