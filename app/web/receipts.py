"""Receipts: inbound requests as received, the events they brought, and parsing them again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from msgspec.structs import replace
from pydantic import Field

from app.config.registry import handlers
from app.config.scope import Scope
from app.core.receipt_status import ReceiptStatus
from app.runtime import ids
from app.store import Receipt
from app.store.filters import ReceiptFilter
from app.web import examples, schemas
from app.web.auth import require_scope
from app.web.facets import Facets
from app.web.fields import Moment
from app.web.masking import mask
from app.web.pages import OrderQuery, PageQuery, SearchPage, order_number, require_known, search_page
from app.web.problems import Kind, Problem
from app.web.reprocess import parse_again, record_again
from app.web.routes import AccountCheck, ApiTag, Call, Query, RouteTable

ROUTES = RouteTable(ApiTag("Receipts", "Inbound requests as received, and the quarantine."), id=examples.RECEIPT)
EVENTS_MAX = 100
"""Events named with a receipt at most."""
_MISSING = Problem(Kind.NOT_FOUND, f"There is no receipt {examples.RECEIPT!r}.")
_WHOLE = replace(
    schemas.RECEIPT,
    query=[],
    headers=[("Content-Type", "application/json"), ("Authorization", "**********")],
    body='{"event":"order.processed","order_id":"654321","occurred_at":"2026-03-02T09:30:00Z"}',
    orders=[examples.ORDER],
    events=[examples.EVENT],
)


class ReceiptFilters(OrderQuery):
    """Filters for receipts; those of an order are the ones with new events of it."""

    endpoint: str | None = None
    status: ReceiptStatus | None = None
    reason: str | None = Field(
        None, min_length=2, max_length=200, description="Text contained in the reason why it was set aside."
    )
    since: Moment | None = Field(None, description="Received at this time or later.")
    until: Moment | None = Field(None, description="Received before this time.")
    text: str | None = Field(
        None,
        min_length=2,
        max_length=200,
        description="Text contained in the body; requires scope admin, as bodies hold private data.",
    )


class ReceiptsQuery(PageQuery, ReceiptFilters):
    """Filters for receipts."""


class ReceiptQuery(Query):
    """How to show a receipt."""

    raw: bool = Field(
        default=False, description="Do not mask fields that the handler declares private; requires scope admin."
    )


@ROUTES.get("/v1/receipts", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.QUERY)
async def list_receipts(call: Call, query: ReceiptsQuery) -> SearchPage[schemas.Receipt]:
    """Inbound requests, newest first; those with `status=quarantined` could not be parsed.

    Lists have no headers or bodies; `text` searches bodies, and requires scope `admin`. Bodies have no index: they are
    read newest first for a second, which ends the page (`complete` is false then, and `next_cursor` continues).
    """
    window = query.window()
    rows = await call.node.store.receipts(window, await _filter(call, query))
    require_known(call, rows, account=query.account, endpoint=query.endpoint)
    return search_page([(position, schemas.Receipt.of(receipt)) for position, receipt in rows], window, rows)


@ROUTES.get("/v1/receipts/facets", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.QUERY)
async def count_receipts(call: Call, query: ReceiptFilters) -> Facets:
    """Count receipts by `status`, `endpoint` and `account`, for the filters of the list.

    The newest 2,000 are counted, within the time budget of a search; `complete` tells whether there are more. With no
    filter those that were not accepted are counted up to some thousands of each status, however old they are.
    """
    counted = await call.node.store.receipt_facets(await _filter(call, query))
    require_known(call, range(counted.total), account=query.account, endpoint=query.endpoint)
    return Facets.of(counted)


async def _filter(call: Call, query: ReceiptFilters) -> ReceiptFilter:
    """The filter of the store. Raises `Problem`."""
    if query.text is not None:
        require_scope(call.key, Scope.ADMIN)
    order_pk = await order_number(call, query.account, query.order)
    return ReceiptFilter(order_pk=order_pk, **query.model_dump(exclude={"limit", "cursor", "order"}))


@ROUTES.get("/v1/receipts/{id}", problems=[_MISSING], response_example=_WHOLE, account_check=AccountCheck.HANDLER)
async def get_receipt(call: Call, id: str, query: ReceiptQuery) -> schemas.Receipt:
    """One receipt with its headers, body, orders and events; with `raw` also its private data.

    Secrets in headers and query are masked always, fields that the handler declares private unless `raw` is set.
    """
    if query.raw:
        require_scope(call.key, Scope.ADMIN)
    return await _shown(call, await find(call, id), raw=query.raw)


@ROUTES.post(
    "/v1/receipts/{id}/reprocess",
    Scope.WRITE,
    problems=[_MISSING, Kind.EXPUNGED],
    response_example=_WHOLE,
    account_check=AccountCheck.HANDLER,
)
async def reprocess_receipt(call: Call, id: str) -> schemas.Receipt:
    """Parse a receipt again, after its handler or account was corrected.

    The request was verified when it came in. Events that the log has already are not repeated.
    """
    receipt = await find(call, id)
    if (detail := expunged(receipt)) is not None:
        raise Problem(Kind.EXPUNGED, detail)
    account = call.node.config.accounts.get(receipt.account)
    if account is None:
        raise Problem(Kind.NOT_FOUND, f"The account {receipt.account!r} of this receipt was removed.")
    await record_again(call.node, receipt, await parse_again(call.node, account, receipt))
    return await _shown(call, receipt, raw=False)


def expunged(receipt: Receipt) -> str | None:
    """Why a receipt without content cannot be parsed again; None if it has its content."""
    if receipt.expunged_at is None:
        return None
    name, at = ids.show(ids.RECEIPT, receipt.id), f"{receipt.expunged_at:%Y-%m-%d %H:%M} UTC"
    return f"The content of receipt {name} was expunged on {at}: it cannot be parsed again."


async def _shown(call: Call, receipt: Receipt, *, raw: bool) -> schemas.Receipt:
    shown = schemas.Receipt.whole(receipt)
    events = await call.node.store.receipt_events(receipt.id, EVENTS_MAX)
    shown.events = [event.id for event in events]
    shown.orders = list(dict.fromkeys(event.order for event in events))
    if raw:
        return shown
    private = _private_names(call, receipt.account)
    if shown.body is not None:
        # In a thread: a large body would hold up the event loop.
        body, shown.body = shown.body, await asyncio.to_thread(mask, shown.body, private)
        shown.masked = shown.body is not body
    elif private and receipt.expunged_at is None:
        shown.body_base64, shown.masked = None, True  # What is not text cannot be searched for private fields.
    return shown


def _private_names(call: Call, account: str) -> Collection[str]:
    """The fields that the account's handler declares private; of a removed account, those of all handlers."""
    configured = call.node.config.accounts.get(account)
    if configured is not None:
        return configured.handler.private
    return {name for handler in handlers().values() for name in handler.private}


async def find(call: Call, id: str) -> Receipt:
    """The receipt of that id. Raises `Problem` if there is none, or the key may not use its account."""
    try:
        receipt = await call.node.store.receipt(ids.read(ids.RECEIPT, id))
    except ValueError as error:
        raise Problem(Kind.NOT_FOUND, f"{error}.") from error
    if receipt is None or not call.key.sees(receipt.account):
        raise Problem(Kind.NOT_FOUND, f"There is no receipt {id!r}.")
    return receipt
