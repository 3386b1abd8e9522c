"""The calls that Superloop offers for an order: cancel it, and read how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    Flow,
    HttpResponse,
    MalformedPayload,
    Order,
    Phase,
    ProbeUnavailable,
)
from app.kit import flows
from app.kit.ids import id_or_none, whole_number
from app.kit.payload import Payload
from app.kit.responses import ProviderResponse, ResponseKind
from app.kit.tokens import Session, unsent_cancel
from handlers.superloop.config import Config
from handlers.superloop.credentials import authorized, tokens
from handlers.superloop.payload import is_cancellable, order_facts, read_appointments
from handlers.superloop.responses import RESPONSES, read

CANCEL_PATH = "/api/connect/orders/cancel"

_JSON = {"Content-Type": "application/json;charset=UTF-8"}
_WRAPPERS = ("order", "data")
_NO_PATH = "This account has no order_path: set it to the path of the Location that creating an order gave."
_NO_STATUS = "Superloop's response states neither isCancellable nor a status; check order_path, and status_keys."
_PROBE_HINTS = {
    ResponseKind.NOT_FOUND: "Either that, or order_path is not where orders are read.",
    ResponseKind.REJECTED: "Check order_path and api_version.",
}


def cancel(requests: Sequence[CancelRequest], config: Config, context: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own, as “Cancel an order” takes one order per call."""
    return flows.flow_per_order(requests, partial(_cancel, config=config, session=Session(tokens(config), context)))


def probe(orders: Sequence[Order], config: Config, context: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Read each order by a call of its own."""
    return flows.flow_per_order(orders, partial(_probe, config=config, session=Session(tokens(config), context)))


def numeric_id(order: Order) -> int | None:
    """The order's number, by any of its names; None if none is one that Superloop would give."""
    numbers = (whole_number(name) for name in (order.id, *order.aliases))
    return next((number for number in numbers if number is not None), None)


def _cancel(request: CancelRequest, config: Config, session: Session) -> Flow[CancelResult]:
    id = numeric_id(request.order)
    if id is None:
        return flows.cancel_unsendable(RESPONSES.provider, request.order)
    url, timeout_s = config.base_url + CANCEL_PATH, config.timeout_s
    call = flows.json_call("POST", url, {"orderId": id}, headers=_JSON, timeout_s=timeout_s)
    response = yield from session.call(partial(authorized, call, config))
    if isinstance(response, ProbeUnavailable):
        return unsent_cancel(response)
    return RESPONSES.cancel_result(_read(response, config, session))


def _probe(order: Order, config: Config, session: Session) -> Flow[Facts | ProbeUnavailable]:
    id = numeric_id(order)
    if id is None:
        return flows.probe_unsendable(RESPONSES.provider, order)
    if not config.order_path:
        return ProbeUnavailable(_NO_PATH, outcome=CancelOutcome.INDETERMINATE)
    url = config.base_url + config.order_path.replace("{id}", str(id))
    call = flows.json_call("GET", url, timeout_s=config.timeout_s)
    response = yield from session.call(partial(authorized, call, config))
    if isinstance(response, ProbeUnavailable):
        return response
    result = _read(response, config, session)
    if result.kind in _PROBE_HINTS:
        result = replace(result, detail=f"{result.detail} {_PROBE_HINTS[result.kind]}")
    order_in = partial(_order_in, order=order, config=config, raw=response.body)
    return flows.read_snapshot(order, result, RESPONSES, order_in, no_status=_NO_STATUS)


def _read(response: HttpResponse, config: Config, session: Session) -> ProviderResponse:
    is_fixed = config.access_token is not None
    advice = "set another access_token" if is_fixed else "nor a fresh one; ask Superloop about the client"
    return read(response, session.token, advice)


def _order_in(body: Payload | None, order: Order, config: Config, raw: bytes) -> tuple[str, Facts]:
    """The order in a response, which was asked for by its number. Raises `MalformedPayload`."""
    if body is None:
        raise MalformedPayload("it holds no order (check order_path)")
    subject = _unwrap(body)
    facts, appointments = order_facts(subject, None, config, raw), read_appointments(subject, config)
    is_silent = facts.phase is Phase.UNKNOWN and facts.provider_status is None and is_cancellable(subject) is None
    return id_or_none(subject.get("id")) or order.id, replace(
        facts,
        phase=None if is_silent else facts.phase,
        appointments=appointments or (),
        # The response shows the whole order: an appointment that its list leaves out is no longer there.
        appointments_complete=appointments is not None,
    )


def _unwrap(body: Payload) -> Payload:
    """The order in `body`: the body itself, or what it wraps."""
    for wrapper in _WRAPPERS:
        inner = body.get(wrapper)
        if "id" not in body and type(inner) is dict:
            return inner
    return body
