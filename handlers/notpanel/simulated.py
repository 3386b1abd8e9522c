"""What is inside the simulated NotPanel: orders, services, and its three layers of limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Any
from urllib.parse import parse_qsl

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import Window, json_response

# Written down from the documents once more: a slip in the handler must not be made here as well.
PENDING = "pending"
IN_FLIGHT = ("in_progress", "processing")
CANCELED = "cancelled"
TERMINAL = ("completed", CANCELED, "refunded")
CURRENCY = "USD"
CENT = Decimal("0.01")
ORDERS_MAX = 100
FORM = "application/x-www-form-urlencoded"
MISSING = "Missing required parameter: {name}"


@dataclass(slots=True)
class Service:
    """One row of the catalog."""

    service: str
    cancel: bool
    name: str
    rate: Decimal = Decimal("0.50")
    """For a thousand."""

    def as_row(self) -> dict[str, Any]:
        """The row as `services` shows it."""
        return {
            "service": int(self.service) if self.service.isdecimal() else self.service,
            "name": self.name,
            "type": "Default",
            "category": "Examples",
            "rate": str(self.rate),
            "min": "10",
            "max": "100000",
            "dripfeed": False,
            "refill": True,
            "cancel": self.cancel,
        }


@dataclass(slots=True)
class SimulatedOrder:
    """One order, as NotPanel's own database would hold it."""

    order_id: str
    key: str
    service: str
    quantity: int
    charge: Decimal
    status: str = PENDING
    start_count: int = 0
    remains: int = 0
    cancel_queued: bool = False
    """A request to cancel is with the upstream provider."""
    refunded: Decimal = Decimal(0)
    cancel_calls: int = 0
    """Cancel calls that named this order, whatever came of them."""
    cancel_effects: int = 0
    """How often one of them did something: refunded the order, or queued a request upstream."""

    def as_status(self, *, show_service: bool) -> dict[str, Any]:
        """What `status` shows of it."""
        shown: dict[str, Any] = {
            "status": self.status,
            "charge": str(self.charge),
            "start_count": str(self.start_count),
            "remains": str(self.remains),
            "currency": CURRENCY,
        }
        return {**shown, "service": self.service} if show_service else shown

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        return {
            "order_id": self.order_id,
            "service": self.service,
            "status": self.status,
            "charge": str(self.charge),
            "remains": self.remains,
            "refunded": str(self.refunded),
            "cancel_queued": self.cancel_queued,
            "cancel_calls": self.cancel_calls,
            "cancel_effects": self.cancel_effects,
        }


@dataclass(slots=True)
class Denial:
    """A call beyond a limit."""

    layer: str
    headers: dict[str, str]


@dataclass(slots=True)
class Limits:
    """The three layers: per IP address (everybody is at the same here), per key, and the account's tier."""

    ip: Window
    key: Window
    tier: Window

    def pass_ip(self, now: float) -> Denial | None:
        """The layer that comes before the key is looked at."""
        return self._pass(("ip",), "", now)

    def pass_key(self, key: str, now: float) -> Denial | None:
        """The layers of a key that is known."""
        return self._pass(("key", "tier"), key, now)

    def headers(self, key: str, now: float) -> dict[str, str]:
        """What every answer tells of the limit that leaves least."""
        layer, name = min((("ip", ""), ("key", key), ("tier", "")), key=lambda each: self._left(*each))
        return self._headers(layer, name, now)

    def _pass(self, layers: Iterable[str], key: str, now: float) -> Denial | None:
        for layer in layers:
            name = key if layer == "key" else ""
            if self._window(layer).wait_s(name, now) is not None:
                return Denial(layer, {**self._headers(layer, name, now), "x-ratelimit-deniedby": layer})
        return None

    def _headers(self, layer: str, name: str, now: float) -> dict[str, str]:
        window = self._window(layer)
        calls = window.calls.get(name)
        return {
            "x-ratelimit-limit": str(window.requests),
            "x-ratelimit-remaining": str(max(0, self._left(layer, name))),
            "x-ratelimit-reset": str(ceil((calls[0] if calls else now) + window.per_s)),
            "x-ratelimit-tier-remaining": str(max(0, self.tier.left(""))),
        }

    def _left(self, layer: str, name: str) -> int:
        return self._window(layer).left(name)

    def _window(self, layer: str) -> Window:
        return {"ip": self.ip, "key": self.key, "tier": self.tier}[layer]


def ids_in(form: dict[str, str]) -> Sequence[str]:
    """The ids in `orders`."""
    return [each.strip() for each in form["orders"].split(",") if each.strip()]


def form_of(request: HttpRequest) -> dict[str, str]:
    """The fields of a call; none where the body is anything but a form."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    if headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return {}
    return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def wrong_orders(form: dict[str, str]) -> HttpResponse | None:
    """What is wrong with the way in which a call names its orders."""
    named = [name for name in ("order", "orders") if form.get(name)]
    if not named:
        return failure(400, MISSING.format(name="order"))
    if len(named) > 1:
        return failure(400, "Give order or orders, and only one of them")
    if named == ["orders"] and len(ids_in(form)) > ORDERS_MAX:
        return failure(400, f"Maximum {ORDERS_MAX} orders per request")
    return None


def failure(status: int, text: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """An answer that says what was wrong."""
    return json_response(status, {"error": text}, headers)
