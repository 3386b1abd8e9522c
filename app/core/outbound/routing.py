"""Which subscriptions receive a message of a type about an account."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

from app.core.outbound.message import Target
from app.core.outbound.patterns import matches_any
from app.core.outbound.schedule import Schedule
from app.core.outbound.types import OUTBOUND_TYPES

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
    schedule: Schedule | None = None
    """When it is sent what is not urgent; None: everything at once."""

    def matches(self, type: str, account: str) -> bool:
        """Whether it receives messages of the type about the account (empty: about none)."""
        return matches_any(self.events, type) and matches_any(self.accounts, account)

    @property
    def target(self) -> Target:
        """The subscription as a target of a message that it is sent at once."""
        return Target(self.subscription, self.ordered, self.full)

    def target_of(self, type: str) -> Target:
        """The subscription as a target of messages of the type."""
        return Target(self.subscription, self.ordered, self.full, self._schedule_of(type))

    def _schedule_of(self, type: str) -> Schedule | None:
        """When it is sent messages of the type; None: at once."""
        if self.schedule is None:
            return None
        outbound = OUTBOUND_TYPES.get(type)
        urgent = self.schedule.is_urgent(type, by_default=outbound is not None and outbound.urgent)
        return None if urgent else self.schedule


class Router:
    """The filters of all subscriptions. Immutable: a change of the configuration makes a new one."""

    def __init__(self, filters: Sequence[Filter] = ()) -> None:
        self._filters = tuple(filters)
        self.targets = lru_cache(maxsize=ROUTES_MAX)(self._targets)
        """(type, account) → the subscriptions that receive such a message."""
        self.leads = lru_cache(maxsize=ROUTES_MAX)(self._leads)
        """(type, account) → lead times of the subscriptions that receive such a message, the longest first."""

    def __bool__(self) -> bool:
        """Whether there is any subscription."""
        return bool(self._filters)

    def target(self, subscription: str) -> Target | None:
        """A subscription as a target, whatever it receives; None if there is none of that id."""
        return next((filter.target for filter in self._filters if filter.subscription == subscription), None)

    def targets_of_any(self, type: str, accounts: Iterable[str] | None) -> tuple[Target, ...]:
        """The subscriptions that receive such a message about any of the accounts; None: about whatever account."""
        if accounts is None:
            return tuple(filter.target_of(type) for filter in self._filters if matches_any(filter.events, type))
        return tuple(dict.fromkeys(target for account in accounts for target in self.targets(type, account)))

    def targets_with_lead(self, type: str, account: str, lead: timedelta) -> tuple[Target, ...]:
        """The subscriptions that receive such a message so long before."""
        return tuple(
            filter.target_of(type) for filter in self._filters if filter.lead == lead and filter.matches(type, account)
        )

    def leads_of(self, type: str, accounts: Collection[str]) -> set[tuple[str, timedelta]]:
        """(account, lead) of all these accounts, as `leads` gives them."""
        wanted = {
            (pattern, filter.lead)
            for filter in self._filters
            if matches_any(filter.events, type)
            for pattern in filter.accounts
        }
        # One pass over the accounts for each pattern that ends in `*`, and none for the many that name one account.
        return {
            (account, lead)
            for pattern, lead in wanted
            for account in (accounts if pattern.endswith("*") else {pattern}.intersection(accounts))
            if matches_any((pattern,), account)
        }

    def _targets(self, type: str, account: str) -> tuple[Target, ...]:
        return tuple(filter.target_of(type) for filter in self._filters if filter.matches(type, account))

    def _leads(self, type: str, account: str) -> tuple[timedelta, ...]:
        leads = {filter.lead for filter in self._filters if filter.matches(type, account)}
        return tuple(sorted(leads, reverse=True))
