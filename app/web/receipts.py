"""Receipts: what came in, as it came in, what it became, and reading it again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_plus, urlencode

import msgspec
from msgspec.structs import replace
from multidict import CIMultiDict, MultiDict
from pydantic import Field

from app.config.keys import Scope
from app.config.registry import handlers
from app.contract import InboundRequest
from app.engine.ledger import Submission
from app.runtime import ids
from app.runtime.redaction import REDACTED
from app.store import Receipt
from app.web.auth import require
from app.web.fields import Moment
from app.web.ingest import read_off_loop, record_kept
from app.web.problems import Kind, Problem
from app.web.routes import Call, PageQuery, Query, Route, SearchPage, order_number, require_known, search_page
from app.web.schemas import ReceiptShape, receipt_shape

EVENTS_MAX = 100
"""So many of the events that a receipt became are named."""
DEPTH_MAX = 100


class ReceiptsQuery(PageQuery):
    """Filters for receipts."""

    account: str | None = None
    endpoint: str | None = None
    order: str | None = Field(None, description="Those that became events of this order; needs `account`.")
    status: Literal["accepted", "duplicate", "ignored", "quarantined"] | None = None
    since: Moment | None = Field(None, description="Received at this time or later.")
    until: Moment | None = Field(None, description="Received before this time.")
    text: str | None = Field(
        None, min_length=2, description="Text that occurs in the body; needs scope admin, as bodies hold private data."
    )


class ReceiptQuery(Query):
    """How to show it."""

    raw: bool = Field(default=False, description="Also what the handler leaves out as private; needs scope admin.")


async def list_receipts(call: Call) -> SearchPage[ReceiptShape]:
    """All receipts that the filters let through."""
    asked: ReceiptsQuery = call.query
    if asked.text is not None:
        require(call.node.keys, call.request, Scope.ADMIN)
    order_pk = await order_number(call, asked.account, asked.order)
    rows = await call.node.store.receipts(
        account=asked.account,
        endpoint=asked.endpoint,
        order_pk=order_pk,
        status=asked.status,
        since=asked.since,
        until=asked.until,
        text=asked.text,
        before=asked.cursor,
        limit=asked.limit + 1,
    )
    require_known(call, rows, account=asked.account, endpoint=asked.endpoint)
    return search_page([(each.id, receipt_shape(each, whole=False)) for each in rows], asked.limit, rows)


async def get_receipt(call: Call) -> ReceiptShape:
    """One receipt, with headers and body, and what it became."""
    asked: ReceiptQuery = call.query
    if asked.raw:
        require(call.node.keys, call.request, Scope.ADMIN)
    return await _whole(call, await _receipt(call), raw=asked.raw)


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
    return await _whole(call, receipt, raw=False)


async def _whole(call: Call, receipt: Receipt, *, raw: bool) -> ReceiptShape:
    shape = receipt_shape(receipt, whole=True)
    events = await call.node.store.receipt_events(receipt.id, EVENTS_MAX)
    shape.events = [event.id for event in events]
    shape.orders = list(dict.fromkeys(event.order for event in events))
    if not raw:
        _mask(shape, _private_names(call, receipt.account))
    return shape


def _private_names(call: Call, account: str) -> Collection[str]:
    """What the account's handler leaves out; of an account that was removed, what any does."""
    known = call.node.directory.accounts.get(account)
    if known is not None:
        return known.handler.private
    return {name for each in handlers().values() for name in each.private}


def _mask(shape: ReceiptShape, private: Collection[str]) -> None:
    """Take out of the body what stands under private names, however deep."""
    body = shape.body
    if body is None:
        if shape.body_base64 is not None and private:
            shape.body_base64, shape.masked = None, True  # nobody can tell what is in it
        return
    try:
        # Names may be written with escapes, so that nothing but the content itself tells whether they are there.
        content = msgspec.json.decode(body)
        if _mask_in(content, private, DEPTH_MAX):
            shape.body, shape.masked = msgspec.json.encode(content).decode(), True
    except (msgspec.DecodeError, RecursionError):
        if _names_any(unquote_plus(body), private):
            shape.body, shape.masked = _masked_text(body, private), True


def _names_any(text: str, private: Collection[str]) -> bool:
    return any(name in text for name in private)


def _masked_text(body: str, private: Collection[str]) -> str:
    """A form with its private fields masked; of any other text nobody can tell where what is private ends."""
    fields = parse_qsl(body, keep_blank_values=True)
    if body.lstrip().startswith(("{", "[", "<")) or not any(name in private for name, _ in fields):
        return REDACTED
    masked = [(name, REDACTED if name in private or _names_any(value, private) else value) for name, value in fields]
    return urlencode(masked, safe="*")


def _mask_in(value: Any, private: Collection[str], depth: int) -> bool:
    """Mask in place; whether anything was masked. What is too deep to be looked at is masked as a whole."""
    found = False
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        if (
            (isinstance(value, dict) and key in private and inner is not None)
            or (depth == 0 and isinstance(inner, dict | list))
            or (isinstance(inner, str) and _holds_private_json(inner, private))
        ):
            value[key] = REDACTED
            found = True
        elif isinstance(inner, dict | list):
            found |= _mask_in(inner, private, depth - 1)
    return found


def _holds_private_json(text: str, private: Collection[str]) -> bool:
    """Whether it is JSON within JSON, as some send it, that may hold what is private."""
    return text.lstrip().startswith(("{", "[")) and ("\\u" in text or _names_any(text, private))


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
        path="/v1/receipts",
        name="listReceipts",
        summary="What came in, the newest first; `status=quarantined` is what could not be understood.",
        scope=Scope.READ,
        handler=list_receipts,
        query=ReceiptsQuery,
        answer=SearchPage[ReceiptShape],
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    ),
    Route(
        method="GET",
        path="/v1/receipts/{id}",
        name="getReceipt",
        summary="One receipt with its headers and body, the orders and events it became; `raw` with private data.",
        scope=Scope.READ,
        handler=get_receipt,
        query=ReceiptQuery,
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
