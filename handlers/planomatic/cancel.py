"""The calls that PlanOmatic offers for an order: cancel it, and retrieve how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from app.contract import (
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    Flow,
    HttpRequest,
    HttpResponse,
    MalformedPayload,
    Order,
    ProbeUnavailable,
)
from app.kit.flows import cancel_unsendable, json_call, per_order, probe_unsendable, read_snapshot
from app.kit.ids import is_id, whole_number
from app.kit.payload import Payload
from handlers.planomatic.config import Config
from handlers.planomatic.payload import REQUEST, facts_of, identify, status_of, unwrap, without_envelope
from handlers.planomatic.responses import RESPONSES, read
from handlers.planomatic.words import EVENT_TRIGGERS, V3

CANCEL_PATH = "/api/v3/orders/cancel"
RETRIEVE_PATH = "/api/v3/orders/retrieve"

_NO_STATUS = "PlanOmatic's answer states no status; if it does so elsewhere, set status_keys."


def cancel(requests: Sequence[CancelRequest], config: Config, _: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own, as “Cancel Order” takes one order per call."""

    def build(request: CancelRequest) -> HttpRequest | CancelResult:
        if not is_id(request.order.id):
            return cancel_unsendable(RESPONSES.provider, request.order)
        words = {"cancelation_reason": request.reason, "notes": request.note or ""}
        return _call(config, CANCEL_PATH, {**_id_of(request.order), **words}, repeatable=False)

    return per_order(requests, build, lambda _, response: RESPONSES.cancel_result(read(response, config)))


def probe(orders: Sequence[Order], config: Config, _: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own."""

    def build(order: Order) -> HttpRequest | ProbeUnavailable:
        if not is_id(order.id):
            return probe_unsendable(RESPONSES.provider, order)
        # “Retrieve Order” documents its ids as integers, unlike “Cancel Order”.
        ids = {key: id if whole_number(id) is None else whole_number(id) for key, id in _id_of(order).items()}
        return _call(config, RETRIEVE_PATH, ids, repeatable=True)

    def snapshot(order: Order, response: HttpResponse) -> Facts | ProbeUnavailable:
        order_in = partial(_order_in, config=config, raw=response.body)
        return read_snapshot(order, read(response, config), RESPONSES, order_in, no_status=_NO_STATUS)

    return per_order(orders, build, snapshot)


def _call(config: Config, path: str, body: Payload, *, repeatable: bool) -> HttpRequest:
    body = {"api_key": config.api_key.get_secret_value(), **body}
    return json_call("POST", config.base_url + path, body, timeout_s=config.timeout_s, repeatable=repeatable)


def _id_of(order: Order) -> dict[str, str]:
    """The order's id under the key that it belongs to. Only one is sent, as request_id would outrank the other."""
    if order.id.startswith(REQUEST):
        return {"request_id": order.id.removeprefix(REQUEST)}
    return {"order_id": order.id}


def _order_in(body: Payload | None, config: Config, raw: bytes) -> tuple[str, Facts]:
    """The order in an answer to a probe, with all its appointments. Raises `MalformedPayload`."""
    if body is None:
        raise MalformedPayload("it has no body")
    # The call's own status stands beside its code, and is not the order's.
    subject = unwrap(without_envelope(body) if "code" in body else body)
    id, aliases = identify(subject)
    phase = None if status_of(subject, config) is not None else _last_event(subject, config)
    facts = facts_of(subject, phase, aliases, config, raw, V3)
    # What the provider's present word on the whole order does not list is no longer there.
    return id, replace(facts, appointments_complete=True)


def _last_event(subject: Payload, config: Config) -> Any:
    names = (subject.get(key) for key in config.event_keys)
    return next((EVENT_TRIGGERS[name] for name in names if type(name) is str and name in EVENT_TRIGGERS), None)
