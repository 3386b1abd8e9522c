"""Events about subscriptions that fail: recorded in the log, and so sent to the other subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from app.contract import Source
from app.core.event import Event, internal_event
from app.core.event_types import (
    SUBSCRIPTION_DISABLED,
    SUBSCRIPTION_FAILING,
    SubscriptionDisabled,
    SubscriptionFailing,
)
from app.core.outbound.health import DISABLED_AFTER, SubscriptionState, notices_due


def notices_of(
    subscription: str, before: SubscriptionState, after: SubscriptionState, now: datetime, next_id: Callable[[], int]
) -> list[Event]:
    """What to record of a change of a subscription's state."""
    data: SubscriptionDisabled | SubscriptionFailing
    if after.disabled_at is not None:
        if before.disabled_at is not None:
            return []
        type, data = SUBSCRIPTION_DISABLED, SubscriptionDisabled(subscription, after.disabled_reason)
    elif after.failing_since is not None and notices_due(after, now) > after.notices:
        since = after.failing_since
        type = SUBSCRIPTION_FAILING
        data = SubscriptionFailing(subscription, since, after.failures, after.error, since + DISABLED_AFTER)
    else:
        return []
    return [internal_event("", "", type, str(next_id()), now, Source.PROVIDER, data)]
