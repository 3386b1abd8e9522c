"""Asking how orders stand: one call for one order or for up to a hundred, and the catalog's cancel flags besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from app.contract import Context, Facts, Flow, MalformedPayload, Order, ProbeUnavailable
from app.kit.flows import probe_unsendable, read_snapshot
from app.kit.ids import id_or_none
from app.kit.payload import Payload
from app.kit.responses import ProviderResponse, ResponseKind
from handlers.notpanel.calls import call, is_nameable
from handlers.notpanel.catalog import flags_of
from handlers.notpanel.config import Config
from handlers.notpanel.payload import SERVICE, SERVICE_CANCEL, facts_of
from handlers.notpanel.responses import RESPONSES, error_in, read, read_order_error
from handlers.notpanel.words import FINAL

_NOT_SPOKEN_OF = ProviderResponse(ResponseKind.UNREADABLE, "NotPanel's answer does not speak of this order.")
_NO_STATUS = "NotPanel's answer states no status; if it does so elsewhere, set status_keys."

Snapshot = Facts | ProbeUnavailable


def probe(orders: Sequence[Order], config: Config, context: Context) -> Flow[list[Snapshot]]:
    """Ask for the orders by one call, and for the catalog where it may matter and is not remembered."""
    snapshots: dict[str, Snapshot] = {
        order.id: probe_unsendable(RESPONSES.provider, order) for order in orders if not is_nameable(order.id)
    }
    asked = {order.id: order for order in orders if order.id not in snapshots}
    if asked:
        raw = yield call(config, "status", [*asked], repeatable=True)
        response = read(raw, config, context)
        for id, order in asked.items():
            own = _response_for(id, response, config, is_alone=len(asked) == 1)
            snapshots[id] = _snapshot(order, own, config, raw.body)
    unflagged = list(_without_flag(orders, snapshots))
    flags = (yield from flags_of(config, context)) if unflagged else {}
    for id, facts, service in unflagged if flags else ():
        # None where the catalog no longer lists the service: its former flag does not count any more.
        snapshots[id] = replace(facts, attributes={**facts.attributes, SERVICE_CANCEL: flags.get(service)})
    return [snapshots[order.id] for order in orders]


def _response_for(id: str, response: ProviderResponse, config: Config, *, is_alone: bool) -> ProviderResponse:
    """What a response says of one order: one is answered by an object of its own, several by one keyed by id.

    Under the status of an error, which may be about another order, only an object keyed by this order's id counts.
    """
    is_done = response.kind is ResponseKind.DONE
    body: Payload = response.body if type(response.body) is dict else {}
    entry = body.get(id)
    if type(entry) is not dict and is_done and is_alone:
        entry = body
    if type(entry) is dict and entry:
        error = error_in(entry)
        own = replace(response, kind=ResponseKind.DONE, body=entry)
        return own if error is None else read_order_error(error, config)
    if is_done:
        return _NOT_SPOKEN_OF
    if response.kind is ResponseKind.NOT_FOUND and not is_alone:
        # It does not say which of them.
        return replace(response, kind=ResponseKind.REJECTED, detail=f"NotPanel answered {response.said}.")
    return response


def _snapshot(order: Order, response: ProviderResponse, config: Config, raw: bytes) -> Snapshot:
    def read_order(body: Payload) -> tuple[str, Facts]:
        id = id_or_none(body.get("order", order.id))
        if id is None:
            raise MalformedPayload("order is there, but can be no order's id")
        return id, facts_of(body, None, config, raw)

    return read_snapshot(order, response, RESPONSES, read_order, no_status=_NO_STATUS)


def _without_flag(orders: Sequence[Order], snapshots: Mapping[str, Snapshot]) -> Iterator[tuple[str, Facts, str]]:
    """Orders that are not final, with a known service whose flag the response does not state."""
    for order in orders:
        facts = snapshots[order.id]
        if isinstance(facts, Facts) and facts.phase not in FINAL and SERVICE_CANCEL not in facts.attributes:
            service = facts.attributes.get(SERVICE) or id_or_none(order.attributes.get(SERVICE))
            if service is not None:
                yield order.id, facts, service
