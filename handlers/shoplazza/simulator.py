"""A simulated Shoplazza: the part of its OpenAPI about orders and webhooks. Pure: time is an argument.

What the documents leave open is an assumption, which the README lists: which orders cannot be canceled, the messages,
what a refusal looks like, and what becomes of an order that was paid.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import (
    BaseOrder,
    BaseSimulator,
    Bucket,
    Faults,
    action,
    header,
    json_object,
    json_response,
    retry_after,
    strings,
    utc_time,
)

# Written down from the documents once more: a slip in the handler must not be made here as well.
DEFAULT_SHOP_DOMAIN = "acme.myshoplaza.com"
DEFAULT_ACCESS_TOKEN = "an-access-token"  # noqa: S105 - of the fake
DEFAULT_CLIENT_SECRET = "a-client-secret"  # noqa: S105 - of the fake
API_VERSION = "2022-01"
STORE_BURST, STORE_RATE_PER_S = 80, 20.0
LIST_LIMIT, LIST_LIMIT_MAX = 50, 250

NOT_FOUND = "Record not found"
UNAUTHORIZED = "Unauthorized"
CREDENTIALS = "The request is missing valid authentication credentials or the credentials provided are invalid."
NOT_CANCELABLE = "The order can not be cancelled"
ERROR_STYLES = ("list", "dict", "string")
INTERNAL_WORDS = ("Aborted", "NotFound", "Unimplemented", "Unauthenticated", "DeadlineExceeded")

DETAILS = {"number": "EX1001", "total_price": "113.66", "currency": "USD", "tags": "", "payment_method": "credit_card"}
"""What `create_order` may set of an order, besides its `note`."""
STEPS: dict[str, tuple[str, dict[str, str]]] = {
    "update": ("orders/update", {}),
    "ship_partially": ("orders/partially_fulfilled", {"fulfillment_status": "partially_shipped"}),
    "ship": ("orders/fulfilled", {"fulfillment_status": "shipped"}),
    "unship": ("orders/update", {"fulfillment_status": "waiting"}),
    "finish": ("orders/finished", {"status": "finished", "fulfillment_status": "finished"}),
    "return": ("orders/update", {"fulfillment_status": "returned"}),
    "refund_partially": ("orders/partially_refunded", {"financial_status": "partially_refunded"}),
    "refund": ("orders/refunded", {"financial_status": "refunded"}),
}
"""Action → the topic that it triggers, and what it changes of the order."""
STATUSES = ("status", "financial_status", "fulfillment_status")
ENDED = ("finished", "cancelled", "canceled")
SHIPPED = frozenset({"shipped", "partially_finished", "finished", "returning", "partially_returned", "returned"})
"""Fulfillment statuses in which the simulator refuses a cancel; Shoplazza documents no condition."""


@dataclass(slots=True, kw_only=True)
class SimulatedOrder(BaseOrder):
    """One order."""

    fields: dict[str, Any]
    """The order object, by which Shoplazza speaks of it."""

    def change(self, at_s: float, *times: str, **changes: Any) -> None:
        """Change fields at a time, which is then also that of `times`."""
        self.fields |= {**changes, **dict.fromkeys(("updated_at", *times), timestamp(at_s))}

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        keys = ("number", *STATUSES, "cancel_reason", "canceled_at", "deleted_at")
        return {"order_id": self.fields["id"], **{key: self.fields[key] for key in keys}, **self.counts()}


class Shoplazza(BaseSimulator[SimulatedOrder]):
    """Simulate the part of Shoplazza that cancels need: one shop, and one app in it.

    Args:
        shop_domain: what the webhooks call the shop.
        access_token: the app's token.
        client_secret: what the webhooks are signed with.
        scopes: what the app may do.
        burst: how many calls an app may make at once.
        per_s: in how many seconds a full bucket empties.
        topics: what is delivered without a registration; None: everything.
        error_style: how `errors` are written: list, dict, or string (`error`).
        unauthorized_status: of an answer to a wrong token; 400 is documented, 401 too.
        unauthorized_says: its words: the document has a word, and a sentence (`CREDENTIALS`).
        names_scopes: whether a call beyond the app's scopes is answered 403 with the scope; else as a wrong token is.
        retry_after: whether a 429 says when to come again; Shoplazza documents no such header.
        deduplicates: whether webhooks have an X-Shoplazza-Deduplication-ID.
        wraps: whether a webhook's body holds its order in `order`.
        canceled_status: how the status of a canceled order is spelled.
        finishes_at_once: whether a paid order that is canceled is `finished` at once, and never shown as `cancelled`.
    """

    provider = "Shoplazza"

    def __init__(
        self,
        *,
        shop_domain: str = DEFAULT_SHOP_DOMAIN,
        access_token: str = DEFAULT_ACCESS_TOKEN,
        client_secret: str = DEFAULT_CLIENT_SECRET,
        scopes: Sequence[str] = ("read_order", "write_order"),
        burst: int = 40,
        per_s: float = 20.0,
        topics: Sequence[str] | None = None,
        error_style: str = "list",
        unauthorized_status: int = 400,
        unauthorized_says: str = UNAUTHORIZED,
        names_scopes: bool = True,
        retry_after: bool = False,
        deduplicates: bool = True,
        wraps: bool = True,
        canceled_status: str = "cancelled",
        finishes_at_once: bool = False,
    ) -> None:
        super().__init__(limit=Bucket(burst, burst / per_s))
        self._store_limit = Bucket(STORE_BURST, STORE_RATE_PER_S)
        self._shop_domain, self._access_token, self._client_secret = shop_domain, access_token, client_secret
        self._scopes, self._topics = frozenset(scopes), None if topics is None else frozenset(topics)
        self._error_style, self._retry_after = error_style, retry_after
        self._unauthorized, self._names_scopes = (unauthorized_status, unauthorized_says), names_scopes
        self._deduplicates, self._wraps, self._canceled_status = deduplicates, wraps, canceled_status
        self._finishes_at_once = finishes_at_once
        self._webhooks: dict[str, dict[str, str]] = {}
        self._webhooks_made = 0
        self._is_installed = True

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        token = header(request, "access-token")
        wait_s = self.limit.wait_s(token, now) or self._store_limit.wait_s("", now)
        if wait_s is not None:
            return self.error(429, "Too Many Requests", retry_after(wait_s) if self._retry_after else {})
        if token != self._access_token or not self._is_installed:
            return self.error(*self._unauthorized)
        return self.faults.around(
            partial(self.serve, request, now), lambda word: self.error(500, f"rpc error: code = {word}")
        )

    def serve(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer a call that has the right token."""
        url, body = urlsplit(request.url), json_object(request.body)
        path = url.path.removeprefix(f"/openapi/{API_VERSION}/")
        scope, serve = "", partial(json_response, 404, {"error": "page not found"})
        match request.method, [unquote(part) for part in path.split("/")]:
            case "POST", ["orders", id, "cancel"]:
                scope, serve = "write_order", partial(self._cancel, id, body, now)
            case "GET", ["orders", id]:
                scope, serve = "read_order", partial(self._details, id)
            case "GET", ["webhooks"]:
                serve = partial(self._list_webhooks, parse_qs(url.query))
            case "POST", ["webhooks"]:
                scope, serve = "read_order", partial(self._create_webhook, body, now)
            case "DELETE", ["webhooks", id]:
                serve = partial(self._delete_webhook, id)
        if scope and scope not in self._scopes:
            denial = (403, f"Requires the {scope} access scope") if self._names_scopes else self._unauthorized
            return self.error(*denial)
        return serve()

    def error(
        self, status: int, text: str, headers: Mapping[str, str] | None = None, *, field: str = "base"
    ) -> HttpResponse:
        """An error, in the style that was chosen."""
        listed = text if field == "base" else f"{field} {text}"
        bodies = {"list": {"errors": [listed]}, "dict": {"errors": {field: [text]}}, "string": {"error": text}}
        return json_response(status, bodies[self._error_style], headers)

    def _cancel(self, id: str, body: dict[str, Any], now: float) -> HttpResponse:
        order = self.orders.get(id)
        if order is None or order.fields["deleted_at"]:
            return self.error(404, NOT_FOUND)
        order.cancel_calls += 1
        reason = body.get("reason")
        if reason is not None and not isinstance(reason, str):
            return self.error(400, "must be a string", field="reason")
        is_ended = order.fields["canceled_at"] or order.fields["status"] in ENDED
        if is_ended or order.fields["fulfillment_status"] in SHIPPED:
            return self.error(406, NOT_CANCELABLE)
        order.cancel_effects += 1
        return json_response(200, {"order": self._call_off(order, reason, now)})

    def _call_off(self, order: SimulatedOrder, reason: str | None, now: float) -> dict[str, Any]:
        """Cancel an order; the order object then. A paid order is refunded and then finished, 1 ms later each."""
        is_paid = order.fields["placed_at"] is not None
        payment = order.fields["financial_status"] if is_paid else "cancelled"
        order.change(now, "canceled_at", status=self._canceled_status, financial_status=payment, cancel_reason=reason)
        refunded = {"financial_status": "refunded", "total_refund_price": order.fields["total_price"]}
        if is_paid and self._finishes_at_once:
            order.change(now, **refunded, status="finished")
        shown = dict(order.fields)
        self._tell("orders/cancelled", order, now)
        if is_paid:
            later_s = 0.0 if self._finishes_at_once else 0.001
            order.change(now + later_s, **refunded)
            self._tell("orders/refunded", order, now)
            order.change(now + 2 * later_s, status="finished")
            self._tell("orders/finished", order, now)
        return shown

    def _details(self, id: str) -> HttpResponse:
        order = self.orders.get(id)
        if order is None or order.fields["deleted_at"]:
            return self.error(404, NOT_FOUND)
        return json_response(200, {"order": order.fields})

    def _list_webhooks(self, query: Mapping[str, list[str]]) -> HttpResponse:
        def number(name: str, default: int) -> int:
            given = query.get(name, [""])[0]
            return max(1, int(given)) if given.isascii() and given.isdecimal() else default

        limit = min(number("limit", LIST_LIMIT), LIST_LIMIT_MAX)
        start = (number("page", 1) - 1) * limit
        wanted = {name: query[name] for name in ("address", "topic") if name in query}
        webhooks = [
            webhook for webhook in self._webhooks.values() if all(webhook[name] in wanted[name] for name in wanted)
        ]
        return json_response(200, {"webhooks": webhooks[start : start + limit]})

    def _create_webhook(self, body: dict[str, Any], now: float) -> HttpResponse:
        for name in ("address", "topic"):
            if not isinstance(body.get(name), str) or not body[name]:
                return self.error(422, "can't be blank", field=name)
        given = {"address": body["address"], "topic": body["topic"]}
        if any(given.items() <= webhook.items() for webhook in self._webhooks.values()):
            return self.error(422, "for this topic has already been taken", field="address")
        self._webhooks_made += 1
        id, at = f"91d138d0-2a31-49da-a61d-{self._webhooks_made:012d}", timestamp(now)
        self._webhooks[id] = {"id": id, **given, "format": "json", "created_at": at, "updated_at": at}
        return json_response(200, {"webhook": self._webhooks[id]})

    def _delete_webhook(self, id: str) -> HttpResponse:
        return self.error(404, NOT_FOUND) if self._webhooks.pop(id, None) is None else json_response(200, {})

    # -- The provider's side ----------------------------------------------------------------

    @action(keys={*DETAILS, "note"})
    def create_order(
        self, now: float, order_id: Any = None, *, paid: bool = False, silent: bool = False, **details: Any
    ) -> dict[str, Any]:
        """Take an order in; a buyer may have paid it at once."""
        number = len(self.orders)
        id = f"633130-{number + 4:08d}" if order_id is None else str(order_id)
        order = SimulatedOrder(fields=new_order(id, now, {"number": f"EX{1001 + number}", **details}))
        self.orders.add(order, order_id=id)
        self._tell("orders/create", order, now, silent=silent)
        if paid:
            # A moment later, so that the two can be told apart.
            self._pay(order, now + 0.001, silent=silent)
        return order.summary()

    @action()
    def pay(self, now: float, order_id: Any = None, *, silent: bool = False) -> dict[str, Any]:
        """Let the buyer pay: the order is placed, and waits to be shipped."""
        order = self._open_order(order_id)
        if order.fields["placed_at"] is not None:
            raise ValueError(f"order {order_id} is paid already")
        self._pay(order, now, silent=silent)
        return order.summary()

    @action(*STEPS, keys={*STATUSES, "tags"})
    def step(
        self, do: str, now: float, order_id: Any = None, *, silent: bool = False, **changes: Any
    ) -> dict[str, Any]:
        """Move an order on, as `STEPS` says, or to other statuses."""
        order = self._open_order(order_id)
        topic, own_changes = STEPS[do]
        changes = {key: str(value) for key, value in {**own_changes, **changes}.items()}
        is_refunded = changes.get("financial_status", order.fields["financial_status"]) == "refunded"
        refund = order.fields["total_price"] if is_refunded else "0.00"
        order.change(now, **changes, total_refund_price=refund)
        self._tell(topic, order, now, silent=silent)
        return order.summary()

    @action()
    def cancel_by_staff(self, now: float, order_id: Any = None, reason: str = "Out of stock") -> dict[str, Any]:
        """Cancel an order in the shop's administration."""
        order = self._open_order(order_id)
        self._call_off(order, str(reason), now)
        return order.summary()

    @action()
    def delete(self, now: float, order_id: Any = None, *, silent: bool = False) -> dict[str, Any]:
        """Delete an order."""
        order = self.orders.one(order_id=order_id)
        order.change(now, "deleted_at")
        self._tell("orders/delete", order, now, silent=silent)
        return order.summary()

    @action()
    def uninstall_app(self, now: float) -> dict[str, Any]:
        """Revoke the app's access, and delete its webhooks."""
        self._is_installed = False
        self._deliver("app/uninstalled", {"domain": self._shop_domain, "uninstalled_at": timestamp(now)}, now)
        self._webhooks.clear()
        return {"installed": False}

    @action(keys={"id", "topic"})
    def drop_webhook(self, **wanted: Any) -> dict[str, Any]:
        """Do what Shoplazza does when a webhook's deliveries have failed for two days."""
        dropped = [id for id, webhook in self._webhooks.items() if wanted.items() <= webhook.items()]
        if not dropped:
            raise ValueError(f"there is no webhook with {wanted}")
        for id in dropped:
            del self._webhooks[id]
        return {"dropped": dropped}

    @action()
    def set_access(self, access_token: str | None = None, scopes: Any = None) -> dict[str, Any]:
        """Install the app again, with another token or other scopes."""
        self._scopes = self._scopes if scopes is None else frozenset(strings(scopes))
        self._access_token = self._access_token if access_token is None else str(access_token)
        self._is_installed = True
        return {"scopes": sorted(self._scopes) if scopes is None else list(scopes)}

    @action(keys=Faults.KEYS)
    def crash(self, word: str = "Aborted", **fault: Any) -> dict[str, Any]:
        """Let the next calls fail, with a word that Shoplazza documents."""
        if word not in INTERNAL_WORDS:
            raise ValueError(f"a 500 says one of {', '.join(INTERNAL_WORDS)}, and not {word!r}")
        return self.faults.act({**fault, "word": word}, 0.0)

    @action("list")
    def list_orders(self, **ids: object) -> dict[str, Any]:
        """Show the webhooks too."""
        return {**super().list_orders(**ids), "webhooks": list(self._webhooks.values())}

    def sign(self, webhook: HttpRequest, now: float) -> HttpRequest:  # noqa: ARG002 - no time is signed
        """The webhook with its signature, and its deduplication id where the simulator sends one."""
        digest = hmac.digest(self._client_secret.encode(), webhook.body, hashlib.sha256)
        proof = {"X-Shoplazza-Hmac-Sha256": base64.b64encode(digest).decode()}
        if self._deduplicates:
            # Counts all webhooks: another run of the simulator must not seem to repeat an earlier one.
            sent = f"{self.emissions}\0{webhook.headers['X-Shoplazza-Topic']}\0".encode() + webhook.body
            proof["X-Shoplazza-Deduplication-ID"] = hashlib.sha256(sent).hexdigest()[:32]
        return replace(webhook, headers={**webhook.headers, **proof})

    def _open_order(self, order_id: object) -> SimulatedOrder:
        order = self.orders.one(order_id=order_id)
        if order.fields["canceled_at"] or order.fields["deleted_at"]:
            raise ValueError(f"order {order_id} is canceled or deleted: nothing more becomes of it")
        return order

    def _pay(self, order: SimulatedOrder, at_s: float, *, silent: bool) -> None:
        paid = {"status": "placed", "financial_status": "paid", "fulfillment_status": "waiting"}
        order.change(at_s, "placed_at", **paid, total_paid=order.fields["total_price"])
        self._tell("orders/paid", order, at_s, silent=silent)

    def _tell(self, topic: str, order: SimulatedOrder, now: float, *, silent: bool = False) -> None:
        if not silent:
            self._deliver(topic, {"order": order.fields} if self._wraps else order.fields, now)

    def _deliver(self, topic: str, body: dict[str, Any], now: float) -> None:
        registered = {webhook["topic"] for webhook in self._webhooks.values()}
        if self._topics is None or topic in registered | self._topics:
            shop = {"X-Shoplazza-Shop-Domain": self._shop_domain, "X-Shoplazza-Api-Version": API_VERSION}
            self.emit(body, now, {"X-Shoplazza-Topic": topic, **shop})


def new_order(id: str, now: float, details: dict[str, Any]) -> dict[str, Any]:
    """The object of an order that was just made, with a few of its many fields."""
    details = {**DETAILS, "note": "", **details}
    return {
        "id": id,
        **details,
        "status": "opened",
        "financial_status": "waiting",
        "fulfillment_status": "initialled",
        "customer_note": "Please ring twice",
        "total_paid": "0.00",
        "total_refund_price": "0.00",
        "created_at": timestamp(now),
        "updated_at": timestamp(now),
        **dict.fromkeys(("cancel_reason", "placed_at", "canceled_at", "deleted_at")),
        "customer": {"id": "c-1", "first_name": "Robin", "last_name": "Example", "email": "robin@example.com"},
        "shipping_address": {"address": "123 Fake St", "city": "Denver", "phone": "555-0100"},
        "line_items": [{"product_title": "A lamp", "quantity": 1, "price": details["total_price"]}],
        "fulfillments": [],
    }


def timestamp(at_s: float) -> str:
    """A time as Shoplazza writes it, but in microseconds, so that what follows in haste keeps its order."""
    return utc_time(at_s).isoformat(timespec="microseconds").replace("+00:00", "Z")
