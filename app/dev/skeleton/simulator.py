"""A pure fake of the provider, as strict as its documents; `rescind sandbox` serves it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit import simulator

# Written down from the documents once more: a slip in the handler must not be made here as well.
API_KEY, SECRET = "test-api-key", b"test-webhook-secret"
REASONS, NOTE_CHARS_MAX = ("customer_request", "duplicate"), 200
STEPS = {"start_work": "working", "finish": "done", "cancel_by_staff": "canceled"}  # action → status


@dataclass(slots=True, kw_only=True)
class Order(simulator.BaseOrder):
    """One order. Replace: its fields, by the documents' example."""

    id: str
    created_at: str
    status: str = "received"

    def summary(self) -> dict[str, Any]:
        """The order object."""
        return {"id": self.id, "status": self.status, "created_at": self.created_at, **self.counts()}


class Simulator(simulator.BaseSimulator[Order]):
    """The provider, as far as canceling goes. Replace: its paths, rules, errors, limits and the steps of its orders."""

    provider = "The provider"

    def serve(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call."""
        if simulator.header(request, "Authorization") != f"Bearer {API_KEY}":
            return self.error(401, "unknown API key")
        _, resource, id, *_ = f"{urlsplit(request.url).path}//".split("/")
        order = self.orders.get(id) if resource == "orders" else None
        if order is None:
            return self.error(404, "no such order")
        if request.method == "GET":
            return simulator.json_response(200, order.summary())
        body = simulator.json_object(request.body)
        order.cancel_calls += 1
        if body.get("reason") not in REASONS or len(str(body.get("note"))) > NOTE_CHARS_MAX:
            return self.error(422, "reason or note is not accepted")
        if order.status != "received":
            return self.error(409, f"an order that is {order.status} cannot be canceled")
        order.cancel_effects += 1
        return simulator.json_response(200, self._become(order, "canceled", now))

    @simulator.action()
    def create_order(self, now: float, order_id: str | None = None) -> dict[str, Any]:
        """Take an order in."""
        order = Order(id=str(order_id or 1001 + len(self.orders)), created_at=simulator.utc_time(now).isoformat())
        self.orders.add(order, order_id=order.id)
        return {"order_id": order.id, **self._become(order, order.status, now, "order.created")}

    @simulator.action(*STEPS)
    def step(self, do: str, now: float, **ids: object) -> dict[str, Any]:
        """Move an order on."""
        return self._become(self.orders.one(**ids), STEPS[do], now)

    def _become(self, order: Order, status: str, now: float, event: str = "order.changed") -> dict[str, Any]:
        order.status = status
        body = {"id": f"evt_{self.emissions}", "event": event, "time": simulator.utc_time(now).isoformat()}
        self.emit({**body, "order": order.summary()}, now)
        return order.summary()

    def sign(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook with its proof: by the documents, and not by webhook.py."""
        time = str(int(now))
        signature = hmac.new(SECRET, f"{time}.".encode() + webhook.body, "sha256").hexdigest()
        return replace(webhook, headers={**webhook.headers, "X-Timestamp": time, "X-Signature": signature})

    resigned = sign  # where a time is signed
