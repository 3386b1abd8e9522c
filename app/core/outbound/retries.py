"""When a delivery is sent again, and when it is given up. Pure.

The waits are those that Standard Webhooks 1.0 gives as an example: ten tries over 75.6 hours, with jitter.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from app.core.outbound.delivery import ATTEMPTS_MAX, Delivery, DeliveryState, DeliveryUpdate
from app.core.outbound.health import SubscriptionState
from app.core.outbound.outcome import Outcome, OutcomeKind

_S, _M, _H = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
WAITS = (5 * _S, 5 * _M, 30 * _M, 2 * _H, 5 * _H, 10 * _H, 14 * _H, 20 * _H, 24 * _H)
TRIES_MAX = len(WAITS) + 1
JITTER = 0.1
"""Each wait is longer or shorter by up to this share."""


def settle(
    delivery: Delivery, outcome: Outcome, before: SubscriptionState, now: datetime, chance: float
) -> DeliveryUpdate:
    """What a try makes of a delivery.

    It is given up only if the receiver accepted another one since its first try. As long as nothing at all is accepted,
    the receiver is at fault: it will be disabled, and then its deliveries are held. So one that is down for a week
    receives everything after it.

    Args:
        delivery: as it was when it was sent.
        outcome: of the try.
        before: how the subscription fared before it.
        now: when it ended.
        chance: uniform in [0, 1), for jitter.
    """
    attempts = (*delivery.attempts, outcome.attempt)[-ATTEMPTS_MAX:]
    state, due_at, tries = DeliveryState.PENDING, delivery.due_at, delivery.tries
    if outcome.kind is OutcomeKind.DELIVERED:
        state, tries = DeliveryState.DELIVERED, tries + 1
    elif outcome.kind is OutcomeKind.THROTTLED:
        due_at = now + (outcome.retry_after or timedelta())
    elif outcome.kind is OutcomeKind.FAILED and before.down_since is not None:
        # A probe: it says nothing about this delivery. The next probe is another one.
        due_at = now + _wait(max(1, tries), outcome, chance)
    elif outcome.kind is OutcomeKind.FAILED:
        tries += 1
        accepted_at = before.last_success_at
        if tries >= TRIES_MAX and accepted_at is not None and accepted_at > attempts[0].started_at:
            state = DeliveryState.FAILED
        else:
            due_at = now + _wait(tries, outcome, chance)
    return DeliveryUpdate(delivery.subscription, delivery.message.id, state, due_at, tries, attempts)


def _wait(tries: int, outcome: Outcome, chance: float) -> timedelta:
    wait = WAITS[min(tries, len(WAITS)) - 1] * (1 + JITTER * (2 * chance - 1))
    return max(wait, outcome.retry_after or wait)
