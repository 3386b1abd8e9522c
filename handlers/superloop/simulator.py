"""A simulated Superloop Connect: what “Cancel an order” says it does, this does. Pure, and with a clock from outside.

What the documents leave open is decided here and said so in the README: the response for an order that cannot be
canceled, the order resource, limits, and which events are sent besides the documented ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast, get_args
from urllib.parse import urlsplit

from app.contract import HttpRequest, HttpResponse
from app.contract.zones import check_zone
from app.kit.ids import whole_number
from app.kit.simulator import (
    BaseSimulator,
    Window,
    action,
    header,
    json_object,
    json_response,
    retry_after,
    time_with_offset,
    utc_time,
)
from handlers.superloop.simulated import SimulatedAppointment, SimulatedOrder, Style, TimeFormat
from handlers.superloop.simulated_tokens import TOKEN_PATH, TokenEndpoint

# Written down from the documents once more: a slip in the handler must not be made here as well.
CANCEL_PATH = "/api/connect/orders/cancel"
ORDERS_PATH = "/api/connect/orders/"
API_VERSIONS = frozenset("12345678")
NOT_CANCELABLE = "The order can not be cancelled"

_EMPTY = {"x-content-type-options": "nosniff", "cache-control": "no-cache, no-store, max-age=0, must-revalidate"}
_FIRST_ORDER_ID, _FIRST_APPOINTMENT_ID = 10, 583
_RESERVE = "reserve_appointment"
_SLOT_KEYS = ("starts_at", "in_h", "minutes")

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


class Superloop(BaseSimulator[SimulatedOrder]):
    """Superloop Connect, as far as canceling goes.

    Args:
        cutoff_h: how near an active appointment may be.
        timezone: the zone of its appointments.
        times: how it writes them: `utc`, `offset` or `local`.
        requests: how many calls an account may make in any `per_s` seconds.
        per_s: see `requests`.
        tells_of_cancels: whether a cancel sends `order.cancelled.event`.
        tokens: the fields of `TokenEndpoint`.
    """

    provider = "Superloop"

    def __init__(
        self,
        *,
        cutoff_h: float = 26.0,
        timezone: str = "Australia/Sydney",
        times: Style = "utc",
        requests: int = 60,
        per_s: float = 60.0,
        tells_of_cancels: bool = True,
        **tokens: Any,
    ) -> None:
        super().__init__(limit=Window(requests, per_s))
        self._tokens, self._times = TokenEndpoint(**tokens), TimeFormat(check_zone(timezone), times)
        self._cutoff, self._tells_of_cancels = timedelta(hours=cutoff_h), tells_of_cancels

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        path = urlsplit(request.url).path
        if path.endswith(TOKEN_PATH):
            return self._tokens.exchange(request.body, now)
        if not self._tokens.accepts(header(request, "Authorization"), now):
            return _empty(401)
        wait_s = self.limit.wait_s("", now)
        if wait_s is not None:
            return self.error(429, "Too many requests", retry_after(wait_s))
        if header(request, "X-API-VERSION") not in API_VERSIONS:
            return self.error(400, "X-API-VERSION is missing, or there is no such version")
        if path == CANCEL_PATH and request.method == "POST":
            serve = partial(self._cancel, json_object(request.body).get("orderId"), now)
            return self.faults.around(serve, lambda _: self.error(500, "Something went wrong here"))
        is_order = path.startswith(ORDERS_PATH) and request.method == "GET"
        order = self.orders.get(path.removeprefix(ORDERS_PATH)) if is_order else None
        return json_response(200, order.as_resource()) if order is not None and order.is_ours else _empty(404)

    def error(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
        """An error as the provider writes it."""
        return json_response(status, {"message": text}, headers)

    def _cancel(self, id: Any, now: float) -> HttpResponse:
        if type(id) is not int:
            return self.error(400, "orderId must be a number")
        order = self.orders.get(id)
        if order is not None:
            order.cancel_calls += 1
        if order is None or not order.is_ours:
            return _empty(404)
        if not order.can_cancel(utc_time(now), self._cutoff):
            return json_response(422, {"errors": [{"field": "orderId", "message": NOT_CANCELABLE}]})
        order.cancel_effects += 1
        order.end("Cancelled", utc_time(now))
        self._tell("order", "cancelled", order.as_json(), now, silent=not self._tells_of_cancels)
        return _empty(200)

    # -- The provider's side ----------------------------------------------------------------

    @action()
    def create_order(
        self,
        now: float,
        order_id: Any = None,
        customer_ref: str | None = None,
        status: str = "In Progress",
        *,
        is_cancellable: bool = True,
        ours: bool = True,
        silent: bool = False,
    ) -> dict[str, Any]:
        """Take an order in."""
        id = _number(order_id, max((order.id for order in self.orders), default=_FIRST_ORDER_ID - 1) + 1, "order_id")
        order = SimulatedOrder(
            id=id,
            customer_ref=str(customer_ref or f"CUST-REF-{id:03d}"),
            is_ours=bool(ours),
            times=self._times,
            status=str(status),
            is_cancellable=bool(is_cancellable),
        )
        self.orders.add(order, order_id=id)
        self._tell("order", "created", order.as_json(), now, silent=silent)
        return order.summary()

    @action(*ORDER_STEPS)
    def step(
        self,
        do: str,
        now: float,
        reason: str = "The location cannot be served",
        *,
        is_cancellable: bool = False,
        silent: bool = False,
        **ids: object,
    ) -> dict[str, Any]:
        """Move an order on, as `ORDER_STEPS` says."""
        order, (verb, status) = self._open_order(**ids), ORDER_STEPS[do]
        if do == "proceed":
            order.is_cancellable = bool(is_cancellable)
        else:
            order.end(status, utc_time(now))
        if do == "reject":
            order.rejected_reason, order.rejected_on = str(reason), utc_time(now)
        self._tell("order", verb, order.as_json(), now, silent=silent)
        return order.summary()

    @action(_RESERVE, *APPOINTMENT_STEPS, keys=_SLOT_KEYS)
    def step_appointment(
        self,
        do: str,
        now: float,
        order_id: Any = None,
        appointment_id: Any = None,
        *,
        silent: bool = False,
        **slot: Any,
    ) -> dict[str, Any]:
        """Reserve an appointment, or move one on, as `APPOINTMENT_STEPS` says; the last active one without an id."""
        order, (starts_at, ends_at) = self._open_order(order_id=order_id), _slot(now, **slot)
        verb, status = APPOINTMENT_STEPS.get(do, ("reserved", "Reserved"))
        if do == _RESERVE or (do == "book_appointment" and not order.active()):
            appointment = SimulatedAppointment(self._appointment_id(appointment_id), starts_at, ends_at)
            order.appointments.append(appointment)
        else:
            id = None if appointment_id is None else _number(appointment_id, 0, "appointment_id")
            matching = [active for active in order.active() if id in (None, active.id)]
            if not matching:
                raise ValueError(f"order {order.id} has no active appointment" + ("" if id is None else f" {id}"))
            appointment = matching[-1]
        if slot:
            appointment.starts_at, appointment.ends_at = starts_at, ends_at
        appointment.status = status
        appointment.cancelled_on = utc_time(now) if do == "cancel_appointment" else None
        self._tell("appointment", verb, order.show(appointment), now, silent=silent)
        return order.summary()

    @action()
    def modify_service(self, now: float, **ids: object) -> dict[str, Any]:
        """Change the service that came of an order."""
        order, modified_on = self.orders.one(**ids), utc_time(now).date().isoformat()
        body = {"id": order.service_id, "customerRef": order.customer_ref, "modifiedOn": modified_on}
        self._tell("service", "modified", body, now)
        return order.summary()

    @action()
    def expire_tokens(self) -> dict[str, Any]:
        """Let no token that was issued be good any more."""
        self._tokens.issued.clear()
        return {}

    @action()
    def set_public_key(self, public_key: Any = None) -> dict[str, Any]:
        """Set the key by which assertions are checked; None: no signature is checked."""
        if public_key is not None and not str(public_key).startswith("-----BEGIN PUBLIC KEY-----"):
            raise ValueError("give public_key as PEM (-----BEGIN PUBLIC KEY-----), or null to check no signature")
        self._tokens.public_key = public_key
        return {"checked": public_key is not None}

    @action()
    def set_rules(self, cutoff_h: Any = None) -> dict[str, Any]:
        """Set how near an active appointment may be; what is not given stays."""
        if cutoff_h is not None:
            self._cutoff = timedelta(hours=float(cutoff_h))
        return {"cutoff_h": self._cutoff / timedelta(hours=1)}

    @action()
    def set_times(self, timezone: str | None = None, times: str | None = None) -> dict[str, Any]:
        """Set how times are written; what is not given stays."""
        style = self._times.style if times is None else times
        if style not in get_args(Style):
            raise ValueError(f"times is one of {', '.join(get_args(Style))}")
        if timezone is not None:
            self._times.timezone = check_zone(str(timezone))
        self._times.style = cast("Style", style)
        return {"timezone": self._times.timezone, "times": style}

    def _open_order(self, **ids: object) -> SimulatedOrder:
        order = self.orders.one(**ids)
        if order.has_ended:
            raise ValueError(f"order {order.id} is {order.status.lower()}: nothing more becomes of it")
        return order

    def _appointment_id(self, given: Any) -> int:
        taken = {appointment.id for order in self.orders for appointment in order.appointments}
        id = _number(given, _FIRST_APPOINTMENT_ID + len(taken), "appointment_id")
        if id in taken:
            raise ValueError(f"appointment {id} is there already")
        return id

    def _tell(self, model: str, verb: str, body: dict[str, Any], now: float, *, silent: bool = False) -> None:
        """Send the webhook of an event. It carries no signature: none is documented."""
        if not silent:
            name = f"{model}.{verb}"
            headers = {"z-event-type": f"{name}.event", "z-notification-type": f"{name}.notification"}
            self.emit(body, now, {**headers, "z-notification-model": model})


def _empty(status: int) -> HttpResponse:
    return HttpResponse(status, dict(_EMPTY))


def _number(given: Any, default: int, name: str) -> int:
    number = default if given is None else whole_number(str(given))
    if number is None:
        raise ValueError(f"{name} {given!r} is no number that Superloop would give")
    return number


def _slot(now: float, starts_at: Any = None, in_h: Any = 48, minutes: Any = 240) -> tuple[datetime, datetime]:
    """When an appointment is: as given in ISO 8601, or in so many hours."""
    start = utc_time(now) + timedelta(hours=float(in_h))
    if starts_at is not None:
        start = time_with_offset(starts_at, "starts_at")
    return start, start + timedelta(minutes=float(minutes))
