"""Parsing many receipts again, page by page, with a preview of what would become of each."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from time import monotonic
from typing import Any

from msgspec import Struct
from pydantic import Field

from app.config.scope import Scope
from app.core.receipt_status import ReceiptStatus
from app.node import Node
from app.runtime import ids
from app.runtime.time_slice import TimeSlice
from app.store import Receipt, SearchResult
from app.store.filters import ReceiptFilter
from app.web import examples, receipts
from app.web.examples import example
from app.web.fields import Moment
from app.web.lookup import missing
from app.web.pages import CursorText, PageQuery, encode_cursor, order_number, require_known, search_page
from app.web.problems import Kind, Problem
from app.web.reprocess import parse_again, record_again
from app.web.restriction import refuse_restricted
from app.web.routes import AccountCheck, Body, Call, RouteTable

ROUTES = RouteTable(receipts.ROUTES.tag)
PAGE_S = 5.0
"""No further receipts are begun in a request that has taken so long."""
TOGETHER = 25
"""Receipts that are recorded at once, in one commit where possible."""
LOOKED_UP_MAX = 20
"""Events of one receipt that are looked up in the log."""
_Row = tuple[Any, Receipt]


class ReprocessFilter(Body):
    """Which receipts to reprocess; all conditions apply."""

    account: str | None = None
    endpoint: str | None = None
    order: str | None = Field(None, description="Only those that became events of this order; requires `account`.")
    status: ReceiptStatus = Field(ReceiptStatus.QUARANTINED, description="What became of them before.", strict=False)
    reason: str | None = Field(None, min_length=2, max_length=200, description="Text contained in the reason.")
    since: Moment | None = Field(None, description="Received at this time or later.")
    until: Moment | None = Field(None, description="Received before this time.")


class ReprocessBody(Body):
    """Which receipts to reprocess, and whether for a preview only. Give either `filter` or `receipts`."""

    dry_run: bool = Field(default=False, description="Tell only what would become of them.")
    filter: ReprocessFilter | None = Field(None, description="An empty one finds all in quarantine.")
    receipts: tuple[str, ...] | None = Field(None, max_length=200, description="Exactly these receipts, at once.")
    limit: int = Field(100, ge=1, le=200, description="Maximum number of receipts in this request.")
    cursor: CursorText | None = Field(None, max_length=1000, description="`next_cursor` of the previous response.")


example(ReprocessBody(dry_run=True, filter=ReprocessFilter(account=examples.ACCOUNT)))


class Reprocessed(Struct, kw_only=True):
    """What became, or would become, of a receipt."""

    id: str
    account: str
    endpoint: str
    received_at: datetime
    before: str
    """Its status until now."""
    status: str
    """Its status from now on; of a preview, the expected one."""
    reason: str
    events: int
    """The events that it holds."""
    new_events: int
    """Those that the log did not have, of the first 20."""
    orders: list[str]
    """The orders of its first events, as the receipt names them."""


class ReprocessPage(Struct, kw_only=True):
    """A part of the receipts that were to be reprocessed, the newest first."""

    data: list[Reprocessed]
    dry_run: bool
    counts: dict[str, int]
    """Status → the number of receipts here that came to it."""
    has_more: bool
    next_cursor: str | None
    """Repeat the request with this cursor to go on."""


example(
    ReprocessPage(
        data=[
            Reprocessed(
                id=examples.RECEIPT,
                account=examples.ACCOUNT,
                endpoint=examples.ENDPOINT,
                received_at=examples.RECEIVED_AT,
                before="quarantined",
                status="accepted",
                reason="",
                events=1,
                new_events=1,
                orders=[examples.ORDER],
            )
        ],
        dry_run=True,
        counts={"accepted": 1},
        has_more=False,
        next_cursor=None,
    )
)


@ROUTES.post(
    "/v1/receipts/reprocess", Scope.WRITE, problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.HANDLER
)
async def bulk_reprocess_receipts(call: Call, body: ReprocessBody) -> ReprocessPage:
    """Parse receipts again, after their handler or account was corrected; with `dry_run` only preview it.

    One request takes a page of them, the newest first: repeat it with `next_cursor` until `has_more` is false. A
    request may be repeated: events that the log has already are not repeated. A preview cannot tell whether two orders
    would clash; such a receipt stays in quarantine.
    """
    rows, following = await _rows(call, body)
    time_slice, began = TimeSlice(), monotonic()
    results: list[Reprocessed] = []
    for start in range(0, len(rows), TOGETHER):
        if start and monotonic() - began > PAGE_S:
            following = encode_cursor(rows[start - 1][0])
            break
        part = [_reprocess(call.node, receipt, dry_run=body.dry_run) for _, receipt in rows[start : start + TOGETHER]]
        results += [result for result in await asyncio.gather(*part) if result is not None]
        await time_slice.pause()
    return ReprocessPage(
        data=results,
        dry_run=body.dry_run,
        counts=dict(Counter(result.status for result in results)),
        has_more=following is not None,
        next_cursor=following,
    )


async def _rows(call: Call, body: ReprocessBody) -> tuple[list[_Row], str | None]:
    """(the receipts of this page with their positions, without their bodies; where the next page begins)."""
    if (body.receipts is None) == (body.filter is None):
        raise Problem(Kind.INVALID, "The field filter: give either a filter or receipts.", field="filter")
    if body.filter is None:
        found = [await receipts.find(call, id) for id in dict.fromkeys(body.receipts or ())]
        return [(receipt.id, receipt) for receipt in found], None
    filters = body.filter
    if filters.account is None:
        refuse_restricted(call.key)
    elif not call.key.sees(filters.account):
        raise missing("accounts", filters.account, field="filter.account")
    window = PageQuery(limit=body.limit, cursor=body.cursor).window()
    order_pk = await order_number(call, filters.account, filters.order)
    wanted = ReceiptFilter(order_pk=order_pk, **filters.model_dump(exclude={"order"}))
    rows: SearchResult[_Row] = await call.node.store.receipts(window, wanted)
    require_known(call, rows, account=filters.account, endpoint=filters.endpoint)
    page = search_page([(position, (position, receipt)) for position, receipt in rows], window, rows)
    return page.data, page.next_cursor


async def _reprocess(node: Node, listed: Receipt, *, dry_run: bool) -> Reprocessed | None:
    """Reprocess a receipt, or tell what would become of it; None if it is gone."""
    receipt = await node.store.receipt(listed.id)
    if receipt is None:
        return None
    result = Reprocessed(
        id=ids.show(ids.RECEIPT, receipt.id),
        account=receipt.account,
        endpoint=receipt.endpoint,
        received_at=receipt.received_at,
        before=receipt.status,
        status=receipt.status,
        reason=receipt.reason,
        events=0,
        new_events=0,
        orders=[],
    )
    account = node.config.accounts.get(receipt.account)
    if account is None:
        result.reason = f"The account {receipt.account!r} of this receipt was removed."
        return result
    if (detail := receipts.expunged(receipt)) is not None:
        result.reason = detail
        return result
    parsed = await parse_again(node, account, receipt)
    events = [event for command in parsed.commands for event in command.events]
    looked_up = [await node.store.event(event.id) for event in events[:LOOKED_UP_MAX]]
    result.events, result.new_events = len(events), looked_up.count(None)
    result.orders = list(dict.fromkeys(event.order for event in events[:LOOKED_UP_MAX]))
    if not dry_run:
        await record_again(node, receipt, parsed)
        result.status, result.reason = receipt.status, receipt.reason
    elif parsed.status != "accepted" or receipt.status not in ("accepted", "duplicate"):
        result.status, result.reason = parsed.status, parsed.reason
    return result
