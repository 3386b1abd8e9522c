"""A faithful, pure fake of PlanOmatic V3: what “Cancel Order” says it does, this does.

What the documents leave open is decided here and said so in the README: the bodies of successful
answers, the message for an order that can no longer be canceled, and which status each step leads to.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import (
    BaseSimulator,
    Book,
    Window,
    action,
    json_object,
    json_response,
    retry_after,
    strings,
    time_with_offset,
    utc_time,
)
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
CALLED_OFF = {
    "await_reschedule": "reschedule",
    "unable_to_complete": "property_not_ready",
    "cancel_by_staff": "order_canceled",
}
"""Action → why no appointment stands after it."""

_FIRST_ORDER_ID = 654321
_FIRST_REQUEST_ID = 133704
_REQUEST_IDS = 1_000_000_000
Error = dict[str, str]


def _request_id(order_id: object, number: int) -> int:
    """The request that an order came from.

    It follows an order id that is a number, so that a simulator that was started anew gives no other order the
    request of an order that Rescind knows already.
    """
    place = order_id - _FIRST_ORDER_ID if type(order_id) is int else number
    return _FIRST_REQUEST_ID + place % _REQUEST_IDS


class PlanOmatic(BaseSimulator[SimulatedOrder]):
    """PlanOmatic, as far as canceling goes.

    Args:
        api_keys: the integrations that it knows; the first one owns orders made without a key.
        requests: how many calls an API key may make in any `per_s` seconds.
        per_s: see `requests`.
        cancelable_statuses: PlanOmatic's administrators may change them.
        webhooks: the versions of the webhook that are sent, of `v3` and `v2`.
        retry_after: whether a 429 says when to come again; PlanOmatic documents no such header.
    """

    provider = "PlanOmatic"

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
        super().__init__(Book("order_id", "request_id", "legacy_order_id"), Window(requests, per_s))
        self._api_keys, self._webhooks, self._retry_after = tuple(api_keys), tuple(webhooks), retry_after
        self._cancelable_statuses = tuple(cancelable_statuses)
        self._cancelation_reasons = tuple(cancelation_reasons)

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        serve = {CANCEL_PATH: self._cancel, RETRIEVE_PATH: self._retrieve}.get(urlsplit(request.url).path)
        if serve is None or request.method != "POST":
            return _respond(404, "not-found")
        body = json_object(request.body)
        api_key = body.get("api_key")
        wait_s = self.limit.wait_s(api_key if api_key in self._api_keys else "", now)
        if wait_s is not None:
            return _respond(429, "rate-limit-exceeded", retry_after(wait_s) if self._retry_after else {})
        errors = _absent(body, "api_key")
        if not errors and api_key not in self._api_keys:
            errors = [_error("api_key", "unauthorized")]
        if errors:
            return _invalid(errors)
        return self.faults.around(partial(serve, body, now), lambda _: _respond(500, "application-crash"))

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
        self._tell("order.canceled", order, now)
        return _respond(200, "success", order=order.as_v3())

    def _retrieve(self, body: dict[str, Any], now: float) -> HttpResponse:  # noqa: ARG002 - one signature for all calls
        _, order, errors = self._resolve(body, legacy=True)
        return _invalid(errors) if order is None else _respond(200, "success", order=order.as_v3())

    def _resolve(self, body: dict[str, Any], *, legacy: bool) -> tuple[str, SimulatedOrder | None, list[Error]]:
        """Which order is meant; where both ids are given, request_id counts."""
        attr = "order_id" if body.get("request_id") is None else "request_id"
        errors = _absent(body, attr)
        if errors:
            return attr, None, errors
        given = body[attr]
        named = str(given) if isinstance(given, str) or type(given) is int else ""
        order = self.orders.get(named, attr)
        if legacy and (order is None or order.api_key != body["api_key"]):
            # A record of somebody else's makes PlanOmatic look for the id among its legacy ids.
            order = self.orders.get(named, "legacy_order_id") or order
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

    @action(keys=CREATE_KEYS)
    def create_order(
        self,
        now: float,
        order_id: Any = None,
        request_id: Any = None,
        legacy_order_id: Any = None,
        api_key: str | None = None,
        status: str = "ordered",
        silent: bool = False,
        **details: Any,
    ) -> dict[str, Any]:
        """Take an order in; `details` are in the body of the create call."""
        number = len(self.orders)
        order_id = _FIRST_ORDER_ID + number if order_id is None else order_id
        order = SimulatedOrder(
            order_id=order_id,
            request_id=_request_id(order_id, number) if request_id is None else request_id,
            api_key=self._api_keys[0] if api_key is None else api_key,
            status=status,
            created_at=utc_time(now),
            details={**default_details(number), **details},
        )
        self.orders.add(order, order_id=order.order_id, request_id=order.request_id, legacy_order_id=legacy_order_id)
        if order.status == "ordered" and not silent:
            self._tell("order.processed", order, now)
        return order.summary()

    @action(*STEPS)
    def step(
        self,
        do: str,
        now: float,
        order_id: Any = None,
        request_id: Any = None,
        status: str | None = None,
        starts_at: str | None = None,
        minutes: float = 30,
        silent: bool = False,
    ) -> dict[str, Any]:
        """Move an order on, as `STEPS` says, or to another status."""
        order = self.orders.one(order_id=order_id, request_id=request_id)
        if order.status == "canceled":
            raise ValueError(f"order {order.order_id} is canceled: nothing more becomes of it")
        event, next_status = STEPS[do]
        if do == "schedule_appointment":
            in_two_days = utc_time(now) + timedelta(days=2)
            start = in_two_days if starts_at is None else time_with_offset(starts_at, "starts_at")
            order.schedule(start, float(minutes))
        elif do in CALLED_OFF:
            order.call_off(CALLED_OFF[do])
        if do == "cancel_by_staff":
            order.canceled_at = utc_time(now)
        order.status = next_status if status is None else status
        if not silent:
            self._tell(event, order, now)
        return order.summary()

    @action()
    def set_rules(self, cancelable_statuses: Any = None, cancelation_reasons: Any = None) -> dict[str, Any]:
        """Do what PlanOmatic's administrators do; what is not given stays."""
        if cancelable_statuses is not None:
            self._cancelable_statuses = strings(cancelable_statuses)
        if cancelation_reasons is not None:
            self._cancelation_reasons = strings(cancelation_reasons)
        return {
            "cancelable_statuses": list(self._cancelable_statuses),
            "cancelation_reasons": list(self._cancelation_reasons),
        }

    @action()
    def set_api_keys(self, api_keys: Any = ()) -> dict[str, Any]:
        """Exchange the integrations' keys."""
        if not strings(api_keys):
            raise ValueError("give at least one api key in api_keys")
        self._api_keys = strings(api_keys)
        return {"api_keys": len(self._api_keys)}

    def _tell(self, event: str, order: SimulatedOrder, now: float) -> None:
        """Send the webhooks of an event. They carry no signature: none is documented."""
        v3 = {"event": event, "occurred_at": timestamp(utc_time(now)), **order.as_v3()}
        for version in self._webhooks:
            body = v3 if version == "v3" else order.as_v2()
            if body is not None:
                self.emit(body, now, {"User-Agent": "PlanOmatic (simulated)"})


def _respond(code: int, status: str, headers: dict[str, str] | None = None, **more: Any) -> HttpResponse:
    return json_response(code, {"code": code, "status": status, **more}, headers)


def _invalid(errors: list[Error]) -> HttpResponse:
    return _respond(400, "validation-error", errors=errors)


def _error(attr: str, message: str) -> Error:
    return {"attr": attr, "message": message}


def _absent(body: dict[str, Any], attr: str) -> list[Error]:
    if body.get(attr) is None:
        return [_error(attr, "missing")]
    return [_error(attr, "empty")] if body[attr] == "" else []
