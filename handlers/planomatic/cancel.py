"""The calls that PlanOmatic offers for an order: cancel it, and retrieve how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    Flow,
    HttpRequest,
    MalformedPayload,
    Order,
    ProbeUnavailable,
)
from app.kit.ids import is_id, whole_number
from app.kit.payload import Payload
from app.kit.responses import PROBE_OUTCOMES, ProviderResponse, ResponseKind, cancel_result, probe_unavailable
from handlers.planomatic.config import Config
from handlers.planomatic.payload import REQUEST, facts_of, identify, status_of, unwrap, without_envelope
from handlers.planomatic.responses import read
from handlers.planomatic.words import EVENT_TRIGGERS, V3

CANCEL_PATH = "/api/v3/orders/cancel"
RETRIEVE_PATH = "/api/v3/orders/retrieve"

_PROBE_OUTCOMES = {**PROBE_OUTCOMES, ResponseKind.REJECTED: CancelOutcome.REFUSED}
_SHOWN_CHARS = 80


def cancel(requests: Sequence[CancelRequest], config: Config, _: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own, as “Cancel Order” takes one order per call."""
    results = []
    for each in requests:
        if not is_id(each.order.id):
            results.append(CancelResult(CancelOutcome.REFUSED, _no_name(each.order)))
            continue
        body = {**_named(each.order), "cancelation_reason": each.reason, "notes": each.note or ""}
        response = yield _call(config, CANCEL_PATH, body, repeatable=False)
        answer = read(response, config)
        results.append(cancel_result(answer.kind, answer.detail, answer.after_s))
    return results


def probe(orders: Sequence[Order], config: Config, _: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own."""
    results: list[Facts | ProbeUnavailable] = []
    for order in orders:
        if not is_id(order.id):
            results.append(ProbeUnavailable(_no_name(order), outcome=CancelOutcome.REFUSED))
            continue
        # “Retrieve Order” documents its ids as integers, unlike “Cancel Order”.
        body = {key: _as_integer(id) for key, id in _named(order).items()}
        response = yield _call(config, RETRIEVE_PATH, body, repeatable=True)
        results.append(_snapshot(order, read(response, config), response.body, config))
    return results


def _call(config: Config, path: str, body: Payload, *, repeatable: bool) -> HttpRequest:
    return HttpRequest(
        method="POST",
        url=config.base_url + path,
        headers={"Content-Type": "application/json", "Accept": "application/json"},
        body=msgspec.json.encode({"api_key": config.api_key.get_secret_value(), **body}),
        timeout_s=config.timeout_s,
        repeatable=repeatable,
    )


def _named(order: Order) -> dict[str, str]:
    """The order's id under the key that it belongs to. Only one is sent, as request_id would outrank the other."""
    if order.id.startswith(REQUEST):
        return {"request_id": order.id.removeprefix(REQUEST)}
    return {"order_id": order.id}


def _no_name(order: Order) -> str:
    return f"No order at PlanOmatic can be called {ascii(order.id)[:_SHOWN_CHARS]}: nothing was sent."


def _as_integer(id: str) -> int | str:
    number = whole_number(id)
    return id if number is None else number


def _snapshot(order: Order, answer: ProviderResponse, raw: bytes, config: Config) -> Facts | ProbeUnavailable:
    if answer.kind is not ResponseKind.DONE or answer.body is None:
        return probe_unavailable(answer.kind, answer.detail, answer.after_s, _PROBE_OUTCOMES)
    # The call's own status stands beside its code, and is not the order's.
    subject = unwrap(without_envelope(answer.body) if "code" in answer.body else answer.body)
    try:
        id, aliases = identify(subject)
    except MalformedPayload as error:
        return ProbeUnavailable(f"PlanOmatic's answer cannot be read: {error}.")
    names = {id, *aliases}
    if names.isdisjoint({order.id, *order.aliases}):
        # PlanOmatic may take an id for a legacy one: then this is some other order, and tells nothing of ours.
        return ProbeUnavailable(f"PlanOmatic answered with order {id} when asked for {order.id}.")
    said = None if status_of(subject, config) is not None else _last_event(subject, config)
    facts = facts_of(subject, said, tuple(sorted(names - {order.id})), config, raw, V3)
    if facts.phase is None:
        return ProbeUnavailable("PlanOmatic's answer states no status; if it does so elsewhere, set status_keys.")
    # What the provider's present word on the whole order does not list is no longer there.
    return replace(facts, appointments_complete=True, snapshot=True)


def _last_event(subject: Payload, config: Config) -> Any:
    for key in config.event_keys:
        name = subject.get(key)
        if isinstance(name, str) and name in EVENT_TRIGGERS:
            return EVENT_TRIGGERS[name]
    return None
