"""A faithful, pure fake of NotPanel's API v2, as far as canceling goes: what “Cancel” says it does, this does.

What the documents leave open is decided here and said so in the README: the webhooks' bodies and headers, some
texts of errors, and what a second request to cancel an order in flight does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import Action, Faults, Window, json_response, perform
from handlers.notpanel.simulated import (
    CANCELED,
    CENT,
    CURRENCY,
    IN_FLIGHT,
    MISSING,
    PENDING,
    TERMINAL,
    Limits,
    Service,
    SimulatedOrder,
    failure,
    form_of,
    ids_in,
    wrong_orders,
)
from handlers.notpanel.simulated_webhooks import EVENTS, Endpoint, Endpoints

PATH = "/api/v2"
DEFAULT_KEY = "np_live_0123456789abcdef"
DEFAULT_WEBHOOK_SECRET = "notpanel-webhook-secret"  # noqa: S105 - a simulated one
DEFAULT_WEBHOOK_URL = "https://rescind.example.com/webhooks/notpanel"
BALANCE_LOW = Decimal(5)

NOT_FOUND = "Order not found"
INCORRECT_ID = "Incorrect order ID"
NOT_SUPPORTED = "Service does not support cancellation"
ALREADY = "Order cannot be cancelled (already {status})"
SUSPENDED = "Account suspended"

STEPS: dict[str, tuple[str | None, str]] = {
    "process": (None, "processing"),
    "start": (None, "in_progress"),
    "complete": ("order.completed", "completed"),
    "partial": (None, "partial"),
    "fail": ("order.failed", "failed"),
    "refund": ("order.refunded", "refunded"),
    "cancel_by_staff": ("order.cancelled", CANCELED),
}
"""Action → the event that it triggers, if any, and the status that the order has then."""

_STEP_KEYS = frozenset({"order_id", "status", "remains", "silent"})
_CREATE_KEYS = frozenset({"order_id", "service", "quantity", "key", "status", "start_count"})
_DIGITS_MAX = 9
_REFUNDING = ("partial", "refunded", CANCELED)


class NotPanel:
    """NotPanel, as far as canceling goes.

    Args:
        keys: the API keys that it knows; the first one owns orders made without a key.
        requests: how many calls a key may make in any `per_s` seconds.
        per_s: see `requests`; the other two limits are over as many seconds.
        ip_requests: how many calls an IP address may make; here all calls come from one.
        tier_requests: how many calls all keys may make together.
        webhook_secret: signs the webhooks of the endpoint that the first key has from the start; None: it has none.
        show_service: whether `status` names the order's service; NotPanel documents that it does not.
    """

    def __init__(
        self,
        *,
        keys: Sequence[str] = (DEFAULT_KEY,),
        requests: int = 100,
        per_s: float = 60.0,
        ip_requests: int = 300,
        tier_requests: int = 1000,
        webhook_secret: str | None = DEFAULT_WEBHOOK_SECRET,
        show_service: bool = False,
    ) -> None:
        self._keys, self._show_service, self._suspended = tuple(keys), show_service, False
        self._limits = Limits(Window(ip_requests, per_s), Window(requests, per_s), Window(tier_requests, per_s))
        self._services = {each.service: each for each in (Service("1", True, "Likes"), Service("2", False, "Views"))}
        self._orders: dict[str, SimulatedOrder] = {}
        self._placed: dict[tuple[str, str], str] = {}
        self._endpoints = Endpoints()
        self._balance = Decimal(100)
        self._crashes = Faults()
        if webhook_secret is not None:
            first = Endpoint("wh_0", self._keys[0], DEFAULT_WEBHOOK_URL, EVENTS, webhook_secret)
            self._endpoints.registered.append(first)

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        if urlsplit(request.url).path != PATH:
            return failure(404, "Not found")
        denial = self._limits.pass_ip(now)
        form = form_of(request)
        key = form.get("key", "")
        if denial is None and key in self._keys:
            denial = self._limits.pass_key(key, now)
        if denial is not None:
            return failure(429, "Rate limit exceeded", denial.headers)
        answered = self._answer(request.method, form, now)
        return HttpResponse(answered.status, {**answered.headers, **self._limits.headers(key, now)}, answered.body)

    def _answer(self, method: str, form: dict[str, str], now: float) -> HttpResponse:
        denied = self._denial(method, form)
        if denied is not None:
            return denied
        calls: dict[str, Callable[[dict[str, str], float], HttpResponse]] = {
            "services": self._list_services,
            "add": self._add,
            "status": self._status,
            "cancel": self._cancel,
            "balance": self._show_balance,
            "webhook.add": lambda form, _: self._endpoints.add(form),
        }
        serve = calls.get(form["action"])
        if serve is None:
            return failure(400, "Invalid action")
        return self._crashes.around(partial(serve, form, now), lambda _: failure(500, "Internal server error"))

    def _denial(self, method: str, form: dict[str, str]) -> HttpResponse | None:
        """What is wrong with a call, whatever its action."""
        if method != "POST":
            return failure(405, "Method not allowed")
        missing = next((name for name in ("key", "action") if not form.get(name)), None)
        if missing is not None:
            return failure(400, MISSING.format(name=missing))
        if form["key"] not in self._keys:
            return failure(400, "Invalid API key")
        if self._suspended:
            return failure(403, SUSPENDED)
        return None

    def _list_services(self, form: dict[str, str], now: float) -> HttpResponse:  # noqa: ARG002 - one signature for all
        return json_response(200, [each.as_row() for each in self._services.values()])

    def _show_balance(self, form: dict[str, str], now: float) -> HttpResponse:  # noqa: ARG002 - one signature for all
        return json_response(200, {"balance": str(self._balance.quantize(CENT)), "currency": CURRENCY})

    def _add(self, form: dict[str, str], now: float) -> HttpResponse:
        for name in ("service", "request_id", "link", "quantity"):
            if not form.get(name):
                return failure(400, MISSING.format(name=name))
        placed = (form["key"], form["request_id"])
        if placed in self._placed:
            return json_response(200, {"order": self._placed[placed]})
        if form["service"] not in self._services or not _is_number(form["quantity"]):
            return failure(400, "Invalid service ID" if _is_number(form["quantity"]) else "Invalid quantity")
        order = self._make(None, form["service"], int(form["quantity"]), form["key"])
        if order.charge > self._balance:
            return failure(400, "Insufficient balance")
        self._orders[order.order_id] = order
        self._placed[placed] = order.order_id
        self._set_balance(self._balance - order.charge, now)
        return json_response(200, {"order": order.order_id})

    def _status(self, form: dict[str, str], now: float) -> HttpResponse:  # noqa: ARG002 - one signature for all
        if wrong := wrong_orders(form):
            return wrong
        if form.get("order"):
            order = self._own(form["order"], form)
            return failure(400, NOT_FOUND) if order is None else json_response(200, self._shown(order))
        found = {id: self._own(id, form) for id in ids_in(form)}
        return json_response(
            200, {id: {"error": INCORRECT_ID} if each is None else self._shown(each) for id, each in found.items()}
        )

    def _cancel(self, form: dict[str, str], now: float) -> HttpResponse:  # noqa: ARG002 - one signature for all
        if wrong := wrong_orders(form):
            return wrong
        if form.get("order"):
            error = self._cancel_one(form["order"], form)
            return failure(400, error) if error else json_response(200, {"cancel": form["order"]})
        rows = []
        for id in ids_in(form):
            error = self._cancel_one(id, form)
            rows.append({"order": id, "error": error} if error else {"order": id, "cancel": id})
        return json_response(200, rows)

    def _cancel_one(self, id: str, form: dict[str, str]) -> str | None:
        """Cancel one order, or queue a request to; returns why not."""
        order = self._own(id, form)
        if order is None:
            return NOT_FOUND
        order.cancel_calls += 1
        if order.status == PENDING:
            order.cancel_effects += 1
            self._settle_to(order, CANCELED)
            return None
        if order.status not in IN_FLIGHT:
            return ALREADY.format(status=order.status)
        service = self._services.get(order.service)
        if service is None or not service.cancel:
            return NOT_SUPPORTED
        order.cancel_effects += 1
        order.cancel_queued = True
        return None

    def _own(self, id: str, form: dict[str, str]) -> SimulatedOrder | None:
        order = self._orders.get(id)
        return order if order is not None and order.key == form["key"] else None

    def _shown(self, order: SimulatedOrder) -> dict[str, Any]:
        return order.as_status(show_service=self._show_service)

    # -- The provider's side ----------------------------------------------------------------

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Do what NotPanel's staff, its upstream providers or its users do. Raises ValueError, saying why not."""
        known: dict[str, tuple[Action, frozenset[str]]] = {
            "create_order": (self._create, _CREATE_KEYS),
            "settle": (self._settle, frozenset({"order_id", "granted", "status", "remains"})),
            "set_service": (self._set_service, frozenset({"service", "cancel", "name"})),
            "remove_service": (self._remove_service, frozenset({"service"})),
            "set_balance": (self._change_balance, frozenset({"balance"})),
            "set_limits": (self._set_limits, frozenset({"requests", "per_s", "ip_requests", "tier_requests"})),
            "set_keys": (self._set_keys, frozenset({"keys"})),
            "suspend": (self._suspend, frozenset({"suspended"})),
            "crash": (self._crashes.act, self._crashes.KEYS),
            "webhooks": (self._endpoints.show, frozenset()),
            "remove_webhook": (self._endpoints.remove, frozenset({"webhook"})),
            "list": (self._list, frozenset({"order_id"})),
        }
        known.update((step, (partial(self._step, step), _STEP_KEYS)) for step in STEPS)
        return perform("NotPanel", action, known, now)

    def emitted(self) -> list[HttpRequest]:
        """The webhooks since the last call, oldest first, signed for their endpoints."""
        return self._endpoints.drain()

    def resigned(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook with the time and the signature of `now`."""
        return self._endpoints.resigned(webhook, now)

    def _create(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        id = params.get("order_id")
        service, quantity = str(params.get("service", "1")), int(params.get("quantity", 1000))
        order = self._make(id, service, quantity, str(params.get("key", self._keys[0])))
        order.status, order.start_count = str(params.get("status", PENDING)), int(params.get("start_count", 0))
        if order.order_id in self._orders:
            raise ValueError(f"order {order.order_id} is there already")
        self._orders[order.order_id] = order
        return order.summary()

    def _make(self, id: Any, service: str, quantity: int, key: str) -> SimulatedOrder:
        if service not in self._services:
            raise ValueError(f"there is no service {service!r}; there are: {', '.join(self._services)}")
        order_id = f"ord_01HG9X7KJP4N{len(self._orders):04d}" if id is None else str(id)
        charge = (self._services[service].rate * quantity / 1000).quantize(CENT)
        return SimulatedOrder(order_id, key, service, quantity, charge, remains=quantity)

    def _step(self, name: str, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._known(params)
        event, status = STEPS[name]
        if order.status in TERMINAL and not (name == "refund" and order.status == "completed"):
            raise ValueError(f"order {order.order_id} is {order.status}: nothing more becomes of it")
        self._settle_to(order, str(params.get("status", status)), params.get("remains"))
        if event is not None and not params.get("silent"):
            self._endpoints.emit(event, order.key, {"order": order.order_id, **order.as_status(show_service=True)}, now)
        return order.summary()

    def _settle(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        """The upstream provider answers a request to cancel."""
        order = self._known(params)
        if not order.cancel_queued or order.status not in IN_FLIGHT:
            raise ValueError(f"no request to cancel order {order.order_id} is queued")
        order.cancel_queued = False
        if params.get("granted", True):
            self._settle_to(order, str(params.get("status", CANCELED)), params.get("remains"))
        return order.summary()

    def _settle_to(self, order: SimulatedOrder, status: str, remains: Any = None) -> None:
        order.status = status
        if remains is not None:
            order.remains = int(remains)
        elif status == "completed":
            order.remains = 0
        if status in _REFUNDING:
            share = Decimal(order.remains) / order.quantity if status == "partial" and order.quantity else Decimal(1)
            due = (order.charge * share).quantize(CENT) - order.refunded
            order.refunded += due
            self._balance += due

    def _set_service(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        service = str(params["service"])
        known = self._services.get(service) or Service(service, True, "Followers")
        known.cancel, known.name = bool(params.get("cancel", known.cancel)), str(params.get("name", known.name))
        self._services[service] = known
        return known.as_row()

    def _remove_service(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        service = str(params["service"])
        if service not in self._services:
            raise ValueError(f"there is no service {service!r}")
        return self._services.pop(service).as_row()

    def _change_balance(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        try:
            balance = Decimal(str(params["balance"])).quantize(CENT)
        except InvalidOperation as error:
            raise ValueError(f"balance {params['balance']!r} is no amount; write it as 4.99") from error
        self._set_balance(balance, now)
        return {"balance": str(balance)}

    def _set_balance(self, balance: Decimal, now: float) -> None:
        fell = self._balance >= BALANCE_LOW > balance
        self._balance = balance
        if fell:
            shown = {"balance": str(balance), "currency": CURRENCY}
            for key in self._keys:
                self._endpoints.emit("balance.low", key, shown, now)

    def _set_limits(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        limits = self._limits
        windows = {"requests": limits.key, "ip_requests": limits.ip, "tier_requests": limits.tier}
        per_s = params.get("per_s", limits.key.per_s)
        wanted = {name: {"requests": params.get(name, each.requests), "per_s": per_s} for name, each in windows.items()}
        for given in wanted.values():
            Window(1, 1.0).act(given, now)  # all of them are good, before the first is set
        return {name: windows[name].act(given, now)["requests"] for name, given in wanted.items()} | {
            "per_s": float(per_s)
        }

    def _set_keys(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        keys = params.get("keys")
        if not isinstance(keys, (list, tuple)) or not keys or not all(isinstance(each, str) for each in keys):
            raise ValueError("give at least one key, as a list of strings in keys")
        self._keys = tuple(keys)
        return {"keys": len(keys)}

    def _suspend(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        self._suspended = bool(params.get("suspended", True))
        return {"suspended": self._suspended}

    def _list(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        orders = [self._known(params)] if params else list(self._orders.values())
        return {"orders": [order.summary() for order in orders]}

    def _known(self, params: dict[str, Any]) -> SimulatedOrder:
        order = self._orders.get(str(params.get("order_id")))
        if order is None:
            raise ValueError(f"there is no order with order_id {params.get('order_id')!r}")
        return order


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
