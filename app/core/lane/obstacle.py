"""What keeps calls from reaching the provider's API, and which of it only a person can remove. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum


class Obstacle(StrEnum):
    """Why a call did not reach the provider's API."""

    CONNECTION = "connection"
    """Refused, or no answer while connecting: it may pass by itself."""
    NAME = "name"
    """The host name does not exist."""
    CERTIFICATE = "certificate"
    """The TLS certificate is not valid for the host."""
    ADDRESS = "address"
    """The address is in a network that is not allowed."""
    MISDIRECTED = "misdirected"
    """Something answers, and it is not the provider's API."""

    @property
    def reached(self) -> bool:
        """Did anybody answer?"""
        return self is Obstacle.MISDIRECTED


_TRIES = {Obstacle.ADDRESS: 1, Obstacle.CERTIFICATE: 3, Obstacle.NAME: 5, Obstacle.MISDIRECTED: 3}
"""After so many in a row nothing but a person will help. A name server or a proxy may be wrong for a moment.

Something else may answer for one order only, so of `MISDIRECTED` it takes so many different orders.
"""
PATIENCE_S = 30.0
"""For so long they must have gone on, as many calls may leave at once; but for an address, which is as it is."""
_REMEDIES = {
    Obstacle.ADDRESS: "Then restart Rescind and resume the account",
    Obstacle.CERTIFICATE: "Check base_url, or have the provider renew its certificate; then resume the account",
    Obstacle.NAME: "Check the host in base_url; then resume the account",
    Obstacle.MISDIRECTED: "Check the account's config, and resume the account if it is right",
}


@dataclass(slots=True)
class Obstacles:
    """The obstacles that an account's calls met in a row."""

    latest: Obstacle | None = None
    times: int = 0
    orders: set[int] = field(default_factory=set)
    since: float = 0.0

    def met(self, obstacle: Obstacle | None, detail: str, orders: Collection[int], now: float) -> str | None:
        """A call about these orders met this, or nothing; returns why the account is to be paused, if it is."""
        if obstacle is not self.latest:
            self.latest, self.times, self.orders, self.since = obstacle, 0, set(), now
        if obstacle not in _TRIES:
            return None
        if obstacle is not Obstacle.MISDIRECTED or self.orders.isdisjoint(orders):
            self.times += 1
            self.orders.update(orders)
        lasting = now - self.since >= PATIENCE_S or obstacle is Obstacle.ADDRESS
        if self.times < _TRIES[obstacle] or not lasting:
            return None
        self.times, self.orders, self.since = 0, set(), now  # whoever resumes without a change is told again
        return f"{detail.rstrip('.')}. {_REMEDIES[obstacle]}."
