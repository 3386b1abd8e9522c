"""One order: its verdict and why, the picture of its life, its timeline, and both as of another time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiohttp import web

from app.web import events, explanation, orders, timeline
from app.web.console.forms import whole
from app.web.console.page import Page, PageTable
from app.web.console.picture import draw, time_of
from app.web.console.rendering import path
from app.web.console.wording import event_in_words
from app.web.problems import Kind, Problem
from app.web.time_travel import MomentQuery

PAGES = PageTable()
ENTRIES = 500
"""Entries of the timeline that are read for a page: the latest, unless it begins elsewhere."""
LATEST = 300
"""Events that the latest part of a longer timeline begins before."""
ROWS = 100
MOMENTS_MAX = 500


@PAGES.get("/orders/{account}/{order}")
async def show(page: Page) -> web.Response:
    """An order, by its id; any other name leads there."""
    account, name = page.path["account"], page.path["order"]
    query = page.read_query(MomentQuery)
    try:
        order = await page.api(orders.get_order, query=query, account=account, order=name)
    except Problem as problem:
        if problem.kind not in (Kind.NOT_FOUND, Kind.AMBIGUOUS):
            raise
        status = problem.kind.status
        return page.render("order_missing.html", status=status, problem=problem, account=account, name=name)
    if order["id"] != name:
        return page.redirect(path("orders", account, order["id"], **page.request.query), page.notice)
    if "step" in page.request.query:
        return await _go_to_step(page, order)
    return await _show(page, order, query)


async def _show(page: Page, order: Mapping[str, Any], travel: MomentQuery) -> web.Response:
    of, query = {"account": order["account"], "order": order["id"]}, page.request.query
    moment = travel.known_at or travel.at
    explained = await page.api(explanation.get_explanation, query=travel, **of)
    part = await _read_part(page, order)
    moments = _moments(part.entries)
    rows = [entry for entry in part.entries if moment is None or time_of(entry["at"]) <= moment]
    pages = max(1, -(-len(rows) // ROWS))
    number = min(max(whole(query.get("page"), pages), 1), pages)
    verdict = explained["verdict"]
    return page.render(
        "order.html",
        here=path("orders", order["account"], order["id"]),
        order=order,
        verdict=verdict,
        explained=explained,
        events={event["id"]: event for event in explained["events"]},
        latest=await _latest(page, order, travel),
        travel=travel,
        moment=moment,
        picture=draw(part.entries, order, explained, datetime.now(UTC), moment),
        part=part,
        rows=rows[(number - 1) * ROWS : number * ROWS],
        hidden=len(part.entries) - len(rows),
        number=number,
        pages=pages,
        moments=moments,
        step=_step(moments, moment),
        query=query,
        in_words=event_in_words,
    )


async def _latest(page: Page, order: Mapping[str, Any], travel: MomentQuery) -> dict[str, Any] | None:
    """The latest cancellation, as it was known."""
    query = orders.OrderCancellationsQuery(limit=1, known_at=travel.known_at)
    found = await page.api(orders.list_order_cancellations, query=query, account=order["account"], order=order["id"])
    return next(iter(found["data"]), None)


class _Part(NamedTuple):
    """A part of the timeline."""

    entries: Sequence[dict[str, Any]]
    following: str | None
    """The time at which the next part begins."""
    is_whole: bool


async def _read_part(page: Page, order: Mapping[str, Any]) -> _Part:
    """The part of the timeline that begins where the URL says; by default all, or the latest part of a longer one."""
    of = {"account": order["account"], "order": order["id"]}
    query = page.read_query(timeline.TimelineQuery, limit=ENTRIES)
    # Each fact is an entry: where there are too many, the first part need not be read to know it.
    found = None
    if query.since is not None or order["version"] <= ENTRIES:
        found = await page.api(timeline.get_timeline, query=query, **of)
    if found is None or (found["has_more"] and query.since is None):
        latest = await page.api(events.list_events, query=events.EventsQuery(limit=LATEST, **of))
        since = time_of(latest["data"][-1]["received_at"]) if latest["data"] else None
        query = timeline.TimelineQuery(limit=ENTRIES, since=since)
        found = await page.api(timeline.get_timeline, query=query, **of)
    entries, more = found["data"], found["has_more"]
    return _Part(entries, entries[-1]["at"] if more and entries else None, is_whole=query.since is None and not more)


def _moments(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """The times at which something became known, the oldest first: the steps of the slider."""
    return list(dict.fromkeys(entry["at"] for entry in entries if entry["kind"] != "attempt"))[-MOMENTS_MAX:]


def _step(moments: Sequence[str], moment: datetime | None) -> int:
    """The slider's step at a moment; the last is now."""
    return len(moments) if moment is None else max(0, sum(time_of(time) <= moment for time in moments) - 1)


async def _go_to_step(page: Page, order: Mapping[str, Any]) -> web.Response:
    """Show the order as of a step of the slider."""
    moments = _moments((await _read_part(page, order)).entries)
    number = whole(page.request.query["step"], len(moments))
    moment = moments[max(0, number)] if number < len(moments) else None
    since = page.request.query.get("since")
    return page.redirect(path("orders", order["account"], order["id"], at=moment, known_at=moment, since=since))
