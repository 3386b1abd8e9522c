"""PlanOmatic's words, under the names of the documents that define them, and what they mean in ours."""

from __future__ import annotations

from app.contract import Phase

EVENT_TRIGGERS = {
    "order.processed": Phase.OPEN,
    "appointment.awaiting_availability": Phase.OPEN,
    "appointment.scheduled": Phase.IN_PROGRESS,
    # An appointment fell through. Whether the order went back to a cancelable status only a probe can tell.
    "appointment.awaiting_reschedule": Phase.UNKNOWN,
    "appointment.unable_to_complete": Phase.UNKNOWN,
    "order.post_processing": Phase.IN_PROGRESS,
    "order.delivered": Phase.COMPLETED,
    "order.canceled": Phase.CANCELED,
}
"""“Event Triggers” (V3 webhooks)."""

ORDER_STATUSES = {
    # “Cancel Order” (V3).
    "new_request": Phase.OPEN,
    "ordered": Phase.OPEN,
    "scheduling": Phase.OPEN,
    "canceled": Phase.CANCELED,
    # “Events” (V2 webhooks).
    "scheduled": Phase.IN_PROGRESS,
    "assembly": Phase.IN_PROGRESS,
    "notified": Phase.IN_PROGRESS,
    "completed": Phase.COMPLETED,
    "cancelled": Phase.CANCELED,
    # No document lists the statuses of V3; these are named like its events.
    "post_processing": Phase.IN_PROGRESS,
    "delivered": Phase.COMPLETED,
    # What these words of V2 say of canceling is not documented, so it is not known.
    "hold": Phase.UNKNOWN,
    "pending_appointment": Phase.UNKNOWN,
    "ready_to_schedule": Phase.UNKNOWN,
    "committed": Phase.UNKNOWN,
    "submitted_cancel_onsite": Phase.UNKNOWN,
}
"""A status that is not listed is `Phase.UNKNOWN`."""

V2_STATUS_KEY = "order_status"
"""Where V2 states an order's status (“Payload”)."""

STATUS_VERSION = "status_version"
"""The attribute that says whose word the order's status is, `V2` or `V3`: only V3 has a closed set of statuses in which
it cancels."""
V2, V3 = "v2", "v3"

WORDS = {**EVENT_TRIGGERS, **ORDER_STATUSES}


def status_phase(status: str) -> Phase:
    """What a status says of the order."""
    return ORDER_STATUSES.get(status, Phase.UNKNOWN)
