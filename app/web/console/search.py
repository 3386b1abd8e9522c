"""Search: an id or a name leads to what it names; other text is looked for among orders, events and receipts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from app.runtime import ids
from app.web import attempts, backtests, batches, cancellations, deliveries, events, keys, orders, receipts
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path
from app.web.console.resources import id_before
from app.web.console.wording import event_in_words
from app.web.pages import NamedPageQuery
from app.web.problems import Kind, Problem
from app.web.resources import ResourcesQuery
from app.web.routes import Handler, Query

PAGES = PageTable()
TEXT_MAX = 200
TEXT_MIN = 2
ROWS = 20
ACCOUNTS_MAX = 20
"""Accounts in which an order is looked up by its name; in more, orders are found by the list's own search."""
SUBSCRIPTIONS_MAX = 50
"""Subscriptions among whose deliveries a message is looked up."""
POLICIES_MAX = 100
"""Policies among whose backtests one is looked up."""
_BY_PREFIX: Mapping[str, tuple[str, Handler, str]] = {
    "evt_": ("event", events.get_event, "events"),
    ids.RECEIPT: ("receipt", receipts.get_receipt, "receipts"),
    ids.CANCELLATION: ("cancellation", cancellations.get_cancellation, "cancellations"),
    ids.BATCH: ("batch of cancellations", batches.get_cancellation_batch, "batches"),
}
_RESOURCES = {"Account": "accounts", "Policy": "policies", "Endpoint": "endpoints", "Subscription": "subscriptions"}


class Match(NamedTuple):
    """What has exactly the name that was searched for."""

    kind: str
    name: str
    link: str


class Rows(NamedTuple):
    """The first results of a list."""

    data: Sequence[Mapping[str, Any]]
    more: bool


@PAGES.get("/search")
async def search(page: Page) -> web.Response:
    """What has this name, at once if it is the only thing; else all that has the text, by kind."""
    text = page.request.query.get("q", "").replace("\0", "").strip()[:TEXT_MAX]
    if not text:
        return page.render("search.html", text="", matches=[], groups={}, in_words=event_in_words)
    accounts = await _accounts(page)
    matches = [match async for match in _matches(page, text, accounts)]
    if len(matches) == 1 and page.request.query.get("all") != "1":
        return page.redirect(matches[0].link)
    groups = await _texts(page, text, accounts) if len(text) >= TEXT_MIN else {}
    return page.render("search.html", text=text, matches=matches, groups=groups, in_words=event_in_words)


async def _accounts(page: Page) -> list[str]:
    if page.key.accounts is not None:
        return sorted(page.key.accounts)
    found = await page.api("listAccounts", query=NamedPageQuery(limit=ACCOUNTS_MAX + 1))
    return [account["id"] for account in found["data"]]


async def _matches(page: Page, text: str, accounts: Sequence[str]) -> AsyncIterator[Match]:
    """What `text` names: one thing by its id, resources, and orders by any of their names."""
    for prefix, (kind, operation, segment) in _BY_PREFIX.items():
        if text.startswith(prefix) and await _is_there(page, operation, id=text):
            yield Match(kind, text, path(segment, text))
    for prefix, find in _FINDERS.items():
        if text.startswith(prefix) and (match := await find(page, text)) is not None:
            yield match
    if text.startswith(ids.MESSAGE):
        async for match in _deliveries(page, text):
            yield match
    for kind, segment in _RESOURCES.items():
        if await _is_there(page, f"get{kind}", id=text):
            yield Match(kind.lower(), text, path(segment, text))
    for account, order in await _orders_named(page, text, accounts):
        yield Match(f"order of {account}", order, path("orders", account, order))


async def _attempt(page: Page, id: str) -> Match | None:
    """A call at a provider is shown with its cancellation, or with its order."""
    attempt = await page.api_or_none(attempts.get_attempt, id=id)
    if attempt is None:
        return None
    order = path("orders", attempt["account"], attempt["order"])
    return Match(
        f"{attempt['kind']} call",
        id,
        path("cancellations", attempt["cancellation"]) if attempt["cancellation"] else order,
    )


