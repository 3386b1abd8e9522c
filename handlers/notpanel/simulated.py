"""What is inside the simulated NotPanel: orders, services, the endpoints of its webhooks, and how it reads a call."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from msgspec.structs import replace

from app.contract import HttpRequest
from app.kit.simulator import BaseOrder, header

# Written down from the documents once more: a slip in the handler must not be made here as well.
PENDING = "pending"
IN_FLIGHT = ("in_progress", "processing")
CANCELED = "cancelled"
TERMINAL = ("completed", CANCELED, "refunded")
CURRENCY = "USD"
CENT = Decimal("0.01")
ORDERS_MAX = 100
MISSING = "Missing required parameter: {}"
FORM = "application/x-www-form-urlencoded"
EVENTS = ("order.completed", "order.failed", "order.refunded", "order.cancelled", "balance.low")
SIGNATURE_HEADER = "X-NotPanel-Signature"
TIMESTAMP_HEADER = "X-NotPanel-Timestamp"

_LOCAL_HOSTS = ("localhost", "localhost.localdomain")
_REFUNDED = ("partial", "refunded", CANCELED)


class WrongCall(Exception):
    """A call that NotPanel answers with 400 and this text."""


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


@dataclass(slots=True, kw_only=True)
class SimulatedOrder(BaseOrder):
    """One order, as NotPanel's own database would hold it. A cancel takes effect where it queues a request, too."""

    order_id: str
    key: str
    service: str
    quantity: int
    charge: Decimal
    remains: int
    status: str = PENDING
    start_count: int = 0
    cancel_queued: bool = False
    """A request to cancel is with the upstream provider."""
    refunded: Decimal = Decimal(0)

    def settle(self, status: str, remains: Any = None) -> Decimal:
        """Change the status; returns what is refunded now."""
        self.status = status
        if remains is not None:
            self.remains = int(remains)
        elif status == "completed":
            self.remains = 0
        if status not in _REFUNDED:
            return Decimal(0)
        share = Decimal(self.remains) / self.quantity if status == "partial" and self.quantity else Decimal(1)
        due = (self.charge * share).quantize(CENT) - self.refunded
        self.refunded += due
        return due

    def as_status(self) -> dict[str, Any]:
        """What `status` shows of it."""
        return {
            "status": self.status,
            "charge": str(self.charge),
            "start_count": str(self.start_count),
            "remains": str(self.remains),
            "currency": CURRENCY,
        }

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
            **self.counts(),
        }


@dataclass(slots=True)
class Endpoint:
    """One registered webhook."""

    id: str
    key: str
    url: str
    events: tuple[str, ...]
    secret: str

    def summary(self) -> dict[str, Any]:
        """What may be shown of it at any time."""
        return {"webhook": self.id, "url": self.url, "events": list(self.events)}

    def signed(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook with this endpoint's signature over the time and the body."""
        timestamp = str(int(now))
        proof = {SIGNATURE_HEADER: self._signature(webhook.body, timestamp), TIMESTAMP_HEADER: timestamp}
        return replace(webhook, headers={**webhook.headers, **proof})

    def has_signed(self, webhook: HttpRequest) -> bool:
        """Is the webhook's signature this endpoint's?"""
        signature = self._signature(webhook.body, webhook.headers[TIMESTAMP_HEADER])
        return signature == webhook.headers[SIGNATURE_HEADER]

    def _signature(self, raw: bytes, timestamp: str) -> str:
        return hmac.digest(self.secret.encode(), f"{timestamp}.".encode() + raw, hashlib.sha256).hex()


def form_of(request: HttpRequest) -> dict[str, str]:
    """The fields of a call; none where the body is anything but a form."""
    if header(request, "content-type").partition(";")[0].strip().lower() != FORM:
        return {}
    return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def require(form: dict[str, str], *names: str) -> None:
    """Raise `WrongCall` for the first of `names` that a call lacks."""
    for name in names:
        if not form.get(name):
            raise WrongCall(MISSING.format(name))


def ids_in(form: dict[str, str]) -> list[str]:
    """The orders that a call names, by `order` or `orders`. Raises `WrongCall`."""
    if form.get("orders") and form.get("order"):
        raise WrongCall("Give order or orders, and only one of them")
    if not form.get("orders"):
        require(form, "order")
        return [form["order"]]
    ids = listed(form["orders"])
    if len(ids) > ORDERS_MAX:
        raise WrongCall(f"Maximum {ORDERS_MAX} orders per request")
    return ids


def listed(csv: str) -> list[str]:
    """The parts between commas, without those that are empty."""
    return [part.strip() for part in csv.split(",") if part.strip()]


def check_url(url: str) -> None:
    """Raise `WrongCall` unless the URL is https and the public can reach it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or not host:
        raise WrongCall("URL must be https")
    try:
        is_public = ip_address(host).is_global
    except ValueError:
        is_public = host not in _LOCAL_HOSTS
    if not is_public:
        raise WrongCall("URL must not resolve to a private address")
