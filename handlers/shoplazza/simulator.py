"""A faithful, pure fake of Shoplazza's OpenAPI, as far as orders and webhooks go.

What the documents leave open is decided here and said so in the README: which orders cannot be canceled, the messages,
what a refusal looks like, and what becomes of an order that was paid.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import Action, Bucket, Faults, json_object, json_response, perform, retry_after, utc_time
from handlers.shoplazza.simulated import CREATE_KEYS, ENDED, SHIPPED, SimulatedOrder, default_details, timestamp

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

_STEP_KEYS = frozenset({"order_id", "silent", "tags", "status", "financial_status", "fulfillment_status"})
_CREATE = frozenset({*CREATE_KEYS, "order_id", "paid", "silent"})


class Shoplazza:
    """Shoplazza, as far as canceling goes: one shop, and one app in it.

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
        self._shop_domain, self._access_token, self._client_secret = shop_domain, access_token, client_secret
        self._scopes, self._topics = frozenset(scopes), None if topics is None else frozenset(topics)
        self._app, self._store = Bucket(burst, burst / per_s), Bucket(STORE_BURST, STORE_RATE_PER_S)
        self._error_style, self._retry_after = error_style, retry_after
        self._unauthorized, self._names_scopes = (unauthorized_status, unauthorized_says), names_scopes
        self._deduplicates, self._wraps, self._canceled_status = deduplicates, wraps, canceled_status
        self._finishes_at_once = finishes_at_once
        self._orders: dict[str, SimulatedOrder] = {}
        self._webhooks: dict[str, dict[str, str]] = {}
        self._made = 0
        self._is_installed = True
        self._crashes = Faults()
        self._emitted: list[HttpRequest] = []
        self._emissions = 0

    # -- The API ----------------------------------------------------------------------------

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call. `now` is unix seconds."""
        token = {name.lower(): value for name, value in request.headers.items()}.get("access-token", "")
        wait_s = self._app.wait_s(token, now) or self._store.wait_s("", now)
        if wait_s is not None:
            return self._error(429, "Too Many Requests", headers=retry_after(wait_s) if self._retry_after else {})
        if token != self._access_token or not self._is_installed:
            return self._error(*self._unauthorized)
        return self._crashes.around(
            partial(self._serve, request, now), lambda word: self._error(500, f"rpc error: code = {word}")
        )

    def _serve(self, request: HttpRequest, now: float) -> HttpResponse:
        url = urlsplit(request.url)
        path = url.path.removeprefix(f"/openapi/{API_VERSION}/")
        scope, serve = "", partial(json_response, 404, {"error": "page not found"})
        match request.method, [unquote(each) for each in path.split("/")]:
            case "POST", ["orders", id, "cancel"]:
                scope, serve = "write_order", partial(self._cancel, id, request.body, now)
            case "GET", ["orders", id]:
                scope, serve = "read_order", partial(self._details, id)
            case "GET", ["webhooks"]:
                serve = partial(self._list_webhooks, parse_qs(url.query))
            case "POST", ["webhooks"]:
                scope, serve = "read_order", partial(self._create_webhook, json_object(request.body), now)
            case "DELETE", ["webhooks", id]:
                serve = partial(self._delete_webhook, id)
        if scope and scope not in self._scopes:
            denial = (403, f"Requires the {scope} access scope") if self._names_scopes else self._unauthorized
            return self._error(*denial)
        return serve()

    def _cancel(self, id: str, raw: bytes, now: float) -> HttpResponse:
        order = self._orders.get(id)
        if order is None or order.deleted_at:
            return self._error(404, NOT_FOUND)
        order.cancel_calls += 1
        reason = json_object(raw).get("reason")
        if reason is not None and not isinstance(reason, str):
            return self._error(400, "must be a string", field="reason")
        if order.canceled_at or order.status in ENDED or order.fulfillment_status in SHIPPED:
            return self._error(406, NOT_CANCELABLE)
        order.cancel_effects += 1
        return json_response(200, {"order": self._call_off(order, reason, now)})

    def _call_off(self, order: SimulatedOrder, reason: str | None, now: float) -> dict[str, Any]:
        """Cancel it; what is shown of it at that moment. A moment later each, what was paid is refunded and ends."""
        at = utc_time(now)
        order.cancel(reason, at, self._canceled_status)
        if order.is_paid and self._finishes_at_once:
            order.refund(at)
            order.finish(at)
        shown = order.shown()
        self._emit("orders/cancelled", order)
        if order.is_paid:
            later = timedelta(0) if self._finishes_at_once else timedelta(milliseconds=1)
            order.refund(at + later)
            self._emit("orders/refunded", order)
            order.finish(at + 2 * later)
            self._emit("orders/finished", order)
        return shown

    def _details(self, id: str) -> HttpResponse:
        order = self._orders.get(id)
        if order is None or order.deleted_at:
            return self._error(404, NOT_FOUND)
        return json_response(200, {"order": order.shown()})

    def _list_webhooks(self, query: Mapping[str, list[str]]) -> HttpResponse:
        def number(name: str, default: int) -> int:
            given = query.get(name, [""])[0]
            return int(given) if given.isascii() and given.isdecimal() else default

        limit = max(1, min(number("limit", LIST_LIMIT), LIST_LIMIT_MAX))
        start = (max(1, number("page", 1)) - 1) * limit
        found = [
            each
            for each in self._webhooks.values()
            if all(each[name] in query[name] for name in ("address", "topic") if name in query)
        ]
        return json_response(200, {"webhooks": found[start : start + limit]})

    def _create_webhook(self, body: dict[str, Any], now: float) -> HttpResponse:
        for name in ("address", "topic"):
            if not isinstance(body.get(name), str) or not body[name]:
                return self._error(422, "can't be blank", field=name)
        address, topic = body["address"], body["topic"]
        if any((each["address"], each["topic"]) == (address, topic) for each in self._webhooks.values()):
            return self._error(422, "for this topic has already been taken", field="address")
        self._made += 1
        at = timestamp(utc_time(now))
        webhook = {
            "id": f"91d138d0-2a31-49da-a61d-{self._made:012d}",
            "address": address,
            "topic": topic,
            "format": "json",
            "created_at": at,
            "updated_at": at,
        }
        self._webhooks[webhook["id"]] = webhook
        return json_response(200, {"webhook": webhook})

    def _delete_webhook(self, id: str) -> HttpResponse:
        return self._error(404, NOT_FOUND) if self._webhooks.pop(id, None) is None else json_response(200, {})

    def _error(
        self, status: int, text: str, *, field: str = "base", headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        if self._error_style == "string":
            return json_response(status, {"error": text}, headers)
        listed = text if field == "base" else f"{field} {text}"
        errors: Any = {field: [text]} if self._error_style == "dict" else [listed]
        return json_response(status, {"errors": errors}, headers)

    # -- The provider's side ----------------------------------------------------------------

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Do what buyers, the merchant and Shoplazza do. Raises ValueError, saying why not."""
        known: dict[str, tuple[Action, frozenset[str]]] = {
            "create_order": (self._create, _CREATE),
            "pay": (self._pay, frozenset({"order_id", "silent"})),
            "cancel_by_staff": (self._cancel_by_staff, frozenset({"order_id", "reason"})),
            "delete": (self._delete, frozenset({"order_id", "silent"})),
            "uninstall_app": (self._uninstall, frozenset()),
            "drop_webhook": (self._drop_webhook, frozenset({"id", "topic"})),
            "set_limits": (self._app.act, self._app.KEYS),
            "set_access": (self._set_access, frozenset({"access_token", "scopes"})),
            "crash": (self._crash, self._crashes.KEYS | {"word"}),
            "list": (self._list, frozenset({"order_id"})),
        }
        known.update((step, (partial(self._step, step), _STEP_KEYS)) for step in STEPS)
        return perform("Shoplazza", action, known, now)

    def emitted(self) -> list[HttpRequest]:
        """The webhooks since the last call, oldest first, signed."""
        webhooks, self._emitted = self._emitted, []
        return webhooks

    def _create(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        number, at = len(self._orders), utc_time(now)
        id = str(params.get("order_id", f"633130-{number + 4:08d}"))
        if id in self._orders:
            raise ValueError(f"order {id} is there already")
        details = {**default_details(number), **{key: params[key] for key in CREATE_KEYS if key in params}}
        order = self._orders[id] = SimulatedOrder(id, at, at, details=details)
        silent = bool(params.get("silent"))
        if not silent:
            self._emit("orders/create", order)
        if params.get("paid"):
            # A moment later, so that the two can be told apart.
            order.pay(at + timedelta(milliseconds=1))
            if not silent:
                self._emit("orders/paid", order)
        return order.summary()

    def _pay(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._open(params)
        if order.is_paid:
            raise ValueError(f"order {order.id} is paid already")
        order.pay(utc_time(now))
        if not params.get("silent"):
            self._emit("orders/paid", order)
        return order.summary()

    def _step(self, name: str, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._open(params)
        topic, changes = STEPS[name]
        for key in ("status", "financial_status", "fulfillment_status"):
            setattr(order, key, str(params.get(key, changes.get(key, getattr(order, key)))))
        if "tags" in params:
            order.details["tags"] = str(params["tags"])
        order.updated_at = utc_time(now)
        if not params.get("silent"):
            self._emit(topic, order)
        return order.summary()

    def _cancel_by_staff(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._open(params)
        self._call_off(order, str(params.get("reason", "Out of stock")), now)
        return order.summary()

    def _delete(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        order = self._known(params)
        order.deleted_at = order.updated_at = utc_time(now)
        if not params.get("silent"):
            self._emit("orders/delete", order)
        return order.summary()

    def _uninstall(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        self._is_installed = False
        self._send("app/uninstalled", {"domain": self._shop_domain, "uninstalled_at": timestamp(utc_time(now))})
        self._webhooks.clear()
        return {"installed": False}

    def _drop_webhook(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        """What Shoplazza does when a webhook's deliveries have failed for two days."""
        dropped = [
            id
            for id, each in self._webhooks.items()
            if params.get("id", id) == id and params.get("topic", each["topic"]) == each["topic"]
        ]
        if not dropped:
            raise ValueError(f"there is no webhook with id {params.get('id')!r} and topic {params.get('topic')!r}")
        for id in dropped:
            del self._webhooks[id]
        return {"dropped": dropped}

    def _set_access(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        scopes = params.get("scopes", sorted(self._scopes))
        if not isinstance(scopes, (list, tuple)) or not all(isinstance(each, str) for each in scopes):
            raise ValueError("give scopes as a list of strings")
        self._scopes, self._access_token = frozenset(scopes), str(params.get("access_token", self._access_token))
        self._is_installed = True
        return {"scopes": list(scopes)}

    def _crash(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        word = str(params.get("word", "Aborted"))
        if word not in INTERNAL_WORDS:
            raise ValueError(f"a 500 says one of {', '.join(INTERNAL_WORDS)}, and not {word!r}")
        return self._crashes.act({**params, "word": word}, now)

    def _list(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        orders = [self._known(params)] if params else list(self._orders.values())
        return {"orders": [order.summary() for order in orders], "webhooks": list(self._webhooks.values())}

    def _known(self, params: dict[str, Any]) -> SimulatedOrder:
        order = self._orders.get(str(params.get("order_id")))
        if order is None:
            raise ValueError(f"there is no order with order_id {params.get('order_id')!r}")
        return order

    def _open(self, params: dict[str, Any]) -> SimulatedOrder:
        order = self._known(params)
        if order.canceled_at or order.deleted_at:
            raise ValueError(f"order {order.id} is canceled or deleted: nothing more becomes of it")
        return order

    def _emit(self, topic: str, order: SimulatedOrder) -> None:
        shown = order.shown()
        self._send(topic, {"order": shown} if self._wraps else shown)

    def _send(self, topic: str, body: dict[str, Any]) -> None:
        wanted = {each["topic"] for each in self._webhooks.values()}.union(self._topics or ())
        if self._topics is not None and topic not in wanted:
            return
        self._emissions += 1
        raw = msgspec.json.encode(body)
        digest = hmac.digest(self._client_secret.encode(), raw, hashlib.sha256)
        headers = {
            "Content-Type": "application/json",
            "X-Shoplazza-Topic": topic,
            "X-Shoplazza-Hmac-Sha256": base64.b64encode(digest).decode(),
            "X-Shoplazza-Shop-Domain": self._shop_domain,
            "X-Shoplazza-Api-Version": API_VERSION,
        }
        if self._deduplicates:
            # Of all that was sent: another run of this fake must not seem to repeat an earlier one.
            sent = f"{self._emissions}\0{topic}\0".encode() + raw
            headers["X-Shoplazza-Deduplication-ID"] = hashlib.sha256(sent).hexdigest()[:32]
        self._emitted.append(HttpRequest("POST", "", headers, raw))
