"""What one does to an order: cancel it, after a dry run; revoke that; probe it; change its tags; erase it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from app.config.scope import Scope
from app.web import cancellations, orders, probes, retention
from app.web.auth import require_scope
from app.web.console.page import Page, PageTable, in_utc
from app.web.console.rendering import path
from app.web.problems import Kind, Problem

PAGES = PageTable()
_ORDER = "/orders/{account}/{order}"
_MINE = (Kind.INVALID, Kind.CANCELLATION_EXISTS, Kind.NOT_CANCELABLE, Kind.NOT_FOUND, Kind.WRONG_STATE, Kind.AMBIGUOUS)
"""Problems that the form shows, to be sent again."""


@PAGES.get(_ORDER + "/cancel")
async def show_cancel(page: Page) -> web.Response:
    """The form of a cancel. Raises `Problem` without scope write."""
    require_scope(page.key, Scope.WRITE)
    return await _cancel_page(page, {"reason": "", "note": "", "deadline": "", "force": ""})


@PAGES.post(_ORDER + "/cancel")
async def cancel(page: Page) -> web.Response:
    """First what would happen, by a dry run; then, confirmed, the cancel."""
    confirmed = page.form.get("step") == "confirm"
    try:
        result = await page.api(
            cancellations.create_cancellation,
            body={**_body(page.form), "dry_run": not confirmed},
            account=page.path["account"],
            order=page.path["order"],
        )
    except Problem as problem:
        if problem.kind not in _MINE:
            raise
        return await _cancel_page(page, page.form, problem=problem)
    if not confirmed:
        return await _cancel_page(page, page.form, forecast=result)
    if "state" not in result:  # The problem of a cancel that was rejected, with what became of it.
        rejected = Problem(Kind.NOT_CANCELABLE, result["detail"])
        return await _cancel_page(page, page.form, problem=rejected)
    notice = f"The cancel was requested: cancellation {result['id']} is {result['state']}."
    return page.redirect(_path_of(page), notice)


@PAGES.post(_ORDER + "/revoke")
async def revoke(page: Page) -> web.Response:
    """Revoke the live cancellation."""
    result = await page.api(cancellations.revoke_cancellation, id=page.form.get("cancellation", ""))
    return page.redirect(_path_of(page), f"Cancellation {result['id']} is {result['state']}: nothing is sent.")


@PAGES.post(_ORDER + "/probe")
async def probe(page: Page) -> web.Response:
    """Ask the provider about the order."""
    body = {"orders": [page.path["order"]]}
    requested = await page.api(probes.want_probes, account=page.path["account"], body=body)
    (result,) = requested["results"]
    texts = {
        "wanted": "The provider will be asked about this order; its answer appears in the timeline.",
        "known": "This order is known already.",
        "busy": "A cancellation is live: it asks the provider itself.",
    }
    return page.redirect(_path_of(page), texts.get(result["outcome"]) or f"Not possible: {result['detail']}")


@PAGES.post(_ORDER + "/tags")
async def tag(page: Page) -> web.Response:
    """Add and remove tags."""
    remove = [value for name, value in page.members if name == "remove"]
    body = {"add": page.form.get("add", "").replace(",", " ").split(), "remove": remove}
    result = await page.api(orders.change_tags, body=body, account=page.path["account"], order=page.path["order"])
    return page.redirect(_path_of(page), f"Tags: {', '.join(result['tags']) or 'none'}.")


@PAGES.get(_ORDER + "/erase")
async def show_erase(page: Page) -> web.Response:
    """The form of an erasure. Raises `Problem` without scope admin."""
    require_scope(page.key, Scope.ADMIN)
    return await _erase_page(page)


@PAGES.post(_ORDER + "/erase")
async def erase(page: Page) -> web.Response:
    """First what would be erased; then, with the order's id typed, the erasure, which cannot be undone."""
    require_scope(page.key, Scope.ADMIN)
    confirmed = page.form.get("step") == "confirm"
    if confirmed and page.form.get("confirmation", "").strip() != page.path["order"]:
        detail = "The field confirmation: type the order's id to erase its personal data."
        return await _erase_page(page, problem=Problem(Kind.INVALID, detail, field="confirmation"))
    try:
        body = {"reason": page.form.get("reason", "").strip(), "dry_run": not confirmed}
        result = await page.api(
            retention.erase_order, body=body, account=page.path["account"], order=page.path["order"]
        )
    except Problem as problem:
        if problem.kind not in _MINE:
            raise
        return await _erase_page(page, problem=problem)
    if not confirmed:
        return await _erase_page(page, forecast=result)
    notice = f"Erased: personal data of {result['events']} events and {result['receipts']} receipts."
    return page.redirect(_path_of(page), notice)


async def _erase_page(
    page: Page, *, forecast: Mapping[str, Any] | None = None, problem: Problem | None = None
) -> web.Response:
    status = problem.kind.status if problem else 200
    return page.render(
        "order_erase.html",
        status=status,
        here=_path_of(page),
        name=page.path["order"],
        form=page.form,
        forecast=forecast,
        problem=problem,
    )


async def _cancel_page(
    page: Page,
    form: Mapping[str, str],
    *,
    forecast: Mapping[str, Any] | None = None,
    problem: Problem | None = None,
) -> web.Response:
    """The form with what was entered, and below it what would happen."""
    order = await page.api_or_none(orders.get_order, account=page.path["account"], order=page.path["order"])
    status = problem.kind.status if problem else 200
    return page.render(
        "order_cancel.html",
        status=status,
        here=_path_of(page),
        name=page.path["order"],
        order=order,
        form=form,
        forecast=forecast,
        problem=problem,
    )


def _body(form: Mapping[str, str]) -> dict[str, Any]:
    """The API's body of the form."""
    body: dict[str, Any] = {"reason": form.get("reason", ""), "force": form.get("force") == "yes"}
    if note := form.get("note", "").strip():
        body["note"] = note
    if deadline := form.get("deadline", "").strip():
        body["deadline"] = in_utc(deadline)
    return body


def _path_of(page: Page) -> str:
    return path("orders", page.path["account"], page.path["order"])
