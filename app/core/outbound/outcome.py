"""What came of one try of a delivery. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus

from msgspec.structs import replace

from app.core.outbound.delivery import DeliveryAttempt
from app.kit.storable import storable

RETRY_AFTER_MAX = timedelta(hours=24)


class OutcomeKind(StrEnum):
    """What a response means, by Standard Webhooks 1.0."""

    DELIVERED = "delivered"
    """2xx."""
    THROTTLED = "throttled"
    """429, or 503 with `Retry-After`: the receiver wants fewer; the message is not at fault."""
    GONE = "gone"
    """410: the receiver wants no deliveries any more."""
    FAILED = "failed"
    """Any other response, redirects among them, or none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One try, as it ended."""

    attempt: DeliveryAttempt
    retry_after: timedelta | None = None
    """The wait that the receiver asked for; at most `RETRY_AFTER_MAX`."""
    kind: OutcomeKind = field(init=False)
    """What the response means."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attempt", _storable(self.attempt))
        object.__setattr__(self, "kind", _kind_of(self.attempt.status, self.retry_after))

    @property
    def reached(self) -> bool:
        """Whether there was a response."""
        return self.attempt.status is not None

    @property
    def started_at(self) -> datetime:
        """When it was sent."""
        return self.attempt.started_at

    @property
    def summary(self) -> str:
        """In words."""
        status = self.attempt.status
        return self.attempt.error if status is None else f"the receiver answered {status}"


def _storable(attempt: DeliveryAttempt) -> DeliveryAttempt:
    """The attempt in text that a store takes: what receivers send need not be UTF-8."""
    headers = {storable(name): storable(value) for name, value in attempt.headers.items()}
    return replace(attempt, error=storable(attempt.error), headers=headers, body=storable(attempt.body))


def _kind_of(status: int | None, retry_after: timedelta | None) -> OutcomeKind:
    if status is None:
        return OutcomeKind.FAILED
    if status // 100 == 2:  # noqa: PLR2004 - 2xx
        return OutcomeKind.DELIVERED
    if status == HTTPStatus.GONE:
        return OutcomeKind.GONE
    unavailable = status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after is not None
    return OutcomeKind.THROTTLED if status == HTTPStatus.TOO_MANY_REQUESTS or unavailable else OutcomeKind.FAILED


def bounded_wait(wait_s: float | None) -> timedelta | None:
    """The wait of a `Retry-After` in seconds, bounded; None if it asks for none."""
    if wait_s is None or not wait_s > 0:
        return None
    return timedelta(seconds=min(wait_s, RETRY_AFTER_MAX.total_seconds()))
