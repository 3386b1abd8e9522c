"""The calls that Kibo offers for an order: cancel it as a whole, and fetch how it stands."""

from __future__ import annotations

from collections.abc import Sequence

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
from app.kit.ids import path_segment
from app.kit.payload import Payload
from app.kit.responses import (
    PROBE_OUTCOMES,
    ProviderResponse,
    ResponseKind,
    cancel_result,
    probe_unavailable,
    told_wait,
)
from handlers.kibo.config import Config
from handlers.kibo.payload import (
    FULFILLMENT,
    RESTRICTED,
    Seen,
    entity_id_of,
    is_about,
    names_of,
    order_id_of,
    read_order,
)
from handlers.kibo.responses import read
from handlers.kibo.rules import OTHER
from handlers.kibo.webhook import TENANT_HEADER

CANCEL_PATH = "/api/v2/order/action/cancel"
_SHOWN_CHARS = 80

_PROBE_OUTCOMES = {
    **PROBE_OUTCOMES,
    # No document says where an order is fetched: what is not there tells nothing of the order.
    ResponseKind.REJECTED: CancelOutcome.INDETERMINATE,
    ResponseKind.NOT_FOUND: CancelOutcome.INDETERMINATE,
    ResponseKind.MISDIRECTED: CancelOutcome.INDETERMINATE,
}
_NOT_GIVEN = (ResponseKind.REJECTED, ResponseKind.NOT_FOUND, ResponseKind.MISDIRECTED)
"""What comes of a path that may be another."""


