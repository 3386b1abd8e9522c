"""The calls that Shoplazza offers for an order: cancel it, and get its details."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from http import HTTPStatus

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
from app.kit import flows
from app.kit.ids import id_or_none, path_segment
from app.kit.payload import Payload
from app.kit.responses import ProviderResponse, ResponseKind
from handlers.shoplazza.config import Config
from handlers.shoplazza.payload import facts_of, identify, unwrap
from handlers.shoplazza.responses import RESPONSES, missing_scopes, name_scopes, read

READ_SCOPE, WRITE_SCOPE = "read_order", "write_order"
"""What the app needs to ask for an order and to subscribe, and to cancel one."""


def cancel(requests: Sequence[CancelRequest], config: Config, _: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own, as “Cancel Order” takes one order per call."""
    return flows.flow_per_order(requests, partial(_cancel, config=config))


def probe(orders: Sequence[Order], config: Config, _: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own: “Get Order Details”."""

    def build(order: Order) -> HttpRequest | ProbeUnavailable:
        path = _path_of(order)
        return flows.probe_unsendable(RESPONSES.provider, order) if path is None else call(config, "GET", path)

    def snapshot(order: Order, response: HttpResponse) -> Facts | ProbeUnavailable:
        order_in = partial(_order_in, raw=response.body, config=config, before=order)
        no_status = "Shoplazza's response states neither status nor fulfillment_status."
        parsed = read(response, config, READ_SCOPE)
        return flows.read_snapshot(_with_own_id(order), parsed, RESPONSES, order_in, no_status=no_status)

    return flows.per_order(orders, build, snapshot)


def call(config: Config, method: str, path: str, body: Payload | None = None) -> HttpRequest:
    """A call of Shoplazza's API; all but POST may be repeated."""
    headers = {"access-token": config.access_token.get_secret_value()}
    url, is_repeatable = config.api_url + path, method != "POST"
    return flows.json_call(method, url, body, headers=headers, timeout_s=config.timeout_s, repeatable=is_repeatable)


def _cancel(request: CancelRequest, config: Config) -> Flow[CancelResult]:
    path = _path_of(request.order)
    if path is None:
        return flows.cancel_unsendable(RESPONSES.provider, request.order)
    body = {"reason": request.reason} if request.reason.strip() else {}
    reply = yield call(config, "POST", f"{path}/cancel", body)
    response = read(reply, config, WRITE_SCOPE)
    if response.kind is ResponseKind.DONE:
        return _canceled(request.order, response.body, reply.body, config)
    # Shoplazza answers a wrong token and a missing scope with the same 400. Reading the order tells them apart.
    is_scope_open = not missing_scopes(response, WRITE_SCOPE) and response.status != HTTPStatus.UNAUTHORIZED
    if response.kind is ResponseKind.NOT_ALLOWED and is_scope_open:
        lookup = yield call(config, "GET", path)
        response = _with_scopes(response, read(lookup, config, READ_SCOPE))
    return RESPONSES.cancel_result(response)


def _with_scopes(response: ProviderResponse, lookup: ProviderResponse) -> ProviderResponse:
    """The response to a cancel, with the scopes that the app lacks, where a read of the order (`lookup`) tells them."""
    if lookup.kind in (ResponseKind.DONE, ResponseKind.NOT_FOUND):
        return name_scopes(response, f"{response.said}, although the same token reads orders", WRITE_SCOPE)
    scopes = missing_scopes(lookup, READ_SCOPE)
    # A read that names its scope shows that the token is right, and that neither scope was granted.
    return name_scopes(response, lookup.said, WRITE_SCOPE, *scopes) if scopes else response


def _canceled(order: Order, body: Payload | None, raw: bytes, config: Config) -> CancelResult:
    """The result of a cancel that was answered with a success, whose body must show the order as it is now."""
    try:
        id, facts = _order_in(body, raw, config)
    except MalformedPayload as error:
        detail = f"Shoplazza accepted the call, but its response cannot be read ({error}); a probe tells the outcome."
        return CancelResult(CancelOutcome.INDETERMINATE, detail)
    if not flows.same_order(_with_own_id(order), id):
        detail = f"Shoplazza answered with order {id} to a cancel of {order.id}."
        return CancelResult(CancelOutcome.INDETERMINATE, detail)
    status = f"(status {facts.provider_status})"
    if facts.phase is Phase.CANCELED:
        return CancelResult(CancelOutcome.SUCCEEDED, f"Shoplazza canceled the order {status}.", facts=facts)
    # What is finished without a mark of the cancel may have been so before: the next probe or webhook tells.
    detail = f"Shoplazza took the cancel, and its response does not show it canceled {status}."
    return CancelResult(CancelOutcome.ACCEPTED, detail, facts=facts)


def _order_in(body: Payload | None, raw: bytes, config: Config, before: Order | None = None) -> tuple[str, Facts]:
    """The id of the order in the body of a response, and its facts. Raises `MalformedPayload`.

    An order that was paid may end as finished; where it was canceled `before`, it stays canceled.
    """
    if body is None:
        raise MalformedPayload("it has no body")
    subject = unwrap(body)
    id, facts = identify(subject), facts_of(subject, None, config, raw)
    if facts.phase is Phase.COMPLETED and before is not None and before.phase is Phase.CANCELED:
        facts = replace(facts, phase=Phase.CANCELED)
    return id, facts


def _own_id(order: Order) -> str:
    """The id by which Shoplazza is asked: an order that was first heard of by its number has it as an attribute."""
    return id_or_none(order.attributes.get("id")) or order.id


def _path_of(order: Order) -> str | None:
    """The path of the order; None if its id can be no part of one."""
    segment = path_segment(_own_id(order))
    return None if segment is None else f"/orders/{segment}"


def _with_own_id(order: Order) -> Order:
    return replace(order, aliases=(*order.aliases, _own_id(order)))