async def _key(page: Page, id: str) -> Match | None:
    found = await page.api_or_none(keys.list_keys, query=NamedPageQuery(limit=1, cursor=id_before(id)))
    is_there = found is not None and [key["id"] for key in found["data"]] == [id]
    return Match("API key", id, path("keys", id)) if is_there else None


async def _backtest(page: Page, id: str) -> Match | None:
    """Backtests are found with their policies."""
    found = await page.api_or_none("listPolicies", query=ResourcesQuery(limit=POLICIES_MAX))
    for policy in found["data"] if found else ():
        if await _is_there(page, backtests.get_backtest, id=policy["id"], backtest=id):
            return Match(f"backtest of {policy['id']}", id, path("policies", policy["id"], "backtests", id))
    return None


_FINDERS: Mapping[str, Callable[[Page, str], Awaitable[Match | None]]] = {
    ids.ATTEMPT: _attempt,
    ids.KEY: _key,
    ids.BACKTEST: _backtest,
}


async def _is_there(page: Page, operation: Handler | str, **variables: str) -> bool:
    try:
        return await page.api_or_none(operation, **variables) is not None
    except Problem as problem:
        if problem.kind is Kind.INVALID:  # No id of that kind looks so.
            return False
        raise


async def _deliveries(page: Page, message: str) -> AsyncIterator[Match]:
    """The deliveries of a message."""
    found = await page.api_or_none("listSubscriptions", query=NamedPageQuery(limit=SUBSCRIPTIONS_MAX))
    for subscription in found["data"] if found else ():
        if await _is_there(page, deliveries.get_delivery, id=subscription["id"], message=message):
            link = path("subscriptions", subscription["id"], "deliveries", message)
            yield Match(f"message to {subscription['id']}", message, link)


async def _orders_named(page: Page, name: str, accounts: Sequence[str]) -> list[tuple[str, str]]:
    """(account, id) of the orders that have this name, or are carried by it as a shared alias."""
    account, slash, rest = name.partition("/")
    if slash and rest and account in accounts:
        accounts, name = [account], rest
    if len(accounts) > ACCOUNTS_MAX:
        found = (
            await page.api(orders.list_orders, query=orders.OrdersQuery(text=name, limit=ROWS)) if name[1:] else None
        )
        exact = [one for one in found["data"] if name in (one["id"], *one["aliases"])] if found else []
        return [(order["account"], order["id"]) for order in exact]
    named = await asyncio.gather(*(_order_named(page, account, name) for account in accounts))
    return [order for found in named for order in found]


async def _order_named(page: Page, account: str, name: str) -> list[tuple[str, str]]:
    try:
        order = await page.api(orders.get_order, account=account, order=name)
    except Problem as problem:
        if problem.kind is Kind.AMBIGUOUS:
            return [(account, id) for id in problem.members["orders"]]
        if problem.kind in (Kind.NOT_FOUND, Kind.INVALID):
            return []
        raise
    # An order that was only asked for has no event yet.
    return [(account, order["id"])]


async def _texts(page: Page, text: str, accounts: Sequence[str]) -> dict[str, Rows]:
    """The first orders, events and receipts that have the text; a restricted key searches each of its accounts."""
    given = {"text": text, "limit": ROWS}
    within: Sequence[str | None] = [None] if page.key.accounts is None else accounts[:ACCOUNTS_MAX]
    groups = {
        "orders": await _rows(page, orders.list_orders, orders.OrdersQuery, within, given),
        "events": Rows((), more=False),
    }
    if any(map(str.isalnum, text)):  # Events are found by their words.
        groups["events"] = await _rows(page, events.list_events, events.EventsQuery, within, given)
    if page.allows("admin"):  # Bodies hold private data.
        groups["receipts"] = await _rows(page, receipts.list_receipts, receipts.ReceiptsQuery, within, given)
    return groups


async def _rows(
    page: Page, operation: Handler, query: type[Query], accounts: Sequence[str | None], given: Mapping[str, Any]
) -> Rows:
    data: list[Mapping[str, Any]] = []
    more = False
    for account in accounts:
        found = await page.api(operation, query=query.model_validate({**given, "account": account}))
        data += found["data"]
        more = more or found["has_more"]
        if len(data) >= ROWS:
            break
    return Rows(data[:ROWS], more or len(data) > ROWS)
