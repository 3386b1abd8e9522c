"""An order inside the simulated provider, and the webhooks that tell of it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from app.contract import HttpRequest
from app.kit.simulator import utc_time

API_KEY = "test-api-key"
SECRET = "test-webhook-secret"  # noqa: S105 - it opens nothing
"""What webhooks are signed with."""


@dataclass(slots=True)
class SimulatedOrder:
    """One order, as the provider's own database would hold it."""

    id: str
    created_at: datetime
    status: str = ""
    events: int = 0
    """How many webhooks told of it."""
    cancel_calls: int = 0
    """Cancel calls that named this order, whatever came of them."""
    cancel_effects: int = 0
    """How often one of them canceled it."""

    def as_json(self) -> dict[str, Any]:
        """The order object. Replace: its fields, by the documents' example."""
        return {
            "id": self.id,
            "status": self.status,
            "created_at": self.created_at.isoformat(),
            "reference": f"reference-{self.id}",
            "items": [{"sku": "A-1", "quantity": 2, "price": 6.25}],
            "total": 12.5,
        }

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        return {**self.as_json(), "cancel_calls": self.cancel_calls, "cancel_effects": self.cancel_effects}

    def become(self, status: str, now: float) -> HttpRequest:
        """Take on a status; the webhook that tells of it."""
        self.status, self.events = status, self.events + 1
        event = "order.created" if self.events == 1 else "order.changed"
        told = {"id": f"evt_{self.id}_{self.events}", "event": event, "time": utc_time(now).isoformat()}
        return signed(msgspec.json.encode({**told, "order": self.as_json()}), now)


def signed(body: bytes, now: float) -> HttpRequest:
    """A webhook with its proof. Replace: the headers and what is signed, by the documents and not by webhook.py."""
    timestamp = str(int(now))
    signature = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + body, "sha256").hexdigest()
    headers = {"Content-Type": "application/json", "X-Timestamp": timestamp, "X-Signature": signature}
    return HttpRequest("POST", "", headers, body)
