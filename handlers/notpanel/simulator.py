"""A faithful, pure fake of NotPanel's API v2, as far as canceling goes: what “Cancel” says it does, this does.

What the documents leave open is decided here and said so in the README: the webhooks' bodies and headers, some
texts of errors, and what a second request to cancel an order in flight does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit.ids import whole_number
from app.kit.simulator import BaseSimulator, action, json_response, strings, utc_time
from handlers.notpanel.limits import LAYERS, LimitLayers
from handlers.notpanel.simulated import (
    CANCELED,
    CENT,
    CURRENCY,
    EVENTS,
    IN_FLIGHT,
    MISSING,
    PENDING,
    TERMINAL,
    Endpoint,
    Service,
    SimulatedOrder,
    WrongCall,
    check_url,
    form_of,
    ids_in,
    listed,
    require,
)

PATH = "/api/v2"
DEFAULT_KEY = "np_live_0123456789abcdef"
DEFAULT_WEBHOOK_SECRET = "notpanel-webhook-secret"  # noqa: S105 - a simulated one
DEFAULT_WEBHOOK_URL = "https://rescind.example.com/webhooks/notpanel"
BALANCE_LOW = Decimal(5)
ENDPOINTS_MAX = 5

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

Form = dict[str, str]


class NotPanel(BaseSimulator[SimulatedOrder]):
    """NotPanel, as far as canceling goes.

    Args:
        keys: the API keys that it knows; the first one owns orders made without a key.
        requests: how many calls a key may make in any `per_s` seconds.
        per_s: see `requests`; the other two limits are over as many seconds.
        ip_requests: how many calls an IP address may make; here all calls come from one.
        tier_requests: how many calls all keys may make together.
        webhook_secret: signs the webhooks of the endpoint that the first key has from the start; None: it has none.
        lists_webhooks: whether it has the actions webhook.list and webhook.delete, which NotPanel does not document.
        show_service: whether `status` names the order's service; NotPanel documents that it does not.
    """

    provider = "NotPanel"

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
        lists_webhooks: bool = True,
    ) -> None:
        super().__init__()
        limits = {"ip_requests": ip_requests, "requests": requests, "tier_requests": tier_requests}
        self._limits = LimitLayers(limits, per_s)
        self._keys, self._show_service, self._suspended = tuple(keys), show_service, False
        self._lists_webhooks = lists_webhooks
        self._services = {"1": Service("1", True, "Likes"), "2": Service("2", False, "Views")}
        self._placed: dict[tuple[str, str], SimulatedOrder] = {}
        self._balance = Decimal(100)
        self._endpoints: list[Endpoint] = []
        self._endpoints_made = 0
        if webhook_secret is not None:
            self._endpoints.append(Endpoint("wh_0", self._keys[0], DEFAULT_WEBHOOK_URL, EVENTS, webhook_secret))

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        if urlsplit(request.url).path != PATH:
            return self.error(404, "Not found")
        form = form_of(request)
        key = form.get("key", "")
        denied = self._limits.denied(key, now, is_known=key in self._keys)
        if denied is not None:
            return self.error(429, "Rate limit exceeded", denied)
        response = self._answer(request.method, form, now)
        return replace(response, headers={**response.headers, **self._limits.headers(key, now)})

    def _answer(self, method: str, form: Form, now: float) -> HttpResponse:
        """Answer a call that is within the limits."""
        calls: dict[str, Callable[[Form, float], Any]] = {
            "services": lambda _form, _now: [service.as_row() for service in self._services.values()],
            "balance": lambda _form, _now: {"balance": str(self._balance.quantize(CENT)), "currency": CURRENCY},
            "add": self._add,
            "status": self._status,
            "cancel": self._cancel,
            "webhook.add": self._add_webhook,
            "webhook.list": self._list_webhooks,
            "webhook.delete": self._delete_webhook,
        }
        if method != "POST":
            return self.error(405, "Method not allowed")
        missing = next((name for name in ("key", "action") if not form.get(name)), None)
        if missing is not None:
            return self.error(400, MISSING.format(missing))
        if form["key"] not in self._keys:
            return self.error(400, "Invalid API key")
        if self._suspended:
            return self.error(403, SUSPENDED)
        if not self._lists_webhooks:
            calls = {name: serve for name, serve in calls.items() if name not in ("webhook.list", "webhook.delete")}
        if form["action"] not in calls:
            return self.error(400, "Invalid action")
        served = partial(self._served, calls[form["action"]], form, now)
        return self.faults.around(served, lambda _: self.error(500, "Internal server error"))

    def _served(self, call: Callable[[Form, float], Any], form: Form, now: float) -> HttpResponse:
        try:
            return json_response(200, call(form, now))
        except WrongCall as error:
            return self.error(400, str(error))

    def _add(self, form: Form, now: float) -> dict[str, Any]:
        require(form, "service", "request_id", "link", "quantity")
        placed = form["key"], form["request_id"]
        if placed not in self._placed:
            quantity = whole_number(form["quantity"])
            if quantity is None:
                raise WrongCall("Invalid quantity")
            if form["service"] not in self._services:
                raise WrongCall("Invalid service ID")
            order = self._new_order(None, form["service"], quantity, form["key"])
            if order.charge > self._balance:
                raise WrongCall("Insufficient balance")
            self.orders.add(order, order_id=order.order_id)
            self._placed[placed] = order
            self._change_balance(self._balance - order.charge, now)
        return {"order": self._placed[placed].order_id}

    def _status(self, form: Form, now: float) -> dict[str, Any]:  # noqa: ARG002 - one signature for all calls
        orders = {id: self._own_order(id, form) for id in ids_in(form)}
        if form.get("orders"):
            return {id: self._shown(order) if order else {"error": INCORRECT_ID} for id, order in orders.items()}
        order = orders[form["order"]]
        if order is None:
            raise WrongCall(NOT_FOUND)
        return self._shown(order)

    def _cancel(self, form: Form, now: float) -> Any:  # noqa: ARG002 - one signature for all calls
        ids = ids_in(form)
        if not form.get("orders"):
            self._cancel_one(ids[0], form)
            return {"cancel": ids[0]}
        rows = []
        for id in ids:
            try:
                self._cancel_one(id, form)
                rows.append({"order": id, "cancel": id})
            except WrongCall as error:
                rows.append({"order": id, "error": str(error)})
        return rows

    def _cancel_one(self, id: str, form: Form) -> None:
        """Cancel one order, or queue a request to. Raises `WrongCall`."""
        order = self._own_order(id, form)
        if order is None:
            raise WrongCall(NOT_FOUND)
        order.cancel_calls += 1
        if order.status == PENDING:
            self._balance += order.settle(CANCELED)
        elif order.status not in IN_FLIGHT:
            raise WrongCall(ALREADY.format(status=order.status))
        elif order.service not in self._services or not self._services[order.service].cancel:
            raise WrongCall(NOT_SUPPORTED)
        else:
            order.cancel_queued = True
        order.cancel_effects += 1

    def _add_webhook(self, form: Form, now: float) -> dict[str, Any]:  # noqa: ARG002 - one signature for all calls
        require(form, "url")
        check_url(form["url"])
        events = tuple(listed(form.get("events", ""))) or EVENTS
        unknown = next((event for event in events if event not in EVENTS), None)
        if unknown is not None:
            raise WrongCall(f"Unknown event: {unknown}")
        if sum(endpoint.key == form["key"] for endpoint in self._endpoints) >= ENDPOINTS_MAX:
            raise WrongCall(f"Maximum {ENDPOINTS_MAX} webhooks per API key")
        self._endpoints_made += 1
        # The same in every run, and different for every endpoint.
        secret = hashlib.sha256(f"{form['key']}/{self._endpoints_made}".encode()).hexdigest()
        endpoint = Endpoint(f"wh_{self._endpoints_made}", form["key"], form["url"], events, secret)
        self._endpoints.append(endpoint)
        return {**endpoint.summary(), "secret": secret}

    def _list_webhooks(self, form: Form, now: float) -> list[dict[str, Any]]:  # noqa: ARG002 - one signature for all
        return [endpoint.summary() for endpoint in self._endpoints if endpoint.key == form["key"]]

    def _delete_webhook(self, form: Form, now: float) -> dict[str, Any]:  # noqa: ARG002 - one signature for all calls
        require(form, "webhook")
        left = [one for one in self._endpoints if (one.id, one.key) != (form["webhook"], form["key"])]
        if len(left) == len(self._endpoints):
            raise WrongCall("Webhook not found")
        self._endpoints = left
        return {"webhook": form["webhook"], "deleted": True}

    def _own_order(self, id: str, form: Form) -> SimulatedOrder | None:
        order = self.orders.get(id)
        return order if order is not None and order.key == form["key"] else None

    def _shown(self, order: SimulatedOrder) -> dict[str, Any]:
        return {**order.as_status(), **({"service": order.service} if self._show_service else {})}

    # -- The provider's side ----------------------------------------------------------------

    @action()
    def create_order(
        self,
        order_id: Any = None,
        service: Any = "1",
        quantity: Any = 1000,
        key: str | None = None,
        status: str = PENDING,
        start_count: Any = 0,
    ) -> dict[str, Any]:
        """Take an order in, without a call."""
        order = self._new_order(order_id, str(service), int(quantity), self._keys[0] if key is None else key)
        order.status, order.start_count = status, int(start_count)
        self.orders.add(order, order_id=order.order_id)
        return order.summary()

    def _new_order(self, id: Any, service: str, quantity: int, key: str) -> SimulatedOrder:
        if service not in self._services:
            raise ValueError(f"there is no service {service!r}; there are: {', '.join(self._services)}")
        return SimulatedOrder(
            order_id=f"ord_01HG9X7KJP4N{len(self.orders):04d}" if id is None else str(id),
            key=key,
            service=service,
            quantity=quantity,
            charge=(self._services[service].rate * quantity / 1000).quantize(CENT),
            remains=quantity,
        )

    @action(*STEPS)
    def step(
        self,
        do: str,
        now: float,
        order_id: Any = None,
        status: str | None = None,
        remains: Any = None,
        silent: bool = False,
    ) -> dict[str, Any]:
        """Move an order on, as `STEPS` says, or to another status."""
        order = self.orders.one(order_id=order_id)
        event, next_status = STEPS[do]
        if order.status in TERMINAL and not (do == "refund" and order.status == "completed"):
            raise ValueError(f"order {order.order_id} is {order.status}: nothing more becomes of it")
        self._balance += order.settle(next_status if status is None else status, remains)
        if event is not None and not silent:
            shown = {"order": order.order_id, **order.as_status(), "service": order.service}
            self._tell(event, order.key, shown, now)
        return order.summary()

    @action()
    def settle(
        self, order_id: Any = None, granted: bool = True, status: str = CANCELED, remains: Any = None
    ) -> dict[str, Any]:
        """Let the upstream provider answer a request to cancel."""
        order = self.orders.one(order_id=order_id)
        if not order.cancel_queued or order.status not in IN_FLIGHT:
            raise ValueError(f"no request to cancel order {order.order_id} is queued")
        order.cancel_queued = False
        if granted:
            self._balance += order.settle(status, remains)
        return order.summary()

    @action()
    def set_service(self, service: Any, cancel: bool | None = None, name: str | None = None) -> dict[str, Any]:
        """Change a row of the catalog, or add one; what is not given stays."""
        row = self._services.setdefault(str(service), Service(str(service), True, "Followers"))
        row.cancel = row.cancel if cancel is None else bool(cancel)
        row.name = row.name if name is None else name
        return row.as_row()

    @action()
    def remove_service(self, service: Any) -> dict[str, Any]:
        """Take a row out of the catalog."""
        if str(service) not in self._services:
            raise ValueError(f"there is no service {str(service)!r}")
        return self._services.pop(str(service)).as_row()

    @action()
    def set_balance(self, balance: Any, now: float) -> dict[str, Any]:
        """Change the account's balance."""
        try:
            amount = Decimal(str(balance)).quantize(CENT)
        except InvalidOperation as error:
            raise ValueError(f"balance {balance!r} is no amount; write it as 4.99") from error
        self._change_balance(amount, now)
        return {"balance": str(amount)}

    def _change_balance(self, balance: Decimal, now: float) -> None:
        fell = self._balance >= BALANCE_LOW > balance
        self._balance = balance
        for key in self._keys if fell else ():
            self._tell("balance.low", key, {"balance": str(balance), "currency": CURRENCY}, now)

    @action(keys=(*LAYERS, "per_s"))
    def set_limits(self, **limit: Any) -> dict[str, Any]:
        """Set how many calls the layers let through, and in how many seconds; what is not given stays."""
        return self._limits.change(limit)

    @action()
    def set_keys(self, keys: Any = ()) -> dict[str, Any]:
        """Exchange the API keys."""
        if not strings(keys):
            raise ValueError("give at least one key, as a list of strings in keys")
        self._keys = strings(keys)
        return {"keys": len(keys)}

    @action()
    def suspend(self, suspended: bool = True) -> dict[str, Any]:
        """Suspend the account, or end its suspension."""
        self._suspended = bool(suspended)
        return {"suspended": self._suspended}

    @action()
    def webhooks(self) -> dict[str, Any]:
        """Show the registered webhooks, without their secrets: each was shown once."""
        return {"webhooks": [endpoint.summary() for endpoint in self._endpoints]}

    @action()
    def remove_webhook(self, webhook: str | None = None) -> dict[str, Any]:
        """Forget a registered webhook."""
        left = [endpoint for endpoint in self._endpoints if endpoint.id != webhook]
        if len(left) == len(self._endpoints):
            raise ValueError(f"there is no webhook {webhook!r}")
        self._endpoints = left
        return self.webhooks()

    def _tell(self, event: str, key: str, data: dict[str, Any], now: float) -> None:
        """Send an event of the key's account to each of its endpoints that wants it."""
        self.emissions += 1
        happened = utc_time(now).isoformat(timespec="microseconds")
        body = {"id": f"evt_{self.emissions:08d}", "event": event, "created_at": happened, "data": data}
        headers = {"Content-Type": "application/json", "User-Agent": "NotPanel (simulated)"}
        webhook = HttpRequest("POST", "", headers, msgspec.json.encode(body))
        for endpoint in self._endpoints:
            if endpoint.key == key and event in endpoint.events:
                self._emitted.append(endpoint.signed(webhook, now))

    def resigned(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook signed anew by the endpoint that it is for; as it was, if that is gone."""
        return next((one.signed(webhook, now) for one in self._endpoints if one.has_signed(webhook)), webhook)
