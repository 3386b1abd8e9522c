"""The audit trail: who changed which resource when, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from typing import Any

from aiohttp import web

from app.web import resources
from app.web.console.forms import text_of
from app.web.console.page import Page, PageTable
from app.web.problems import Kind, Problem

PAGES = PageTable()
ROWS = 50
VERSIONS_MAX = 100
"""Versions of one resource to choose from."""
LINES_MAX = 2000
"""Lines of a resource that are compared: comparing is quadratic in the worst case."""


@PAGES.get("/audit")
async def list_changes(page: Page) -> web.Response:
    """Changes, newest first."""
    try:
        query = page.read_query(resources.ChangesQuery, limit=ROWS)
        listed, problem = await page.api(resources.list_changes, query=query), None
    except Problem as error:
        if error.kind is not Kind.INVALID:
            raise
        listed, problem = None, error
    status = problem.kind.status if problem else 200
    return page.render("audit.html", status=status, listed=listed, problem=problem, query=page.request.query)


@PAGES.get("/audit/{kind}/{id}")
async def show(page: Page) -> web.Response:
    """The versions of one resource, and the difference of two."""
    given = {"kind": page.path["kind"], "id": page.path["id"], "limit": VERSIONS_MAX}
    changes = (await page.api(resources.list_changes, query=page.read_query(resources.ChangesQuery, **given)))["data"]
    if not changes:
        raise Problem(Kind.NOT_FOUND, f"No change of {page.path['kind']} {page.path['id']!r} is recorded.")
    after = _chosen(changes, page.request.query.get("after"), 0)
    before = _chosen(changes, page.request.query.get("before"), after + 1)
    older = changes[before] if before < len(changes) else None
    return page.render(
        "change.html",
        changes=changes,
        after=changes[after],
        before=older,
        lines=list(_difference(older, changes[after])),
        kind=page.path["kind"],
        id=page.path["id"],
    )


def _chosen(changes: Sequence[Mapping[str, Any]], at: str | None, default: int) -> int:
    """The number of the change made at that time."""
    return next((number for number, change in enumerate(changes) if change["at"] == at), default)


def _difference(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(`added`, `removed` or ``, line)."""
    former = _lines(before)
    latter = [] if after["action"] == "delete" else _lines(after)
    if former == latter:
        return
    for line in [*unified_diff(former, latter, lineterm="", n=3)][2:]:
        yield {"+": "added", "-": "removed", "@": "place"}.get(line[:1], ""), line


def _lines(change: Mapping[str, Any] | None) -> list[str]:
    return [] if change is None else text_of(change["body"]).splitlines()[:LINES_MAX]
