"""A simulated Kibo: its translated order API, its rules, limit and errors, and its signed, thin webhooks.

It does what the documents say. Where they are silent, its behavior is an assumption, which the handler's README lists.
Pure: time is an argument, and webhooks wait in `emitted`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import (
    BaseOrder,
    BaseSimulator,
    Book,
    Window,
    action,
    header,
    json_object,
    json_response,
    retry_after,
    strings,
    utc_time,
)
from handlers.kibo.cancel import CANCEL_PATH
from handlers.kibo.rules import NOTE_CHARS_MAX, OTHER
from handlers.kibo.signature import DATE_HEADER, SIGNATURE_HEADER, sign
from handlers.kibo.webhook import TENANT_HEADER

DEFAULT_TENANT = "10001"
DEFAULT_SECRET = "a-shared-secret-of-the-application"  # noqa: S105 - nobody's
NOT_CANCELABLE = "The order cannot be canceled"

_GET_ORDER = re.compile(r"/api/v2/order/([^/]+)\Z")
_FIRST_ORDER_ID = 1010101
_NOT_CANCELABLE_STATUSES = frozenset({"Completed", "Cancelled", "Errored", "Abandoned"})


class Step(NamedTuple):
    """What an action changes of an order, and the topics of its webhooks."""

    topics: tuple[str, ...]
    status: str | None = None
    fulfillment: str | None = None
    shipment: Mapping[str, str] = {}
    """The properties of the shipment that changed."""


_PREPARED = {"newState": "PREPARE_FOR_SHIPMENT", "oldState": "ACCEPT_SHIPMENT"}
_SHIPPED = {"newStatus": "FULFILLED", "oldStatus": "READY"}
STEPS = {
    "update": Step(("order.updated",)),
    "save": Step(("order.saved",)),
    "change_address": Step(("order.addresschanged",)),
    "create_subscription": Step(("order.subscriptioncreated",)),
    "review": Step(("order.pendingreview",), "Pending Review"),
    "validate": Step(("order.updated",), "Validated"),
    "accept": Step(("order.updated",), "Accepted"),
    "process": Step(("shipment.workflowstatechanged",), "Processing", shipment=_PREPARED),
    "ship_part": Step(("shipment.statuschanged",), "Processing", "PartiallyFulfilled", _SHIPPED),
    "fulfill": Step(("shipment.statuschanged", "order.fulfilled"), "Processing", "Fulfilled", _SHIPPED),
    "close": Step(("order.closed",), "Completed"),
    "error": Step(("order.errored",), "Errored"),
    "abandon": Step(("order.abandoned",), "Abandoned"),
    "adjust_shipment": Step(("shipment.adjusted",)),
    "adjust_item": Step(("shipment.itemadjusted",)),
    "cancel_items": Step(("shipment.itemscanceled",)),
    "decline_items": Step(("shipment.itemsdeclined",)),
    "reject_items": Step(("shipment.itemsrejected",), shipment={"newState": "REJECTED"}),
    "refund": Step(("payment.refunded",)),
    "open_return": Step(("return.opened",)),
    "cancel_by_staff": Step(("order.cancelled",), "Cancelled"),
}
"""Action → what becomes of the order."""

DETAILS = {"externalOrderID": "external-0", "orderType": "DIRECT", "currency": "USD", "total": 49.9}
"""What `create_order` may set of an order."""


@dataclass(slots=True, kw_only=True)
class SimulatedOrder(BaseOrder):
    """One order."""

    fields: dict[str, Any]
    """The answer of “Get Order”."""
    is_cancel_due: bool = False
    """A cancel was taken, and has yet to take effect."""
    canceled_at: str | None = None
    cancel_reason: str = ""

    def cancel(self, now: float) -> None:
        """Cancel it."""
        self.fields |= {"orderState": "CANCELED", "orderStatus": "Cancelled"}
        self.canceled_at, self.is_cancel_due = timestamp(now), False

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        return {
            "order_id": self.fields["orderID"],
            "entity_id": self.fields["entityId"],
            "status": self.fields["orderStatus"],
            "fulfillment_status": self.fields["fulfillmentStatus"],
            "restricted": self.fields["restrictCancellation"],
            "canceled_at": self.canceled_at,
            "cancel_reason": self.cancel_reason,
            **self.counts(),
        }


class Kibo(BaseSimulator[SimulatedOrder]):
    """Simulate the part of Kibo that cancels need.

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

    provider = "Kibo"

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
        super().__init__(Book("order_id", "entity_id"), Window(requests, per_s))
        self._tenant, self._secret, self._translated = tenant, secret, translated
        self._credential, self._retry_after = credential, retry_after
        self._reasons, self._may_be_partial = tuple(disposition_reasons), False
        self._deferred = 0
        self._events = 0
        self._last: list[dict[str, Any]] = []
        """The webhooks of the last event."""

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        if not self._translated:
            return HttpResponse(404, {"content-type": "text/html"}, b"<html><h1>Not Found</h1></html>")
        tenant = header(request, TENANT_HEADER)
        if tenant != self._tenant:
            return _error(401, "UNAUTHORIZED", f"No access to tenant {tenant!r}")
        if self._credential and header(request, "authorization") != self._credential:
            return _error(401, "MISSING_OR_INVALID_AUTHORIZATION", "The authorization is missing or invalid")
        wait_s = self.limit.wait_s(self._tenant, now)
        if wait_s is not None:
            return _error(429, "TOO_MANY_REQUESTS", "Slow down", retry_after(wait_s) if self._retry_after else {})
        path = urlsplit(request.url).path
        name = _GET_ORDER.match(path)
        if path == CANCEL_PATH and request.method == "POST":
            serve = partial(self._cancel, json_object(request.body), now)
        elif name is not None and request.method == "GET":
            serve = partial(self._get, unquote(name[1]))
        else:
            return _error(404, "RESOURCE_NOT_FOUND", "There is no such resource")
        return self.faults.around(serve, lambda _: _error(500, "UNEXPECTED_ERROR", "An unexpected error occurred"))

    def _get(self, name: str) -> HttpResponse:
        order = self.orders.get(name, "order_id") or self.orders.get(name, "entity_id")
        return _no_order(name) if order is None else json_response(200, order.fields)

    def _cancel(self, body: dict[str, Any], now: float) -> HttpResponse:
        order_id = body.get("orderID")
        if type(order_id) is not int or order_id < 1:
            return _error(400, "INVALID_PARAMETER", "orderID must be an integer of at least 1")
        order = self.orders.get(order_id)
        if order is not None:
            order.cancel_calls += 1
        reason, explanation = body.get("dispositionReason"), body.get("dispositionOtherReason")
        if reason not in self._reasons:
            return _error(400, "INVALID_PARAMETER", "dispositionReason must be one of " + ", ".join(self._reasons))
        if reason == OTHER and not (isinstance(explanation, str) and 1 <= len(explanation) <= NOTE_CHARS_MAX):
            text = f"dispositionOtherReason must have 1 to {NOTE_CHARS_MAX} characters"
            return _error(400, "INVALID_PARAMETER", text)
        if order is None:
            return _no_order(str(order_id))
        if not self._is_cancelable(order):
            stands = f"{order.fields['orderStatus']}, {order.fields['fulfillmentStatus']}"
            return _error(409, "INVALID_STATE", f"{NOT_CANCELABLE} ({stands})")
        order.cancel_effects += 1
        order.cancel_reason = str(explanation if reason == OTHER else reason)
        if self._deferred:
            self._deferred -= 1
            order.is_cancel_due = True
        else:
            self._take_effect(order, now)
        return json_response(200, order.fields)

    def _is_cancelable(self, order: SimulatedOrder) -> bool:
        is_restricted = order.fields["restrictCancellation"] or order.is_cancel_due
        if is_restricted or order.fields["orderStatus"] in _NOT_CANCELABLE_STATUSES:
            return False
        fulfillment = order.fields["fulfillmentStatus"]
        return fulfillment == "NotFulfilled" or (self._may_be_partial and fulfillment != "Fulfilled")

    def _take_effect(self, order: SimulatedOrder, now: float) -> None:
        order.cancel(now)
        self._tell(("order.cancelled",), order, now)

    # -- The provider's side ----------------------------------------------------------------

    @action(keys={*DETAILS, "entity_id"})
    def create_order(
        self,
        now: float,
        order_id: Any = None,
        entity_id: Any = None,
        status: str = "Accepted",
        *,
        imported: bool = False,
        is_test: bool = False,
        restricted: bool = False,
        silent: bool = False,
        **details: Any,
    ) -> dict[str, Any]:
        """Take an order in."""
        number = len(self.orders)
        fields = {
            "orderID": _FIRST_ORDER_ID + number if order_id is None else int(order_id),
            "entityId": hexadecimal("order", number, 24) if entity_id is None else str(entity_id),
            **DETAILS,
            "externalOrderID": f"external-{number}",
            **details,
            "isTestOrder": bool(is_test),
            "orderState": "READY",
            "orderStatus": str(status),
            "fulfillmentStatus": "NotFulfilled",
            "restrictCancellation": bool(restricted),
            "submittedDate": timestamp(now),
            "customer": {"name": "Robin Example", "email": "robin@example.com", "phone": "555-0100"},
        }
        if fields["orderID"] < 1:
            raise ValueError(f"order_id {order_id} is not 1 or more")
        order = SimulatedOrder(fields=fields)
        self.orders.add(order, order_id=fields["orderID"], entity_id=fields["entityId"])
        self._tell(("order.imported" if imported else "order.opened",), order, now, silent=silent)
        return order.summary()

    @action(*STEPS)
    def step(
        self, do: str, now: float, status: str | None = None, *, silent: bool = False, **ids: object
    ) -> dict[str, Any]:
        """Move an order on, as `STEPS` says, or to another status."""
        order, step = self.orders.one(**ids), STEPS[do]
        if order.canceled_at is not None:
            raise ValueError(f"order {order.fields['orderID']} is canceled: nothing more becomes of it")
        if do == "cancel_by_staff":
            order.cancel(now)
        else:
            order.fields["orderStatus"] = status or step.status or order.fields["orderStatus"]
        order.fields["fulfillmentStatus"] = step.fulfillment or order.fields["fulfillmentStatus"]
        self._tell(step.topics, order, now, step.shipment, silent=silent)
        return order.summary()

    @action()
    def restrict(self, now: float, *, restricted: bool = True, silent: bool = False, **ids: object) -> dict[str, Any]:
        """Forbid to cancel an order, or allow it again."""
        order = self.orders.one(**ids)
        order.fields["restrictCancellation"] = bool(restricted)
        self._tell(("order.updated",), order, now, silent=silent)
        return order.summary()

    @action()
    def finish_cancel(self, now: float, **ids: object) -> dict[str, Any]:
        """Let a cancel take effect that was deferred."""
        order = self.orders.one(**ids)
        if not order.is_cancel_due:
            raise ValueError(f"no cancel of order {order.fields['orderID']} is due")
        self._take_effect(order, now)
        return order.summary()

    @action()
    def defer_cancels(self, times: Any = 1) -> dict[str, Any]:
        """Let the next cancels take effect only by `finish_cancel`."""
        self._deferred += int(times)
        return {"deferred": self._deferred}

    @action()
    def resend(self, now: float) -> dict[str, Any]:
        """Send the webhooks of the last event again."""
        if not self._last:
            raise ValueError("nothing was sent yet")
        for body in self._last:
            # The documents show the id of an event with and without dashes.
            self._send({**body, "eventId": body["eventId"].replace("-", "")}, now)
        return {"resent": len(self._last)}

    @action()
    def set_rules(self, disposition_reasons: Any = None, partially_fulfilled: bool | None = None) -> dict[str, Any]:
        """Do what Kibo's administrators do; what is not given stays."""
        if disposition_reasons is not None:
            self._reasons = strings(disposition_reasons)
        if partially_fulfilled is not None:
            self._may_be_partial = bool(partially_fulfilled)
        return {"disposition_reasons": list(self._reasons), "partially_fulfilled": self._may_be_partial}

    @action()
    def set_tenant(self, translated: bool | None = None, credential: str | None = None) -> dict[str, Any]:
        """Configure the tenant; what is not given stays."""
        self._translated = self._translated if translated is None else bool(translated)
        self._credential = self._credential if credential is None else str(credential)
        return {"tenant": self._tenant, "translated": self._translated}

    def sign(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook with the `Date` and the signature of `now`."""
        date = format_datetime(utc_time(now).replace(microsecond=0), usegmt=True)
        signature = sign(self._secret.encode(), date.encode(), webhook.body).decode()
        return replace(webhook, headers={**webhook.headers, DATE_HEADER: date, SIGNATURE_HEADER: signature})

    resigned = sign

    def _tell(
        self,
        topics: Sequence[str],
        order: SimulatedOrder,
        now: float,
        shipment: Mapping[str, str] | None = None,
        *,
        silent: bool = False,
    ) -> None:
        """Send the webhooks of an event; `shipment` holds the properties of the shipment that changed."""
        if not silent:
            self._last = [self._event(topic, order, now, shipment or {}) for topic in topics]
            for body in self._last:
                self._send(body, now)

    def _event(self, topic: str, order: SimulatedOrder, now: float, shipment: Mapping[str, str]) -> dict[str, Any]:
        self._events += 1
        family, entity_id = topic.partition(".")[0], order.fields["entityId"]
        is_order = family == "order"
        properties = {} if is_order else {"orderId": entity_id, **shipment}
        digits = hexadecimal("event", self._events, 32)
        return {
            "eventId": "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])),
            "extendedProperties": [{"key": key, "value": value} for key, value in properties.items()],
            "topic": topic,
            "entityId": entity_id if is_order else hexadecimal(family, order.fields["orderID"], 24),
            "timestamp": timestamp(now),
            "correlationId": hexadecimal("correlation", self._events, 32),
            "isTest": order.fields["isTestOrder"],
        }

    def _send(self, body: dict[str, Any], now: float) -> None:
        self.emit(body, now, {TENANT_HEADER: self._tenant})


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    body = {"applicationName": "Kibo (simulated)", "errorCode": code, "message": message}
    return json_response(status, body, headers)


def _no_order(name: str) -> HttpResponse:
    return _error(404, "ITEM_NOT_FOUND", f"There is no order {name}")


def hexadecimal(kind: str, number: int, digits: int) -> str:
    """An id that looks like Kibo's, the same in every run."""
    return blake2b(f"{kind} {number}".encode(), digest_size=digits // 2).hexdigest()


def timestamp(now: float) -> str:
    """A time as Kibo writes it: in UTC, with seven digits after the point."""
    return utc_time(now).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
