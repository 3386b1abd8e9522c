"""A faithful, pure fake of Superloop Connect: what “Cancel an order” says it does, this does.

What the documents leave open is decided here and said so in the README: the answer for an order that cannot be
canceled, the order resource, limits, and which events are sent besides the documented ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec

from app.contract import HttpRequest, HttpResponse
from app.contract.zones import check_zone
from app.kit.simulator import Action, Faults, Window, json_object, json_response, perform, retry_after, utc_time
from handlers.superloop.simulated import Clockwork, SimulatedAppointment, SimulatedOrder, Style
from handlers.superloop.simulated_tokens import TOKEN_PATH, TokenEndpoint

# Written down from the documents once more: a slip in the handler must not be made here as well.
CANCEL_PATH = "/api/connect/orders/cancel"
ORDERS_PATH = "/api/connect/orders/"
API_VERSIONS = frozenset("12345678")
EXAMPLE_ACCESS_TOKEN = "example-access-token"  # noqa: S105 - an example, and good at the simulator only
NOT_CANCELABLE = "The order can not be cancelled"

_EMPTY = {"x-content-type-options": "nosniff", "cache-control": "no-cache, no-store, max-age=0, must-revalidate"}
_ORDER_IN_PATH = re.compile(re.escape(ORDERS_PATH) + r"(\d{1,18})")
_FIRST_ORDER_ID, _FIRST_APPOINTMENT_ID = 10, 583
_ID_DIGITS_MAX = 18

APPOINTMENT_STEPS = {
    "book_appointment": ("booked", "Booked"),
    "start_appointment": ("in-progress", "In Progress"),
    "complete_appointment": ("completed", "Completed"),
    "cancel_appointment": ("cancelled", "cancelled"),
}
"""Action → the verb of its event, and the status that the appointment has then."""
ORDER_STEPS = {
    "proceed": ("modified", "In Progress"),
    "reject": ("rejected", "Rejected"),
    "complete": ("completed", "Completed"),
    "cancel_by_staff": ("cancelled", "Cancelled"),
}
"""Action → the verb of its event, and the status that the order has then."""

_WHEN = frozenset({"starts_at", "in_h", "minutes"})
_CREATE_KEYS = frozenset({"order_id", "customer_ref", "is_cancellable", "status", "ours", "silent"})
_APPOINTMENT_KEYS = frozenset({"order_id", "appointment_id", "silent"}) | _WHEN
_STEP_KEYS = frozenset({"order_id", "reason", "is_cancellable", "silent"})


class Superloop:
    """Superloop Connect, as far as canceling goes.

    Args:
        access_tokens: bearer tokens that are always good, beside the ones that the token endpoint gives.
        client_id, key_id, public_key, audience: what an assertion must show; see `TokenEndpoint`.
        token_life_s: how long a token is good.
        cutoff_h: how near an active appointment may be.
        timezone: the zone of its appointments.
        times: how it writes them: `utc`, `offset` or `local`.
        requests: how many calls an account may make in any `per_s` seconds.
        per_s: see `requests`.
        tells_of_cancels: whether a cancel sends `order.cancelled.event`.
    """

    def __init__(
        self,
        *,
        access_tokens: Sequence[str] = (EXAMPLE_ACCESS_TOKEN,),
        client_id: str | None = None,
        key_id: str | None = None,
        public_key: str | None = None,
        audience: str | None = None,
        token_life_s: float = 300.0,
        cutoff_h: float = 26.0,
        timezone: str = "Australia/Sydney",
        times: Style = "utc",
        requests: int = 60,
        per_s: float = 60.0,
        tells_of_cancels: bool = True,
    ) -> None:
        self._tokens = TokenEndpoint(
            client_id=client_id,
            key_id=key_id,
            public_key=public_key,
            audience=audience,
            fixed=tuple(access_tokens),
            life_s=token_life_s,
        )
        self._cutoff, self._clockwork = timedelta(hours=cutoff_h), Clockwork(check_zone(timezone), times)
        self._window, self._tells_of_cancels = Window(requests, per_s), tells_of_cancels
        self._orders: dict[int, SimulatedOrder] = {}
        self._appointments = 0
        self._crashes = Faults()
        self._emitted: list[HttpRequest] = []

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        path = urlsplit(request.url).path
        if path.endswith(TOKEN_PATH):
            return self._tokens.exchange(request.body, now)
        return self._denied(request, now) or self._serve(request, path, now)

    def _denied(self, request: HttpRequest, now: float) -> HttpResponse | None:
        headers = {name.lower(): text for name, text in request.headers.items()}
        if not self._tokens.accepts(headers.get("authorization", ""), now):
            return HttpResponse(401, dict(_EMPTY))
        wait_s = self._window.wait_s("", now)
        if wait_s is not None:
            return json_response(429, {"message": "Too many requests"}, retry_after(wait_s))
        if headers.get("x-api-version") not in API_VERSIONS:
            return json_response(400, {"message": "X-API-VERSION is missing, or there is no such version"})
        return None

    def _serve(self, request: HttpRequest, path: str, now: float) -> HttpResponse:
        if path == CANCEL_PATH and request.method == "POST":
            failed = json_response(500, {"message": "Something went wrong here"})
            return self._crashes.around(lambda: self._cancel(request.body, now), lambda _: failed)
        found = _ORDER_IN_PATH.fullmatch(path) if request.method == "GET" else None
        order = self._orders.get(int(found[1])) if found is not None else None
        if order is None or not order.ours:
            return HttpResponse(404, dict(_EMPTY))
        return json_response(200, order.as_resource(self._clockwork))

    def _cancel(self, raw: bytes, now: float) -> HttpResponse:
        id = json_object(raw).get("orderId")
        if type(id) is not int:
            return json_response(400, {"message": "orderId must be a number"})
        order = self._orders.get(id)
        if order is not None:
            order.cancel_calls += 1
        if order is None or not order.ours:
            return HttpResponse(404, dict(_EMPTY))
        if not order.cancelable(utc_time(now), self._cutoff):
            return json_response(422, {"errors": [{"field": "orderId", "message": NOT_CANCELABLE}]})
        order.cancel_effects += 1
        self._end(order, "Cancelled", now)
        if self._tells_of_cancels:
            self._emit("order", "cancelled", order.as_json(self._clockwork))
        return HttpResponse(200, dict(_EMPTY))

    # -- The provider's side ----------------------------------------------------------------

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Do what Superloop's staff, the nbn or a technician does. Raises ValueError, saying why not."""
        known: dict[str, tuple[Action, frozenset[str]]] = {
            "create_order": (self._create, _CREATE_KEYS),
            "reserve_appointment": (self._reserve, _APPOINTMENT_KEYS),
            **{name: (self._appointment_step(name), _APPOINTMENT_KEYS) for name in APPOINTMENT_STEPS},
            **{name: (self._order_step(name), _STEP_KEYS) for name in ORDER_STEPS},
            "modify_service": (self._modify_service, frozenset({"order_id"})),
            "expire_tokens": (self._expire_tokens, frozenset()),
            "set_public_key": (self._set_public_key, frozenset({"public_key"})),
            "set_rules": (self._set_rules, frozenset({"cutoff_h"})),
            "set_times": (self._set_times, frozenset({"timezone", "times"})),
            "set_limits": (self._window.act, self._window.KEYS),
            "crash": (self._crashes.act, self._crashes.KEYS),
            "list": (self._list, frozenset({"order_id"})),
        }
        return perform("Superloop", action, known, now)

    def emitted(self) -> list[HttpRequest]:
        """The webhooks since the last call, oldest first. They carry no signature: none is documented."""
        webhooks, self._emitted = self._emitted, []
        return webhooks

    def _create(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        free = max(self._orders, default=_FIRST_ORDER_ID - 1) + 1
        id = _number(params.get("order_id"), free, "order_id")
        if id in self._orders:
            raise ValueError(f"order {id} is there already")
        order = SimulatedOrder(
            id=id,
            customer_ref=str(params.get("customer_ref", f"CUST-REF-{id:03d}")),
            ours=bool(params.get("ours", True)),
            status=str(params.get("status", "In Progress")),
            is_cancellable=bool(params.get("is_cancellable", True)),
        )
        self._orders[id] = order
        return self._done(order, "order", "created", order.as_json(self._clockwork), params)

    def _reserve(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._standing(params)
        starts_at, ends_at = _slot(params, now)
        id = _number(params.get("appointment_id"), _FIRST_APPOINTMENT_ID + self._appointments, "appointment_id")
        if any(each.id == id for known in self._orders.values() for each in known.appointments):
            raise ValueError(f"appointment {id} is there already")
        self._appointments += 1
        appointment = SimulatedAppointment(id, "Reserved", starts_at, ends_at)
        order.appointments.append(appointment)
        body = appointment.as_json(order, self._clockwork)
        return self._done(order, "appointment", "reserved", body, params)

    def _appointment_step(self, name: str) -> Action:
        verb, status = APPOINTMENT_STEPS[name]

        def step(params: dict[str, Any], now: float) -> dict[str, Any]:
            order = self._standing(params)
            if status == "Booked" and not any(each.active for each in order.appointments):
                self._reserve({**params, "silent": True}, now)
            appointment = self._appointment(order, params.get("appointment_id"))
            if set(params) & _WHEN:
                appointment.starts_at, appointment.ends_at = _slot(params, now)
            appointment.status = status
            if status == "cancelled":
                appointment.cancelled_on = utc_time(now)
            return self._done(order, "appointment", verb, appointment.as_json(order, self._clockwork), params)

        return step

    def _order_step(self, name: str) -> Action:
        verb, status = ORDER_STEPS[name]

        def step(params: dict[str, Any], now: float) -> dict[str, Any]:
            order = self._standing(params)
            if status == "In Progress":
                order.is_cancellable = bool(params.get("is_cancellable", False))
            else:
                self._end(order, status, now)
            if status == "Rejected":
                order.rejected_reason = str(params.get("reason", "The location cannot be served"))
                order.rejected_on = utc_time(now)
            return self._done(order, "order", verb, order.as_json(self._clockwork), params)

        return step

    def _end(self, order: SimulatedOrder, status: str, now: float) -> None:
        order.status = status
        # The document shows a rejected order that is cancellable still.
        order.is_cancellable = status == "Rejected" and order.is_cancellable
        for each in order.appointments:
            if each.active:
                each.status = "Completed" if status == "Completed" else "cancelled"
                each.cancelled_on = None if status == "Completed" else utc_time(now)

    def _modify_service(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._known(params)
        modified_on = utc_time(now).date().isoformat()
        body = {"id": order.service_id, "customerRef": order.customer_ref, "modifiedOn": modified_on}
        self._emit("service", "modified", body)
        return order.summary(self._clockwork)

    def _expire_tokens(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        self._tokens.expire()
        return {}

    def _set_public_key(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        key = params.get("public_key")
        if key is not None and not str(key).startswith("-----BEGIN PUBLIC KEY-----"):
            raise ValueError("give public_key as PEM (-----BEGIN PUBLIC KEY-----), or null to check no signature")
        self._tokens.public_key = key
        return {"checked": key is not None}

    def _set_rules(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        self._cutoff = timedelta(hours=float(params.get("cutoff_h", self._cutoff / timedelta(hours=1))))
        return {"cutoff_h": self._cutoff / timedelta(hours=1)}

    def _set_times(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        style = params.get("times", self._clockwork.style)
        if style not in get_args(Style):
            raise ValueError(f"times is one of {', '.join(get_args(Style))}")
        self._clockwork = Clockwork(check_zone(str(params.get("timezone", self._clockwork.timezone))), style)
        return {"timezone": self._clockwork.timezone, "times": style}

    def _list(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        orders = [self._known(params)] if params else list(self._orders.values())
        return {"orders": [order.summary(self._clockwork) for order in orders]}

    def _known(self, params: dict[str, Any]) -> SimulatedOrder:
        given = params.get("order_id")
        order = self._orders.get(_number(given, -1, "order_id"))
        if order is None:
            raise ValueError(f"there is no order with order_id {given!r}")
        return order

    def _standing(self, params: dict[str, Any]) -> SimulatedOrder:
        order = self._known(params)
        if order.over:
            raise ValueError(f"order {order.id} is {order.status.lower()}: nothing more becomes of it")
        return order

    @staticmethod
    def _appointment(order: SimulatedOrder, id: Any) -> SimulatedAppointment:
        """The appointment of that id, or else the last one that stands."""
        found = [
            each for each in order.appointments if each.active and (id is None or each.id == _number(id, -1, "id"))
        ]
        if not found:
            raise ValueError(f"order {order.id} has no active appointment" + ("" if id is None else f" {id}"))
        return found[-1]

    def _done(
        self, order: SimulatedOrder, model: str, verb: str, body: dict[str, Any], params: dict[str, Any]
    ) -> dict[str, Any]:
        if not params.get("silent"):
            self._emit(model, verb, body)
        return order.summary(self._clockwork)

    def _emit(self, model: str, verb: str, body: dict[str, Any]) -> None:
        headers = {
            "Content-Type": "application/json",
            "z-event-type": f"{model}.{verb}.event",
            "z-notification-type": f"{model}.{verb}.notification",
            "z-notification-model": model,
        }
        self._emitted.append(HttpRequest("POST", "", headers, msgspec.json.encode(body)))


def _number(given: Any, default: int, name: str) -> int:
    if given is None:
        return default
    text = str(given)
    if not (text.isascii() and text.isdecimal()) or len(text) > _ID_DIGITS_MAX:
        raise ValueError(f"{name} {given!r} is no number that Superloop would give")
    return int(text)


def _slot(params: dict[str, Any], now: float) -> tuple[datetime, datetime]:
    """When an appointment is: as given in ISO 8601, or in so many hours, else in two days."""
    given, minutes = params.get("starts_at"), float(params.get("minutes", 240))
    if given is None:
        starts_at = utc_time(now) + timedelta(hours=float(params.get("in_h", 48)))
    else:
        starts_at = datetime.fromisoformat(str(given))
        if starts_at.tzinfo is None:
            raise ValueError(f"starts_at {given!r} has no offset from UTC; write it as 2030-01-31T16:00:00Z")
    return starts_at, starts_at + timedelta(minutes=minutes)
