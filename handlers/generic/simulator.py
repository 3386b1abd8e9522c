"""The Example shop: a made-up source of orders, which Rescind knows by an account's configuration only.

It speaks CloudEvents 1.0 (structured) under a Standard Webhooks signature. It takes a cancel while the order is
`placed`, and where a delivery is booked, until `cutoff_h` hours before its start.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import Action, Faults, Window, json_object, json_response, perform, retry_after, utc_time

DEFAULT_API_KEY = "example-shop-key"
DEFAULT_SIGNING_SECRET = "whsec_ZXhhbXBsZS1zaG9wLXNpZ25pbmctc2VjcmV0"  # noqa: S105 - of a shop that is made up
SOURCE = "https://shop.example.com"
ORDERS = "/v1/orders/"
CANCEL = "cancel"
CODES = ("mistake", "too_slow", "other")
COMMENT_CHARS_MAX = 200

STEPS: dict[str, tuple[str, str | None]] = {
    "book_delivery": ("delivery.booked", None),
    "call_off_delivery": ("delivery.called_off", None),
    "pack": ("order.packed", "packing"),
    "ship": ("order.shipped", "shipped"),
    "deliver": ("order.delivered", "delivered"),
    "cancel_by_staff": ("order.canceled", "canceled"),
}
"""Action → the event that it triggers, and the status that the order has then (none: as before)."""

_PREFIX = "com.example.shop."
_FIRST_NUMBER = 1001
_FINAL = ("delivered", "canceled")


@dataclass(slots=True)
class ShopOrder:
    """One order in the shop's database."""

    id: str
    number: int
    placed_at: datetime
    total: str
    status: str = "placed"
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    cancel_calls: int = 0
    """Cancel calls that named this order, whatever came of them."""
    cancel_effects: int = 0
    """How often one of them canceled it."""

    def shown(self) -> dict[str, Any]:
        """The order as the API and the events show it. The buyer is there because real shops send one."""
        return {
            "id": self.id,
            "number": self.number,
            "status": self.status,
            "placed_at": _stamp(self.placed_at),
            "amount": {"total": self.total, "currency": "EUR"},
            "deliveries": self.deliveries,
            "buyer": {"name": "Robin Example", "email": "robin@example.com"},
        }

    def closes_at(self, cutoff: timedelta) -> datetime | None:
        """When the window for a cancel closes by time alone."""
        booked = [datetime.fromisoformat(each["from"]) for each in self.deliveries if each["state"] == "booked"]
        return min(booked) - cutoff if booked else None

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        shown = {key: value for key, value in self.shown().items() if key != "buyer"}
        return {**shown, "order_id": self.id, "cancel_calls": self.cancel_calls, "cancel_effects": self.cancel_effects}


