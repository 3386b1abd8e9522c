"""Asking how orders stand: one call for one order or for up to a hundred, and the catalog's cancel flags besides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from app.contract import CancelOutcome, Context, Facts, Flow, Order, ProbeUnavailable
from app.kit.ids import id_or_none
from app.kit.payload import Payload
from app.kit.responses import ResponseKind, probe_unavailable
from handlers.notpanel.calls import call, is_nameable, nameable, naming
from handlers.notpanel.catalog import flags_of
from handlers.notpanel.config import Config
from handlers.notpanel.payload import SERVICE, SERVICE_CANCEL, facts_of, status_in
from handlers.notpanel.responses import Answer, error_in, kind_of_text, read, safe
from handlers.notpanel.words import FINAL

# “Order status”: `Incorrect order ID`; “Cancel”: `Order not found`.
_UNKNOWN_ORDER = re.compile(r"\b(incorrect|invalid|unknown|wrong) order\b|\border (id )?not found\b", re.IGNORECASE)

_UNNAMEABLE = (
    "An id that is empty, has white space around it or a comma in it is no order of NotPanel's, which lists ids "
    "by commas: it was not asked for."
)

Found = Facts | ProbeUnavailable


def probe(orders: Sequence[Order], config: Config, context: Context) -> Flow[list[Found]]:
    """Ask for the orders by one call, and for the catalog where it may matter and is not remembered."""
    asked = nameable(orders)
    found: dict[str, Found] = {}
    if asked:
        response = yield call(config, "status", repeatable=True, **naming(asked))
        answer = read(response, config, context)
        found = {id: _found(id, asked, answer, response.body, config) for id in asked}
    services = {each.id: _service_of(each, found.get(each.id)) for each in orders}
    if any(services.values()):
        flags = yield from flags_of(config, context)
        if flags:
            found = {id: _flagged(each, services[id], flags) for id, each in found.items()}
    unnameable = ProbeUnavailable(_UNNAMEABLE, outcome=CancelOutcome.REFUSED)
    return [found[each.id] if is_nameable(each.id) else unnameable for each in orders]


def _found(id: str, asked: Sequence[str], answer: Answer, raw: bytes, config: Config) -> Found:
    if answer.kind is ResponseKind.REJECTED and len(asked) == 1:
        return _unavailable(answer.error)
    entry = _entry(id, asked, answer)
    if answer.kind is not ResponseKind.DONE and entry is None:
        return probe_unavailable(answer.kind, answer.detail, answer.after_s)
    if type(entry) is not dict:
        return ProbeUnavailable("NotPanel's answer does not speak of this order.")
    return _snapshot(id, entry, raw, config)


def _snapshot(id: str, entry: Payload, raw: bytes, config: Config) -> Found:
    error = error_in(entry)
    if error is not None:
        return _unavailable(safe(error, config))
    named = id_or_none(entry.get("order", id))
    if named != id:
        return ProbeUnavailable(f"NotPanel answered with order {named} when asked for {id}.")
    status = status_in(entry, config)
    if status is None:
        return ProbeUnavailable("NotPanel's answer states no status; if it does so elsewhere, set status_keys.")
    return replace(facts_of(entry, status, None, config, raw), snapshot=True)


def _entry(id: str, asked: Sequence[str], answer: Answer) -> Any:
    """What the answer says of the order: one is answered by an object of its own, several by one keyed by id.

    Under an error's status, which one of the others may have brought about, what is said of an order by its id counts.
    """
    entries: Payload = answer.body if type(answer.body) is dict else {}
    entry = entries.get(id)
    if answer.kind is not ResponseKind.DONE:
        return entry if type(entry) is dict else None
    return entries if type(entry) is not dict and len(asked) == 1 and entries else entry


def _unavailable(error: str) -> ProbeUnavailable:
    """What an error about one order means for its probe."""
    if _UNKNOWN_ORDER.search(error):
        return ProbeUnavailable(f"NotPanel knows no such order: {error}.", outcome=CancelOutcome.REFUSED)
    return probe_unavailable(kind_of_text(error), f"NotPanel answered for this order: {error}.")


def _service_of(order: Order, found: Found | None) -> str | None:
    """The order's service, if it is known, and its flag may still matter and is not told by the answer itself."""
    if not isinstance(found, Facts) or found.phase in FINAL or SERVICE_CANCEL in found.attributes:
        return None
    return found.attributes.get(SERVICE) or id_or_none(order.attributes.get(SERVICE))


def _flagged(found: Found, service: str | None, flags: dict[str, bool]) -> Found:
    if not isinstance(found, Facts) or service is None:
        return found
    # A service that the catalog does not list any more: what it once said is not known any more.
    return replace(found, attributes={**found.attributes, SERVICE_CANCEL: flags.get(service)})
