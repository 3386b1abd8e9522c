"""Why calls do not reach the provider's API, and which causes only a person can remove. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum


class Unreachable(StrEnum):
    """Why a call did not reach the provider's API."""

    CONNECTION = "connection"
    """Refused, or timed out while connecting: may be temporary."""
    NAME = "name"
    """The host name does not exist."""
    CERTIFICATE = "certificate"
    """The TLS certificate is not valid for the host."""
    ADDRESS = "address"
    """The address is in a network that is not allowed."""
    MISDIRECTED = "misdirected"
    """Something other than the provider's API responds."""

    @property
    def got_response(self) -> bool:
        """Whether anything responded."""
        return self is Unreachable.MISDIRECTED


_TRIES = {Unreachable.ADDRESS: 1, Unreachable.CERTIFICATE: 3, Unreachable.NAME: 5, Unreachable.MISDIRECTED: 3}
"""After so many in a row only a person can help. A name server or a proxy may be wrong for a moment.

Something else may respond for one order only, so `MISDIRECTED` counts different orders.
"""
PATIENCE_S = 30.0
"""They must also have gone on for so long, as many calls may leave at once; except for an address, which is certain."""
_REMEDIES = {
    Unreachable.ADDRESS: "Then restart Rescind and resume the account",
    Unreachable.CERTIFICATE: "Check base_url, or have the provider renew its certificate; then resume the account",
    Unreachable.NAME: "Check the host in base_url; then resume the account",
    Unreachable.MISDIRECTED: "Check the account's config, and resume the account if it is right",
}


@dataclass(slots=True)
class UnreachableStreak:
    """Consecutive calls of an account that did not reach the API for the same cause."""

    cause: Unreachable | None = None
    times: int = 0
    orders: set[int] = field(default_factory=set)
    since: float = 0.0

    def record(self, cause: Unreachable | None, detail: str, orders: Collection[int], now: float) -> str | None:
        """Record a call about these orders; `cause` is None if it reached the API.

        Returns why the account is to be paused; None if it is not.
        """
        if cause is not self.cause:
            self.cause, self.times, self.orders, self.since = cause, 0, set(), now
        if cause not in _TRIES:
            return None
        if cause is not Unreachable.MISDIRECTED or self.orders.isdisjoint(orders):
            self.times += 1
            self.orders.update(orders)
        lasting = now - self.since >= PATIENCE_S or cause is Unreachable.ADDRESS
        if self.times < _TRIES[cause] or not lasting:
            return None
        self.times, self.orders, self.since = 0, set(), now  # a resume without a change pauses again
        return f"{detail.rstrip('.')}. {_REMEDIES[cause]}."
