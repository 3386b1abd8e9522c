"""The calls that Shoplazza offers for an order: cancel it, and get its details."""

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
    MalformedPayload,
    Order,
    Phase,
    ProbeUnavailable,
)
from app.kit.ids import id_or_none, path_segment
from app.kit.payload import Payload
from app.kit.responses import told_wait
from handlers.shoplazza.config import Config
from handlers.shoplazza.payload import facts_of, identify, unwrap
from handlers.shoplazza.responses import Answer, ResponseKind, lacks_scope, read

READ_SCOPE, WRITE_SCOPE = "read_order", "write_order"
"""What the app needs to ask for an order and to subscribe, and to cancel one."""

_OUTCOMES = {
    ResponseKind.UNREADABLE: CancelOutcome.INDETERMINATE,
    ResponseKind.REJECTED: CancelOutcome.REFUSED,
    ResponseKind.NOT_FOUND: CancelOutcome.REFUSED,
    ResponseKind.NOT_ALLOWED: CancelOutcome.UNAUTHORIZED,
    # Every call is in vain until a person acts, as with wrong credentials.
    ResponseKind.CLOSED: CancelOutcome.UNAUTHORIZED,
    ResponseKind.THROTTLED: CancelOutcome.THROTTLED,
    ResponseKind.NOT_OFFERED: CancelOutcome.RETRY,
    ResponseKind.OVERLOADED: CancelOutcome.RETRY,
    ResponseKind.BROKEN: CancelOutcome.INDETERMINATE,
    # The probe that follows takes these two at their word, as it asks for nothing but the order.
    ResponseKind.BROKEN_NOT_FOUND: CancelOutcome.INDETERMINATE,
    ResponseKind.BROKEN_NOT_ALLOWED: CancelOutcome.INDETERMINATE,
    ResponseKind.LOST: CancelOutcome.INDETERMINATE,
    ResponseKind.MISDIRECTED: CancelOutcome.RETRY,
}
_PROBE_OUTCOMES = {
    ResponseKind.NOT_FOUND: CancelOutcome.REFUSED,
    ResponseKind.BROKEN_NOT_FOUND: CancelOutcome.REFUSED,
    ResponseKind.NOT_ALLOWED: CancelOutcome.UNAUTHORIZED,
    ResponseKind.BROKEN_NOT_ALLOWED: CancelOutcome.UNAUTHORIZED,
    ResponseKind.CLOSED: CancelOutcome.UNAUTHORIZED,
    ResponseKind.THROTTLED: CancelOutcome.THROTTLED,
}


