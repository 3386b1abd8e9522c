"""Subscriptions as the API shows them: with defaults, and how their deliveries fare."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from app.config.formats import foreign_options
from app.config.subscriptions import SubscriptionSpec, public_key
from app.core.outbound.delivery import PendingDeliveries
from app.core.outbound.health import SubscriptionState
from app.node import Node
from app.runtime import ids
from app.runtime.time_slice import TimeSlice

PENDING_MAX = 1000
"""Pending deliveries of one subscription are counted up to this."""


class DeliveryStatus(Struct, kw_only=True):
    """How the deliveries of a subscription fare."""

    state: Literal["active", "failing", "disabled"]
    """`failing`: the latest delivery failed; `disabled`: deliveries are held."""
    reason: str
    """Why it is disabled or failing."""
    since: datetime | None
    """Since when it is failing, or was disabled automatically."""
    last_success_at: datetime | None
    failures: int
    """Consecutive failures."""
    next_attempt_at: datetime | None
    """While it is failing: nothing is sent before."""
    pending: int
    """Deliveries that wait to be sent."""
    pending_complete: bool
    """Whether all are counted."""
    oldest_pending_at: datetime | None
    """When the message of the oldest pending delivery (of those counted) was written."""


def shown_spec(spec: SubscriptionSpec) -> dict[str, Any]:
    """A subscription without its secrets, with the defaults of what was not written, and its public key."""
    shown = spec.model_dump(mode="json", exclude_none=True, exclude=foreign_options(spec.format))
    key = None if spec.secret is None else public_key(spec.secret.get_secret_value())
    return shown if key is None else {**shown, "public_key": key}


async def shown_subscriptions(node: Node, names: Sequence[str]) -> list[dict[str, Any]]:
    """The subscriptions of these ids, each with its `delivery`; without those that were removed meanwhile."""
    pending = await node.store.pending_deliveries(names, PENDING_MAX + 1)
    shown, time_slice = [], TimeSlice()
    for id in names:
        spec = node.config.subscriptions.get(id)
        if spec is not None:
            status = _status(spec, node.deliveries.state(id), pending.get(id, PendingDeliveries()))
            version = node.config.version("subscriptions", id)
            shown.append({**shown_spec(spec), "version": version, "delivery": status})
        await time_slice.pause()
    return shown


def _status(spec: SubscriptionSpec, state: SubscriptionState, pending: PendingDeliveries) -> DeliveryStatus:
    stands: Literal["active", "failing", "disabled"] = "active"
    reason, since = "", None
    if not spec.enabled:
        stands, reason = "disabled", "disabled by hand"
    elif state.disabled_at is not None:
        stands, reason, since = "disabled", state.disabled_reason, state.disabled_at
    elif state.failing_since is not None:
        stands, reason, since = "failing", state.error, state.failing_since
    return DeliveryStatus(
        state=stands,
        reason=reason,
        since=since,
        last_success_at=state.last_success_at,
        failures=state.failures,
        next_attempt_at=state.hold_until if stands == "failing" else None,
        pending=min(pending.count, PENDING_MAX),
        pending_complete=pending.count <= PENDING_MAX,
        oldest_pending_at=None if pending.oldest is None else ids.drawn_at(pending.oldest),
    )
