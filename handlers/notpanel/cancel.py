"""Canceling: one call for one order or for up to a hundred, whose rows are matched by the orders' ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from app.contract import CancelOutcome, CancelRequest, CancelResult, Context, Facts, Flow, Order, Phase
from app.kit.flows import cancel_unsendable
from app.kit.ids import id_or_none
from app.kit.keys import read_status
from app.kit.payload import Payload
from app.kit.responses import ProviderResponse, ResponseKind
from handlers.notpanel.calls import call, is_nameable
from handlers.notpanel.catalog import flags_of
from handlers.notpanel.config import Config
from handlers.notpanel.payload import SERVICE, SERVICE_CANCEL
from handlers.notpanel.responses import RESPONSES, error_in, read, read_order_error
from handlers.notpanel.words import FINAL, status_phase

# “Cancel”: `Order cannot be cancelled (already completed)`, and `Service does not support cancellation`.
_ALREADY = re.compile(r"\(already ([^()]+)\)", re.IGNORECASE)
_UNSUPPORTED = re.compile(r"\bservice does not support cancel", re.IGNORECASE)

# The same for an order that was pending, and for one that went in flight since its last event.
_TAKEN = CancelResult(
    CancelOutcome.ACCEPTED,
    "NotPanel took the cancel: a pending order is refunded by now, for one in flight a request is queued upstream; "
    "its status will tell.",
)
_NO_ROW = CancelResult(CancelOutcome.INDETERMINATE, "NotPanel's answer does not say what became of this order.")
_UNCLEAR = CancelResult(
    CancelOutcome.INDETERMINATE,
    "What NotPanel's answer says of this order is neither a success nor an error, or both.",
)
_SERVED = (CancelOutcome.ACCEPTED, CancelOutcome.REFUSED)


def cancel(requests: Sequence[CancelRequest], config: Config, context: Context) -> Flow[list[CancelResult]]:
    """Cancel the orders by one call, but for those in flight whose service has `cancel=false` in the catalog."""
    orders = [request.order for request in requests]
    results = {order.id: cancel_unsendable(RESPONSES.provider, order) for order in orders if not is_nameable(order.id)}
    results |= yield from _refused_by_catalog(orders, config, context)
    ids = list(dict.fromkeys(order.id for order in orders if order.id not in results))
    if ids:
        response = yield call(config, "cancel", ids, repeatable=False)
        results |= _results(ids, read(response, config, context), config)
    return [results[order.id] for order in orders]


def _refused_by_catalog(orders: Sequence[Order], config: Config, context: Context) -> Flow[dict[str, CancelResult]]:
    """Refuse orders in flight whose service has `cancel=false` in the catalog, without a cancel call.

    If an order's flag was known before, its cancel was forced, and is sent. A pending order is canceled whatever its
    service.
    """
    services = {
        order.id: service
        for order in orders
        if order.phase is Phase.IN_PROGRESS
        and is_nameable(order.id)
        and type(order.attributes.get(SERVICE_CANCEL)) is not bool
        and (service := id_or_none(order.attributes.get(SERVICE))) is not None
    }
    flags = (yield from flags_of(config, context)) if services else {}
    says = "By NotPanel's catalog service {} does not support cancellation: nothing was sent."
    facts = Facts(attributes={SERVICE_CANCEL: False})
    return {
        id: CancelResult(CancelOutcome.REFUSED, says.format(service), facts=facts)
        for id, service in services.items()
        if flags.get(service) is False
    }


def _results(ids: Sequence[str], response: ProviderResponse, config: Config) -> dict[str, CancelResult]:
    """The result of each order. Its own row outranks the HTTP status, which may be about the row of another."""
    is_done = response.kind is ResponseKind.DONE
    rows = _rows(ids, response.body, config) if is_done or type(response.body) is list else {}
    if not rows and not is_done:
        return dict.fromkeys(ids, _of_call(ids, response, config))
    if not any(result.outcome in _SERVED for result in rows.values()):
        return {id: rows.get(id, _NO_ROW) for id in ids}
    # NotPanel serves the account: what a row says of a key or an account is about that order only.
    retried = {
        id: replace(result, outcome=CancelOutcome.RETRY)
        for id, result in rows.items()
        if result.outcome is CancelOutcome.UNAUTHORIZED
    }
    return {id: retried.get(id) or rows.get(id, _NO_ROW) for id in ids}


def _of_call(ids: Sequence[str], response: ProviderResponse, config: Config) -> CancelResult:
    """The result of every order of a call whose response has no rows."""
    if len(ids) == 1 or response.kind not in (ResponseKind.REJECTED, ResponseKind.NOT_FOUND):
        return _of_error(response, config)
    # Something was wrong with the call, or with one of its orders: of the others it says nothing. Nothing was done.
    detail = f"NotPanel turned the whole call for {len(ids)} orders down: {response.words}."
    return CancelResult(CancelOutcome.RETRY, detail, response.after_s)


def _rows(ids: Sequence[str], body: Any, config: Config) -> dict[str, CancelResult]:
    """What the rows of a response say, by order: an object for one order, a list in any order for several."""
    if type(body) is dict and len(ids) == 1:
        is_ours = id_or_none(body.get("order", ids[0])) == ids[0] and not _names_another(body.get("cancel"), ids[0])
        return {ids[0]: _of_row(body, config)} if is_ours else {}
    results: dict[str, CancelResult] = {}
    for row in body if type(body) is list else ():
        id = id_or_none(row.get("order")) if type(row) is dict else None
        if id is not None and id in ids:
            result = _of_row(row, config)
            # Two rows that contradict each other say nothing.
            results[id] = result if results.get(id, result) == result else _UNCLEAR
    return results


def _names_another(cancel: Any, id: str) -> bool:
    """Is it the id of another order? A number may be anything: some panels answer with that of a task."""
    return type(cancel) is str and cancel.strip() not in ("", id) and not cancel.strip().isdecimal()


def _of_row(row: Payload, config: Config) -> CancelResult:
    """What a row says; its error may be beside `cancel` or inside of it."""
    taken = row.get("cancel")
    error = error_in(row) or error_in(taken)
    is_taken = type(taken) in (str, int, bool) and bool(taken)
    if is_taken == (error is not None):
        return _UNCLEAR
    return _TAKEN if error is None else _of_error(read_order_error(error, config), config)


def _of_error(response: ProviderResponse, config: Config) -> CancelResult:
    """What an error about one order means for its cancel, and what it says of the order besides."""
    if response.kind not in (ResponseKind.REJECTED, ResponseKind.NOT_FOUND):
        return RESPONSES.cancel_result(response)
    error = response.words
    if any(text.lower() in error.lower() for text in config.queued_texts):
        detail = f"A cancel of this order is queued upstream already ({error}); its status will tell."
        return CancelResult(CancelOutcome.ACCEPTED, detail)
    already = _ALREADY.search(error)
    status = read_status(already[1].strip()) if already else None
    phase = None if status is None else status_phase(status, config.phases)
    facts = None
    if phase in FINAL:
        facts = Facts(phase=phase, provider_status=status)
    elif _UNSUPPORTED.search(error):
        # So it is in flight: a pending order is canceled whatever its service, and a terminal one is named as such.
        facts = Facts(phase=Phase.IN_PROGRESS, attributes={SERVICE_CANCEL: False})
    return CancelResult(CancelOutcome.REFUSED, f"NotPanel refused: {error}.", facts=facts)