def cancel(requests: Sequence[CancelRequest], config: Config, _: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own, as “Cancel Order” takes one order per call."""
    results = []
    for each in requests:
        path = _path_of(each.order)
        if path is None:
            results.append(CancelResult(CancelOutcome.REFUSED, _no_id(each.order)))
            continue
        body = {"reason": each.reason} if each.reason.strip() else {}
        response = yield call(config, "POST", f"/orders/{path}/cancel", body)
        answer = read(response, config, WRITE_SCOPE)
        if _leaves_scope_open(answer, response):
            looked = yield call(config, "GET", f"/orders/{path}")
            answer = _with_scopes(answer, read(looked, config, READ_SCOPE))
        results.append(_result(each.order, answer, response, config))
    return results


def probe(orders: Sequence[Order], config: Config, _: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own: “Get Order Details”."""
    results: list[Facts | ProbeUnavailable] = []
    for order in orders:
        path = _path_of(order)
        if path is None:
            results.append(ProbeUnavailable(_no_id(order), outcome=CancelOutcome.REFUSED))
            continue
        response = yield call(config, "GET", f"/orders/{path}")
        results.append(_snapshot(order, read(response, config, READ_SCOPE), response, config))
    return results


def call(config: Config, method: str, path: str, body: Payload | None = None) -> HttpRequest:
    """A call of Shoplazza's API; all but POST may be repeated."""
    headers = {"access-token": config.access_token.get_secret_value(), "Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    return HttpRequest(
        method=method,
        url=config.api_url + path,
        headers=headers,
        body=b"" if body is None else msgspec.json.encode(body),
        timeout_s=config.timeout_s,
        repeatable=method != "POST",
    )


def _leaves_scope_open(answer: Answer, response: HttpResponse) -> bool:
    """Does it turn the credentials down without saying whether the token or a scope is at fault?

    Shoplazza answers both with the same 400. Whether the token reads the order tells them apart.
    """
    return answer.kind is ResponseKind.NOT_ALLOWED and not answer.scopes and response.status != HTTPStatus.UNAUTHORIZED


def _with_scopes(answer: Answer, looked: Answer) -> Answer:
    """The answer to a cancel, with the scopes that the app lacks by the answer to a read of the same order."""
    said = f"{answer.said}, although the same token reads orders"
    match looked.kind:
        case ResponseKind.DONE | ResponseKind.NOT_FOUND:
            return replace(answer, detail=lacks_scope(said, WRITE_SCOPE))
        case ResponseKind.NOT_ALLOWED if looked.scopes:
            # The token is good, and neither scope was granted.
            return replace(answer, detail=lacks_scope(looked.said, WRITE_SCOPE, *looked.scopes))
    return answer


def _path_of(order: Order) -> str | None:
    """The order's id as a part of a URL's path; None if it can be none.

    An order that was first heard of by its number is called by it; its id is then among the attributes.
    """
    return path_segment(id_or_none(order.attributes.get("id")) or order.id)


def _no_id(order: Order) -> str:
    return f"No order at Shoplazza can be called {ascii(order.id)[:80]}."


def _result(order: Order, answer: Answer, response: HttpResponse, config: Config) -> CancelResult:
    if answer.kind is ResponseKind.DONE:
        return _canceled(order, answer, response, config)
    outcome = _OUTCOMES[answer.kind]
    return CancelResult(
        outcome=outcome,
        detail=answer.detail,
        after_s=told_wait(outcome, answer.after_s),
        # Whoever answered for an overloaded service may not know how far the call came.
        doubtful=answer.kind is ResponseKind.OVERLOADED,
        misdirected=answer.kind is ResponseKind.MISDIRECTED,
    )


def _canceled(order: Order, answer: Answer, response: HttpResponse, config: Config) -> CancelResult:
    """What a success says: it must show the order, as it is now."""
    try:
        id, facts = _order_in(answer, response, config)
    except MalformedPayload as error:
        detail = f"Shoplazza accepted the call, but its answer cannot be read ({error}); asking tells what came of it."
        return CancelResult(CancelOutcome.INDETERMINATE, detail)
    if id not in _names_of(order):
        detail = f"Shoplazza answered with order {id} to a cancel of {order.id}."
        return CancelResult(CancelOutcome.INDETERMINATE, detail)
    if facts.phase is Phase.CANCELED:
        return CancelResult(
            CancelOutcome.SUCCEEDED, f"Shoplazza canceled the order (status {facts.provider_status}).", facts=facts
        )
    # What is finished without a mark of the cancel may have been so before: the next probe or webhook tells.
    detail = f"Shoplazza took the cancel, and its answer does not show it canceled (status {facts.provider_status})."
    return CancelResult(CancelOutcome.ACCEPTED, detail, facts=facts)


def _snapshot(order: Order, answer: Answer, response: HttpResponse, config: Config) -> Facts | ProbeUnavailable:
    if answer.kind is not ResponseKind.DONE:
        outcome = _PROBE_OUTCOMES.get(answer.kind, CancelOutcome.RETRY)
        return ProbeUnavailable(answer.detail, outcome=outcome, after_s=answer.after_s)
    try:
        id, facts = _order_in(answer, response, config)
    except MalformedPayload as error:
        return ProbeUnavailable(f"Shoplazza's answer cannot be read: {error}.")
    if id not in _names_of(order):
        return ProbeUnavailable(f"Shoplazza answered with order {id} when asked for {order.id}.")
    phase = facts.phase
    if phase is None:
        return ProbeUnavailable("Shoplazza's answer states neither status nor fulfillment_status.")
    if phase is Phase.COMPLETED and order.phase is Phase.CANCELED:
        # An order that was paid may end as finished; that takes back nothing.
        phase = Phase.CANCELED
    return replace(facts, phase=phase, aliases=(id,) if id != order.id else (), snapshot=True)


def _order_in(answer: Answer, response: HttpResponse, config: Config) -> tuple[str, Facts]:
    """The order's id, and what the answer states of it. Raises `MalformedPayload`."""
    if answer.body is None:
        raise MalformedPayload("it has no body")
    subject = unwrap(answer.body)
    return identify(subject), facts_of(subject, None, config, response.body)


def _names_of(order: Order) -> set[str]:
    return {order.id, *order.aliases, id_or_none(order.attributes.get("id")) or order.id}
