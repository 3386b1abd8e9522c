"""The calls that Superloop offers for an order: cancel it, and read how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

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
    HttpResponse,
    Order,
    Phase,
    ProbeUnavailable,
)
from app.kit.ids import id_or_none, whole_number
from app.kit.payload import Payload
from app.kit.responses import PROBE_OUTCOMES, ProviderResponse, ResponseKind, cancel_result, probe_unavailable
from handlers.superloop.config import Config
from handlers.superloop.credentials import Denied, Session
from handlers.superloop.payload import is_cancellable, listed_appointments, order_facts, status_of
from handlers.superloop.responses import read

CANCEL_PATH = "/api/connect/orders/cancel"

_PROBE_OUTCOMES = {
    **PROBE_OUTCOMES,
    # Not ours, or not there, or not at this path, which no document names: it tells nothing.
    ResponseKind.NOT_FOUND: CancelOutcome.INDETERMINATE,
}
_SHOWN_CHARS = 80
_WRAPPERS = ("order", "data")


def cancel(requests: Sequence[CancelRequest], config: Config, context: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own, as “Cancel an order” takes one order per call."""
    session, results = Session(config, context), []
    for each in requests:
        id = numeric_id(each.order)
        if id is None:
            results.append(CancelResult(CancelOutcome.REFUSED, f"{_no_number(each.order)[:-1]}: nothing was sent."))
            continue
        body = msgspec.json.encode({"orderId": id})
        request = _request(config, "POST", CANCEL_PATH, body, repeatable=False)
        response = yield from session.call(request)
        results.append(_result(response, session))
    return results


def probe(orders: Sequence[Order], config: Config, context: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Read each order by a call of its own."""
    session = Session(config, context)
    results: list[Facts | ProbeUnavailable] = []
    for order in orders:
        id = numeric_id(order)
        if id is None:
            results.append(ProbeUnavailable(_no_number(order), outcome=CancelOutcome.REFUSED))
        elif not config.order_path:
            text = "This account has no order_path: set it to the path of the Location that creating an order gave."
            results.append(ProbeUnavailable(text, outcome=CancelOutcome.INDETERMINATE))
        else:
            path = config.order_path.replace("{id}", str(id))
            response = yield from session.call(_request(config, "GET", path, b"", repeatable=True))
            results.append(_snapshot(order, response, session))
    return results


def numeric_id(order: Order) -> int | None:
    """The order's number, by any of its names; None if none is one that Superloop would give."""
    numbers = (whole_number(name) for name in (order.id, *order.aliases))
    return next((number for number in numbers if number is not None), None)


def _no_number(order: Order) -> str:
    return f"Superloop's orders are numbered, and {ascii(order.id)[:_SHOWN_CHARS]} is no number."


def _request(config: Config, method: str, path: str, body: bytes, *, repeatable: bool) -> HttpRequest:
    headers = {"Accept": "application/json"}
    if body:
        headers["Content-Type"] = "application/json;charset=UTF-8"
    return HttpRequest(
        method=method,
        url=config.base_url + path,
        headers=headers,
        body=body,
        timeout_s=config.timeout_s,
        repeatable=repeatable,
    )


def _read(response: HttpResponse, session: Session) -> ProviderResponse:
    """The answer, with what to do about a token that was refused."""
    answer = read(response, session.token)
    if response.status != HTTPStatus.UNAUTHORIZED:
        return answer
    mend = "set another access_token" if session.is_fixed else "nor a fresh one; ask Superloop about the client"
    return replace(answer, detail=f"{answer.detail[:-1]}: {mend}.")


def _result(response: HttpResponse | Denied, session: Session) -> CancelResult:
    if isinstance(response, Denied):
        return CancelResult(response.outcome, response.detail, response.after_s)
    answer = _read(response, session)
    return cancel_result(answer.kind, answer.detail, answer.after_s)


def _snapshot(order: Order, response: HttpResponse | Denied, session: Session) -> Facts | ProbeUnavailable:
    if isinstance(response, Denied):
        return ProbeUnavailable(response.detail, outcome=response.outcome, after_s=response.after_s)
    answer = _read(response, session)
    if answer.kind is not ResponseKind.DONE or answer.body is None:
        return probe_unavailable(answer.kind, _unread(answer), answer.after_s, _PROBE_OUTCOMES)
    config, body = session.config, _unwrapped(answer.body)
    named = id_or_none(body.get("id"))
    if named is not None and named not in (order.id, *order.aliases):
        return ProbeUnavailable(f"Superloop answered with order {named} when asked for {order.id}: check order_path.")
    facts = order_facts(body, None, config, response.body)
    if facts.phase is Phase.UNKNOWN and status_of(body, config) is None and is_cancellable(body) is None:
        text = "Superloop's answer states neither isCancellable nor a status; check order_path, and status_keys."
        return ProbeUnavailable(text)
    appointments, complete = listed_appointments(body, config)
    # What the provider's present word on the whole order does not list is no longer there, if it lists any.
    return replace(facts, appointments=appointments, appointments_complete=complete, snapshot=True)


def _unread(answer: ProviderResponse) -> str:
    match answer.kind:
        case ResponseKind.NOT_FOUND:
            return f"{answer.detail[:-1]}; or order_path is not where orders are read."
        case ResponseKind.DONE:
            return "Superloop's answer holds no order: check order_path."
        case ResponseKind.REJECTED:
            return f"{answer.detail[:-1]}: check order_path and api_version."
        case _:
            return answer.detail


def _unwrapped(body: Payload) -> Payload:
    """The order in `body`: the body itself, or what it wraps."""
    for wrapper in _WRAPPERS:
        inner = body.get(wrapper)
        if "id" not in body and type(inner) is dict:
            return inner
    return body
