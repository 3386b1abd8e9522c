"""The event log, and the receipts it was made from."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace
from multidict import CIMultiDict, MultiDict
from pydantic import AwareDatetime, Field

from app import ids
from app.contract import InboundRequest
from app.ledger import Submission
from app.store import Receipt
from app.web.auth import Scope
from app.web.ingest import read_off_loop, record_kept
from app.web.problems import Kind, Problem
from app.web.routes import Call, PageQuery, Route, SearchPage, order_number, require_known, search_page
from app.web.shapes import EventShape, ReceiptShape, event_shape, receipt_shape


class EventsQuery(PageQuery):
    """Filters for events."""

    account: str | None = None
    order: str | None = Field(None, description="An order's id or alias; needs `account`.")
    type: str | None = Field(None, description="A type, or the beginning of one and a star: `appointment.*`.")
    since: AwareDatetime | None = Field(None, description="Received at this time or later.")
    until: AwareDatetime | None = Field(None, description="Received before this time.")
    text: str | None = Field(None, min_length=2, description="Text that occurs in what the event states.")


class ReceiptsQuery(PageQuery):
    """Filters for receipts."""

    endpoint: str | None = None
    status: Literal["accepted", "duplicate", "ignored", "quarantined"] | None = None


async def list_events(call: Call) -> SearchPage[EventShape]:
    """All events that the filters let through."""
    asked: EventsQuery = call.query
    if asked.type is not None and "*" in asked.type[:-1]:
        raise Problem(Kind.INVALID, "The query parameter type: a star may stand at the end only.", field="type")
    order_pk = await order_number(call, asked.account, asked.order)
    rows = await call.node.store.events(
        account=asked.account,
        order_pk=order_pk,
        type=asked.type,
        since=asked.since,
        until=asked.until,
        text=asked.text,
        before=asked.cursor,
        limit=asked.limit + 1,
    )
    require_known(call, rows, account=asked.account)
    return search_page([(seq, event_shape(event)) for seq, event in rows], asked.limit, rows)


async def get_event(call: Call) -> EventShape:
    """One event."""
    id = call.path("id")
    try:
        event = await call.node.store.event(id)
    except ValueError as error:
        raise Problem(Kind.NOT_FOUND, f"{error}.") from error
    if event is None:
        raise Problem(Kind.NOT_FOUND, f"There is no event {id!r} in the log.")
    return event_shape(event)


async def list_receipts(call: Call) -> SearchPage[ReceiptShape]:
    """All receipts that the filters let through."""
    asked: ReceiptsQuery = call.query
    rows = await call.node.store.receipts(
        endpoint=asked.endpoint, status=asked.status, before=asked.cursor, limit=asked.limit + 1
    )
    require_known(call, rows, endpoint=asked.endpoint)
    return search_page([(each.id, receipt_shape(each, whole=False)) for each in rows], asked.limit, rows)


async def get_receipt(call: Call) -> ReceiptShape:
    """One receipt, with headers and body."""
    return receipt_shape(await _receipt(call), whole=True)


async def reprocess(call: Call) -> ReceiptShape:
    """Read a receipt again, after its handler or its account was mended.

    It was authentic when it came in; events that it brought before are in the log and are not repeated.
    """
    receipt = await _receipt(call)
    account = call.node.directory.accounts.get(receipt.account)
    if account is None:
        raise Problem(Kind.NOT_FOUND, f"The account {receipt.account!r} of this receipt is no more.")
    inbound = InboundRequest(CIMultiDict(receipt.headers), MultiDict(receipt.query), receipt.body)
    id, body_max = ids.show(ids.RECEIPT, receipt.id), call.node.settings.body_max
    read = await read_off_loop(account, inbound, receipt.received_at, id, body_max)
    if read.status != "accepted" or receipt.status not in ("accepted", "duplicate"):
        receipt.status, receipt.reason = read.status, read.reason
    entries = [replace(each, again=True) for each in read.entries]
    await record_kept(call.node.ledger, Submission(entries, reprocessed=receipt), receipt)
    return receipt_shape(receipt, whole=True)


async def _receipt(call: Call) -> Receipt:
    try:
        receipt = await call.node.store.receipt(ids.read(ids.RECEIPT, call.path("id")))
    except ValueError as error:
        raise Problem(Kind.NOT_FOUND, f"{error}.") from error
    if receipt is None:
        raise Problem(Kind.NOT_FOUND, f"There is no receipt {call.path('id')!r}.")
    return receipt


ROUTES = [
    Route(
        method="GET",
        path="/v1/events",
        name="listEvents",
        summary="The event log, the newest first.",
        scope=Scope.READ,
        handler=list_events,
        query=EventsQuery,
        answer=SearchPage[EventShape],
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    ),
    Route(
        method="GET",
        path="/v1/events/{id}",
        name="getEvent",
        summary="One event.",
        scope=Scope.READ,
        handler=get_event,
        answer=EventShape,
        problems=[Kind.NOT_FOUND],
    ),
    Route(
        method="GET",
        path="/v1/receipts",
        name="listReceipts",
        summary="What came in, the newest first; `status=quarantined` is what could not be understood.",
        scope=Scope.READ,
        handler=list_receipts,
        query=ReceiptsQuery,
        answer=SearchPage[ReceiptShape],
        problems=[Kind.NOT_FOUND],
    ),
    Route(
        method="GET",
        path="/v1/receipts/{id}",
        name="getReceipt",
        summary="One receipt, raw.",
        scope=Scope.READ,
        handler=get_receipt,
        answer=ReceiptShape,
        problems=[Kind.NOT_FOUND],
    ),
    Route(
        method="POST",
        path="/v1/receipts/{id}/reprocess",
        name="reprocessReceipt",
        summary="Read a receipt again, after a fix.",
        scope=Scope.WRITE,
        handler=reprocess,
        answer=ReceiptShape,
        problems=[Kind.NOT_FOUND],
    ),
]
