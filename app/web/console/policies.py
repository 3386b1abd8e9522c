"""Policies: the list, one policy with its editor and its decisions, and new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from app.config.scope import Scope
from app.core.pauses import BY_ITSELF
from app.web import backtests, pauses, policies
from app.web.auth import require_scope
from app.web.console import forms
from app.web.console.forms import Field
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path
from app.web.console.resources import (
    account_ids,
    create_by_put,
    editable,
    list_query,
    put,
    read_body,
    require_id,
    require_typed,
)
from app.web.pages import PageQuery
from app.web.problems import Kind, Problem
from app.web.resources import ResourcesQuery

PAGES = PageTable()
NEW = "~new"
_FIELDS = (
    Field("description", "Description"),
    Field("accounts", "Accounts", "", "lines", required=True),
    Field(
        "when",
        "Condition",
        "In CEL, such as: order.phase == 'open' && size(order.appointments) == 0",
        "area",
        required=True,
        rows=5,
    ),
    Field("on", "Triggered by", "Types of events, such as appointment.*. Empty: all.", "lines", rows=2),
    Field("wait", "Wait", "How long the condition must hold: 6h, or 48h since order.opened_at."),
    Field("before_close", "Before the window closes", "Act so long before time closes it, such as 30m."),
    Field("cancel.reason", "Reason of the cancel", "As the provider takes it."),
    Field("cancel.note", "Note of the cancel"),
    Field(
        "mode",
        "Mode",
        "shadow: only record what it would do. approve: propose each cancel to a person. enforce: cancel.",
        "choice",
        ("shadow", "approve", "enforce"),
        required=True,
    ),
    Field("limits.per_hour", "At most in an hour", "Beyond it the policy halts itself.", "number"),
    Field("limits.per_day", "At most in a day", "", "number"),
    Field("limits.open_share", "At most this share of the open orders in a day", "Between 0 and 1.", "number"),
    Field("approve_within", "Time to approve", "", "text", (), "24h"),
    Field("duplicates_within", "Duplicates are opened within", "", "text", (), "24h"),
)
_NEW = (Field("id", "Id", "Lower-case letters, digits, dots and hyphens. It stays for ever.", required=True), *_FIELDS)


@PAGES.get("/policies")
async def list_policies(page: Page) -> web.Response:
    """All policies, with their state and the use of their limits."""
    listed = await page.api("listPolicies", query=list_query(page, ResourcesQuery))
    states = {policy["id"]: state_of(policy) for policy in listed["data"]}
    return page.render("policies.html", listed=listed, states=states, query=page.request.query)


@PAGES.get("/policies/~new")
async def show_new(page: Page) -> web.Response:
    """The form for a new policy. Raises `Problem` without scope admin."""
    require_scope(page.key, Scope.ADMIN)
    return await _show_new(page, forms.form_of(_NEW, {"mode": "shadow"}))


@PAGES.post("/policies/~new")
async def create(page: Page) -> web.Response:
    """Create a policy."""
    try:
        id = await create_by_put(page, "Policy", _FIELDS, {})
    except Problem as problem:
        return await _show_new(page, forms.form_again(_NEW, page.form, {}, problem), problem)
    return page.redirect(path("policies", id), f"Policy {id} is created.")


@PAGES.get("/policies/{id}")
async def show(page: Page) -> web.Response:
    """One policy."""
    return await _show(page)


@PAGES.post("/policies/{id}")
async def save(page: Page) -> web.Response:
    """Change it."""
    id = page.path["id"]
    base = editable("policies", await page.api("getPolicy", id=id))
    try:
        await put(page, "Policy", id, read_body(page, _FIELDS, base))
    except Problem as problem:
        return await _show(page, problem=problem, form=forms.form_again(_FIELDS, page.form, base, problem))
    return page.redirect(path("policies", id), f"Policy {id} is changed.")


@PAGES.post("/policies/{id}/test")
async def test(page: Page) -> web.Response:
    """What the policy as it stands in the form would decide on one order."""
    id, fields, base = await _given(page)
    about = {name: page.form.get(f"test_{name}", "").strip() or None for name in ("account", "order")}
    try:
        body = {"policy": read_body(page, _FIELDS, base), **about}
        result = await page.api(policies.test_policy, id=id or require_id(page), body=body)
    except Problem as problem:
        return await _again(page, id, forms.form_again(fields, page.form, base, problem), problem)
    form = replace(forms.form_again(fields, page.form, base, Problem(Kind.INVALID, "")), faults={})
    return await _again(page, id, form, result=result)


@PAGES.post("/policies/{id}/backtest")
async def backtest(page: Page) -> web.Response:
    """Run the policy as it stands in the form over the log."""
    id, fields, base = await _given(page)
    try:
        named = id or require_id(page)
        body: dict[str, Any] = {"policy": read_body(page, _FIELDS, base)}
        if page.form.get("since"):
            body["since"] = f"{page.form['since']}T00:00:00Z"
        started = await page.api(backtests.start_backtest, id=named, body=body)
    except Problem as problem:
        return await _again(page, id, forms.form_again(fields, page.form, base, problem), problem)
    return page.redirect(path("policies", named, "backtests", started["id"]))


@PAGES.post("/policies/{id}/pause")
async def pause(page: Page) -> web.Response:
    """Hold its cancellations."""
    id, reason = page.path["id"], page.form.get("reason", "").strip()
    await page.api(pauses.pause, body={"policy": id, **({"reason": reason} if reason else {})})
    return page.redirect(path("policies", id), f"Policy {id} is halted: none of its cancellations is sent.")


@PAGES.post("/policies/{id}/resume")
async def resume(page: Page) -> web.Response:
    """Send its cancellations again."""
    id = page.path["id"]
    await page.api(pauses.resume, body={"policy": id})
    return page.redirect(path("policies", id), f"Policy {id} acts again.")


@PAGES.post("/policies/{id}/delete")
async def delete(page: Page) -> web.Response:
    """Remove it."""
    id = page.path["id"]
    require_typed(page, id)
    await page.api("deletePolicy", id=id)
    return page.redirect("/policies", f"Policy {id} is removed.")


def state_of(policy: Mapping[str, Any]) -> str:
    """`active`, `failing`, `paused` by a person, or `halted` by a limit of its own."""
    paused = policy.get("paused")
    if paused:
        return "halted" if paused["by"] == BY_ITSELF else "paused"
    return "failing" if policy.get("failing") else "active"


async def _given(page: Page) -> tuple[str, tuple[Field, ...], dict[str, Any]]:
    """(the policy's id, none for a new one; its form's fields; its body)."""
    id = page.path["id"]
    if id == NEW:
        return "", _NEW, {}
    return id, _FIELDS, editable("policies", await page.api("getPolicy", id=id))


async def _again(
    page: Page, id: str, form: forms.Form, problem: Problem | None = None, result: Any = None
) -> web.Response:
    if id:
        return await _show(page, problem=problem, form=form, result=result)
    return await _show_new(page, form, problem, result)


async def _show_new(page: Page, form: forms.Form, problem: Problem | None = None, result: Any = None) -> web.Response:
    return page.render("policy_new.html", status=_status(problem), **await _editor(page, form, problem, result))


async def _show(
    page: Page, *, problem: Problem | None = None, form: forms.Form | None = None, result: Any = None
) -> web.Response:
    id = page.path["id"]
    policy = await page.api("getPolicy", id=id)
    form = form or forms.form_of(_FIELDS, editable("policies", policy))
    shown = await page.api(policies.list_decisions, id=id, query=page.read_query(PageQuery, limit=20))
    return page.render(
        "policy.html",
        status=_status(problem),
        policy=policy,
        state=state_of(policy),
        decisions=shown,
        backtests=await page.api(backtests.list_backtests, id=id, query=backtests.BacktestsQuery(limit=10)),
        query=page.request.query,
        **await _editor(page, form, problem, result),
    )


async def _editor(page: Page, form: forms.Form, problem: Problem | None, result: Any) -> dict[str, Any]:
    confirm = problem is not None and problem.kind is Kind.UNCONFIRMED
    about = {name: page.form.get(f"test_{name}", "") for name in ("account", "order")}
    ids = await account_ids(page)
    return {"form": form, "problem": problem, "result": result, "confirm": confirm, "about": about, "account_ids": ids}


def _status(problem: Problem | None) -> int:
    return problem.kind.status if problem else 200
