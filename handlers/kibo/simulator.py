"""A simulated Kibo: its translated order API, its rules, limit and errors, and its signed, thin webhooks.

It does what the documents say; where they say nothing, what it does is made up, and the handler's README lists it.
Pure: time is an argument, and webhooks wait in `emitted`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import Action, Faults, Window, json_object, json_response, perform, retry_after, utc_time
from handlers.kibo.cancel import CANCEL_PATH
from handlers.kibo.payload import whole_id
from handlers.kibo.rules import NOTE_CHARS_MAX, OTHER
from handlers.kibo.signature import DATE_HEADER, SIGNATURE_HEADER, sign
from handlers.kibo.simulated import SimulatedOrder, default_details, hexadecimal, timestamp
from handlers.kibo.webhook import TENANT_HEADER

DEFAULT_TENANT = "10001"
DEFAULT_SECRET = "a-shared-secret-of-the-application"  # noqa: S105 - nobody's
NOT_CANCELABLE = "The order cannot be canceled"

_GET_ORDER = re.compile(r"/api/v2/order/([^/]+)\Z")
_FIRST_ORDER_ID = 1010101
_NOT_CANCELABLE_STATUSES = frozenset({"Completed", "Cancelled", "Errored", "Abandoned"})


@dataclass(frozen=True, slots=True)
class Step:
    """What an action does to an order, and of which topics its webhooks are."""

    topics: tuple[str, ...]
    status: str | None = None
    fulfillment: str | None = None
    shipment: Mapping[str, str] | None = None
    """The properties of the shipment that moved."""


STEPS = {
    "update": Step(("order.updated",)),
    "save": Step(("order.saved",)),
    "change_address": Step(("order.addresschanged",)),
    "create_subscription": Step(("order.subscriptioncreated",)),
    "review": Step(("order.pendingreview",), "Pending Review"),
    "validate": Step(("order.updated",), "Validated"),
    "accept": Step(("order.updated",), "Accepted"),
    "process": Step(
        ("shipment.workflowstatechanged",),
        "Processing",
        shipment={"newState": "PREPARE_FOR_SHIPMENT", "oldState": "ACCEPT_SHIPMENT"},
    ),
    "ship_part": Step(
        ("shipment.statuschanged",),
        "Processing",
        "PartiallyFulfilled",
        {"newStatus": "FULFILLED", "oldStatus": "READY"},
    ),
    "fulfill": Step(
        ("shipment.statuschanged", "order.fulfilled"),
        "Processing",
        "Fulfilled",
        {"newStatus": "FULFILLED", "oldStatus": "READY"},
    ),
    "close": Step(("order.closed",), "Completed"),
    "error": Step(("order.errored",), "Errored"),
    "abandon": Step(("order.abandoned",), "Abandoned"),
    "adjust_shipment": Step(("shipment.adjusted",), shipment={}),
    "adjust_item": Step(("shipment.itemadjusted",), shipment={}),
    "cancel_items": Step(("shipment.itemscanceled",), shipment={}),
    "decline_items": Step(("shipment.itemsdeclined",), shipment={}),
    "reject_items": Step(("shipment.itemsrejected",), shipment={"newState": "REJECTED"}),
    "refund": Step(("payment.refunded",)),
    "open_return": Step(("return.opened",)),
    "cancel_by_staff": Step(("order.cancelled",), "Cancelled"),
}
"""Action → what becomes of the order."""

_NAMES = frozenset({"order_id", "entity_id"})
_STEP_KEYS = _NAMES | {"status", "silent"}
_DETAILS = frozenset({"externalOrderID", "orderType", "currency", "total"})
_CREATE_KEYS = _NAMES | _DETAILS | {"status", "imported", "is_test", "restricted", "silent"}


class Kibo:
    """Kibo, as far as canceling goes.

    Args:
        tenant: the tenant whose API this is.
        secret: the shared secret of the application that listens.
        translated: whether the tenant is configured for translated APIs.
        requests: how many calls the tenant may make in any `per_s` seconds; None documents it.
        per_s: see `requests`.
        disposition_reasons: the words that a cancel may give.
        credential: what a call has to give as `Authorization`, if anything.
        retry_after: whether a 429 says when to come again.
    """

    def __init__(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        secret: str = DEFAULT_SECRET,
        translated: bool = True,
        requests: int = 60,
        per_s: float = 60.0,
        disposition_reasons: Sequence[str] = ("customer_changed_mind", "created_by_mistake", OTHER),
        credential: str = "",
        retry_after: bool = False,
    ) -> None:
        self._tenant, self._secret, self._translated = tenant, secret, translated
        self._credential, self._retry_after = credential, retry_after
        self._window = Window(requests, per_s)
        self._reasons = tuple(disposition_reasons)
        self._may_be_partial = False
        self._orders: dict[int, SimulatedOrder] = {}
        self._by_entity: dict[str, SimulatedOrder] = {}
        self._crashes = Faults()
        self._deferred = 0
        self._events = 0
        self._last: list[dict[str, Any]] = []
        self._emitted: list[HttpRequest] = []

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        denied = self._denial({name.lower(): value for name, value in request.headers.items()}, now)
        if denied is not None:
            return denied
        path = urlsplit(request.url).path
        found = _GET_ORDER.match(path)
        if path == CANCEL_PATH and request.method == "POST":
            serve = partial(self._cancel, json_object(request.body), now)
        elif found is not None and request.method == "GET":
            serve = partial(self._get, unquote(found[1]))
        else:
            return _error(404, "RESOURCE_NOT_FOUND", "There is no such resource")
        return self._crashes.around(serve, lambda _: _error(500, "UNEXPECTED_ERROR", "An unexpected error occurred"))

    def _denial(self, headers: Mapping[str, str], now: float) -> HttpResponse | None:
        """Why the call is not served, whatever it asks; None where it is."""
        if not self._translated:
            return HttpResponse(404, {"content-type": "text/html"}, b"<html><h1>Not Found</h1></html>")
        if headers.get(TENANT_HEADER) != self._tenant:
            return _error(401, "UNAUTHORIZED", f"No access to tenant {headers.get(TENANT_HEADER, '')!r}")
        if self._credential and headers.get("authorization") != self._credential:
            return _error(401, "MISSING_OR_INVALID_AUTHORIZATION", "The authorization is missing or invalid")
        wait_s = self._window.wait_s(self._tenant, now)
        if wait_s is None:
            return None
        return _error(429, "TOO_MANY_REQUESTS", "Slow down", retry_after(wait_s) if self._retry_after else {})

    def _get(self, name: str) -> HttpResponse:
        order = self._find(name)
        return _unknown(name) if order is None else json_response(200, order.as_resource())

    def _cancel(self, body: dict[str, Any], now: float) -> HttpResponse:
        order_id = body.get("orderID")
        if type(order_id) is not int or order_id < 1:
            return _error(400, "INVALID_PARAMETER", "orderID must be an integer of at least 1")
        order = self._orders.get(order_id)
        if order is not None:
            order.cancel_calls += 1
        reason, explanation = body.get("dispositionReason"), body.get("dispositionOtherReason")
        if reason not in self._reasons:
            return _error(400, "INVALID_PARAMETER", "dispositionReason must be one of " + ", ".join(self._reasons))
        if reason == OTHER and not (isinstance(explanation, str) and 1 <= len(explanation) <= NOTE_CHARS_MAX):
            return _error(
                400, "INVALID_PARAMETER", f"dispositionOtherReason must have 1 to {NOTE_CHARS_MAX} characters"
            )
        if order is None:
            return _unknown(str(order_id))
        if not self._is_cancelable(order):
            return _error(409, "INVALID_STATE", f"{NOT_CANCELABLE} ({order.status}, {order.fulfillment})")
        order.cancel_effects += 1
        order.cancel_reason = str(explanation if reason == OTHER else reason)
        if self._deferred:
            self._deferred -= 1
            order.is_cancel_due = True
        else:
            self._take_effect(order, now)
        return json_response(200, order.as_resource())

    def _is_cancelable(self, order: SimulatedOrder) -> bool:
        if order.is_restricted or order.is_cancel_due or order.status in _NOT_CANCELABLE_STATUSES:
            return False
        return order.fulfillment == "NotFulfilled" or (self._may_be_partial and order.fulfillment != "Fulfilled")

    def _take_effect(self, order: SimulatedOrder, now: float) -> None:
        order.cancel(order.cancel_reason, utc_time(now))
        self._emit("order.cancelled", order, now, {})

    def _find(self, name: object) -> SimulatedOrder | None:
        order_id = whole_id(name)
        return (None if order_id is None else self._orders.get(order_id)) or self._by_entity.get(str(name))

    # -- The provider's side ----------------------------------------------------------------

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Do what Kibo's staff, its warehouses or its administrators do. Raises ValueError, saying why not."""
        known: dict[str, tuple[Action, frozenset[str]]] = {
            "create_order": (self._create, _CREATE_KEYS),
            "restrict": (self._restrict, _NAMES | {"restricted", "silent"}),
            "finish_cancel": (self._finish, _NAMES),
            "defer_cancels": (self._defer, frozenset({"times"})),
            "resend": (self._resend, frozenset()),
            "set_limits": (self._window.act, self._window.KEYS),
            "set_rules": (self._set_rules, frozenset({"disposition_reasons", "partially_fulfilled"})),
            "set_tenant": (self._set_tenant, frozenset({"translated", "credential"})),
            "crash": (self._crashes.act, self._crashes.KEYS),
            "list": (self._list, _NAMES),
        }
        known.update((name, (partial(self._step, step), _STEP_KEYS)) for name, step in STEPS.items())
        return perform("Kibo", action, known, now)

    def emitted(self) -> list[HttpRequest]:
        """The webhooks since the last call, oldest first, signed."""
        webhooks, self._emitted = self._emitted, []
        return webhooks

    def resigned(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook with the `Date` and the signature of `now`."""
        date = format_datetime(utc_time(now).replace(microsecond=0), usegmt=True)
        proof = {
            DATE_HEADER: date,
            SIGNATURE_HEADER: sign(self._secret.encode(), date.encode(), webhook.body).decode(),
        }
        return replace(webhook, headers={**webhook.headers, **proof})

    def _create(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        number = len(self._orders)
        order = SimulatedOrder(
            order_id=int(params.get("order_id", _FIRST_ORDER_ID + number)),
            entity_id=str(params.get("entity_id", hexadecimal("order", number, 24))),
            status=str(params.get("status", "Accepted")),
            created_at=utc_time(now),
            details={**default_details(number), **{key: params[key] for key in _DETAILS & params.keys()}},
            is_test=bool(params.get("is_test")),
            is_restricted=bool(params.get("restricted")),
        )
        if order.order_id < 1:
            raise ValueError(f"order_id {order.order_id} is not 1 or more")
        if order.order_id in self._orders or order.entity_id in self._by_entity:
            raise ValueError(f"order {order.order_id} or {order.entity_id} is there already")
        self._orders[order.order_id] = self._by_entity[order.entity_id] = order
        if not params.get("silent"):
            self._emit("order.imported" if params.get("imported") else "order.opened", order, now, {})
        return order.summary()

    def _step(self, step: Step, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._known(params)
        if order.is_canceled:
            raise ValueError(f"order {order.order_id} is canceled: nothing more becomes of it")
        status = params.get("status", step.status)
        if step.topics == ("order.cancelled",):
            order.cancel("", utc_time(now))
        elif status is not None:
            order.status = str(status)
        order.fulfillment = step.fulfillment or order.fulfillment
        if not params.get("silent"):
            self._last = []
            for topic in step.topics:
                self._emit(topic, order, now, step.shipment or {}, is_first=topic == step.topics[0])
        return order.summary()

    def _restrict(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._known(params)
        order.is_restricted = bool(params.get("restricted", True))
        if not params.get("silent"):
            self._emit("order.updated", order, now, {})
        return order.summary()

    def _finish(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._known(params)
        if not order.is_cancel_due:
            raise ValueError(f"no cancel of order {order.order_id} is due")
        self._take_effect(order, now)
        return order.summary()

    def _defer(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        self._deferred += int(params.get("times", 1))
        return {"deferred": self._deferred}

    def _resend(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        if not self._last:
            raise ValueError("nothing was sent yet")
        for body in self._last:
            # The documents show the id of an event with and without dashes.
            self._post({**body, "eventId": body["eventId"].replace("-", "")}, now)
        return {"resent": len(self._last)}

    def _set_rules(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        reasons = params.get("disposition_reasons", self._reasons)
        if not isinstance(reasons, (list, tuple)) or not all(isinstance(each, str) for each in reasons):
            raise ValueError("give a list of strings")
        self._reasons = tuple(reasons)
        self._may_be_partial = bool(params.get("partially_fulfilled", self._may_be_partial))
        return {"disposition_reasons": list(self._reasons), "partially_fulfilled": self._may_be_partial}

    def _set_tenant(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        self._translated = bool(params.get("translated", self._translated))
        self._credential = str(params.get("credential", self._credential))
        return {"tenant": self._tenant, "translated": self._translated}

    def _list(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        orders = [self._known(params)] if params else list(self._orders.values())
        return {"orders": [order.summary() for order in orders]}

    def _known(self, params: dict[str, Any]) -> SimulatedOrder:
        named = params.get("order_id", params.get("entity_id"))
        order = self._find(named)
        if order is None:
            raise ValueError(f"there is no order {named!r}")
        return order

    def _emit(
        self, topic: str, order: SimulatedOrder, now: float, shipment: Mapping[str, str], *, is_first: bool = True
    ) -> None:
        self._events += 1
        family = topic.partition(".")[0]
        properties = {} if family == "order" else {"orderId": order.entity_id, **shipment}
        body = {
            "eventId": _dashed(hexadecimal("event", self._events, 32)),
            "extendedProperties": [{"key": key, "value": value} for key, value in properties.items()],
            "topic": topic,
            "entityId": order.entity_id if family == "order" else hexadecimal(family, order.order_id, 24),
            "timestamp": timestamp(utc_time(now)),
            "correlationId": hexadecimal("correlation", self._events, 32),
            "isTest": order.is_test,
        }
        self._last = [body] if is_first else [*self._last, body]
        self._post(body, now)

    def _post(self, body: dict[str, Any], now: float) -> None:
        headers = {"Content-Type": "application/json", TENANT_HEADER: self._tenant}
        self._emitted.append(self.resigned(HttpRequest("POST", "", headers, msgspec.json.encode(body)), now))


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return json_response(
        status, {"applicationName": "Kibo (simulated)", "errorCode": code, "message": message}, headers
    )


def _unknown(name: str) -> HttpResponse:
    return _error(404, "ITEM_NOT_FOUND", f"There is no order {name}")


def _dashed(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
