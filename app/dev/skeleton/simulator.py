"""A pure fake of the provider, as strict as its documents; `rescind sandbox` serves it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from app.contract import HttpRequest, HttpResponse
from app.dev.skeleton.simulated import API_KEY, SimulatedOrder, signed
from app.kit.simulator import Action, Window, json_object, json_response, perform, retry_after, utc_time

# Written down from the documents once more: a slip in the handler must not be made here as well.
REASONS, NOTE_CHARS_MAX = ("customer_request", "duplicate"), 200
STEPS = {"start_work": "working", "finish": "done", "cancel_by_staff": "canceled"}  # action → status


class Simulator:
    """The provider, as far as canceling goes. It lets `requests` calls through in any `per_s` seconds."""

    def __init__(self, *, requests: int = 60, per_s: float = 60.0) -> None:
        self._window = Window(requests, per_s)
        self._orders: dict[str, SimulatedOrder] = {}
        self._emitted: list[HttpRequest] = []

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. Replace: the paths, the rules and the errors."""
        wait_s = self._window.wait_s("", now)
        if wait_s is not None:
            return json_response(429, {"error": "too many requests"}, retry_after(wait_s))
        if request.headers.get("Authorization") != f"Bearer {API_KEY}":
            return json_response(401, {"error": "unknown API key"})
        match request.method, urlsplit(request.url).path.split("/")[1:]:
            case "GET", ["orders", id] if id in self._orders:
                return json_response(200, self._orders[id].as_json())
            case "POST", ["orders", id, "cancel"] if id in self._orders:
                return self._cancel(self._orders[id], json_object(request.body), now)
        return json_response(404, {"error": "no such order"})

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Do what happens on the provider's side. Replace: the steps of its orders. Raises ValueError."""
        one = frozenset({"order_id"})
        known: dict[str, tuple[Action, frozenset[str]]] = {name: (partial(self._step, name), one) for name in STEPS}
        known |= {"create_order": (self._create, one), "list": (self._list, frozenset())}
        return perform("The provider", action, known, now)

    def emitted(self) -> list[HttpRequest]:
        """The webhooks since the last call, oldest first."""
        webhooks, self._emitted = self._emitted, []
        return webhooks

    def resigned(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """One that is sent again. Replace: leave it out if no time is signed."""
        return signed(webhook.body, now)

    def _cancel(self, order: SimulatedOrder, body: dict[str, Any], now: float) -> HttpResponse:
        order.cancel_calls += 1
        if body.get("reason") not in REASONS or len(str(body.get("note"))) > NOTE_CHARS_MAX:
            return json_response(422, {"error": "reason or note is not accepted"})
        if order.status != "received":
            return json_response(409, {"error": f"an order that is {order.status} cannot be canceled"})
        order.cancel_effects += 1
        self._emitted.append(order.become("canceled", now))
        return json_response(200, order.as_json())

    def _create(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        id = str(params.get("order_id", 1001 + len(self._orders)))
        if id in self._orders:
            raise ValueError(f"order {id} is there already")
        self._orders[id] = SimulatedOrder(id, utc_time(now))
        self._emitted.append(self._orders[id].become("received", now))
        return {"order_id": id}

    def _step(self, step: str, params: dict[str, Any], now: float) -> dict[str, Any]:
        id = str(params.get("order_id"))
        if id not in self._orders:
            raise ValueError(f"there is no order {id}; create_order makes one")
        self._emitted.append(self._orders[id].become(STEPS[step], now))
        return self._orders[id].summary()

    def _list(self, _: dict[str, Any], _now: float) -> dict[str, Any]:
        return {"orders": [each.summary() for each in self._orders.values()]}
