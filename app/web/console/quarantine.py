"""The quarantine: webhooks that could not be understood, grouped by why, what helps, and parsing them again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import Struct

from app.config.scope import Scope
from app.core.receipt_status import ReceiptStatus
from app.web import bulk_reprocess, receipts
from app.web.auth import require_scope
from app.web.console.bulk import AT_ONCE, Action, Selected, confirmed, render_preview, require_filters
from app.web.console.listing import default_account, filters_of
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path, words
from app.web.problems import Problem

PAGES = PageTable()
LOOKED_AT = 500
"""Receipts that are grouped: the newest."""
GROUPS_MAX = 50
EXAMPLES_MAX = 3
_NUMBER = re.compile(r"\d+")
_PLACES = (
    "It is the account's configuration that says where things stand in a body. Open a receipt, see where they do, "
)
_FIXES = (
    (r"was removed", "Create the account again, or have the provider send to none of its endpoints."),
    (
        r"documents no event|event_keys|names no topic",
        f"{_PLACES}and set event_keys; or, if the provider has a new event, install a handler that knows it.",
    ),
    (
        r"names no order|order's id|order_path|order_keys|fields\.|no order with|no list of|the path ",
        f"{_PLACES}and correct the account; then preview.",
    ),
    (r"reserved for Rescind", "Let the sender use another type: this one would be taken for Rescind's own."),
    (
        r"holds \d+ events|unpacks to more|nested too deeply|go through more",
        "It is more than is taken in one piece: have fewer events sent at once.",
    ),
    (
        r"JSON|gzip|deflate|base64|Content-Encoding|CloudEvents|no body|percent-encoded",
        "It is not what this provider sends. Open a receipt: has a proxy changed it, or another sender the URL?",
    ),
    (
        r"are both ids|merged|clash",
        "Two orders would become one. Open the receipt and its orders, and ask the provider which of them is meant.",
    ),
)
"""What helps, by what the reason says."""
_LINKS = (("id", "receipts"), ("endpoint", "endpoints"))
_OTHER = "Correct the account or the handler as the reason says; then preview."
REPROCESS = Action(
    name="reprocess",
    title="Reprocess many receipts",
    noun="receipt",
    listed_at="/quarantine",
    button="Reprocess them",
    columns=("Receipt and endpoint", "Is"),
    warning="They are parsed again, with their accounts and handlers as they are now. What the log has already is not "
    "repeated; what becomes of their orders happens at once, by policies too.",
)


class Group(Struct, kw_only=True):
    """Receipts that were set aside for one reason at one endpoint."""

    reason: str
    """That of its newest receipt."""
    text: str
    """What the reasons of all of them contain."""
    account: str
    endpoint: str
    fix: str
    latest: str
    earliest: str = ""
    count: int = 0
    examples: list[str]


@PAGES.get("/quarantine")
async def show_quarantine(page: Page) -> web.Response:
    """What could not be understood, and why."""
    found, problem = None, None
    try:
        fixed = {"status": ReceiptStatus.QUARANTINED.value, **default_account(page)}
        query = page.read_query(receipts.ReceiptsQuery, limit=LOOKED_AT, **fixed)
        found = await page.api(receipts.list_receipts, query=query)
    except Problem as error:
        problem = error
    return page.render(
        "quarantine.html",
        status=problem.kind.status if problem else 200,
        found=found,
        problem=problem,
        query=filters_of(page),
        groups=_grouped(found["data"])[:GROUPS_MAX] if found else [],
        groups_max=GROUPS_MAX,
    )


@PAGES.get("/bulk/reprocess")
async def preview_reprocess(page: Page) -> web.Response:
    """What would become of the receipts of a filter."""
    require_scope(page.key, Scope.WRITE)
    require_filters(page, bulk_reprocess.ReprocessFilter)
    query = page.read_query(receipts.ReceiptsQuery, limit=AT_ONCE, **default_account(page))
    given = {name: getattr(query, name, None) for name in bulk_reprocess.ReprocessFilter.model_fields}
    filters = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in given.items()
        if value is not None
    }
    body = {"dry_run": True, "filter": filters, "limit": AT_ONCE}
    found = await page.api(bulk_reprocess.bulk_reprocess_receipts, body=body)
    return render_preview(page, REPROCESS, _selected(found["data"]), found, tried=True, fields={})


@PAGES.post("/bulk/reprocess")
async def reprocess(page: Page) -> web.Response:
    """Parse those again that were confirmed."""
    body = {"dry_run": False, "receipts": confirmed(page, REPROCESS), "limit": AT_ONCE}
    done = await page.api(bulk_reprocess.bulk_reprocess_receipts, body=body)
    counts = ", ".join(f"{count} {words(status)}" for status, count in sorted(done["counts"].items()))
    return page.render("bulk_done.html", action=REPROCESS, done=_selected(done["data"]), counts=counts, more=[])


def _selected(results: Iterable[dict[str, Any]]) -> list[Selected]:
    return [
        Selected(
            key=result["id"],
            links=[(result[name], path(kind, result[name])) for name, kind in _LINKS],
            state=result["before"],
            would=result["status"],
            says=result["reason"] or _events(result),
            will=result["status"] != ReceiptStatus.QUARANTINED,
        )
        for result in results
    ]


def _events(result: dict[str, Any]) -> str:
    orders = ", ".join(result["orders"])
    return f"{result['new_events']} of {result['events']} events new" + (f", of {orders}" if orders else "")


def _grouped(rows: Iterable[dict[str, Any]]) -> list[Group]:
    """The receipts (the newest first) by reason, account and endpoint; the largest group first."""
    groups: dict[tuple[str, str, str], Group] = {}
    for row in rows:
        key = _NUMBER.sub("#", row["reason"]), row["account"], row["endpoint"]
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(
                reason=row["reason"],
                text=max(_NUMBER.split(row["reason"]), key=len)[:200].strip(),
                account=row["account"],
                endpoint=row["endpoint"],
                fix=_fix(row["reason"]),
                latest=row["received_at"],
                examples=[],
            )
        group.count += 1
        group.earliest = row["received_at"]
        if len(group.examples) < EXAMPLES_MAX:
            group.examples.append(row["id"])
    return sorted(groups.values(), key=lambda group: -group.count)


def _fix(reason: str) -> str:
    """What helps against this reason."""
    return next((fix for pattern, fix in _FIXES if re.search(pattern, reason)), _OTHER)
