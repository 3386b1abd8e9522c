"""What keeps calls from reaching the provider's API, and which of it only a person can remove. Pure."""

from __future__ import annotations

from dataclasses import dataclass
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


_TRIES = {Obstacle.ADDRESS: 1, Obstacle.CERTIFICATE: 3, Obstacle.NAME: 5, Obstacle.MISDIRECTED: 5}
"""After so many in a row nothing but a person will help. A name server or a proxy may be wrong for a moment."""
_REMEDIES = {
    Obstacle.ADDRESS: "Then restart Rescind and resume the account",
    Obstacle.CERTIFICATE: "Check base_url, or have the provider's certificate mended; then resume the account",
    Obstacle.NAME: "Check the host in base_url; then resume the account",
    Obstacle.MISDIRECTED: "Correct the account's config, or resume the account",
}


@dataclass(slots=True)
class Obstacles:
    """The obstacles that an account's calls met in a row."""

    latest: Obstacle | None = None
    times: int = 0

    def met(self, obstacle: Obstacle | None, detail: str) -> str | None:
        """A call met this, or nothing; returns why the account is to be paused, if it is."""
        self.times = self.times + 1 if obstacle is self.latest else 1
        self.latest = obstacle
        if obstacle is None or self.times != _TRIES.get(obstacle):
            return None
        self.times = 0  # whoever resumes without a change is told again
        return f"{detail.rstrip('.')}. {_REMEDIES[obstacle]}."
