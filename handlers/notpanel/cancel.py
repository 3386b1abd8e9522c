"""Canceling: one call for one order or for up to a hundred, whose rows are matched by the orders' ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from app.contract import CancelOutcome, CancelRequest, CancelResult, Context, Facts, Flow, Order, Phase
from app.kit.ids import id_or_none
from app.kit.keys import read_status
from app.kit.payload import Payload
from app.kit.responses import ResponseKind, cancel_result
from handlers.notpanel.calls import call, is_nameable, nameable, naming
from handlers.notpanel.catalog import flags_of
from handlers.notpanel.config import Config
from handlers.notpanel.payload import SERVICE, SERVICE_CANCEL
from handlers.notpanel.responses import Answer, error_in, kind_of_text, read, safe
from handlers.notpanel.words import FINAL, status_phase

# “Cancel”: `Order cannot be cancelled (already completed)`, and `Service does not support cancellation`.
_ALREADY = re.compile(r"\(already ([^()]+)\)", re.IGNORECASE)
_UNSUPPORTED = re.compile(r"\bservice does not support cancel", re.IGNORECASE)

_TAKEN = (
    "NotPanel took the cancel: a pending order is refunded by now, for one in flight a request is queued upstream; "
    "its status will tell."
)
_QUEUED = "A cancel of this order is queued upstream already ({said}); its status will tell."
_UNNAMEABLE = (
    "An id that is empty, has white space around it or a comma in it is no order of NotPanel's, which lists ids "
    "by commas: it was not sent."
)
_IN_VAIN = "By NotPanel's catalog service {service} does not support cancellation: nothing was sent."
_SERVED = (CancelOutcome.ACCEPTED, CancelOutcome.REFUSED)
_NO_ROW = "NotPanel's answer does not say what became of this order."
_UNCLEAR_ROW = "What NotPanel's answer says of this order is neither a success nor an error, or both."


def cancel(requests: Sequence[CancelRequest], config: Config, context: Context) -> Flow[list[CancelResult]]:
    """Cancel the orders by one call, but for those in flight whose service has `cancel=false` in the catalog."""
    results = yield from _in_vain([each.order for each in requests], config, context)
    asked = [id for id in nameable([each.order for each in requests]) if id not in results]
    if asked:
        response = yield call(config, "cancel", repeatable=False, **naming(asked))
        results |= _results(asked, read(response, config, context), config)
    unnameable = CancelResult(CancelOutcome.REFUSED, _UNNAMEABLE)
    return [results[each.order.id] if is_nameable(each.order.id) else unnameable for each in requests]


def _in_vain(orders: Sequence[Order], config: Config, context: Context) -> Flow[dict[str, CancelResult]]:
    """The orders in flight that the catalog says cannot be canceled, of which that was not known before.

    What was known and is sent all the same, somebody wants so. A pending order is canceled whatever its service.
    """
    services: dict[str, str] = {}
    for each in orders:
        service = id_or_none(each.attributes.get(SERVICE))
        is_open = type(each.attributes.get(SERVICE_CANCEL)) is not bool
        if each.phase is Phase.IN_PROGRESS and service is not None and is_open and is_nameable(each.id):
            services[each.id] = service
    flags = (yield from flags_of(config, context)) if services else {}
    facts = Facts(attributes={SERVICE_CANCEL: False})
    return {
        id: CancelResult(CancelOutcome.REFUSED, _IN_VAIN.format(service=service), facts=facts)
        for id, service in services.items()
        if flags.get(service) is False
    }


def _results(asked: Sequence[str], answer: Answer, config: Config) -> dict[str, CancelResult]:
    """What became of each order. Its own row counts, whatever status the row of another brought about."""
    said = _rows(asked, answer.body) if answer.kind is ResponseKind.DONE or type(answer.body) is list else {}
    if answer.kind is not ResponseKind.DONE and not said:
        return dict.fromkeys(asked, _for_all(asked, answer, config))
    found = {id: _of_row(said[id], config) if id in said else _lost(_NO_ROW) for id in asked}
    if any(each.outcome in _SERVED for each in found.values()):
        # NotPanel serves the account: what a row says of a key or an account is about that order only.
        return {
            id: _retried(each) if each.outcome is CancelOutcome.UNAUTHORIZED else each for id, each in found.items()
        }
    return found


def _retried(result: CancelResult) -> CancelResult:
    return replace(result, outcome=CancelOutcome.RETRY)


def _for_all(asked: Sequence[str], answer: Answer, config: Config) -> CancelResult:
    """What an answer about the call as a whole means for each order of it."""
    if answer.kind is ResponseKind.REJECTED and len(asked) == 1:
        return _refusal(answer.error, config)
    if answer.kind is ResponseKind.REJECTED:
        # Something was wrong with the call, or with one of its orders: of the others it says nothing. Nothing was done.
        detail = f"NotPanel turned the whole call for {len(asked)} orders down: {answer.error}."
        return CancelResult(CancelOutcome.RETRY, detail, answer.after_s)
    return cancel_result(answer.kind, answer.detail, answer.after_s)


def _rows(asked: Sequence[str], body: Any) -> dict[str, str | None]:
    """Order → its error, "" where it succeeded, None where that is unclear. Orders without a row are left out.

    One order is answered by an object, several by a list in any order.
    """
    if type(body) is dict and len(asked) == 1:
        named = id_or_none(body.get("order", asked[0]))
        is_ours = named == asked[0] and not _names_another(body.get("cancel"), asked[0])
        return {asked[0]: _error_of(body)} if is_ours else {}
    found: dict[str, str | None] = {}
    for row in body if type(body) is list else ():
        id = id_or_none(row.get("order")) if type(row) is dict else None
        if id is None or id not in asked:
            continue
        said = _error_of(row)
        # Two rows that contradict each other say nothing.
        found[id] = said if found.get(id, said) == said else None
    return found


def _names_another(cancel: Any, id: str) -> bool:
    """Is it the id of another order? A number may be anything: some panels answer with that of a task."""
    return type(cancel) is str and cancel.strip() not in ("", id) and not cancel.strip().isdecimal()


def _error_of(row: Payload) -> str | None:
    """The error in a row, beside `cancel` or inside of it; "" for a success, None where it says neither or both."""
    cancel = row.get("cancel")
    error = error_in(row) or error_in(cancel) or ""
    done = type(cancel) in (str, int, bool) and bool(cancel)
    return None if done == bool(error) else error


def _of_row(said: str | None, config: Config) -> CancelResult:
    if said is None:
        return _lost(_UNCLEAR_ROW)
    if not said:
        # Success is the same for an order that was pending, and for one that went in flight since we heard of it.
        return CancelResult(CancelOutcome.ACCEPTED, _TAKEN)
    words = safe(said, config)
    kind = kind_of_text(words)
    if kind is ResponseKind.REJECTED:
        return _refusal(words, config)
    return cancel_result(kind, f"NotPanel answered for this order: {words}.")


def _refusal(error: str, config: Config) -> CancelResult:
    """What NotPanel's refusal to cancel one order means, and what it says of the order besides."""
    if any(text.lower() in error.lower() for text in config.queued_texts):
        return CancelResult(CancelOutcome.ACCEPTED, _QUEUED.format(said=error))
    refused = CancelResult(CancelOutcome.REFUSED, f"NotPanel refused: {error}.")
    already = _ALREADY.search(error)
    status = read_status(already[1].strip()) if already else None
    if status is not None and status_phase(status, config.phases) in FINAL:
        return replace(refused, facts=Facts(phase=status_phase(status, config.phases), provider_status=status))
    if _UNSUPPORTED.search(error):
        # A pending order would have been canceled all the same, and of a terminal one something else is said.
        return replace(refused, facts=Facts(phase=Phase.IN_PROGRESS, attributes={SERVICE_CANCEL: False}))
    return refused


def _lost(detail: str) -> CancelResult:
    return CancelResult(CancelOutcome.INDETERMINATE, detail)
