"""The start page: what happens now, which windows close, and what needs a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from app.web import log, overview
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path

PAGES = PageTable()
REFRESH_S = 5
_BY_SUBJECT = {"account": "accounts", "policy": "policies", "endpoint": "endpoints", "subscription": "subscriptions"}


@PAGES.get("/")
async def show(page: Page) -> web.Response:
    """What happens now, in all accounts or one; a key that is restricted to accounts sees one at a time."""
    choices = sorted(page.key.accounts) if page.key.accounts is not None else None
    account = page.request.query.get("account") or (choices[0] if choices else None)
    shown = await page.api(overview.get_overview, query=overview.OverviewQuery(account=account))
    hours = shown["closing"]["hours"]
    return page.render(
        "overview.html",
        shown=shown,
        checkpoint=None if account else await page.api_or_none(log.get_latest_checkpoint),
        account=account,
        choices=choices,
        findings=[(finding, *where_to_act(finding)) for finding in shown["findings"]],
        hours=hours,
        most=max((hour["orders"] for hour in hours), default=0),
        first_hour=hours[0]["orders"] if hours else 0,
        busiest=max(shown["ingest"]["events_by_minute"] or [0]),
        live=sum(shown["cancellations"]["live"].values()),
        refresh_s=REFRESH_S,
        bar_height=bar_height,
    )


def where_to_act(finding: Mapping[str, Any]) -> tuple[str, str]:
    """(path, label) of the page where a person does something about a finding."""
    code, account = finding["code"], finding["account"]
    if code == "quarantined":
        return path("quarantine", account=account), "Fix and reprocess them"
    if code == "approvals":
        return path("cancellations", account=account, waiting="approval"), "Approve or revoke them"
    if code == "indeterminate":
        return path("cancellations", account=account, state="indeterminate"), "Resolve them"
    subject, _, id = finding["what"].partition(" ")
    kind = _BY_SUBJECT.get(subject)
    if kind and id:
        return path(kind, id), f"Open the {subject}"
    # A pause of everything, or of all policies.
    return ("/policies", "Open the policies") if "policies" in finding["what"] else ("/accounts", "Open the accounts")


def bar_height(count: int, most: int, height: int) -> int:
    """The height of a bar: what is there can be seen, however little it is."""
    return 0 if not count or not most else max(3, round(height * count / most))
