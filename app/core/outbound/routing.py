"""Which subscriptions receive a message of a type about an account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

from app.core.outbound.message import Target

ROUTES_MAX = 10_000
"""Memoized (type, account) pairs; more are computed anew."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What one subscription receives."""

    subscription: str
    events: tuple[str, ...]
    """Types, or prefixes that end in `*`."""
    accounts: tuple[str, ...]
    """Accounts, or prefixes that end in `*`."""
    ordered: bool
    full: bool
    lead: timedelta
    """How long before an order's window closes it is told so."""

    def matches(self, type: str, account: str) -> bool:
        """Whether it receives messages of the type about the account (empty: about none)."""
        return matches_any(self.events, type) and matches_any(self.accounts, account)


class Router:
    """The filters of all subscriptions. Immutable: a change of the configuration makes a new one."""

    def __init__(self, filters: Sequence[Filter] = ()) -> None:
        self._filters = tuple(filters)
        self.targets = lru_cache(maxsize=ROUTES_MAX)(self._targets)
        """(type, account) → the subscriptions that receive such a message."""
        self.leads = lru_cache(maxsize=ROUTES_MAX)(self._leads)
        """(type, account) → lead times of the subscriptions that receive such a message, the longest first."""

    def _targets(self, type: str, account: str) -> tuple[Target, ...]:
        return tuple(
            Target(filter.subscription, filter.ordered, filter.full)
            for filter in self._filters
            if filter.matches(type, account)
        )

    def _leads(self, type: str, account: str) -> tuple[timedelta, ...]:
        leads = {filter.lead for filter in self._filters if filter.matches(type, account)}
        return tuple(sorted(leads, reverse=True))


def matches_any(patterns: Sequence[str], text: str) -> bool:
    """Whether `text` is one of the patterns, or begins as one that ends in `*` does."""
    return any(text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern for pattern in patterns)