def cancel(requests: Sequence[CancelRequest], config: Config, _: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own. One whose orderID is not known yet is looked up first."""
    results = []
    for each in requests:
        order_id = order_id_of(each.order)
        if order_id is None:
            found = yield from _ask(each.order, config)
            answer = _from_lookup(found)
            if isinstance(answer, CancelResult):
                results.append(answer)
                continue
            order_id = answer
        response = yield _call(config, "POST", CANCEL_PATH, _body(order_id, each))
        results.append(_result(order_id, each.order, response, config))
    return results


def probe(orders: Sequence[Order], config: Config, _: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own, by its orderID where that is known."""
    results: list[Facts | ProbeUnavailable] = []
    for order in orders:
        found = yield from _ask(order, config)
        results.append(found.facts if isinstance(found, Seen) else found)
    return results


def _call(config: Config, method: str, path: str, body: Payload | None = None) -> HttpRequest:
    headers = {TENANT_HEADER: config.tenant, "Accept": "application/json"}
    if config.credential is not None:
        headers[config.credential_header] = config.credential.get_secret_value()
    if body is not None:
        headers["Content-Type"] = "application/json"
    return HttpRequest(
        method=method,
        url=config.api_url + path,
        headers=headers,
        body=b"" if body is None else msgspec.json.encode(body),
        timeout_s=config.timeout_s,
        repeatable=body is None,
    )


def _body(order_id: int, wish: CancelRequest) -> Payload:
    body: Payload = {"orderID": order_id, "dispositionReason": wish.reason}
    if wish.reason == OTHER and wish.note:
        body["dispositionOtherReason"] = wish.note
    return body


def _result(order_id: int, order: Order, response: HttpResponse, config: Config) -> CancelResult:
    answer = read(response, config)
    if answer.kind is ResponseKind.DONE and answer.body is not None:
        return _done(order_id, order, answer.body, response.body, config)
    return cancel_result(answer.kind, answer.detail, answer.after_s)


def _done(order_id: int, order: Order, body: Payload, raw: bytes, config: Config) -> CancelResult:
    """A success is answered with the order, and is one only if that is canceled."""
    seen = read_order(body, raw, config)
    if seen is None or (not is_about(seen, order) if seen.order_id is None else seen.order_id != order_id):
        detail = "Kibo took the call, but did not answer with the order: whether it is canceled, a probe has to tell."
        return CancelResult(CancelOutcome.INDETERMINATE, detail)
    status = seen.facts.provider_status or "no status"
    match seen.facts.phase:
        case Phase.CANCELED:
            return CancelResult(CancelOutcome.SUCCEEDED, "Kibo canceled the order.", facts=_facts(seen, order))
        case Phase.COMPLETED:
            detail = f"Kibo took the call, but the order is fulfilled or closed ({status}), and not canceled."
            return CancelResult(CancelOutcome.REFUSED, detail, facts=_facts(seen, order))
    detail = f"Kibo took the call, but its answer shows the order as not canceled yet ({status})."
    return CancelResult(CancelOutcome.ACCEPTED, detail)


def _ask(order: Order, config: Config) -> Flow[Seen | ProbeUnavailable]:
    """Fetch the order; what comes is about it, and states how it stands."""
    order_id, entity_id = order_id_of(order), entity_id_of(order)
    by_entity = order_id is None and entity_id is not None
    name = entity_id if order_id is None else str(order_id)
    segment = path_segment(order.id if name is None else name)
    if segment is None:
        detail = f"Kibo cannot be asked for an order called {ascii(order.id)[:_SHOWN_CHARS]}, which fits into no URL."
        return ProbeUnavailable(detail, outcome=CancelOutcome.REFUSED)
    template = config.entity_order_path if by_entity else config.order_path
    response = yield _call(config, "GET", template.replace("{id}", segment))
    answer = read(response, config)
    if answer.kind is not ResponseKind.DONE or answer.body is None:
        return _unavailable(answer, by_entity=by_entity)
    seen = read_order(answer.body, response.body, config)
    if seen is None:
        return ProbeUnavailable("Kibo's answer names no order; if it does so elsewhere, set entity_id_keys.")
    if not is_about(seen, order):
        return ProbeUnavailable(
            f"Kibo answered with order {seen.name} when asked for {order.id}; if an order is fetched by its entityId "
            "elsewhere, set entity_order_path, and if the answer states that elsewhere, entity_id_keys."
        )
    if seen.facts.phase is None:
        return ProbeUnavailable("Kibo's answer states no status; if it does so elsewhere, set status_keys.")
    return replace(seen, facts=_facts(seen, order))


def _unavailable(answer: ProviderResponse, *, by_entity: bool) -> ProbeUnavailable:
    detail = answer.detail
    if answer.kind in _NOT_GIVEN:
        asked_by, path = ("entityId", "entity_order_path") if by_entity else ("orderID", "order_path")
        detail += f" It was asked for by its {asked_by}: if that is done elsewhere, set {path}."
    return probe_unavailable(answer.kind, detail, answer.after_s, _PROBE_OUTCOMES)


def _from_lookup(found: Seen | ProbeUnavailable) -> int | CancelResult:
    """The orderID of an order that was looked up; or why nothing is sent. Nothing has taken effect so far."""
    if isinstance(found, ProbeUnavailable):
        detail = (
            "Nothing was sent, because the order's orderID is not known and could not be looked up: if you know it, "
            f"cancel the order by it. {found}"
        )
        # That the order could not be asked for leaves nothing in doubt.
        outcome = CancelOutcome.RETRY if found.outcome is CancelOutcome.INDETERMINATE else found.outcome
        return CancelResult(outcome, detail, told_wait(outcome, found.after_s))
    status = found.facts.provider_status
    if found.facts.phase is Phase.CANCELED:
        return CancelResult(CancelOutcome.REFUSED, f"The order is canceled already ({status}).", facts=found.facts)
    if found.facts.phase is Phase.COMPLETED:
        return CancelResult(CancelOutcome.REFUSED, f"The order is fulfilled or closed ({status}).", facts=found.facts)
    if found.facts.attributes.get(RESTRICTED) is True:
        return CancelResult(CancelOutcome.REFUSED, f"Kibo's order says {RESTRICTED}.", facts=found.facts)
    if found.order_id is None:
        detail = "Nothing was sent, because Kibo's answer states no orderID: name the order by it, as a whole number."
        return CancelResult(CancelOutcome.REFUSED, detail, facts=found.facts)
    return found.order_id


def _facts(seen: Seen, order: Order) -> Facts:
    """What Kibo shows, with the order's other names; what it no longer states is no longer so."""
    gone = {key: None for key in (RESTRICTED, FULFILLMENT) if order.attributes.get(key) is not None}
    return replace(seen.facts, attributes={**gone, **seen.facts.attributes}, aliases=names_of(seen, order))
