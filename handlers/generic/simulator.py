"""The Example shop: a made-up source of orders, to which an account's configuration alone connects Rescind.

It speaks CloudEvents 1.0 (structured) under a Standard Webhooks signature. It takes a cancel while the order is
`placed`, and where a delivery is booked, until `cutoff_h` hours before its start. Webhooks can be registered through
its API: each registration gets a secret, and the newest one for an event signs it. As long as none is registered, every
event is sent, signed by the shop's own secret, as if its URL had been entered by hand.
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
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import (
    BaseOrder,
    BaseSimulator,
    Window,
    action,
    header,
    json_object,
    json_response,
    retry_after,
    strings,
    time_with_offset,
    utc_time,
)

DEFAULT_API_KEY = "example-shop-key"
DEFAULT_SIGNING_SECRET = "whsec_ZXhhbXBsZS1zaG9wLXNpZ25pbmctc2VjcmV0"  # noqa: S105 - of a shop that is made up
SOURCE = "https://shop.example.com"
ORDERS = "/v1/orders/"
WEBHOOKS = "/v1/webhooks"
WEBHOOKS_PAGE = 2
"""Webhooks on one page of the list."""
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

TOPICS = ("order.placed", *(event for event, _ in STEPS.values()), "newsletter.sent")
"""The events that webhooks can be registered for."""

_PREFIX = "com.example.shop."
_FIRST_NUMBER = 1001
_FINAL = ("delivered", "canceled")


@dataclass(slots=True, kw_only=True)
class ShopOrder(BaseOrder):
    """One order in the shop's database."""

    id: str
    number: int
    placed_at: datetime
    total: str
    status: str = "placed"
    deliveries: list[dict[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """The order as the API and the events show it; with the buyer, as real shops send one."""
        return {**self._details(), "buyer": {"name": "Robin Example", "email": "robin@example.com"}}

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        return {**self._details(), "order_id": self.id, **self.counts()}

    def closes_at(self, cutoff: timedelta) -> datetime | None:
        """When the window for a cancel closes by time alone; None without a booked delivery."""
        booked = [datetime.fromisoformat(slot["from"]) for slot in self.deliveries if slot["state"] == "booked"]
        return min(booked) - cutoff if booked else None

    def _details(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "number": self.number,
            "status": self.status,
            "placed_at": _stamp(self.placed_at),
            "amount": {"total": self.total, "currency": "EUR"},
            "deliveries": self.deliveries,
        }


class ExampleShop(BaseSimulator[ShopOrder]):
    """The shop.

    Args:
        api_keys: the keys that it accepts as a bearer token.
        signing_secret: of its webhooks (`whsec_` and base64).
        requests: how many calls a key may make in any `per_s` seconds.
        per_s: see `requests`.
        cutoff_h: how long before a booked delivery the window for a cancel closes.
    """

    provider = "the Example shop"

    def __init__(
        self,
        *,
        api_keys: Sequence[str] = (DEFAULT_API_KEY,),
        signing_secret: str = DEFAULT_SIGNING_SECRET,
        requests: int = 60,
        per_s: float = 60.0,
        cutoff_h: float = 24.0,
    ) -> None:
        super().__init__(limit=Window(requests, per_s))
        self._api_keys = tuple(api_keys)
        self._signing_key = b64decode(signing_secret.removeprefix("whsec_"))
        self._cutoff = timedelta(hours=cutoff_h)
        self._webhooks: dict[str, dict[str, Any]] = {}
        """By id."""
        self._webhooks_made = 0

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        scheme, _, key = header(request, "authorization").partition(" ")
        if scheme.lower() != "bearer" or key not in self._api_keys:
            return _error(401, "unauthorized", "This key is not known.")
        wait_s = self.limit.wait_s(key, now)
        if wait_s is not None:
            return _error(429, "slow_down", "Too many calls.", retry_after(wait_s))
        url = urlsplit(request.url)
        path = url.path
        _, found, hook = path.partition(WEBHOOKS)
        if found and hook[:1] in ("", "/"):
            return self._serve_webhooks(request, hook[1:], parse_qs(url.query).get("page", ["1"])[0])
        id, _, call = path.partition(ORDERS)[2].partition("/")
        if ORDERS not in path or (request.method, call) not in {("GET", ""), ("POST", CANCEL)}:
            return _error(404, "no_such_call", "There is no such call.")
        order = self.orders.get(unquote(id))
        if order is None:
            return _error(404, "no_such_order", "There is no such order.")
        serve = partial(self._cancel, order, request, now) if call else partial(json_response, 200, order.shown())
        return self.faults.around(serve, lambda _: _error(500, "crashed", "Something went wrong."))

    def _cancel(self, order: ShopOrder, request: HttpRequest, now: float) -> HttpResponse:
        order.cancel_calls += 1
        body = json_object(request.body)
        if body.get("code") not in CODES:
            return _error(422, "invalid", f"code must be one of {', '.join(CODES)}.")
        if not isinstance(body.get("comment", ""), str) or len(body.get("comment", "")) > COMMENT_CHARS_MAX:
            return _error(422, "invalid", f"comment must be text of at most {COMMENT_CHARS_MAX} characters.")
        if order.status == "canceled":
            return _error(409, "already_canceled", "The order is canceled already.")
        closes_at = order.closes_at(self._cutoff)
        if order.status != "placed" or (closes_at is not None and utc_time(now) >= closes_at):
            return _error(409, "too_late", f"The order is {order.status} and can no longer be canceled.")
        order.status = "canceled"
        order.cancel_effects += 1
        self._tell("order.canceled", order, now)
        return json_response(200, order.shown())

    def _serve_webhooks(self, request: HttpRequest, id: str, page: str) -> HttpResponse:
        """List, create and delete registered webhooks."""
        match request.method, id:
            case "GET", "":
                start = (int(page) - 1 if page.isdecimal() else 0) * WEBHOOKS_PAGE
                shown = [{key: hook[key] for key in ("id", "url", "topics")} for hook in self._webhooks.values()]
                end = start + WEBHOOKS_PAGE
                more = f"?page={end // WEBHOOKS_PAGE + 1}" if len(shown) > end else None
                return json_response(200, {"data": shown[start:end], "next": more})
            case "POST", "":
                return self._create_webhook(json_object(request.body))
            case "DELETE", _ if self._webhooks.pop(unquote(id), None) is not None:
                return json_response(200, {})
        return _error(404, "no_such_webhook", "There is no such webhook.")

    def _create_webhook(self, body: Mapping[str, Any]) -> HttpResponse:
        url, topics = body.get("url"), body.get("topics")
        if not isinstance(url, str) or not isinstance(topics, list) or not set(topics) <= {*TOPICS}:
            return _error(422, "invalid", f"Give a url and topics, some of {', '.join(TOPICS)}.")
        self._webhooks_made += 1
        id = f"hook_{self._webhooks_made}"
        secret = f"whsec_{b64encode(hashlib.sha256(self._signing_key + id.encode()).digest()).decode()}"
        self._webhooks[id] = {"id": id, "url": url, "topics": topics, "secret": secret}
        return json_response(201, self._webhooks[id])

    # -- The shop's side --------------------------------------------------------------------

    @action()
    def create_order(
        self, now: float, order_id: Any = None, total: Any = "49.90", *, silent: bool = False
    ) -> dict[str, Any]:
        """Take an order in."""
        number = _FIRST_NUMBER + len(self.orders)
        id = f"ord_{number}" if order_id is None else str(order_id)
        order = ShopOrder(id=id, number=number, placed_at=utc_time(now), total=str(total))
        self.orders.add(order, order_id=id)
        self._tell("order.placed", order, now, silent=silent)
        return order.summary()

    @action(*STEPS)
    def step(
        self,
        do: str,
        now: float,
        order_id: Any = None,
        starts_at: Any = None,
        minutes: Any = 60,
        *,
        silent: bool = False,
    ) -> dict[str, Any]:
        """Move an order on, as `STEPS` says; a delivery starts in three days where `starts_at` is not given."""
        order = self.orders.one(order_id=order_id)
        if order.status in _FINAL:
            raise ValueError(f"order {order.id} is {order.status}: nothing more becomes of it")
        event, status = STEPS[do]
        if do == "book_delivery":
            in_three_days = utc_time(now) + timedelta(days=3)
            start = in_three_days if starts_at is None else time_with_offset(starts_at, "starts_at")
            until = start + timedelta(minutes=float(minutes))
            slot = {"id": f"slot_{len(order.deliveries) + 1}", "state": "booked"}
            order.deliveries.append({**slot, "from": _stamp(start), "until": _stamp(until)})
        elif do == "call_off_delivery":
            order.deliveries = [{**slot, "state": "called_off"} for slot in order.deliveries]
        order.status = status or order.status
        self._tell(event, order, now, silent=silent)
        return order.summary()

    @action()
    def set_rules(self, cutoff_h: Any = None) -> dict[str, Any]:
        """Change the shop's rules; what is not given stays."""
        if cutoff_h is not None:
            self._cutoff = timedelta(hours=float(cutoff_h))
        return {"cutoff_h": self._cutoff / timedelta(hours=1)}

    @action()
    def set_api_keys(self, api_keys: Any = None) -> dict[str, Any]:
        """Accept these keys instead."""
        if not isinstance(api_keys, (list, tuple)) or not api_keys:
            raise ValueError("give at least one API key in api_keys, a list of strings")
        self._api_keys = strings(api_keys)
        return {"api_keys": len(self._api_keys)}

    @action()
    def drop_webhook(self, webhook_id: Any = None) -> dict[str, Any]:
        """Delete a registered webhook, as the shop does when deliveries to it failed for too long."""
        if self._webhooks.pop(webhook_id, None) is None:
            raise ValueError(f"there is no webhook {webhook_id}; there are: {', '.join(self._webhooks) or 'none'}")
        return {}

    @action("list")
    def list_orders(self, **ids: Any) -> dict[str, Any]:
        """Show the registered webhooks too, without their secrets."""
        hooks = [{key: hook[key] for key in ("id", "url", "topics")} for hook in self._webhooks.values()]
        return {**super().list_orders(**ids), "webhooks": hooks}

    @action()
    def send_greeting(self, now: float) -> dict[str, Any]:
        """Send an event that is about no order."""
        self._send("newsletter.sent", {"issue": self.emissions}, now)
        return {}

    def sign(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook with the time and the signature of `now`.

        Written from Standard Webhooks once more: a mistake in the core must not be made here as well.
        """
        timestamp = str(int(now))
        signed = b".".join([webhook.headers["webhook-id"].encode(), timestamp.encode(), webhook.body])
        key = self._signing_key
        for hook in self._webhooks.values():
            if _topic_of(webhook) in hook["topics"]:
                key = b64decode(hook["secret"].removeprefix("whsec_"))
        signature = b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        proof = {"webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}
        return replace(webhook, headers={**webhook.headers, **proof})

    resigned = sign

    def _tell(self, event: str, order: ShopOrder, now: float, *, silent: bool = False) -> None:
        if not silent:
            self._send(event, {"order": order.shown()}, now, {"subject": order.id})

    def _send(self, event: str, data: dict[str, Any], now: float, subject: Mapping[str, str] | None = None) -> None:
        if self._webhooks and not any(event in hook["topics"] for hook in self._webhooks.values()):
            return
        id = f"evt_{self.emissions + 1:06d}"
        body = {
            "specversion": "1.0",
            "id": id,
            "source": SOURCE,
            "type": _PREFIX + event,
            **(subject or {}),
            "time": _stamp(utc_time(now)),
            "datacontenttype": "application/json",
            "data": data,
        }
        self.emit(body, now, {"Content-Type": "application/cloudevents+json; charset=UTF-8", "webhook-id": id})


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return json_response(status, {"error": {"code": code, "message": message}}, headers)


def _topic_of(webhook: HttpRequest) -> str:
    return str(json_object(webhook.body)["type"]).removeprefix(_PREFIX)


def _stamp(when: datetime) -> str:
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")
