"""The provider's words, under the names of the documents that define them, and what they mean in ours."""

from __future__ import annotations

from app.contract import Phase

TITLE = "Skeleton"
"""The provider's name, for people."""

# Replace: every status that the documents name. Each must be in some fixture, or in a response.
STATUSES = {
    "received": Phase.OPEN,
    "working": Phase.IN_PROGRESS,
    "done": Phase.COMPLETED,
    "canceled": Phase.CANCELED,
}
"""“Orders”. A status that is not listed is `Phase.UNKNOWN`: it may or may not be cancelable, so the order is probed."""

# Replace: the webhooks' events, and what we call them: by order.created, order.updated, order.canceled,
# order.fulfilled, appointment.scheduled and the like where one fits, else by the provider's own word.
EVENTS = {"order.created": "order.created", "order.changed": "order.updated"}
"""“Webhooks”. An event that is neither here nor ignored goes to quarantine."""
IGNORED_EVENTS = frozenset({"ping"})
"""Events that are known and do not concern an order."""

# Replace: what is worth knowing of an order. Leave out names, addresses, e-mail, telephone, payment.
ATTRIBUTES = ("reference", "items", "total")
"""The fields of an order that are stored, as the provider spells them."""
