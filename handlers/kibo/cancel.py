"""The calls that Kibo offers for an order: cancel it as a whole, and fetch it."""

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
    HttpRequest,
    Order,
    Phase,
    ProbeUnavailable,
)
from app.kit import flows
from app.kit.ids import path_segment
from app.kit.payload import Payload
from app.kit.responses import ResponseKind, told_wait
from handlers.kibo import payload
from handlers.kibo.config import Config
from handlers.kibo.payload import RESTRICTED, OrderResource
from handlers.kibo.responses import RESPONSES, read
from handlers.kibo.rules import OTHER
from handlers.kibo.webhook import TENANT_HEADER
from handlers.kibo.words import TITLE

CANCEL_PATH = "/api/v2/order/action/cancel"

_NOT_GIVEN = (ResponseKind.REJECTED, ResponseKind.NOT_FOUND, ResponseKind.MISDIRECTED)
"""The kinds of response that a wrong path gets as well."""


def cancel(requests: Sequence[CancelRequest], config: Config, _: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own. One whose orderID is not known yet is looked up first."""
    return flows.flow_per_order(requests, partial(_cancel, config=config))


def probe(orders: Sequence[Order], config: Config, _: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own, by its orderID where that is known."""

    def facts(order: Order) -> Flow[Facts | ProbeUnavailable]:
        resource = yield from _fetch(order, config)
        return resource.facts if isinstance(resource, OrderResource) else resource

    return flows.flow_per_order(orders, facts)


def _call(config: Config, method: str, path: str, body: Payload | None = None) -> HttpRequest:
    headers = {TENANT_HEADER: config.tenant}
    if config.credential is not None:
        headers[config.credential_header] = config.credential.get_secret_value()
    return flows.json_call(method, config.api_url + path, body, headers=headers, timeout_s=config.timeout_s)


def _cancel(request: CancelRequest, config: Config) -> Flow[CancelResult]:
    order_id: int | CancelResult | None = payload.order_id_of(request.order)
    if order_id is None:
        order_id = _looked_up((yield from _fetch(request.order, config)))
    if isinstance(order_id, CancelResult):
        return order_id
    body: Payload = {"orderID": order_id, "dispositionReason": request.reason}
    if request.reason == OTHER and request.note:
        body["dispositionOtherReason"] = request.note
    reply = yield _call(config, "POST", CANCEL_PATH, body)
    response = read(reply, config)
    if response.kind is ResponseKind.DONE:
        return _done(order_id, request.order, payload.read_order(response.body, reply.body, config))
    return RESPONSES.cancel_result(response)


def _done(order_id: int, order: Order, resource: OrderResource | None) -> CancelResult:
    """The result of a call that Kibo took: a success only if the order that it answered with is canceled."""
    is_other = resource is not None and resource.order_id not in (None, order_id)
    if resource is None or is_other or (resource.order_id is None and not payload.is_about(resource, order)):
        detail = "Kibo took the call, but did not answer with the order: whether it is canceled, a probe has to tell."
        return CancelResult(CancelOutcome.INDETERMINATE, detail)
    status = resource.facts.provider_status or "no status"
    match resource.facts.phase:
        case Phase.CANCELED:
            facts = payload.facts_about(order, resource)
            return CancelResult(CancelOutcome.SUCCEEDED, "Kibo canceled the order.", facts=facts)
        case Phase.COMPLETED:
            detail = f"Kibo took the call, but the order is fulfilled or closed ({status}), and not canceled."
            return CancelResult(CancelOutcome.REFUSED, detail, facts=payload.facts_about(order, resource))
    detail = f"Kibo took the call, but its response shows the order as not canceled yet ({status})."
    return CancelResult(CancelOutcome.ACCEPTED, detail)


def _fetch(order: Order, config: Config) -> Flow[OrderResource | ProbeUnavailable]:
    """Fetch the order resource, which is about `order` and states a status; or say why there is none."""
    order_id, entity_id = payload.order_id_of(order), payload.entity_id_of(order)
    by_entity = order_id is None and entity_id is not None
    segment = path_segment((entity_id or order.id) if order_id is None else str(order_id))
    if segment is None:
        return flows.probe_unsendable(TITLE, order)
    template = config.entity_order_path if by_entity else config.order_path
    reply = yield _call(config, "GET", template.replace("{id}", segment))
    response = read(reply, config)
    if response.kind in _NOT_GIVEN:
        asked_by, path = ("entityId", "entity_order_path") if by_entity else ("orderID", "order_path")
        hint = f"It was asked for by its {asked_by}: if that is done elsewhere, set {path}."
        response = replace(response, detail=f"{response.detail} {hint}")
    if response.kind is not ResponseKind.DONE:
        return RESPONSES.probe_unavailable(response)
    return _snapshot(order, payload.read_order(response.body, reply.body, config))


def _snapshot(order: Order, resource: OrderResource | None) -> OrderResource | ProbeUnavailable:
    """The resource with the names and facts of `order`; or why it says nothing of that order."""
    if resource is None:
        return ProbeUnavailable("Kibo's response names no order; if it does so elsewhere, set entity_id_keys.")
    if not payload.is_about(resource, order):
        return ProbeUnavailable(
            f"Kibo answered with order {resource.name} when asked for {order.id}; if an order is fetched by its "
            "entityId elsewhere, set entity_order_path, and if the response states that elsewhere, entity_id_keys."
        )
    if resource.facts.phase is None:
        return ProbeUnavailable("Kibo's response states no status; if it does so elsewhere, set status_keys.")
    return replace(resource, facts=payload.facts_about(order, resource))


def _looked_up(resource: OrderResource | ProbeUnavailable) -> int | CancelResult:
    """The orderID of an order that was looked up; or the result of the cancel, of which nothing was sent."""
    if isinstance(resource, ProbeUnavailable):
        detail = (
            "Nothing was sent, because the order's orderID is not known and could not be looked up: if you know it, "
            f"cancel the order by it. {resource}"
        )
        # No cancel was sent: a failed probe leaves no outcome uncertain.
        outcome = CancelOutcome.RETRY if resource.outcome is CancelOutcome.INDETERMINATE else resource.outcome
        return CancelResult(outcome, detail, told_wait(outcome, resource.after_s))
    facts = resource.facts
    if facts.phase is Phase.CANCELED:
        detail = f"The order is canceled already ({facts.provider_status})."
    elif facts.phase is Phase.COMPLETED:
        detail = f"The order is fulfilled or closed ({facts.provider_status})."
    elif facts.attributes.get(RESTRICTED) is True:
        detail = f"Kibo's order says {RESTRICTED}."
    elif resource.order_id is None:
        detail = "Nothing was sent, because Kibo's response states no orderID: name the order by it, as a whole number."
    else:
        return resource.order_id
    return CancelResult(CancelOutcome.REFUSED, detail, facts=facts)
