"""A faithful, pure fake of PlanOmatic V3: what “Cancel Order” says it does, this does.

What the documents leave open is decided here and said so in the README: the bodies of successful
answers, the message for an order that can no longer be canceled, and which status each step leads to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import Action, Faults, Window, json_object, json_response, perform, retry_after, utc_time
from handlers.planomatic.simulated import CREATE_KEYS, SimulatedOrder, default_details, timestamp

# Written down from the documents once more: a slip in the handler must not be made here as well.
CANCEL_PATH = "/api/v3/orders/cancel"
RETRIEVE_PATH = "/api/v3/orders/retrieve"
DOCUMENTED_API_KEY = "y0Ur-AP1-k3y"
NOTES_CHARS_MAX = 255
NOTES_LENGTH = "must be between 1-255 characters"
NOT_CANCELABLE = "not cancelable"

STEPS = {
    "process": ("order.processed", "ordered"),
    "await_availability": ("appointment.awaiting_availability", "scheduling"),
    "schedule_appointment": ("appointment.scheduled", "scheduled"),
    "await_reschedule": ("appointment.awaiting_reschedule", "scheduling"),
    "unable_to_complete": ("appointment.unable_to_complete", "hold"),
    "post_process": ("order.post_processing", "post_processing"),
    "deliver": ("order.delivered", "delivered"),
    "cancel_by_staff": ("order.canceled", "canceled"),
}
"""Action → the event that it triggers, and the status that the order has then."""

_FIRST_ORDER_ID = 654321
_FIRST_REQUEST_ID = 133704
_STEP_KEYS = frozenset({"order_id", "request_id", "status", "silent", "starts_at", "minutes"})
_CREATE_KEYS = frozenset({*CREATE_KEYS, "order_id", "request_id", "legacy_order_id", "api_key", "status", "silent"})

Error = dict[str, str]


class PlanOmatic:
    """PlanOmatic, as far as canceling goes.

    Args:
        api_keys: the integrations that it knows; the first one owns orders made without a key.
        requests: how many calls an API key may make in any `per_s` seconds.
        per_s: see `requests`.
        cancelable_statuses: PlanOmatic's administrators may change them.
        webhooks: the versions of the webhook that are sent, of `v3` and `v2`.
        retry_after: whether a 429 says when to come again; PlanOmatic documents no such header.
    """

    def __init__(
        self,
        *,
        api_keys: Sequence[str] = (DOCUMENTED_API_KEY,),
        requests: int = 100,
        per_s: float = 60.0,
        cancelable_statuses: Sequence[str] = ("new_request", "ordered", "scheduling"),
        cancelation_reasons: Sequence[str] = ("duplicate_order", "client_requested_cancelation"),
        webhooks: Sequence[str] = ("v3",),
        retry_after: bool = False,
    ) -> None:
        self._api_keys, self._webhooks, self._retry_after = tuple(api_keys), tuple(webhooks), retry_after
        self._window = Window(requests, per_s)
        self._cancelable_statuses = tuple(cancelable_statuses)
        self._cancelation_reasons = tuple(cancelation_reasons)
        self._orders: dict[str, SimulatedOrder] = {}
        self._by_request: dict[str, SimulatedOrder] = {}
        self._by_legacy: dict[str, SimulatedOrder] = {}
        self._crashes = Faults()
        self._emitted: list[HttpRequest] = []

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        serve = {CANCEL_PATH: self._cancel, RETRIEVE_PATH: self._retrieve}.get(urlsplit(request.url).path)
        if serve is None or request.method != "POST":
            return _answer(404, "not-found")
        body = json_object(request.body)
        wait_s = self._wait_s(body.get("api_key"), now)
        if wait_s is not None:
            return _answer(429, "rate-limit-exceeded", retry_after(wait_s) if self._retry_after else {})
        errors = self._key_errors(body)
        if errors:
            return _invalid(errors)
        return self._crashes.around(partial(serve, body, now), lambda _: _answer(500, "application-crash"))

    def _cancel(self, body: dict[str, Any], now: float) -> HttpResponse:
        attr, order, errors = self._resolve(body, legacy=False)
        if order is not None:
            order.cancel_calls += 1
        errors += self._field_errors(body, "cancelation_reason", self._cancelation_reasons)
        errors += self._field_errors(body, "notes", None)
        if errors or order is None:
            return _invalid(errors)
        if order.status not in self._cancelable_statuses or order.has_confirmed_appointment:
            return _invalid([_error(attr, NOT_CANCELABLE)])
        order.status, order.canceled_at = "canceled", utc_time(now)
        order.cancel_effects += 1
        self._emit("order.canceled", order, now)
        return _answer(200, "success", order=order.as_v3())

    def _retrieve(self, body: dict[str, Any], now: float) -> HttpResponse:  # noqa: ARG002 - one signature for all calls
        _, order, errors = self._resolve(body, legacy=True)
        return _invalid(errors) if order is None else _answer(200, "success", order=order.as_v3())

    def _wait_s(self, api_key: object, now: float) -> float | None:
        return self._window.wait_s(api_key if isinstance(api_key, str) and api_key in self._api_keys else "", now)

    def _key_errors(self, body: dict[str, Any]) -> list[Error]:
        found = _absent(body, "api_key")
        if found or body["api_key"] in self._api_keys:
            return found
        return [_error("api_key", "unauthorized")]

    def _resolve(self, body: dict[str, Any], *, legacy: bool) -> tuple[str, SimulatedOrder | None, list[Error]]:
        """Which order is meant; where both ids are given, request_id counts."""
        attr = "order_id" if body.get("request_id") is None else "request_id"
        errors = _absent(body, attr)
        if errors:
            return attr, None, errors
        given = body[attr]
        named = str(given) if isinstance(given, str) or type(given) is int else ""
        order = (self._orders if attr == "order_id" else self._by_request).get(named)
        if legacy and (order is None or order.api_key != body["api_key"]):
            # A record of somebody else's makes PlanOmatic look for the id among its legacy ids.
            order = self._by_legacy.get(named, order)
        if order is None:
            return attr, None, [_error(attr, "unrecognized")]
        if order.api_key != body["api_key"]:
            return attr, None, [_error(attr, "unauthorized")]
        return attr, order, []

    @staticmethod
    def _field_errors(body: dict[str, Any], attr: str, accepted: Sequence[str] | None) -> list[Error]:
        errors = _absent(body, attr)
        if errors:
            return errors
        value = body[attr]
        if not isinstance(value, str) or (accepted is not None and value not in accepted):
            return [_error(attr, "unrecognized")]
        if accepted is None and len(value) > NOTES_CHARS_MAX:
            return [_error(attr, NOTES_LENGTH)]
        return []

    # -- The provider's side ----------------------------------------------------------------

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Do what PlanOmatic's staff, its schedule or its administrators do. Raises ValueError, saying why not."""
        known: dict[str, tuple[Action, frozenset[str]]] = {
            "create_order": (self._create, _CREATE_KEYS),
            "set_limits": (self._window.act, self._window.KEYS),
            "set_rules": (self._set_rules, frozenset({"cancelable_statuses", "cancelation_reasons"})),
            "set_api_keys": (self._set_api_keys, frozenset({"api_keys"})),
            "crash": (self._crashes.act, self._crashes.KEYS),
            "list": (self._list, frozenset({"order_id", "request_id"})),
        }
        known.update((step, (partial(self._step, step), _STEP_KEYS)) for step in STEPS)
        return perform("PlanOmatic", action, known, now)

    def emitted(self) -> list[HttpRequest]:
        """The webhooks since the last call, oldest first. They carry no signature: none is documented."""
        webhooks, self._emitted = self._emitted, []
        return webhooks

    def _create(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        number = len(self._orders)
        order_id, request_id = params.get("order_id"), params.get("request_id")
        order = SimulatedOrder(
            order_id=_FIRST_ORDER_ID + number if order_id is None else order_id,
            request_id=_FIRST_REQUEST_ID + number if request_id is None else request_id,
            api_key=str(params.get("api_key", self._api_keys[0])),
            status=str(params.get("status", "ordered")),
            created_at=utc_time(now),
            legacy_order_id=params.get("legacy_order_id"),
            details={**default_details(number), **{key: params[key] for key in CREATE_KEYS if key in params}},
        )
        if str(order.order_id) in self._orders or str(order.request_id) in self._by_request:
            raise ValueError(f"order {order.order_id} or request {order.request_id} is there already")
        self._orders[str(order.order_id)] = self._by_request[str(order.request_id)] = order
        if order.legacy_order_id is not None:
            self._by_legacy[str(order.legacy_order_id)] = order
        if order.status == "ordered" and not params.get("silent"):
            self._emit("order.processed", order, now)
        return order.summary()

    def _step(self, name: str, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._known(params)
        if order.status == "canceled":
            raise ValueError(f"order {order.order_id} is canceled: nothing more becomes of it")
        event, status = STEPS[name]
        if name == "schedule_appointment":
            order.schedule(_start(params.get("starts_at"), now), float(params.get("minutes", 30)))
        elif name == "await_reschedule":
            order.call_off("reschedule")
        elif name == "unable_to_complete":
            order.call_off("property_not_ready")
        elif name == "cancel_by_staff":
            order.call_off("order_canceled")
            order.canceled_at = utc_time(now)
        order.status = str(params.get("status", status))
        if not params.get("silent"):
            self._emit(event, order, now)
        return order.summary()

    def _set_rules(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        self._cancelable_statuses = _words(params.get("cancelable_statuses", self._cancelable_statuses))
        self._cancelation_reasons = _words(params.get("cancelation_reasons", self._cancelation_reasons))
        return {
            "cancelable_statuses": list(self._cancelable_statuses),
            "cancelation_reasons": list(self._cancelation_reasons),
        }

    def _set_api_keys(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        keys = _words(params.get("api_keys", ()))
        if not keys:
            raise ValueError("give at least one api key in api_keys")
        self._api_keys = keys
        return {"api_keys": len(keys)}

    def _list(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        orders = [self._known(params)] if params else list(self._orders.values())
        return {"orders": [order.summary() for order in orders]}

    def _known(self, params: dict[str, Any]) -> SimulatedOrder:
        request_id, order_id = params.get("request_id"), params.get("order_id")
        order = self._orders.get(str(order_id)) if request_id is None else self._by_request.get(str(request_id))
        if order is None:
            raise ValueError(f"there is no order with order_id {order_id!r} or request_id {request_id!r}")
        return order

    def _emit(self, event: str, order: SimulatedOrder, now: float) -> None:
        v3 = {"event": event, "occurred_at": timestamp(utc_time(now)), **order.as_v3()}
        for version in self._webhooks:
            body = v3 if version == "v3" else order.as_v2()
            if body is not None:
                headers = {"Content-Type": "application/json", "User-Agent": "PlanOmatic (simulated)"}
                self._emitted.append(HttpRequest("POST", "", headers, msgspec.json.encode(body)))


def _answer(code: int, status: str, headers: dict[str, str] | None = None, **more: Any) -> HttpResponse:
    return json_response(code, {"code": code, "status": status, **more}, headers)


def _invalid(errors: list[Error]) -> HttpResponse:
    return _answer(400, "validation-error", errors=errors)


def _error(attr: str, message: str) -> Error:
    return {"attr": attr, "message": message}


def _absent(body: dict[str, Any], attr: str) -> list[Error]:
    if body.get(attr) is None:
        return [_error(attr, "missing")]
    return [_error(attr, "empty")] if body[attr] == "" else []


def _words(given: Any) -> tuple[str, ...]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, str) for each in given):
        raise ValueError("give a list of strings")
    return tuple(given)


def _start(given: Any, now: float) -> datetime:
    """When an appointment starts: as given in ISO 8601, else in two days."""
    if given is None:
        return utc_time(now) + timedelta(days=2)
    start = datetime.fromisoformat(str(given))
    if start.tzinfo is None:
        raise ValueError(f"starts_at {given!r} has no offset from UTC; write it as 2030-01-31T16:00:00Z")
    return start