class ExampleShop:
    """The shop.

    Args:
        api_keys: the keys that it accepts as a bearer token.
        signing_secret: of its webhooks (`whsec_` and base64).
        requests: how many calls a key may make in any `per_s` seconds.
        per_s: see `requests`.
        cutoff_h: how long before a booked delivery the window for a cancel closes.
    """

    def __init__(
        self,
        *,
        api_keys: Sequence[str] = (DEFAULT_API_KEY,),
        signing_secret: str = DEFAULT_SIGNING_SECRET,
        requests: int = 60,
        per_s: float = 60.0,
        cutoff_h: float = 24.0,
    ) -> None:
        self._api_keys = tuple(api_keys)
        self._signing_key = b64decode(signing_secret.removeprefix("whsec_"))
        self._window = Window(requests, per_s)
        self._cutoff = timedelta(hours=cutoff_h)
        self._orders: dict[str, ShopOrder] = {}
        self._crashes = Faults()
        self._emitted: list[HttpRequest] = []
        self._events = 0

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        key = _key_of(request)
        if key not in self._api_keys:
            return _error(401, "unauthorized", "This key is not known.")
        wait_s = self._window.wait_s(key, now)
        if wait_s is not None:
            return _error(429, "slow_down", "Too many calls.", retry_after(wait_s))
        path = urlsplit(request.url).path
        id, _, call = path.partition(ORDERS)[2].partition("/")
        if ORDERS not in path or (request.method, call) not in {("GET", ""), ("POST", CANCEL)}:
            return _error(404, "no_such_call", "There is no such call.")
        order = self._orders.get(unquote(id))
        if order is None:
            return _error(404, "no_such_order", "There is no such order.")
        serve = partial(self._cancel if call else self._show, order, request, now)
        return self._crashes.around(serve, lambda _: _error(500, "crashed", "Something went wrong."))

    def _show(self, order: ShopOrder, request: HttpRequest, now: float) -> HttpResponse:  # noqa: ARG002 - as every call
        return json_response(200, order.shown())

    def _cancel(self, order: ShopOrder, request: HttpRequest, now: float) -> HttpResponse:
        order.cancel_calls += 1
        given = json_object(request.body)
        if given.get("code") not in CODES:
            return _error(422, "invalid", f"code must be one of {', '.join(CODES)}.")
        if not isinstance(given.get("comment", ""), str) or len(given.get("comment", "")) > COMMENT_CHARS_MAX:
            return _error(422, "invalid", f"comment must be text of at most {COMMENT_CHARS_MAX} characters.")
        if order.status == "canceled":
            return _error(409, "already_canceled", "The order is canceled already.")
        closes_at = order.closes_at(self._cutoff)
        if order.status != "placed" or (closes_at is not None and utc_time(now) >= closes_at):
            return _error(409, "too_late", f"The order is {order.status} and can no longer be canceled.")
        order.status = "canceled"
        order.cancel_effects += 1
        self._emit("order.canceled", order, now)
        return json_response(200, order.shown())

    # -- The shop's side --------------------------------------------------------------------

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Do what happens in the shop. Raises ValueError, saying why not."""
        known: dict[str, tuple[Action, frozenset[str]]] = {
            "create_order": (self._create, frozenset({"order_id", "total", "silent"})),
            "set_limits": (self._window.act, self._window.KEYS),
            "set_rules": (self._set_rules, frozenset({"cutoff_h"})),
            "set_api_keys": (self._set_api_keys, frozenset({"api_keys"})),
            "send_greeting": (self._send_greeting, frozenset()),
            "crash": (self._crashes.act, self._crashes.KEYS),
            "list": (self._list, frozenset({"order_id"})),
        }
        keys = frozenset({"order_id", "starts_at", "minutes", "silent"})
        known.update((step, (partial(self._step, step), keys)) for step in STEPS)
        return perform("the Example shop", action, known, now)

    def emitted(self) -> list[HttpRequest]:
        """The webhooks since the last call, oldest first."""
        webhooks, self._emitted = self._emitted, []
        return webhooks

    def resigned(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook with the same id, and the time and the signature of `now`."""
        proof = self._signature(webhook.headers["webhook-id"], webhook.body, now)
        return replace(webhook, headers={**webhook.headers, **proof})

    def _create(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        number = _FIRST_NUMBER + len(self._orders)
        order = ShopOrder(
            id=str(params.get("order_id", f"ord_{number}")),
            number=number,
            placed_at=utc_time(now),
            total=str(params.get("total", "49.90")),
        )
        if order.id in self._orders:
            raise ValueError(f"order {order.id} is there already")
        self._orders[order.id] = order
        if not params.get("silent"):
            self._emit("order.placed", order, now)
        return order.summary()

    def _step(self, name: str, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._known(params)
        if order.status in _FINAL:
            raise ValueError(f"order {order.id} is {order.status}: nothing more becomes of it")
        event, status = STEPS[name]
        if name == "book_delivery":
            start = _start(params.get("starts_at"), now)
            until = start + timedelta(minutes=float(params.get("minutes", 60)))
            slot = {"id": f"slot_{len(order.deliveries) + 1}", "state": "booked"}
            order.deliveries.append({**slot, "from": _stamp(start), "until": _stamp(until)})
        elif name == "call_off_delivery":
            order.deliveries = [{**each, "state": "called_off"} for each in order.deliveries]
        order.status = status or order.status
        if not params.get("silent"):
            self._emit(event, order, now)
        return order.summary()

    def _set_rules(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        self._cutoff = timedelta(hours=float(params.get("cutoff_h", self._cutoff / timedelta(hours=1))))
        return {"cutoff_h": self._cutoff / timedelta(hours=1)}

    def _set_api_keys(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        keys = params.get("api_keys")
        if not isinstance(keys, (list, tuple)) or not keys or not all(isinstance(each, str) for each in keys):
            raise ValueError("give at least one api key in api_keys, a list of strings")
        self._api_keys = tuple(keys)
        return {"api_keys": len(keys)}

    def _send_greeting(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        """Emit an event that says nothing of an order."""
        self._send("newsletter.sent", {"issue": self._events}, now)
        return {}

    def _list(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        orders = [self._known(params)] if params else list(self._orders.values())
        return {"orders": [order.summary() for order in orders]}

    def _known(self, params: dict[str, Any]) -> ShopOrder:
        order = self._orders.get(str(params.get("order_id")))
        if order is None:
            raise ValueError(f"there is no order {params.get('order_id')!r}")
        return order

    def _emit(self, event: str, order: ShopOrder, now: float) -> None:
        self._send(event, {"order": order.shown()}, now, order.id)

    def _send(self, event: str, data: dict[str, Any], now: float, subject: str | None = None) -> None:
        self._events += 1
        id = f"evt_{self._events:06d}"
        named = {"specversion": "1.0", "id": id, "source": SOURCE, "type": _PREFIX + event}
        more = {"subject": subject} if subject is not None else {}
        stated = {"time": _stamp(utc_time(now)), "datacontenttype": "application/json", "data": data}
        body = msgspec.json.encode({**named, **more, **stated})
        headers = {"Content-Type": "application/cloudevents+json; charset=UTF-8", **self._signature(id, body, now)}
        self._emitted.append(HttpRequest("POST", "", headers, body))

    def _signature(self, id: str, body: bytes, now: float) -> dict[str, str]:
        """Written down from Standard Webhooks once more: a slip in the core must not be made here as well."""
        timestamp = str(int(now))
        digest = hmac.new(self._signing_key, b".".join([id.encode(), timestamp.encode(), body]), hashlib.sha256)
        signature = "v1," + b64encode(digest.digest()).decode()
        return {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> HttpResponse:
    return json_response(status, {"error": {"code": code, "message": message}}, headers)


def _key_of(request: HttpRequest) -> str:
    headers = {name.lower(): value for name, value in request.headers.items()}
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else ""


def _start(given: Any, now: float) -> datetime:
    """When a delivery starts: as given in ISO 8601, else in three days."""
    if given is None:
        return utc_time(now) + timedelta(days=3)
    start = datetime.fromisoformat(str(given))
    if start.tzinfo is None:
        raise ValueError(f"starts_at {given!r} has no offset from UTC; write it as 2030-01-31T16:00:00Z")
    return start


def _stamp(when: datetime) -> str:
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")
